"""Other people's programs: what of ours works inside them, each an optional extra."""
