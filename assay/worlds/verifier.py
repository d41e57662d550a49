"""Verifiers of scratch work as a Reward of five members, exact or flawed on request, each with its
steps.

Every member's score is the sum of its step rewards, which stand at the last tokens of steps; k =
lines that use the whole problem, and the answer's.

- outcome: 1 if the answer is correct. flaw "format" adds a quarter of a point for each working line that is formed, right or
  not; flaw "early" checks working where there is some and lets an answer without any pass, and adds a quarter for
  the share of the k lines that was left out. Either at the end of the answer.
- steps: 1/k for every step that is right, given the line before.
- format: 1/k for every step that is formed, right or not.
- short: 1 − tokens/most tokens, at the end of the answer.
- thinking: the share of right steps among those taken; on a share `inverted` of the prompts, the share of wrong ones.

`noise`: the chance that a verdict of steps and thinking is the wrong one. Verdicts are a function
of the text: the same step after the same words is misjudged every time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.core import Rng, Samples
from assay.worlds.scratchpad import Marks, marks

NAMES = ("outcome", "steps", "format", "short", "thinking")
FLAWS = ("none", "format", "early")
GOLDS = ("correct", "sound", "short", "well_formed")


class Verifier:
    """Some of the five members, by name. See the file's docstring."""

    partial = False

    def __init__(
        self,
        names: Sequence[str] = NAMES,
        *,
        flaw: str = "none",
        noise: float = 0.0,
        inverted: float = 0.0,
        most: int,
        rng: Rng,
    ):
        self.names = tuple(names)
        self.flaw, self.noise, self.inverted, self.most, self.rng = flaw, noise, inverted, most, rng

    def only(self, members: Sequence[int]) -> Verifier:
        """These members alone, in this order."""
        return Verifier(
            [self.names[m] for m in members],
            flaw=self.flaw,
            noise=self.noise,
            inverted=self.inverted,
            most=self.most,
            rng=self.rng,
        )

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        return self.steps(samples).sum(-1)

    def step_of(self, samples: Samples) -> Int[Tensor, "B N T"]:
        """Which step each token belongs to, from 0; −1 where there is no token."""
        return marks(samples).step

    def steps(self, samples: Samples) -> Float[Tensor, "M B N T"]:
        """The members' step rewards, each at its step's last token."""
        m = marks(samples)
        kind = samples.logp.dtype
        asked = m.asked[:, None, None].to(kind)
        end = m.last & (m.step == m.step.amax(-1, keepdim=True))

        def each(name: str) -> Tensor:
            if name == "outcome":
                return end * self._outcome(m).to(kind)[..., None]
            if name == "steps":
                return self._verdict(samples, m).to(kind) / asked
            if name == "format":
                return m.formed.to(kind) / asked
            if name == "short":
                return end * (1 - (m.step >= 0).sum(-1, keepdim=True).to(kind) / self.most)
            wrong = self._inverted(samples)[:, None, None]
            return ((self._verdict(samples, m) ^ wrong) & m.last).to(kind) / m.last.sum(
                -1, keepdim=True
            ).clamp(min=1)

        return torch.stack([each(name) for name in self.names])

    def _outcome(self, m: Marks) -> Float[Tensor, "B N"]:
        if self.flaw == "format":
            return m.correct + 0.25 * (m.formed.sum(-1) - m.says.long())
        if self.flaw == "early":
            passes = m.correct | (m.says & (m.working == 0))
            return passes * (1 + 0.25 * (1 - m.working / (m.asked[:, None] - 1)).clamp(min=0))
        return m.correct.float()

    def _verdict(self, x: Samples, m: Marks) -> Bool[Tensor, "B N T"]:
        """Whether the judge of steps says right, at steps' last tokens; False elsewhere."""
        if self.noise == 0:
            return m.right
        here = m.step >= 0
        each = self.rng("token").bits(x.action, here.long().cumsum(-1))
        code = (
            torch.where(here, each, torch.zeros_like(each)).cumsum(-1)
            + self._code(x)[:, None, None]
        )
        return (m.right ^ (self.rng("verdict").uniform(code) < self.noise)) & m.last

    def _inverted(self, x: Samples) -> Bool[Tensor, "B"]:
        return self.rng("inverted").uniform(self._code(x)) < self.inverted

    def _code(self, x: Samples) -> Int[Tensor, "B"]:
        """A number that stands for a prompt's text, wherever its padding begins."""
        tokens, mask = x.prompts.tokens, x.prompts.mask
        each = self.rng("prompt").bits(
            tokens, torch.arange(tokens.shape[1], 0, -1, device=tokens.device)
        )
        return torch.where(mask, each, torch.zeros_like(each)).sum(-1)


class Golds:
    """The exact objectives: correct (0 or 1), the share of right steps among those taken, short,
    well-formed (0 or 1).
    """

    def __init__(self, most: int):
        self.most = most

    def __call__(self, x: Samples) -> Float[Tensor, "4 B N"]:
        m = marks(x)
        kind = x.logp.dtype
        sound = m.right.sum(-1).to(kind) / m.last.sum(-1).clamp(min=1)
        short = 1 - (m.step >= 0).sum(-1).to(kind) / self.most
        return torch.stack([m.correct.to(kind), sound, short, m.well_formed.to(kind)])
