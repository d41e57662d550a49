"""Averages of weights: what they are in a table, what an arc keeps, what recipes anchor to."""

from __future__ import annotations

import math

import pytest
import torch
from small import small_world
from test_contract import SMALL, drive

from assay.core import Carry, InputError, Rng
from assay.formulas.averaging import linear, spherical, towards
from assay.models.policies.table import TablePolicy
from assay.recipes import merging, salsa
from assay.recipes.merging import one

G = torch.Generator().manual_seed(0)
A, B, START = (
    {"w": torch.randn(4, 5, dtype=torch.float64, generator=G), "n": torch.tensor(3)}
    for _ in range(3)
)


def test_a_soup_of_tables_is_their_geometric_mean():
    """Log-linear: SALSA's reference is a product of experts there, whatever the share."""
    soup = TablePolicy(linear(A, B, share=0.3)["w"])
    a, b = A["w"].log_softmax(-1), B["w"].log_softmax(-1)
    torch.testing.assert_close(
        soup.logits.detach().log_softmax(-1), (0.7 * a + 0.3 * b).log_softmax(-1)
    )


def test_the_way_back_to_the_start_is_another_beta():
    """θ₀ + ½(θ − θ₀) of a Gibbs table at β is the Gibbs table at 2β."""
    ref, score = TablePolicy(START["w"]), torch.randn(4, 5, dtype=torch.float64, generator=G)
    half = linear(
        dict(ref.tilted(score, beta=0.5).state_dict()),
        {"logits": START["w"].log_softmax(-1)},
        share=0.5,
    )
    torch.testing.assert_close(
        half["logits"].log_softmax(-1), ref.tilted(score, beta=1.0).logits.detach().log_softmax(-1)
    )


@pytest.mark.parametrize(
    "average",
    [lambda a, b, s: linear(a, b, share=s), lambda a, b, s: spherical(START, a, b, share=s)],
)
def test_ends_symmetry_and_idempotence(average):
    torch.testing.assert_close(average(A, B, 0.0)["w"], A["w"])
    torch.testing.assert_close(average(A, B, 1.0)["w"], B["w"])
    torch.testing.assert_close(average(A, B, 0.3)["w"], average(B, A, 0.7)["w"])
    torch.testing.assert_close(average(A, A, 0.4)["w"], A["w"])
    assert int(average(A, B, 0.5)["n"]) == 3  # what is no weight is not averaged


