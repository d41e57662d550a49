"""Whether training has died: what each of the last steps says, step for step.

A sign is something that a step shows and that teaches the policy nothing, or ruins it. One step
proves nothing: a batch may have equal rewards by chance. So a sign becomes a warning once every one
of the last `steps` steps shows it (of skipped updates nine in ten), and where it is a matter of
chance, once `COMPLETIONS` completions have shown it too. A warning ends at the first step that does
not show the sign.

Truncated completions are a sign only where completions ended before. A model that reaches a short
length limit from the first step on is trained on fixed lengths, and learns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

COMPLETIONS = 64  # completions that have to show it, where chance may show it in a few
ENDED = 10  # completions that would have ended at the earlier share, where none of them did
NEARLY = 0.9  # the share of steps without an update from which nearly every step is skipped
EXPLODED = 1e6  # a loss is this many times its scale: the rewards', the first loss, and 1

Stats = Mapping[str, float]


@dataclass(frozen=True)
class Sign:
    """Something that steps show where training has died.

    Attributes:
        kind: Its name in a record.
        seen: Whether a step's statistics show it, given the first loss; None where they cannot say.
        what: What was seen, with {steps}, {since} and {loss} to fill in.
        advice: What to do.
        share: The share of the last steps that has to show it.
        least: Steps that it has to last; 0 for the monitor's.
        chance: Whether few completions may show it by chance.
        short: Whether it counts in a run that ends before `least` steps, all of which show it.
    """

    kind: str
    seen: Callable[[Stats, float], bool | None]
    what: str
    advice: str
    share: float = 1.0
    least: int = 0
    chance: bool = False
    short: bool = False


def _whole(name: str) -> Callable[[Stats, float], bool | None]:
    """Whether a share is 1."""
    return lambda stats, first: stats[name] == 1 if name in stats else None


def _no_gradient(stats: Stats, first: float) -> bool | None:
    """Whether the gradient is zero where rewards are no reason for it."""
    if "grad_norm" not in stats:
        return None
    excused = stats.get("frac_reward_zero_std") == 1 or stats.get("frac_reward_missing") == 1
    return stats["grad_norm"] == 0 and not excused


def _no_update(stats: Stats, first: float) -> bool | None:
    """Whether every update of a step was skipped. One that was made has a learning rate."""
    if "skipped" not in stats:
        return None
    return stats["skipped"] > 0 and "learning_rate" not in stats


def _exploded(stats: Stats, first: float) -> bool | None:
    if "loss" not in stats:
        return None
    scale = max(1.0, abs(first), abs(stats.get("reward", 0.0)), stats.get("reward_std", 0.0))
    return abs(stats["loss"]) > EXPLODED * scale


def _not_finite(stats: Stats, first: float) -> bool | None:
    return bool(stats["parameters_not_finite"]) if "parameters_not_finite" in stats else None


RATE = "Lower --learning-rate, and start again: the record's warnings name the first samples."
SIGNS = (
    Sign(
        "parameters_not_finite",
        _not_finite,
        "parameters in training are NaN or infinite since step {since}, and no later step can "
        "repair them",
        RATE,
        least=1,
    ),
    Sign(
        "no_reward",
        _whole("frac_reward_missing"),
        "no reward applied to any completion in the last {steps} (since step {since}), so nothing "
        "is learned from a reward",
        "Check what the reward returns for these completions: None says that it does not apply.",
        chance=True,
        short=True,
    ),
    Sign(
        "equal_rewards",
        _whole("frac_reward_zero_std"),
        "all completions of every prompt got the same reward in the last {steps} (since step "
        "{since}), so the rewards give no learning signal",
        "Check what the reward returns for these completions, take easier or harder prompts, or "
        "sample more completions a prompt (--num-generations).",
        chance=True,
    ),
    Sign(
        "truncated",
        _whole("completions/clipped_ratio"),
        "every completion was truncated at the length limit in the last {steps} (since step "
        "{since}), though completions ended before, so rewards never see how a completion ends",
        "Check what the reward pays for long completions, give truncated ones a score "
        "(--truncated), or raise the length limit (--max-tokens).",
        chance=True,
    ),
    Sign(
        "updates_skipped",
        _no_update,
        "nearly every update of the last {steps} (since step {since}) was skipped, because its "
        "loss or gradient was NaN or infinite",
        RATE,
        share=NEARLY,
        short=True,
    ),
    Sign(
        "zero_gradient",
        _no_gradient,
        "the gradient was exactly zero in the last {steps} (since step {since}), so the policy "
        "does not change",
        "Lower --learning-rate if an early step made the policy deterministic, and check that the "
        "loss depends on weights that are trained.",
        short=True,
    ),
    Sign(
        "exploded_loss",
        _exploded,
        f"the loss was above {EXPLODED:.0e} times its scale in the last {{steps}} (since step "
        "{since}), and is {loss} now",
        RATE,
    ),
)


class Monitor:
    """Counts how long each sign has lasted. It reads numbers and changes none.

    Args:
        steps: Steps that a sign has to last.
        completions: Completions that a step samples, about.
        state: What `state` held when a run was saved; None for a new run.

    Attributes:
        state: By sign, the first step that shows it without a break, and what the last steps said;
            and the shares of completions that ended, summed over steps.

    Example:
        >>> monitor = Monitor(steps=3, completions=64)
        >>> said = [monitor(t, {"grad_norm": 0.0}) for t in (1, 2, 3, 4)]
        >>> [began for began, ended in said]
        [{}, {}, {'zero_gradient': 1}, {}]
        >>> monitor(5, {"grad_norm": 0.5})
        ({}, ['zero_gradient'])
    """

    def __init__(self, steps: int, completions: int, state: dict[str, Any] | None = None):
        self.steps, self.completions = steps, max(1, completions)
        self.state: dict[str, Any] = state or {
            "loss": None, "ended": 0.0, "signs": {}, "active": [],
        }  # fmt: skip

    def __call__(self, step: int, stats: Stats) -> tuple[dict[str, int], list[str]]:
        """Take in a step.

        Args:
            step: Its number, from 1.
            stats: Its statistics.

        Returns:
            (began, ended): the first step of every sign that has now lasted long enough, by kind;
            and the kinds that this step ended.
        """
        if self.state["loss"] is None and math.isfinite(stats.get("loss", math.nan)):
            self.state["loss"] = stats["loss"]
        first = self.state["loss"] or 0.0
        ended_now = 1 - stats.get("completions/clipped_ratio", 1.0)
        self.state["ended"] = self.state.get("ended", 0.0) + ended_now
        began: dict[str, int] = {}
        ended: list[str] = []
        for sign in SIGNS:
            seen = sign.seen(stats, first)
            if seen is None:
                continue
            since = self._since(sign, step, seen)
            active = sign.kind in self.state["active"]
            if active and since is None:
                self.state["active"].remove(sign.kind)
                ended.append(sign.kind)
            elif not active and since is not None and step - since + 1 >= self.lasts(sign, since):
                self.state["active"].append(sign.kind)
                began[sign.kind] = since
        return began, ended

    def at_end(self, step: int) -> dict[str, int]:
        """What a run shows that ended before a sign had lasted long enough, from its first step to
        its last.

        Args:
            step: The last step.
        """
        found: dict[str, int] = {}
        for sign in SIGNS:
            since, _ = self.state["signs"].get(sign.kind, (None, []))
            whole = since == 1 and sign.short and step < self.lasts(sign, 1)
            if whole and sign.kind not in self.state["active"]:
                self.state["active"].append(sign.kind)
                found[sign.kind] = 1
        return found

    def lasts(self, sign: Sign, since: int) -> float:
        """Steps that a sign has to last; infinite where it can never count.

        Args:
            sign: The sign.
            since: The first step that shows it.
        """
        if not sign.chance:
            return sign.least or self.steps
        least = max(self.steps, math.ceil(COMPLETIONS / self.completions))
        if sign.kind != "truncated":
            return least
        ended = self.state.get("ended", 0.0) * self.completions  # all of it before `since`
        return max(least, ENDED * (since - 1) / ended) if ended else math.inf

    def _since(self, sign: Sign, step: int, seen: bool) -> int | None:
        """The first step that shows a sign without a break."""
        since, recent = self.state["signs"].get(sign.kind, (None, []))
        recent = [*recent, int(seen)][-self.steps :]
        if since is None:
            since, recent = (step, [1]) if seen else (None, [])
        elif sum(recent) < sign.share * len(recent):
            since, recent = None, []
        self.state["signs"][sign.kind] = [since, recent]
        return since  # type: ignore[no-any-return]


def sentence(kind: str, since: int, step: int, stats: Stats) -> tuple[str, str]:
    """What was seen, and what to do.

    Args:
        kind: The sign's.
        since: The first step that shows it.
        step: The step under way.
        stats: Its statistics.

    Example:
        >>> sentence("zero_gradient", 4, 13, {})[0]
        'the gradient was exactly zero in the last 10 steps (since step 4), so the policy does not \
change'
    """
    sign = next(s for s in SIGNS if s.kind == kind)
    n = step - since + 1
    loss = f"{stats['loss']:.3g}" if "loss" in stats else "unknown"
    steps = "step" if n == 1 else f"{n} steps"
    return sign.what.format(steps=steps, since=since, loss=loss), sign.advice
