"""Statistics of numbers: curves, intervals and what a run came to. numpy and scipy; no torch."""
