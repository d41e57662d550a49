"""A task and its hidden gold."""
