"""A watch on scripted completions: policies are numbers, and labelers read the numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from assay.core.rng import Rng
from assay.watch.comparisons import Comparison
from assay.watch.config import WatchConfig
from assay.watch.labelers.questions import Label, Labeler, Question
from assay.watch.ledger import Ledger
from assay.watch.session import Watch

CALM = {"calm": 4, "alert": 16}


class Script:
    """A door whose policies are numbers: `quality[step]` is the chance that step's answer is a good
    one.
    """

    def __init__(
        self, quality: Callable[[int], float], prompts: int | None = None, judges: int = 0
    ):
        self.quality, self.prompts, self.judges = quality, prompts, judges
        self.kept: list[int] = []
        self.rng = Rng(7)

    def prompts_left(self, used: int) -> int | None:
        return None if self.prompts is None else self.prompts - used

    def sample(
        self, step: int, policy: int, other: int, at: int, n: int, used: int
    ) -> list[Comparison]:
        out = []
        for i in range(at, at + n):
            worth = [
                float(self.rng(side, step).uniform(i) < self.quality(s))
                + 1e-3 * float(self.rng(side, step).uniform(i, 1))
                for side, s in (("mine", policy), ("theirs", other))
            ]
            scores = tuple(
                [
                    w + 0.3 * j * float(self.rng("judge", step).normal(i, j))
                    for j in range(self.judges)
                ]
                for w in worth
            )
            prompt = f"prompt {used + i - at}" if self.prompts is not None else f"prompt {step}.{i}"
            out.append(
                Comparison(
                    prompt, f"{worth[0]:.6f}", f"{worth[1]:.6f}", scores if self.judges else None
                )
            )  # type: ignore[arg-type]
        return out

    def keep(self, step: int) -> None:
        self.kept.append(step)

    def stats(self) -> dict[str, float]:
        return {"entropy": 1.0, "repetition": 0.1}


class Reads:
    """A labeler that reads the number in an answer; `lies`: how often it says the opposite."""

    name, waits = "reads", False

    def __init__(self, lies: float = 0.0, mute: Callable[[int], bool] = lambda i: False):
        self.lies, self.mute, self.seen = lies, mute, list[Question]()
        self.rng = Rng(3)

    def __call__(self, asked: Sequence[Question]) -> Iterator[Label]:
        for q in asked:
            self.seen.append(q)
            i = len(self.seen)
            better = float(q.first) > float(q.second)
            lie = bool(self.rng("lie").uniform(i) < self.lies)
            yield Label(q, None, "mute") if self.mute(i) else Label(q, float(better ^ lie))


def rises(step: int) -> float:
    return min(0.8, 0.3 + 0.02 * step)


def turns(step: int) -> float:
    return rises(step) if step <= 25 else max(0.05, 0.8 - 0.06 * (step - 25))


def watch(
    door: Script, labeler: Labeler, folder: Path | None = None, looks: int = 40, **settings: Any
) -> Watch:
    return Watch(
        door, Ledger(folder, None), labeler, Rng(0), WatchConfig(**{**CALM, **settings}), looks
    )


def reading(step: int) -> dict[str, Any]:
    return {
        "step": step,
        "kl": 0.1 * step,
        "proxy": 0.1 * step,
        "rewards": [0.1 * step, 0.09 * step],
        "stats": {"read/length": 9.0},
    }


def drive(w: Watch, steps: range = range(1, 41)) -> list[dict[str, Any]]:
    out = []
    for step in steps:
        out.append(w.look(reading(step)))
        if w.stopped:
            break
    return out
