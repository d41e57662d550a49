"""Formulas of papers as pure functions of tensors: unreduced, in nats, shapes in the signature.

Nothing here imports anything of assay but other formulas.
"""
