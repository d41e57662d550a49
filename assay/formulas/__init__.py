"""Pure functions of tensors: unreduced out, nats, shapes in the signature. Imports torch and
nothing of ours.
"""
