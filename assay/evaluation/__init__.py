"""Measurement: recipes driven, gold read with errors, methods compared."""
