"""Does preference modelling scale? Bradley–Terry loss against the number of pairs, and its law.

A reward model is fitted by −log σ(r(chosen) − r(rejected)) to more and more pairs. The paper finds
that its test loss falls as a power of their number, and that it depends on what is preferred:
detecting a planted error scales, objective knowledge scales for large models, and taste does not,
because annotators differ and the average over them has nothing to say:

    loss(N) ≈ E + a·N^−b

A curve that falls has a high R² under many laws, so the power law is compared with an exponential,
a logarithm and a constant by the error at the largest sizes, which none of them is fitted to. Only
a law that predicts better there is a finding.

There are four planted suites (`rewards/planted_suites.py`): errors; facts; taste, each annotator
with likings of their own; and one taste, the negative control, in which one annotator labels all
pairs. Labels are flipped with chance `noise`, so no model comes below the entropy of that coin, and
the laws' floor E is that entropy. Reward models are linear in hashed words of each of `widths`. A
line of kind "curve" has a suite and width: loss and accuracy at each size, the power law, and each
law's error. Every fit is tested on fresh pairs of its suite; its loss is the expectation over their
flips. The taste suite's test pairs are even by construction.

With `pairs=FILE` there are lines of real preferences as well, of any file that `assay fit` reads:
the prompts are divided, a fifth of them tests, and reward models on each of `encoders` (hashed
words of some widths, frozen transformers) are fitted to nested parts of the rest. This is done
`splits` times, and a number comes with the half-width of its 95 % interval over the splits; these
share a file, so the interval says what the division matters and not what another file would.
`balanced` is the loss where the longer completion is the chosen one in half of the pairs: what is
left once length is controlled. The floor is not known there, and is fitted.

    assay study preference_scaling --pairs FILE --encoders words:4096,FOLDER

Traps avoided. A power law without its floor bends. A largest point that was fitted predicts
nothing. An average over suites hides that they differ. A model that fits the noise of few pairs is
worse than chance and then "scales" towards it: each fit takes the ridge that does best on a fifth
of its own pairs, so that a suite without anything to learn gives a flat curve, and flatness can be
tested for: the taste suite is flat if its loss lies within `flat` nats of a coin's at the largest
size, and the same test must fail for one taste.

Here: the planted suites show that the instrument tells a suite that scales from one that does not,
and the power law from its rivals. The exponent there is that of the words' tail (b ≈ 1 − 1/tail);
with kinds that run out no power law fits. What a language model's reward model does at scale is
read on a file of your own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from assay.core import Claim, InputError, Paper, Rng, World
from assay.rewards.planted_suites import SUITES, TEST, drawn, tested
from assay.rewards.pool import Pool
from assay.rewards.scaling_files import Split, features_of, pool_of, sizes_of
from assay.stats.intervals import interval
from assay.stats.rival_laws import LAWS, extrapolation_errors, fitted_law

paper = Paper("WorldPM: Scaling Human Preference Modeling", "Wang et al.", 2025, "arXiv:2505.10527")
reduces = {}
FLAT = 0.02
RIDGES = (0.1, 1.0, 10.0, 100.0, 1000.0)


def study(
    world: World,
    *,
    sizes: tuple[int, ...] = (200, 400, 800, 1600, 3200, 6400, 12800, 25600),
    widths: tuple[int, ...] = (256, 4096),
    kinds: int = 100000,
    tail: float = 1.5,
    noise: float = 0.1,
    held_out: int = 2,
    flat: float = FLAT,
    pairs: str = "",
    score: str = "",
    drop: bool = False,
    encoders: tuple[str, ...] = ("words:256", "words:4096"),
    splits: int = 5,
    planted: bool = True,
) -> Iterator[dict[str, Any]]:
    """Yield one line for each suite and width, and for each encoder of a file.

    Args:
        sizes: Numbers of pairs of the planted suites; three more than are held out, at least.
        widths: Widths of their reward models, in hashed words.
        kinds: Number of errors, facts, styles and ordinary words.
        tail: The k-th of them has chance ∝ k^−tail.
        noise: Share of labels flipped, from 0 to below 0.5.
        held_out: How many of the largest sizes are predicted and not fitted.
        flat: Nats from a coin's loss at the largest size within which a curve is flat.
        pairs: A file of real preferences, of pairs or scored responses; empty for none.
        score: The column of scored responses, if the file has them.
        drop: Leave faulty rows of the file out and count them, instead of refusing it.
        encoders: What reads the file: words:WIDTH, or a transformers model (a folder, a hub name).
        splits: Divisions of the file by prompt, at least two.
        planted: Whether to yield the planted suites.
    """
    if not 0 <= noise < 0.5:
        raise InputError(
            f"--noise is {noise}; it is the share of labels flipped, from 0 to below 0.5"
        )
    if len(set(sizes)) < 3 + held_out or held_out < 1 or min(sizes) < 5:
        raise InputError(
            f"--sizes is {list(sizes)} and --held-out is {held_out}; at least one size is held "
            "out, and a law is fitted to three others, of at least 5 pairs each"
        )
    if splits < 2:
        raise InputError(f"--splits is {splits}; an interval needs at least 2")
    if pairs:
        pool = pool_of(pairs, score, world.task.rng("file"), drop=drop)
        yield from of_file(pairs, pool, encoders, splits, held_out, world.task.rng("file"))
    for suite in SUITES if planted else ():
        for width in widths:
            yield of_suite(
                suite,
                width,
                sorted(set(sizes)),
                words={"kinds": kinds, "tail": tail},
                noise=noise,
                held_out=held_out,
                flat=flat,
                rng=world.task.rng(f"suite {suite}"),
            )
        yield {"kind": "spent", "arm": suite, "labels": max(sizes)}


def of_suite(
    suite: str,
    width: int,
    sizes: list[int],
    *,
    words: dict[str, Any],
    noise: float,
    held_out: int,
    flat: float,
    rng: Rng,
) -> dict[str, Any]:
    """One line: a suite's curve at a width, its power law and what each law mispredicts."""
    train = drawn(suite, max(sizes), noise=noise, rng=rng("train"), **words)
    test = drawn(suite, TEST, noise=0.0, rng=rng("test"), **words)
    found = [
        tested(train[:n], test, width=width, noise=noise, ridges=RIDGES, rng=rng) for n in sizes
    ]
    losses = [loss for loss, _ in found]
    floor = -(noise * math.log(noise) + (1 - noise) * math.log(1 - noise)) if noise else 0.0
    gain = math.log(2) - losses[-1]
    return {
        "kind": "curve",
        "suite": suite,
        "width": width,
        "sizes": sizes,
        "loss": losses,
        "accuracy": [right for _, right in found],
        "floor": floor,
        "gain_over_chance": gain,
        "flat": abs(gain) < flat,
        **laws(sizes, losses, held_out, floor),
    }


