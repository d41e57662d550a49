"""A reward behind HTTP, for trainers of any make: scoring, batching, limits and request formats."""
