"""Fuzzing of everything that reads what others wrote: files, records, replies, templates, flags.

`targets` lists the readers, `mutations` damages what they read, `harness` says what a reader owes
to damaged input, and `guided` lets atheris look for new branches. Continuous integration tries a
few inputs a target, `make nightly` a million in all.
"""
