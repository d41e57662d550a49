"""Reward models: fitted, joined, loaded, saved, and asked for scores."""