def test_an_arc_keeps_the_norm_that_a_chord_loses():
    zero = {"w": torch.zeros(2)}
    x, y = {"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 1.0])}
    assert float(spherical(zero, x, y, share=0.5)["w"].norm()) == pytest.approx(1)
    assert float(linear(x, y, share=0.5)["w"].norm()) == pytest.approx(math.sqrt(0.5))
    assert spherical(zero, x, y, share=1 / 3)["w"].tolist() == pytest.approx(
        [math.cos(math.pi / 6), 0.5]
    )
    torch.testing.assert_close(
        spherical(zero, x, {"w": -x["w"]}, share=0.5)["w"], torch.zeros(2)
    )  # no arc: the chord
    torch.testing.assert_close(spherical(zero, x, zero, share=0.5)["w"], x["w"] / 2)


def test_a_moving_average_forgets_at_its_rate():
    m = {"w": torch.zeros(1)}
    for _ in range(10):
        m = towards(m, {"w": torch.ones(1)}, rate=0.2)
    assert float(m["w"]) == pytest.approx(1 - 0.8**10)
    with pytest.raises(ValueError, match="rate is 2"):
        towards(m, m, rate=2)
    with pytest.raises(ValueError, match="different names"):
        linear({"a": torch.ones(1)}, {"b": torch.ones(1)}, share=0.5)


def test_three_runs_have_equal_shares():
    states = [{"w": torch.tensor([v])} for v in (0.0, 3.0, 9.0)]
    assert float(one({"w": torch.zeros(1)}, states, "linear")["w"]) == pytest.approx(4)


@pytest.mark.parametrize("reference", salsa.ANCHORS)
def test_every_anchor_runs_and_is_itself(reference):
    world = small_world(salsa)
    rows = drive(salsa, world, {"reference": reference, "tuning": 3, "beta": 0.5})
    assert rows[1]["kl"] > 1e-6 and ("kl/anchor" in rows[1]["stats"]) == (
        reference in ("soup", "moving_average", "elsewhere")
    )
    other = drive(
        salsa,
        world,
        {"reference": "first" if reference != "first" else "soup", "tuning": 3, "beta": 0.5},
    )
    assert rows[-2]["kl"] != other[-2]["kl"]


def test_a_scrambled_anchor_is_as_far_away_in_another_direction():
    far = salsa.scrambled(A, B, Rng(0))
    mine, theirs = far["w"] - A["w"], B["w"] - A["w"]
    torch.testing.assert_close(mine.flatten().sort().values, theirs.flatten().sort().values)
    assert float(mine.norm()) == pytest.approx(float(theirs.norm()))
    assert not torch.allclose(mine, theirs) and int(far["n"]) == 3
    again = salsa.scrambled(A, B, Rng(0))
    assert torch.equal(again["w"], far["w"])  # an anchor is the same after a kill


def test_a_mixture_with_nothing_of_the_second_is_the_first():
    world = small_world(salsa)
    task = world.task.replaced(carry=Carry(), rng=Rng(0))
    a = [
        s.policy.logits.detach().clone()
        for s in salsa.recipe(task, reference="prediction", share=0.0, tuning=3, loop=SMALL)
    ]
    task = world.task.replaced(carry=Carry(), rng=Rng(0))
    b = [
        s.policy.logits.detach().clone()
        for s in salsa.recipe(task, reference="first", tuning=3, loop=SMALL)
    ]
    torch.testing.assert_close(a[-1], b[-1])


def test_the_common_start_is_an_anchor_of_its_own():
    """Before any tuning it is the first policy; afterwards it is where both came from."""
    world = small_world(salsa)

    def last(reference: str, tuning: int):
        task = world.task.replaced(carry=Carry(), rng=Rng(0))
        run = salsa.recipe(task, reference=reference, tuning=tuning, beta=0.5, loop=SMALL)
        return [s.policy.logits.detach().clone() for s in run][-1]

    torch.testing.assert_close(last("start", 0), last("first", 0))
    assert float((last("start", 3) - last("first", 3)).abs().max()) > 1e-3


def test_the_two_fine_tunes_differ_and_named_ones_are_used():
    world = small_world(salsa)
    task = world.task.replaced(carry=Carry(), rng=Rng(0))
    next(iter(salsa.recipe(task, tuning=3, loop=SMALL)))
    kept = {
        k: m.state_dict()["logits"] for k, m in task.carry._kept.items() if k in ("first", "second")
    }
    assert float((kept["first"] - kept["second"]).abs().max()) > 1e-3
    first, second = task.reference.copy(), task.reference.copy()
    second.load_state_dict(
        {"logits": second.logits.detach() + torch.randn(second.logits.shape, generator=G).double()}
    )
    named = world.task.replaced(
        carry=Carry(), rng=Rng(0), others={"first": first, "second": second}
    )
    step = next(iter(salsa.recipe(named, reference="second", loop=SMALL)))
    assert step.stats["kl/first"] > 0 and torch.equal(
        named.carry._kept["second"].state_dict()["logits"], second.logits
    )


def test_merging_takes_the_draws_of_one_run():
    world = small_world(merging)
    two, single = (drive(merging, world, {"runs": n}) for n in (2, 1))
    assert [r["generated"] for r in two] == [r["generated"] for r in single] and two[-2][
        "updates"
    ] == single[-2]["updates"]
    assert drive(merging, world, {"back": 1.0})[-2]["kl"] == pytest.approx(
        0, abs=1e-12
    )  # all the way back


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        (salsa, {"reference": "third"}, "--reference is 'third'"),
        (salsa, {"share": 2.0}, "--share is 2.0"),
        (merging, {"how": "cubic"}, "--how is 'cubic'"),
        (merging, {"runs": 0}, "--runs is 0"),
    ],
)
def test_what_cannot_be_is_refused(module, arguments, said):
    with pytest.raises(InputError, match=said):
        next(
            iter(
                module.recipe(
                    small_world(module).task.replaced(carry=Carry()), loop=SMALL, **arguments
                )
            )
        )
