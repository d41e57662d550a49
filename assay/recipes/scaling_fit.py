"""Laws of the loss in size, steps and batch size: estimated on small runs, judged on larger ones.

The paper says how the constants of scaling laws are estimated, step by step, and that small runs
are enough to foretell a large one. With N parameters (without embeddings), batch size B and S
steps:

    L(N)        = (N_c/N)^α_N                        trained without end
    S_min       = S / (1 + B_crit(L)/B),   B_crit(L) = B_*/L^(1/α_B)
    L(N, S_min) = (N_c/N)^α_N + (S_c/S_min)^α_S

This study trains small Llamas on a real text, character by character (`text`; by default the manual
that every Python brings along), at several `widths`, the largest of them at several `batches` too.
From these runs B_crit(L) is estimated first and then the four other constants
(`stats.scaling_laws`). Models of the width `held_out` are trained as well and take no part in the
fit: the law predicts their whole trajectory, the steps to a given loss, and the critical batch,
beside what costs no law ("persistence": the largest small run at the nearest batch size) and beside
three other laws: in size and tokens (L = E + A/N^a + B/D^b), the same law without batch sizes, and
the same law fitted to runs whose sizes are shuffled, which is the negative control. Errors are root
mean squared differences of log loss. With `curves=FILE` nothing is trained: JSON lines with size,
batch, step and loss are your own runs, and the largest size is held out.

With `about=gold` it is Gao's forms of gold against √KL instead (`loops.gold_curves`), on the table
world: how far a law of over-optimisation may be trusted that was fitted to the first part of a
curve, with persistence and the constants of other set-ups beside it.

Traps: the forms have no floor, so they hold while the loss is far above the entropy of the text; a
learning rate that is chosen anew for each batch size is another experiment than one that is kept,
as here; N without embeddings; a prediction without a baseline beside it says nothing.

Here: models of 660 to 10,000 parameters foretell one of 41,000 for the same number of steps, on one
text for all seeds. What it cannot show: whether other texts have such laws, and with which
constants; the paper says that they are not its own.
On gold curves the law loses to "it stays where it was" for RL, whose curves bend where their first
half gives no sign of it: each line says so (`beats_persistence`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assay.core import Claim, InputError, Paper, World
from assay.loops import gold_curves
from assay.loops.training_curves import ARMS, TEST, given, judged, train
from assay.models.policies.table import TablePolicy

paper = Paper(
    "Unraveling the Mystery of Scaling Laws: Part I", "Su et al.", 2024, "arXiv:2403.06563"
)
reduces = {}


def study(
    world: World,
    *,
    about: str = "training",
    text: str = "",
    curves: str = "",
    widths: tuple[int, ...] = (8, 12, 16, 24, 32),
    held_out: int = 64,
    batches: tuple[int, ...] = (4, 16, 64),
    steps: int = 200,
    length: int = 32,
    lr: float = 3e-3,
    pairs: tuple[int, ...] = (100, 400, 1600),
    reward_widths: tuple[int, ...] = (0,),
    cut: float = 0.5,
    points: int = 30,
    resamples: int = 200,
) -> Iterator[dict[str, Any]]:
    """Yield one line for each run, then the laws and what they predict; or lines of gold curves.

    Args:
        about: training, or gold for Gao's forms on the table world.
        text: File of UTF-8 text; empty for the manual of Python.
        curves: File of your own runs, JSON lines of size, batch, step, loss; empty to train.
        widths: Widths of the small models, at least three.
        held_out: Width of the model that is foretold.
        batches: Rows a step, at least two; the middle one is that of every width.
        steps: Steps of every run.
        length: Characters a row.
        lr: Learning rate of every run.
        pairs: about=gold: sizes of the sets that reward models are fitted on.
        reward_widths: about=gold: widths of the reward models; 0 for the world's own.
        cut: about=gold: share of a curve's range of d that is fitted, above 0 and below 1.
        points: about=gold: points of an RL curve.
        resamples: about=gold: resamples of a bootstrap.
    """
    if about not in ("training", "gold"):
        raise InputError(f"--about is '{about}'; it is training or gold")
    if about == "gold":
        yield from gold_curves.lines(
            exact(world),
            pairs=pairs,
            widths=reward_widths,
            cut=cut,
            points=points,
            resamples=resamples,
        )
        return
    if curves:
        runs, spent = given(Path(curves)), {}
    else:
        if len(set(widths)) < 3 or len(set(batches)) < 2 or held_out <= max(widths):
            raise InputError(
                f"--widths is {list(widths)}, --batches {list(batches)} and --held-out "
                f"{held_out}; laws need three widths, two batch sizes and a wider model to foretell"
            )
        middle = sorted(batches)[len(batches) // 2]
        plan = [(w, middle) for w in widths]
        plan += [(max(widths), b) for b in batches if b != middle]
        plan += [(held_out, b) for b in (min(batches), max(batches))]
        rng = world.task.rng("training curves")
        runs = [train(rng, text, w, b, steps, length, lr) for w, b in plan]
        spent = {"updates": steps * len(plan[:-2]), "scored": TEST * len(plan[:-2])}
    yield from judged(runs, spent)


def exact(world: World) -> gold_curves.Exact:
    """What gold curves are read from."""
    policy, facts, gold, refit = world.task.reference, world.facts, world.gold, world.refit
    if not isinstance(policy, TablePolicy) or facts is None or gold is None or refit is None:
        raise InputError(
            "gold curves need exact policies and reward models that can be fitted anew; use "
            "--world table"
        )
    noise = float(world.arguments.get("noise", 0.0))
    return gold_curves.Exact(world.task, policy, facts, gold, refit, noise)


@Claim(
    "A law of the loss in size, steps and batch size, estimated on small runs, foretells a larger "
    "model's training more nearly than the largest small run does, than a law in tokens, and than "
    "the same law without batch sizes.",
    arms={"study": ("scaling_fit", {})},
    worlds=("study",),
    least=0.22,
    seeds="100..107",
    control=("over shuffled sizes",),
    broken="each training curve is given another run's size; laws and fit are the same",
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Mean over held-out runs of log(a rival's error / the law's), errors in log loss. All seeds
    read one text (the manual of Python): the interval is over its splits, first weights and orders,
    and says nothing of other texts.
    """
    lines = [x["errors"] for x in arms["study"] if x.get("predicted") == "trajectory"]
    if not lines:
        raise ValueError("no run was held out")
    return {
        f"over {arm.replace('_', ' ')}": sum(math.log(x[arm] / x["law"]) for x in lines)
        / len(lines)
        for arm in ARMS[1:]
    }
