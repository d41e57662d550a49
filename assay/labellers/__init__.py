"""Who says which of two answers is better: the world's gold, a Python function, a model behind HTTP, people."""
