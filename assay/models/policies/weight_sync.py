"""Keeps an engine's weights those of the policy that samples, and checks that they are.

An engine is shared by the reference and by all copies in training. Before one of them samples, its
weights are sent unless the engine holds them. After each update a few rows are scored by both
sides, and so is every batch: an engine that went on with old weights, in whatever way, is an error
and no silent noise.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assay.core import Prompts, Samples
from assay.core.samples import CLIPPED, IMPORTANCE, SAMPLER_LOGP
from assay.engine import progress
from assay.engine.parallel import world_size
from assay.errors import InputError
from assay.formulas.importance import MODES, importance_ratio, importance_weights
from assay.models.backbones.adapters import Adapted
from assay.models.samplers.engine import Engine, Updatable, Weights
from assay.models.samplers.weight_files import WeightFiles, computing, rank_of

log = logging.getLogger("assay")
# In nats a token. With equal weights in float32 on a CPU the largest difference was 3e-5; in
# bfloat16 the mean is about 0.01.
LARGEST, MEAN = 1e-3, 0.05
HOT = 2.0  # a temperature at which the two kinds of log-probabilities differ


@dataclass(frozen=True)
class SyncConfig:
    """How an engine follows the policy in training.

    Attributes:
        correction: See `formulas.importance.importance_weights`; "none" for weights of 1.
        clip_min: The smallest importance ratio.
        clip_max: The largest.
        tolerance: Nats a token that engine and policy may be apart at the same weights; 0 for 0.001
            at most in float32 on a CPU, else 0.05 on average.
        folder: Where weights are handed over; "" for a temporary folder.

    Raises:
        InputError: A field is out of its range.
    """

    correction: str = "sequence_mask"
    clip_min: float = 0.0
    clip_max: float = 3.0
    tolerance: float = 0.0
    folder: str = ""

    def __post_init__(self) -> None:
        if self.correction not in (*MODES, "none"):
            raise InputError(
                f"--sampler-correction is '{self.correction}'; it is one of {', '.join(MODES)}, or "
                "none"
            )
        for flag, value, possible, ask in (
            ("clip-min", self.clip_min, 0 <= self.clip_min <= 1, "a ratio of 0 to 1"),
            ("clip-max", self.clip_max, self.clip_max >= 1, "a ratio of at least 1"),
            ("tolerance", self.tolerance, self.tolerance >= 0, "nats a token, at least 0"),
        ):
            if not possible:
                raise InputError(f"--sampler-{flag} is {value:g}; give {ask}")


class WeightSync:
    """An engine, and whose weights it holds.

    Args:
        engine: Shared by the reference and its copies.
        config: See SyncConfig.

    Attributes:
        active: A copy is in training, so that nothing is taken for granted any more.
        updates: How often weights were sent.
    """

    def __init__(self, engine: Engine, config: SyncConfig | None = None):
        self.engine, self.config = engine, config or SyncConfig()
        self.active, self.updates = False, 0
        self._files = WeightFiles(self.config.folder)
        self._run, self._held = secrets.token_hex(4), (-1, -1)

    def admit(self, backbone: Any) -> None:
        """Make sure that the engine can follow a copy, before it is made.

        Raises:
            InputError: It cannot.
        """
        if not isinstance(self.engine, Updatable):
            raise InputError(
                f"--sampler draws from {self.engine.name}, which holds the weights it was "
                "started with, and this recipe trains a copy: its completions would be the old "
                "weights'; leave --sampler out, or take a recipe that draws from the reference "
                "alone, such as best_of_n"
            )
        if world_size() > 1:
            raise InputError(
                "--sampler generates for one process, and several train here; start one process, "
                "or leave --sampler out"
            )
        rank_of(backbone)
        computing(backbone)
        self.engine.prepare()
        self.active = True

    def bring(self, policy: Any, prompts: Prompts) -> None:
        """Give the engine this policy's weights, unless it holds them, and check that it has.

        Args:
            policy: A Served.
            prompts: A few of them are scored by both sides.

        Raises:
            InputError: The engine failed, or its log-probabilities are not the policy's.
        """
        held = (policy.serial, policy.changes())
        if held == self._held:
            return
        self._held = (-1, -1)
        self.updates += 1
        weights = self._written(policy.backbone)
        engine: Any = self.engine
        with progress.stage(f"sending weights to {engine.name}"):
            engine.update(weights)
        self._files.keep(weights.folder)
        if self.updates == 1:
            self._check_mode(policy, prompts)
        self.check(policy.differences(prompts), f"after update {self.updates}", policy)
        self._held = held

    def _check_mode(self, policy: Any, prompts: Prompts) -> None:
        """Refuse an engine whose log-probabilities are those before temperature: the ratio would be
        of two distributions that nobody samples from.
        """
        raw = policy.differences(prompts, engine=HOT)
        if len(raw) and raw.mean() < policy.differences(prompts, engine=HOT, own=HOT).mean():
            raise InputError(
                f"{self.engine.name} returns log-probabilities before temperature and truncation, "
                "and importance weights need those that it samples by; start it with "
                "--logprobs-mode processed_logprobs"
            )

    def _written(self, backbone: Any) -> Weights:
        version, adapter = f"assay-{self._run}-{self.updates}", isinstance(backbone, Adapted)
        if adapter and backbone.name is None:  # the reference: what the engine was opened with
            return Weights(version, None, True)
        return Weights(version, self._files.write(backbone, version), adapter)

    def check(self, apart: Tensor, when: str, policy: Any) -> None:
        """Refuse an engine that is too far from the policy.

        Args:
            apart: Absolute differences in log-probability of some tokens.
            when: For the message.
            policy: Its dtype, device and truncation say how close the two should be.

        Raises:
            InputError: It is.
        """
        if not len(apart):
            return
        mean, largest = float(apart.mean()), float(apart.max())
        exact = policy.like.device.type == "cpu" and _float32(policy.backbone)
        # on the edge of top_k or top_p one token more or less moves all the others
        exact = exact and not policy.top_k and policy.top_p == 1
        limit = self.config.tolerance or (LARGEST if exact else MEAN)
        seen, what = (largest, "at most") if exact else (mean, "on average")
        if seen <= limit:  # false for NaN
            return
        raise InputError(
            f"{self.engine.name} does not hold this policy's weights {when}: over {len(apart)} "
            f"tokens their log-probabilities are {mean:.2g} nats apart on average and "
            f"{largest:.2g} at most, and {limit:g} {what} is allowed; the engine is stale, or "
            "computes in another way: see that it has the same --dtype, or raise "
            "--sampler-tolerance"
        )

    def corrected(self, x: Samples, theirs: Tensor) -> dict[str, Tensor]:
        """Return what completions of the engine carry, see `core.samples`.

        Args:
            x: The completions, with the policy's log-probabilities.
            theirs: The engine's `[B,N,T]`.
        """
        how = self.config
        if how.correction == "none":
            weights = torch.ones_like(theirs)
            return {SAMPLER_LOGP: theirs, IMPORTANCE: weights, CLIPPED: weights != 1}
        each = how.correction.startswith("sequence")
        ratio = importance_ratio(x.logp, theirs, x.mask, sequence=each)
        weights = importance_weights(
            x.logp, theirs, x.mask, mode=how.correction, low=how.clip_min, high=how.clip_max
        )
        return {SAMPLER_LOGP: theirs, IMPORTANCE: weights, CLIPPED: weights != ratio}


def _float32(backbone: Any) -> bool:
    model = computing(backbone)
    return all(p.dtype in (torch.float32, torch.float64) for p in model.parameters())
