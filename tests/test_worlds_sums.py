"""World sums in miniature: cached once for all verifiers, steps that add up, flaws as declared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small import SIZES

from assay.core import InputError, Missing, Rng, Samples, World
from assay.core.reward import Checked
from assay.worlds import arithmetic, curriculum
from assay.worlds.arithmetic import VOCABULARY
from assay.worlds.dice import dice
from assay.worlds.scratchpad import marks
from assay.worlds.sums import world
from assay.worlds.verifier import GOLDS, NAMES, Golds, Verifier

TINY: dict[str, Any] = SIZES["sums"]
TEXTS = [
    "3 + 5 = 8 ; 8 + 2 = 10 ; answer 10",
    "3 + 5 = 9 ; 9 + 2 = 11 ; answer 11",
    "answer 7",
    "answer 10",
    "3 + 5 = 8 ; + ; answer 8",
]
HANDMADE = VOCABULARY.completions(VOCABULARY.prompts(["3 + 5 + 2 :"]), [TEXTS])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as m:
        folder = tmp_path_factory.mktemp("cached")
        m.setenv("ASSAY_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def tiny(cache: Path) -> World:
    return world(**TINY)


def answers(w: World, n: int = 4) -> Samples:
    return w.task.reference.sample(w.held_out, n, Rng(1))


def test_parts(tiny: World) -> None:
    task = tiny.task
    assert len(tiny.held_out) == 6 and len(task.prompts) == 12
    assert not set(tiny.held_out.text()) & set(task.prompts.text())
    assert set(task.pairs.prompts.text()) <= set(task.prompts.text()) and task.pairs.mask.shape[
        :2
    ] == (12, 2)
    assert task.demos.prompts.text() == task.prompts.text()
    assert tiny.gold is not None and bool((tiny.gold(task.demos)[[0, 1, 3]] == 1).all())
    assert (
        set(task.others) == {"weak", "strong"}
        and tiny.golds == GOLDS
        and task.rewards.names == NAMES
    )
    assert not any(
        p.requires_grad for m in (task.reference, *task.others.values()) for p in m.parameters()
    )
    facts = tiny.facts(task.reference) if tiny.facts else {}
    assert set(facts) == {"pass/weak", "pass/strong", "pass/reference"} and all(
        0 <= v <= 1 for v in facts.values()
    )
    assert all(isinstance(t, str) and t for row in answers(tiny).text() for t in row)


def test_the_watch_has_problems_that_recipes_do_not_see(tiny: World) -> None:
    """Of the world's lengths, and none of the task's own."""
    assert tiny.population is not None
    there = tiny.population.text()
    assert len(there) > 3000 and not set(there) & set(tiny.task.prompts.text())
    assert {len(t.split()) for t in there} == {len(t.split()) for t in tiny.held_out.text()}
    assert bool(
        torch.isfinite(tiny.gold(tiny.task.reference.sample(tiny.population[:4], 2, Rng(1)))).all()
    )  # type: ignore[misc]


def test_one_training_serves_all_verifiers(
    tiny: World, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curriculum, "fine_tune", lambda *_: pytest.fail("it was trained again"))
    other = world(**TINY, flaw="early", step_noise=0.2, inverted=0.5, rewards="format,outcome")
    assert torch.equal(answers(other).action, answers(tiny).action)
    assert torch.equal(other.task.pairs.action, tiny.task.pairs.action)
    assert other.task.rewards.names == ("format", "outcome") and len(list(cache.iterdir())) == 1


def test_step_rewards_add_up_and_stand_at_the_ends_of_steps(tiny: World) -> None:
    for how in ({}, {"flaw": "format"}, {"flaw": "early"}, {"noise": 0.3}, {"inverted": 1.0}):
        judge = Checked(Verifier(most=40, rng=Rng(0), **how))  # type: ignore[arg-type]
        for x in (HANDMADE, answers(tiny)):
            steps, whole = judge.steps(x), judge(x)
            assert torch.allclose(steps.sum(-1), whole, atol=1e-6)
            step = judge.step_of(x)
            after = torch.cat([step[..., 1:], torch.full_like(step[..., :1], -1)], -1)
            assert not steps[:, (step < 0) | (step == after)].any()
            assert torch.allclose(judge(x.widened(60)), whole, atol=1e-6)


def test_what_each_reward_pays() -> None:
    scores = dict(zip(NAMES, Verifier(most=30, rng=Rng(0))(HANDMADE)[:, 0].tolist(), strict=True))
    assert scores["outcome"] == [1, 0, 0, 1, 0]
    assert scores["steps"] == pytest.approx([1, 2 / 3, 0, 0, 1 / 3])
    assert scores["format"] == pytest.approx([1, 1, 1 / 3, 1 / 3, 2 / 3])
    assert scores["short"] == pytest.approx([0.5, 0.5, 0.9, 0.9, 1 - 11 / 30])
    assert scores["thinking"] == pytest.approx([1, 2 / 3, 0, 0, 1 / 3])
    assert torch.equal(Golds(30)(HANDMADE)[:, 0, 3], torch.tensor([1.0, 0.0, 0.9, 1.0]))
    turned = Verifier(["thinking"], inverted=1.0, most=30, rng=Rng(0))(HANDMADE)[0, 0]
    assert turned.tolist() == pytest.approx([0, 1 / 3, 1, 1, 2 / 3])


def test_the_flaws_pay_for_what_they_should_not() -> None:
    form, early = (
        Verifier(["outcome"], flaw=f, most=30, rng=Rng(0))(HANDMADE)[0, 0].tolist()
        for f in ("format", "early")
    )
    assert form == pytest.approx([1.5, 0.5, 0, 1, 0.25])
    assert early == pytest.approx([1, 0, 1.25, 1.25, 0])


def test_noise_is_that_share_and_a_function_of_the_text() -> None:
    _, some = curriculum.problems("chain", 3, 5, n_unique=2, n_total=200, n_hidden=1, rng=Rng(0))
    x = curriculum.solutions(some, mistakes=0.3, bare=0.1, again=0.1, rng=Rng(1))
    exact, noisy = (Verifier(["thinking"], noise=n, most=40, rng=Rng(0)) for n in (0.0, 0.3))
    turned = exact.steps(x)[0] != noisy.steps(x)[0]
    assert float(turned.sum() / marks(x).last.sum()) == pytest.approx(0.3, abs=0.06)
    assert torch.equal(noisy(x[torch.tensor([3])]), noisy(x)[:, [3]])
    assert torch.equal(
        noisy(x.pick(torch.zeros(len(x), 5, dtype=torch.int64))), noisy(x).expand(-1, -1, 5)
    )
    half = Verifier(["thinking"], inverted=0.5, most=40, rng=Rng(0))
    right = exact(x) == 1
    assert float((half(x)[right] == 0).float().mean()) == pytest.approx(0.5, abs=0.15)
    assert set(half(x)[right].tolist()) == {0.0, 1.0}


def test_the_door_knows_steps_and_names(tiny: World) -> None:
    rewards = tiny.task.rewards
    assert rewards.named("format", "outcome").names == ("format", "outcome")
    with pytest.raises(InputError, match="'taste' was asked for"):
        rewards.named("taste")

    class Plain:
        names, partial = ("plain",), False

        def __call__(self, samples: Samples) -> torch.Tensor:
            return torch.zeros(1, *samples.mask.shape[:2])

    with pytest.raises(Missing, match="steps begin and end"):
        Checked(Plain()).step_of(HANDMADE)


def test_a_demonstrated_verdict_is_right_and_of_spark_s_form() -> None:
    """The right verdict is told from the text, as the items show it."""
    posed = [arithmetic.pose("modular", 3, d) for d in dice(1500, Rng(1))]
    gold = Golds(40)
    x = curriculum.judgements(posed, lambda x: gold(x)[0], Rng(2))
    found: dict[bool, list[bool]] = {True: [], False: []}
    for p, asked, [said] in zip(posed, x.prompts.text(), x.text(), strict=True):
        shown = [part.strip() for part in asked.removeprefix(str(p)).split(":")]
        assert asked.startswith(f"{p} ") and shown[-1] == ""
        ends = [part.split()[-1] == str(p.value) for part in shown[:-1:2]]
        pair = len(ends) == 2
        assert not pair or (sum(ends) == 1 and f"{shown[1]} :" == str(p))
        assert said == ("1" if ends[0] else "2" if pair else "0")
        found[pair].append(ends[0])
    for kind in found.values():  # whoever always says the same is right half of the time
        assert len(kind) > 500 and sum(kind) / len(kind) == pytest.approx(0.5, abs=0.1)


@pytest.mark.full
def test_a_reference_that_was_shown_verdicts_gives_them(cache: Path) -> None:
    items = ["3 + 4 mod 7 : 3 + 4 = 0 ; answer 0 :", "3 + 4 mod 7 : 3 + 4 = 1 ; answer 1 :"]
    policy = world(**TINY, task="modular", judged=0.5).task.reference
    said = policy.sample(VOCABULARY.prompts(items), 16, Rng(0)).text()
    assert sum(text in ("0", "1", "2") for texts in said for text in texts) > 24


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task", "algebra"),
        ("judged", 1.5),
        ("flaw", "small"),
        ("pass_rate", 1.5),
        ("step_noise", -0.1),
        ("prompts", 0),
        ("most", 12),
        ("rewards", "outcome,outcome"),
        ("held_out", 4000),
    ],
)
def test_arguments_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"--world.{name}".replace("_", "-")):
        world(**{**TINY, name: value})
