"""When to stop: labels bought within a budget, a sequential test on them, and the labelers that are
asked.
"""
