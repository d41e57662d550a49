"""How completions are drawn: token by token, best-of-n, from a server or from vLLM."""
