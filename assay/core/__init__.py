"""The nouns: what a recipe is given, what it samples and scores, and what it yields.

Axes: B prompts, N completions a prompt, T decisions a completion, M reward models, K golds; nats
throughout.
"""

from __future__ import annotations

from assay.core.reward import Checked, Reward, Standardised, Stepwise
from assay.core.rng import Rng
from assay.core.samples import Pairs, Prompts, Samples, cat
from assay.core.task import (
    Ask,
    Claim,
    Loop,
    Paper,
    Policy,
    PreferenceModel,
    Sampler,
    Step,
    Task,
    World,
    order,
)
from assay.engine.checkpoint import Carry
from assay.engine.optimiser import Optimiser
from assay.errors import InputError, Missing, NotFinite

__all__ = [
    "Ask",
    "Carry",
    "Checked",
    "Claim",
    "InputError",
    "Loop",
    "Missing",
    "NotFinite",
    "Optimiser",
    "Pairs",
    "Paper",
    "Policy",
    "PreferenceModel",
    "Prompts",
    "Reward",
    "Rng",
    "Sampler",
    "Samples",
    "Standardised",
    "Step",
    "Stepwise",
    "Task",
    "World",
    "cat",
    "order",
]
