"""Labelers say which completion is better: gold, a Python function, an LLM judge, people."""
