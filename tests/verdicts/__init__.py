"""Arms made by hand for which a paper is right, and for which it is wrong: one file a claim that
`tests/test_claims_verdicts.py` cannot make arms for by itself.
"""
