"""What a run leaves on disk, and where else its readings go."""
