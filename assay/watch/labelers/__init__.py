"""Who says which of two completions is better: gold, a Python function, an LLM judge, people."""
