"""Know before you train: how hackable a reward is, by its scores of the reference's completions.

`members` lets each reward model of an ensemble choose and the others read what it chose; `turning`
says what that predicts for a policy gradient: a turning point in √KL with an interval, or the
sentence why none can be predicted.
"""
