"""Policies: what samples completions and says how probable they are."""
