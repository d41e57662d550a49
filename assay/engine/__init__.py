"""What runs a recipe: the one backward, checkpoints, processes, threads and memory."""