def laws(
    sizes: list[int], losses: list[float], held_out: int, floor: float | None
) -> dict[str, Any]:
    """The power law's exponent and floor, and each law's error at the held-out sizes, in nats.

    All are None where a loss is not above the floor, so that no law can be fitted.
    """
    try:
        errors = extrapolation_errors(sizes, losses, held_out=held_out, floor=floor)
        power = fitted_law("power", sizes[:-held_out], losses[:-held_out], floor=floor)
    except ValueError:
        return dict.fromkeys(["exponent", "power_floor", *(f"{law}_error" for law in LAWS)])
    return {
        "exponent": power.rate,
        "power_floor": power.floor,
        **{f"{law}_error": error for law, error in errors.items()},
    }


def of_file(
    path: str, pool: Pool, encoders: tuple[str, ...], splits: int, held_out: int, rng: Rng
) -> Iterator[dict[str, Any]]:
    """One line for each encoder of a file of real preferences; see the study."""
    parts = [Split(pool, rng("split", s)) for s in range(splits)]
    sizes = sizes_of(min(len(part.train) for part in parts))
    if len(sizes) < 3 + held_out:
        raise InputError(
            f"{path} gives the sizes {sizes}, and --held-out is {held_out}: three are fitted"
        )
    for encoder in encoders:
        x = features_of(pool, encoder)
        curves = [list(part.curve(x, sizes)) for part in parts]
        loss = [[t.loss for t in curve] for curve in curves]
        found = [laws(sizes, own, held_out, None) for own in loss]
        rivals = {
            f"power_over_{law}": [[f[f"{law}_error"] - f["power_error"]] for f in found]
            for law in LAWS[1:]
        }
        yield {
            "kind": "file",
            "file": path,
            "encoder": encoder,
            "splits": splits,
            "sizes": sizes,
            **over_splits("loss", loss),
            **over_splits("balanced", [[t.balanced for t in curve] for curve in curves]),
            **over_splits("accuracy", [[t.accuracy for t in curve] for curve in curves]),
            **over_splits("fall", [[own[0] - own[-1]] for own in loss]),
            **over_splits("exponent", [[f["exponent"]] for f in found]),
            **{k: v for law, each in rivals.items() for k, v in over_splits(law, each).items()},
        }


def over_splits(name: str, values: list[list[Any]]) -> dict[str, Any]:
    """Means over the splits and half-widths of their intervals; one number where there is one."""
    each = [interval([float(v) for v in column]) for column in zip(*values, strict=True)]
    mean, half = ([e[i] for e in each] for i in (0, 1))
    one = len(each) == 1
    return {name: mean[0] if one else mean, f"{name}_half_width": half[0] if one else half}


@Claim(
    "The test loss of reward models of planted errors and of facts falls as a power of the number "
    "of pairs, which foretells larger sizes better than an exponential, a logarithm or a constant; "
    "where annotators differ in taste it stays that of a coin.",
    arms={"study": ("preference_scaling", {"widths": (4096,)})},
    worlds=("study",),
    # a tenth of the excess loss that is left at the largest size (0.03 nats); the band of flatness,
    # ± 0.02 nats, is in the effect, and the control has to leave it
    least={
        **{f"{suite}: power over {law}": 0.003 for suite in SUITES[:2] for law in LAWS[1:]},
        "one taste gains": FLAT,
        "taste gains nothing": 0.0,
        "taste loses nothing": 0.0,
    },
    seeds="100..111",
    control=("one taste gains",),
    broken="the disagreement: one annotator labels all pairs of the taste suite",
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Nine parts, in nats. For errors and facts, how much less the power law mispredicts the two
    largest sizes than each rival. For taste, how far its gain over a coin lies from either end of
    ± 0.02, and how much more one annotator's taste gains, which is the same suite without the
    disagreement.
    """
    lines = {x["suite"]: x for x in arms["study"] if x["kind"] == "curve"}
    out = {}
    for suite in SUITES[:2]:
        own = lines[suite]
        if own["power_error"] is None:
            raise ValueError(f"the loss of {suite} came below its labels' entropy")
        for law in LAWS[1:]:
            out[f"{suite}: power over {law}"] = float(own[f"{law}_error"] - own["power_error"])
    gain, one = (float(lines[s]["gain_over_chance"]) for s in SUITES[2:])
    return {
        **out,
        "taste gains nothing": FLAT - gain,
        "taste loses nothing": FLAT + gain,
        "one taste gains": one - gain,
    }
