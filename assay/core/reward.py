"""What scores completions, and the door in front of it.

Behind the door rows are split over processes, calls are counted and numbers are checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core.naming import named, sample_of
from assay.core.samples import Prompts, Samples
from assay.engine.nonfinite import nonfinite
from assay.engine.parallel import scoring
from assay.errors import InputError, Missing


@runtime_checkable
class Reward(Protocol):
    """Scores completions, without gradient.

    Attributes:
        names: Of the M members. Members and objectives are one axis.
        partial: True: NaN means "does not apply"; False: NaN is an error.
    """

    names: tuple[str, ...]
    partial: bool  # True: NaN means "does not apply"; False: NaN is an error

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]: ...


@runtime_checkable
class Several(Reward, Protocol):
    """A Reward whose members can be scored separately; only those asked for are computed."""

    def only(self, members: Sequence[int]) -> Reward:
        """Return a reward of these members, in this order."""
        ...


@runtime_checkable
class Stepwise(Reward, Protocol):
    """A Reward that also scores each decision."""

    def steps(self, samples: Samples) -> Float[Tensor, "M B N T"]:
        """Score single decisions; 0 where `samples.mask` is False."""
        ...


class Checked:
    """A reward behind its door: rows split over processes, calls counted, numbers checked.

    The scores of the last completions are remembered, so that a proxy and its members, read one
    after another, cost one call.

    Args:
        reward: Any Reward.
    """

    def __init__(self, reward: Reward):
        self.reward, self.names = reward, tuple(reward.names)
        self._last: tuple[Prompts, Tensor, Tensor, Tensor] | None = None

    @property
    def partial(self) -> bool:
        """Whether scores may be NaN, "does not apply"; also where the run leaves out what is not
        finite.
        """
        return self.reward.partial or nonfinite.leaves_out

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        if self._last is not None and all(
            a is b for a, b in zip(self._last, (samples.prompts, samples.action, samples.mask))
        ):
            return self._last[3]
        scores = self._checked(samples)
        self._last = (samples.prompts, samples.action, samples.mask, scores)
        return scores

    def only(self, members: Sequence[int]) -> Checked:
        """Return a reward of these members alone.

        Where the reward can be divided, the others are neither computed nor counted.

        Args:
            members: Indices into `names`.

        Raises:
            InputError: There is no such member.
        """
        wrong = [m for m in members if not 0 <= m < len(self.names)]
        if wrong or not members:
            raise InputError(
                f"member {wrong[0] if wrong else 'none'} was asked for, and this reward has 0 to "
                f"{len(self.names) - 1} ({', '.join(self.names)})"
            )
        if list(members) == list(range(len(self.names))):
            return self
        return Checked(
            self.reward.only(members)
            if isinstance(self.reward, Several)
            else _Slice(self.reward, members)
        )

    def steps(self, samples: Samples) -> Float[Tensor, "M B N T"]:
        """Score single decisions; 0 where `samples.mask` is False.

        Raises:
            Missing: The reward scores whole completions only.
            InputError: A score is not finite.
        """
        scores = self._stepped(samples)
        bad = int((~torch.isfinite(scores)).sum())
        if bad:
            raise InputError(
                f"the step rewards {', '.join(self.names)} are not finite for {bad} of "
                f"{scores.numel()} decisions; return a number for each"
            )
        return torch.where(samples.mask, scores, scores.new_zeros(()))

    def step_of(self, samples: Samples) -> Int[Tensor, "B N T"]:
        """Return the step that each token belongs to, from 0; −1 outside any step.

        Raises:
            Missing: The reward knows no steps.
        """
        if not hasattr(self.reward, "step_of"):
            raise Missing(
                f"reward {', '.join(self.names)} does not say where steps begin and end; --world "
                "sums has step rewards"
            )
        steps: Tensor = self.reward.step_of(samples)
        return steps

    def named(self, *names: str) -> Checked:
        """Return a reward of the members with these names, in this order.

        Raises:
            InputError: There is no member of a name.
        """
        wrong = [n for n in names if n not in self.names]
        if wrong:
            raise InputError(
                f"a reward named '{wrong[0]}' was asked for, and this world's are "
                f"{', '.join(self.names)}"
            )
        return self.only([self.names.index(n) for n in names])

    def _checked(self, samples: Samples) -> Float[Tensor, "M B N"]:
        scores = self._scored(samples)
        bad = ~torch.isfinite(scores) & samples.present
        if self.reward.partial:
            bad &= ~torch.isnan(scores)
        for m, name in enumerate(self.names) if bad.any() else ():
            if bad[m].any():
                nonfinite.rewards(name, samples, bad[m])
        if bad.any() and not nonfinite.leaves_out:
            m, b, n = (int(i) for i in bad.nonzero()[0])
            function = nonfinite.collects and self.reward.partial
            gave = "NaN or infinity" if function else f"{float(scores[m, b, n])}"
            cure = (
                "return a number, or None where the reward does not apply; --nonfinite-rewards "
                "skip leaves such completions out and goes on"
                if function
                else "return a number, or declare the reward partial"
            )
            raise InputError(
                f"reward '{self.names[m]}' gave {gave} for "
                f"{named(sample_of(samples, b, n))} ({int(bad.sum())} of {bad.numel()} scores "
                f"are not finite); {cure}"
            )
        scores = scores.masked_fill(bad, torch.nan) if bad.any() else scores
        return torch.where(samples.present, scores, scores.new_zeros(()))

    @scoring
    def _scored(self, samples: Samples) -> Float[Tensor, "M B N"]:
        """Score this process's rows.

        Numbers are checked on the whole batch, so that every process raises
        the same error.
        """
        with torch.no_grad(), nonfinite.passing():
            scores = self.reward(samples)
        want = (len(self.names), *samples.mask.shape[:2])
        if not isinstance(scores, Tensor):
            raise InputError(
                f"reward {', '.join(self.names)} returned a {type(scores).__name__}; a tensor "
                f"[M,B,N] = {list(want)} was asked for"
            )
        if tuple(scores.shape) != want:
            raise InputError(
                f"reward {', '.join(self.names)} returned shape {list(scores.shape)}; "
                f"[M,B,N] = {list(want)} was asked for"
            )
        return scores

    @scoring
    def _stepped(self, samples: Samples) -> Float[Tensor, "M B N T"]:
        if not isinstance(self.reward, Stepwise):
            raise Missing(
                f"reward {', '.join(self.names)} has no step rewards, it scores whole completions; "
                "--world sums has step rewards"
            )
        with torch.no_grad():
            scores = self.reward.steps(samples)
        want = (len(self.names), *samples.mask.shape)
        if tuple(scores.shape) != want:
            raise InputError(
                f"the step rewards {', '.join(self.names)} came with shape {list(scores.shape)}; "
                f"[M,B,N,T] = {list(want)} was asked for"
            )
        return scores


class Standardised:
    """A reward with each member brought to mean 0 and deviation 1 over some completions.

    A constant member keeps its scale.

    Args:
        reward: Any Reward.
        samples: The completions, usually the reference's.

    Raises:
        InputError: A score is not finite.
    """

    def __init__(self, reward: Reward, samples: Samples):
        self.reward, self.names, self.partial = reward, tuple(reward.names), reward.partial
        with torch.no_grad():
            raw = reward(samples)[:, samples.present].double()
        if raw.shape[1] == 0 or not bool(torch.isfinite(raw).all()):
            raise InputError(
                f"reward {', '.join(self.names)} cannot be standardised: "
                f"{int((~torch.isfinite(raw)).sum())} of its {raw.numel()} scores of reference "
                "completions are not finite"
            )
        spread = raw.std(1, correction=0)
        self.centre, self.scale = (
            raw.mean(1),
            torch.where(spread > 0, spread, torch.ones_like(spread)),
        )

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        raw = self.reward(samples)
        return (raw - self.centre.to(raw)[:, None, None]) / self.scale.to(raw)[:, None, None]

    def only(self, members: Sequence[int]) -> Standardised:
        """Return these members, each with the center and the scale it has here."""
        one = Standardised.__new__(Standardised)
        one.reward = (
            self.reward.only(members)
            if isinstance(self.reward, Several)
            else _Slice(self.reward, members)
        )
        one.names, one.partial = tuple(self.names[m] for m in members), self.partial
        one.centre, one.scale = self.centre[list(members)], self.scale[list(members)]
        return one


class _Slice:
    """Some members of a reward that cannot be divided."""

    def __init__(self, reward: Reward, members: Sequence[int]):
        self.reward, self.members, self.partial = reward, list(members), reward.partial
        self.names = tuple(reward.names[m] for m in members)

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        return self.reward(samples)[self.members]
