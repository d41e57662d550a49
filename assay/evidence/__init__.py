"""Papers' claims, run and judged by one rule, and the pages that tell of them."""
