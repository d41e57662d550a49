"""Does preference modelling scale? Bradley–Terry loss against the number of pairs, and its law.

A reward model is fitted by −log σ(r(chosen) − r(rejected)) to more and more pairs. The paper finds
that its test loss falls as a power of their number: detecting a planted error scales, objective
knowledge scales for large models, and taste does not, because annotators differ:

    loss(N) ≈ E + a·N^−b

A curve that falls has a high R² under many laws, so the power law is compared with others by the
error at the largest sizes, which none of them is fitted to.

There are four planted suites (`rewards/planted_suites.py`): errors; facts; taste, in which each of
`annotators` labels many pairs and likes partly what all like (`shared`) and partly what is their
own; and one taste, the negative control, in which one annotator labels all pairs. Labels are
flipped with chance `noise`, so no model comes below the entropy of that coin, and the laws' floor E
is that entropy. Reward models are linear in hashed words of each of `widths`. A line of kind
"curve" has a suite, a tail of its words and a width: loss and accuracy at each size, the power law,
and each law's error. Every fit is tested on fresh pairs of its suite; its loss is the expectation
over their flips.

With `pairs=FILE` there are lines of real preferences as well, of any file that `assay fit` reads:
a fifth of the prompts are tests, and reward models on each of `encoders` (hashed words of some
widths, frozen transformers) are fitted to nested parts of the rest, in `splits` divisions. A number
comes with the half-width of its 95 % interval over the splits; these share a file, so it says what
the division matters and not what another file would. `balanced` is the loss where the longer
completion is the chosen one in half of the pairs: what is left once length is controlled. The floor
is not known there, and is fitted.

    assay study preference_scaling --pairs FILE --encoders words:4096,FOLDER

Traps avoided. A power law without its floor bends. A largest point that was fitted predicts
nothing. An average over suites hides that they differ. A model that fits the noise of few pairs is
worse than chance and then "scales" towards it: each fit takes the ridge that does best on a fifth
of its own pairs, so that a suite without anything to learn gives a flat curve. Taste is flat if its
loss lies within `flat` nats of a coin's at the largest size. What the best reader gains is about
0.2 nats times the share, so the claim's band has to be below that: it is 0.005 nats at a tenth.

Here: reward models are linear in words, and words have chance ∝ rank^−tail. Then b ≈ 1 − 1/tail, a
power law is put in for heavy tails, and with kinds that run out none fits. So the planted suites
test the instrument. The power law foretells best in 15 of 18 cells; from a logarithm it is not told
at tail 1.1 and for errors at 1.25. A wider model of facts ends lower by about 0.04 nats, and one of
errors higher by up to 0.07: few weights share what errors have in common. A language model's reward
model can be read on a file of your own; none of the files tried tells one law from another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

from assay.core import Claim, InputError, Paper, Rng, World
from assay.rewards.planted_suites import SUITES, TEST, drawn, tested
from assay.rewards.pool import Pool
from assay.rewards.scaling_files import Split, features_of, over_splits, pool_of, sizes_of
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
    suites: tuple[str, ...] = SUITES,
    kinds: int = 100000,
    tails: tuple[float, ...] = (1.25,),
    annotators: int = 50,
    shared: float = 0.1,
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
    """Yield one line for each suite, tail and width, and for each encoder of a file.

    Args:
        sizes: Numbers of pairs of the planted suites; three more than are held out, at least.
        widths: Widths of their reward models, in hashed words.
        suites: Which planted suites: errors, facts, taste, one taste.
        kinds: Number of errors, facts, styles and ordinary words.
        tails: The k-th of them has chance ∝ k^−tail.
        annotators: Annotators of the taste suite.
        shared: Correlation of two annotators' likings of a style, from 0 to 1.
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
        raise InputError(f"--noise is {noise}; it is the share of labels flipped, below 0.5")
    if len(set(sizes)) < 3 + held_out or held_out < 1 or min(sizes) < 5:
        raise InputError(
            f"--sizes is {list(sizes)} and --held-out is {held_out}; hold out one size at least, "
            "and give three others, of at least 5 pairs each"
        )
    odd = [name for name in suites if name not in SUITES]
    if odd:
        raise InputError(f"--suites has '{odd[0]}'; they are {', '.join(SUITES)}")
    if not 0 <= shared <= 1 or annotators < 1:
        raise InputError(
            f"--shared is {shared} and --annotators is {annotators}; a correlation is from 0 to 1, "
            "and there is at least one annotator"
        )
    if splits < 2:
        raise InputError(f"--splits is {splits}; an interval needs at least 2")
    if pairs:
        pool = pool_of(pairs, score, world.task.rng("file"), drop=drop)
        yield from of_file(pairs, pool, encoders, splits, held_out, world.task.rng("file"))
    for suite in suites if planted else ():
        for tail, width in product(tails, widths):
            words = {"kinds": kinds, "tail": tail, "annotators": annotators, "shared": shared}
            yield of_suite(
                suite,
                width,
                sorted(set(sizes)),
                words=words,
                noise=noise,
                held_out=held_out,
                flat=flat,
                rng=world.task.rng(f"suite {suite}"),
            )
        yield {"kind": "spent", "arm": suite, "labels": len(tails) * max(sizes)}


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
    how: dict[str, Any] = {"width": width, "noise": noise, "ridges": RIDGES, "rng": rng}
    found = [tested(train[:n], test, **how) for n in sizes]
    losses = [loss for loss, _ in found]
    floor = -(noise * math.log(noise) + (1 - noise) * math.log(1 - noise)) if noise else 0.0
    gain = math.log(2) - losses[-1]
    return {
        "kind": "curve",
        "suite": suite,
        "tail": words["tail"],
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

    All are None where a loss is not above the floor.
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


TAILS = (1.1, 1.25, 1.5)
WIDTHS = (64, 512, 4096)
BAND = 0.005  # nats; who knows the mean liking gains 0.02 where a tenth of the taste is shared
_SIZES = {"sizes": (200, 400, 800, 1600, 3200, 6400, 12800)}
_WIDE, _NARROW = {**_SIZES, "widths": WIDTHS[2:]}, {**_SIZES, "widths": WIDTHS[:2]}
_MIDDLE = {"tails": TAILS[1:2]}


@Claim(
    "At each of three tails of the words the test loss of reward models of planted errors and of "
    "facts falls as a power of the number of pairs, which foretells larger sizes better than an "
    "exponential, a logarithm or a constant, and wider models end lower; more pairs help a wide "
    "model of facts more than a narrow one; where fifty annotators share a tenth of their taste, "
    "neither pairs nor width lower its loss.",
    arms={
        "laws": ("preference_scaling", {**_WIDE, "suites": SUITES[:2], "tails": TAILS}),
        "narrow": ("preference_scaling", {**_NARROW, **_MIDDLE, "suites": SUITES[:3]}),
        "taste": ("preference_scaling", {**_WIDE, **_MIDDLE, "suites": SUITES[2:]}),
    },
    worlds=("study",),
    # a tenth of the excess loss that is left at the largest size (0.03 nats)
    least={
        **{
            f"{suite}, tail {tail}: power over {law}": 0.003
            for suite, tail, law in product(SUITES[:2], TAILS, LAWS[1:])
        },
        **{f"{suite}: wider ends lower": 0.003 for suite in SUITES[:2]},
        "facts: pairs help the wide more": 0.003,
        "taste gains nothing": 0.0,
        "taste: width gains nothing": 0.0,
        "one taste gains": FLAT,
    },
    seeds="500..511",
    control=("one taste gains",),
    broken="the disagreement: one annotator labels all pairs of the taste suite",
    differs={"labels": "errors and facts are labeled at three tails, tastes at one"},
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Parts in nats, at the largest size if no other is named. For errors and facts at each tail,
    how much less the power law mispredicts the two largest sizes than each rival; by how much each
    of three widths ends below the one before it, the lesser of both; and for facts how much more
    the loss of the widest falls than that of the narrowest. For taste, how far its gain over a coin
    and that of the widest over the narrowest lie below 0.005, and how much more one annotator's
    taste gains, which is the same suite without the disagreement.
    """
    out = {}
    for x in arms["laws"]:
        if x["kind"] != "curve":
            continue
        name = f"{x['suite']}, tail {x['tail']}"
        if x["power_error"] is None:
            raise ValueError(f"the loss of {name} came below its labels' entropy")
        for law in LAWS[1:]:
            out[f"{name}: power over {law}"] = float(x[f"{law}_error"] - x["power_error"])
    loss = {
        (x["suite"], x["width"]): x["loss"]
        for arm in arms.values()
        for x in arm
        if x["kind"] == "curve" and x["tail"] == TAILS[1]
    }
    narrow, _, wide = WIDTHS
    for suite in SUITES[:2]:
        ends = [loss[suite, width][-1] for width in WIDTHS]
        out[f"{suite}: wider ends lower"] = min(ends[0] - ends[1], ends[1] - ends[2])
    falls = {width: loss["facts", width][0] - loss["facts", width][-1] for width in WIDTHS}
    taste, one = (math.log(2) - loss[suite, wide][-1] for suite in SUITES[2:])
    return {
        **out,
        "facts: pairs help the wide more": falls[wide] - falls[narrow],
        "taste gains nothing": BAND - taste,
        "taste: width gains nothing": BAND - (loss["taste", narrow][-1] - loss["taste", wide][-1]),
        "one taste gains": one - taste,
    }
