"""The nouns: what a recipe is given, what it samples and scores, and what it yields.

Axes: B prompts, N completions a prompt, T decisions a completion, M reward models, K golds; nats
throughout.
"""

from __future__ import annotations

from assay.core.loop import Ask, Loop, Step
from assay.core.paper import Claim, Paper
from assay.core.policy import (
    Compared,
    ComparesTokens,
    Decodes,
    Decoding,
    DrawsBySteps,
    EncodesText,
    EstimatesMemory,
    HasValueHead,
    Policy,
    Sampler,
    require,
)
from assay.core.preference import CheckedPreference, PreferenceModel
from assay.core.prompt_texts import PromptTexts
from assay.core.reward import Checked, Reward, Standardised, Stepwise
from assay.core.rng import Rng
from assay.core.samples import DESIRABLE, Pairs, Prompts, Samples, cat
from assay.core.task import Task, World, order
from assay.engine.checkpoint import Carry
from assay.engine.optimiser import Optimiser
from assay.errors import InputError, Missing, NotFinite

__all__ = [
    "DESIRABLE",
    "Ask",
    "Carry",
    "Checked",
    "CheckedPreference",
    "Claim",
    "Compared",
    "ComparesTokens",
    "Decodes",
    "Decoding",
    "DrawsBySteps",
    "EncodesText",
    "EstimatesMemory",
    "HasValueHead",
    "InputError",
    "Loop",
    "Missing",
    "NotFinite",
    "Optimiser",
    "Pairs",
    "Paper",
    "Policy",
    "PreferenceModel",
    "PromptTexts",
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
    "require",
]
