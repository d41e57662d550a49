"""The folder is the registry: recipes and worlds found by name, read from their source without
running it.
"""
