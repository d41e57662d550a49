"""The cells of the four-factor table (`recipes/four_factors.py`), and what its factors move."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One way to fine-tune.

    Attributes:
        algorithm: The recipe: dpo or ppo.
        source: Whether a pair holds the best of several completions.
        clean: Whether no label is flipped.
        many: Whether all pairs are given.
        large: Whether the reward model has the world's own size.
        every: Whether PPO is given all prompts.
        again: Whether random addresses are others.
    """

    algorithm: str
    source: bool = True
    clean: bool = True
    many: bool = True
    large: bool = True
    every: bool = False
    again: bool = False


_WORSE = {"source": False, "clean": False, "many": False}
CLAIMED = {
    **{a: Cell(a) for a in ("dpo", "ppo")},
    **{f"{a}, worse data": Cell(a, **_WORSE) for a in ("dpo", "ppo")},
    **{f"{a}, again": Cell(a, again=True) for a in ("dpo", "ppo")},
    "ppo, small reward model": Cell("ppo", large=False),
    "ppo, all prompts": Cell("ppo", every=True),
}
CELLS = CLAIMED | {
    f"{a}, {said}": Cell(a, **{part: False})
    for a in ("dpo", "ppo")
    for said, part in (("own source", "source"), ("noisy labels", "clean"), ("fewer pairs", "many"))
}


def effects(gold: dict[str, float]) -> dict[str, float]:
    """What each factor moves, from the gold of the claimed cells, and of all where there are."""
    better, worse = ({a: gold[a + e] for a in ("dpo", "ppo")} for e in ("", ", worse data"))
    data = {a: better[a] - worse[a] for a in better}
    again = [abs(gold[f"{a}, again"] - gold[a]) for a in better]
    parts = {
        f"{said}, {a}": gold[a] - gold[f"{a}, {said}"]
        for a in better
        for said in ("own source", "noisy labels", "fewer pairs")
        if f"{a}, {said}" in gold
    }
    return {
        "data": sum(data.values()) / 2,
        "algorithm": (better["ppo"] - better["dpo"] + worse["ppo"] - worse["dpo"]) / 2,
        "reward model": gold["ppo"] - gold["ppo, small reward model"],
        "prompts": gold["ppo, all prompts"] - gold["ppo"],
        "nothing": sum(again) / 2,
        **{f"data, {a}": moved for a, moved in data.items()},
        **parts,
    }


@dataclass(frozen=True)
class Data:
    """A set of preference data: so many pairs, the best of so many in each, a share flipped."""

    size: int
    best: int
    noise: float
