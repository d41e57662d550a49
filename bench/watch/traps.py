"""What breaks a watch that is not built for it: each trap of labeling with our design against it,
and without.

A run that has not turned is watched for 100 looks, 16 labels a look, by the detector; a trap
decides what labels it is fed. An alarm is counted after any label, so these are false alarms over
the whole run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from assay.formulas import sequential as seq
from bench.watch.simulate import DOUBLE, Settings, Watch

LOOKS, EACH, K = 100, 16, 16
Look = Callable[
    [int, torch.Generator], tuple[Tensor, Tensor]
]  # outcomes [R,L] and controls [R,L] of a look


def alarms(runs: int, look: Look, settings: Settings, *, seed: int = 53, looks: int = LOOKS) -> int:
    """Runs of `runs` whose alarm ever goes."""
    g = torch.Generator().manual_seed(seed)
    monitor, gone = Watch(settings, runs), torch.zeros(runs, dtype=torch.bool)
    for t in range(looks):
        monitor.begin(t)
        x, u = look(t, g)
        top = monitor.feed(
            x.to(DOUBLE),
            u.to(DOUBLE),
            torch.ones_like(x, dtype=DOUBLE),
            torch.ones_like(x, dtype=torch.bool),
        )
        gone |= top >= -math.log(settings.alpha)
    return int(gone.sum())


def _plain(p: Callable[[torch.Generator], Tensor]) -> Look:
    """Outcomes with these chances of winning, and no proxy."""

    def look(t: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
        chance = p(g)
        x = (torch.rand(chance.shape, generator=g) < chance).to(DOUBLE)
        return x, torch.zeros_like(x)

    return look


def position(runs: int, lean: float, turned: bool) -> Look:
    """A labeler to whom the place shown first looks better by `lean`; the older answer stands there
    always, or by a coin.
    """

    def chance(g: torch.Generator) -> Tensor:
        side = (
            torch.where(torch.rand(runs, EACH, generator=g) < 0.5, 1.0, -1.0)
            if turned
            else torch.tensor(-1.0)
        )
        return (0.5 + lean * side).expand(runs, EACH)

    return _plain(chance)


def prompts(runs: int, likeness: float, shape: tuple[int, ...], g: torch.Generator) -> Tensor:
    """Chances of winning by prompt, mean ½: Beta(a, a) of variance likeness/4, so that labels of
    one prompt correlate so.
    """
    a = (1 / likeness - 1) / 2
    one, other = (
        torch._standard_gamma(torch.full((runs, *shape), a), generator=g) for _ in range(2)
    )
    return one / (one + other).clamp(min=1e-9)


def several(runs: int, likeness: float, how: str) -> Look:
    """Four labels a prompt taken for 16 independent ones (`apart`), each prompt's mean taken for
    one outcome (`mean`), or 16 prompts with a label each (`one`).
    """

    def look(t: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
        p = (
            prompts(runs, likeness, (EACH,), g)
            if how == "one"
            else prompts(runs, likeness, (EACH // 4, 1), g).expand(-1, -1, 4)
        )
        x = (torch.rand(p.shape, generator=g) < p).to(DOUBLE)
        x = x.mean(2) if how == "mean" else x.flatten(1)
        return x, torch.zeros_like(x)

    return look


def panel(runs: int, size: int, likeness: float, seed: int = 5) -> Look:
    """The same `size` prompts at every look, sampled evenly, a label each time; 0: fresh ones."""
    held = prompts(runs, likeness, (size,), torch.Generator().manual_seed(seed)) if size else None

    def chance(g: torch.Generator) -> Tensor:
        if held is None:
            return prompts(runs, likeness, (EACH,), g)
        return held.gather(1, torch.randint(size, (runs, EACH), generator=g))

    return _plain(chance)


def pool(runs: int, rho: float, off: float, own: bool) -> Look:
    """Judges whose latent correlation with winning is rho. Their mean is taken of the label's own
    group of K candidates (`own`), or known from elsewhere, and there it is higher by `off`: of
    another look, other prompts, another policy.
    """

    def look(t: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
        latent = torch.randn(runs, EACH, K, generator=g, dtype=DOUBLE)
        z = torch.special.ndtr(latent)
        x = (
            rho * latent[..., 0]
            + math.sqrt(1 - rho**2) * torch.randn(runs, EACH, generator=g, dtype=DOUBLE)
            > 0
        ).to(DOUBLE)
        return x, seq.control(z[..., 0], z) if own else z[..., 0] - (0.5 + off)

    return look


def all_of(
    runs: int, interval: Callable[[int, int], list[float]], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Every trap, with our design's protection and without."""
    plain, helped = Settings(), Settings(proxy=True)
    cells: list[tuple[str, str, bool, Look, Settings]] = []
    for lean in (0.02, 0.05, 0.15):
        trap = f"the place shown first looks better by {lean:.2f}"
        cells += [
            (trap, "older answer first", False, position(runs, lean, False), plain),
            (trap, "order by a coin", True, position(runs, lean, True), plain),
        ]
    trap = "four labels a prompt, correlation .3 between them"
    cells += [
        (trap, "taken for independent", False, several(runs, 0.3, "apart"), plain),
        (trap, "one outcome a prompt, their mean", True, several(runs, 0.3, "mean"), plain),
        (trap, "one label a prompt", True, several(runs, 0.3, "one"), plain),
    ]
    trap = "prompts differ, correlation .3 between labels of one"
    cells += [
        (trap, f"the same {n} prompts at every look", False, panel(runs, n, 0.3), plain)
        for n in (16, 64, 256, 4096)
    ]
    cells += [(trap, "fresh prompts", True, panel(runs, 0, 0.3), plain)]
    for off in (-0.05, 0.05):
        trap = f"judges (latent correlation .7) whose mean is off by {off:+.2f}"
        cells += [(trap, "mean from elsewhere", False, pool(runs, 0.7, off, False), helped)]
    cells += [
        (
            "the same judges",
            "mean of the label's own group",
            True,
            pool(runs, 0.7, 0.0, True),
            helped,
        )
    ]
    rows = []
    for trap, how, ours, look, settings in cells:
        k = alarms(runs, look, settings)
        rows.append(
            {
                "trap": trap,
                "how": how,
                "ours": ours,
                "false": k / runs,
                "interval": interval(k, runs),
                "runs": runs,
            }
        )
        say(f"{trap}, {how}: {k / runs:.3f}")
    return rows
