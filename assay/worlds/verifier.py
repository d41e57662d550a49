"""Verifiers of scratch work as a Reward of up to five members, exact or flawed on request.

Every member has step rewards, which stand at the last tokens of steps, and its score is their sum.
With k the lines that use the whole problem, the answer's included:

- outcome: 1 if the answer is right, at the end of the completion. The flaw "format" adds a quarter
  of a point for each line of scratch work that is formed, right or not. The flaw "early" checks
  scratch work only where there is some, lets a bare answer pass, and adds a quarter of a point
  times the share of the k lines that is missing.
- steps: 1/k for every step that is right, given the line before.
- format: 1/k for every step that is formed, right or not.
- short: 1 − tokens/most tokens, at the end of the completion.
- thinking: the share of right steps among those taken; on a share `inverted` of the prompts, the
  share of wrong ones.
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
    """A Reward of some of the five members; see the module's docstring.

    Args:
        names: The members, in order.
        flaw: Of the outcome: none, format or early.
        noise: Probability that a verdict of steps and thinking is wrong. A verdict is a function of
            the text: the same step after the same words is misjudged every time.
        inverted: Share of the prompts on which thinking prefers wrong steps.
        most: Most tokens of a completion, for short.
        rng: Address of wrong verdicts and inverted prompts.
    """

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
        """A Reward of these members, in this order."""
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
        required = m.n_required[:, None, None].to(kind)
        end = m.last & (m.step == m.step.amax(-1, keepdim=True))

        def each(name: str) -> Tensor:
            if name == "outcome":
                return end * self._outcome(m).to(kind)[..., None]
            if name == "steps":
                return self._verdict(samples, m).to(kind) / required
            if name == "format":
                return m.formed.to(kind) / required
            if name == "short":
                return end * (1 - (m.step >= 0).sum(-1, keepdim=True).to(kind) / self.most)
            wrong = self._inverted(samples)[:, None, None]
            return ((self._verdict(samples, m) ^ wrong) & m.last).to(kind) / m.last.sum(
                -1, keepdim=True
            ).clamp(min=1)

        return torch.stack([each(name) for name in self.names])

    def _outcome(self, m: Marks) -> Float[Tensor, "B N"]:
        if self.flaw == "format":
            return m.correct + 0.25 * (m.formed.sum(-1) - m.answered.long())
        if self.flaw == "early":
            passes = m.correct | (m.answered & (m.n_work == 0))
            return passes * (1 + 0.25 * (1 - m.n_work / (m.n_required[:, None] - 1)).clamp(min=0))
        return m.correct.float()

    def _verdict(self, x: Samples, m: Marks) -> Bool[Tensor, "B N T"]:
        """The verdict on a step, at its last token; False elsewhere."""
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
        """A number for a prompt's text, whatever its padding."""
        tokens, mask = x.prompts.tokens, x.prompts.mask
        each = self.rng("prompt").bits(
            tokens, torch.arange(tokens.shape[1], 0, -1, device=tokens.device)
        )
        return torch.where(mask, each, torch.zeros_like(each)).sum(-1)


class Golds:
    """The exact objectives: correct, share of right steps among those taken, short, well-formed.

    Args:
        most: Most tokens of a completion, for short.
    """

    def __init__(self, most: int):
        self.most = most

    def __call__(self, x: Samples) -> Float[Tensor, "4 B N"]:
        m = marks(x)
        kind = x.logp.dtype
        sound = m.right.sum(-1).to(kind) / m.last.sum(-1).clamp(min=1)
        short = 1 - (m.step >= 0).sum(-1).to(kind) / self.most
        return torch.stack([m.correct.to(kind), sound, short, m.well_formed.to(kind)])
