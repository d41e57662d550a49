"""Studies of curves: best-of-n against enumeration, laws on exact curves, metrics and scaling on
small worlds.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assay.core import InputError, World
from assay.loops import gold_curves, training_curves
from assay.loops.choices import family_of_models
from assay.recipes import best_of_n_theory, continuous_metrics, preference_scaling, scaling_fit
from assay.recipes.continuous_metrics import correlation, metrics, ranks
from assay.stats.scaling_laws import CriticalBatch, LossLaw
from assay.worlds import table


@pytest.fixture(scope="module")
def bandit() -> World:
    return table.world(testbed="bandit", prompts=6, responses=40, pairs=200, members=2, seed=3)


@pytest.fixture(scope="module")
def bag() -> World:
    return table.world(members=2, seed=3)


def test_best_of_n_by_counting_draws(bandit: World) -> None:
    said = list(best_of_n_theory.study(bandit, most=64))
    lines = [x for x in said if x.get("kind") != "spent"]
    assert [x["n"] for x in lines if x["reward"] == "score"] == [1, 2, 4, 8, 16, 32, 64]
    for x in lines:
        assert x["exact"] <= x["bound"] + 1e-9 and x["win_rate"] <= x["win_bound"] + 1e-9
        assert x["from_draws"] == pytest.approx(x["estimate"], abs=0.25)
    first = lines[0]
    assert first["exact"] == pytest.approx(0, abs=1e-12) and first["win_rate"] == pytest.approx(0.5)
    two = [x for x in lines if x["reward"] == "verdict"][-1]
    # two verdicts: a best of 64 is right for certain, and the KL cannot exceed −log π₀(right), here
    # about log 2
    assert (
        two["exact"] == pytest.approx(math.log(2), abs=0.1)
        and two["bound"] > 3
        and two["tied"] == pytest.approx(1)
    )
    assert two["estimate"] > two["exact"] + 1, "the estimator takes it that nothing ties"
    effect = best_of_n_theory.claim.effect
    assert effect is not None
    found: Any = effect({"study": said})
    assert found["within a tenth"] > 0
    assert found["over the bound"] > 0 and found["over one probability"] > 0


def test_the_verdict_on_best_of_n_is_read_from_draws_and_not_at_one(bandit: World) -> None:
    said = list(best_of_n_theory.study(bandit, most=64))
    effect = best_of_n_theory.claim.effect
    assert effect is not None
    as_is: Any = effect({"study": said})
    # n = 1 has no KL to be wrong about, and the expectation is no estimate that a user has
    without_one = [x for x in said if x.get("n") != 1]
    told = [{**x, "estimate": 99.0} for x in without_one]
    assert effect({"study": told}) == as_is
    missed = [{**x, "from_draws": x["bound"]} if "n" in x else x for x in said]
    found: Any = effect({"study": missed})
    assert found["over the bound"] == pytest.approx(0)
    far = [{**x, "from_draws": 1.2 * x["exact"]} if "n" in x else x for x in said]
    wrong: Any = effect({"study": far})
    assert wrong["within a tenth"] == pytest.approx(-0.1)


def test_the_win_rate_is_what_drawing_gives() -> None:
    p, reward = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.0, 1.0, 1.0]])
    won = torch.tensor([[0.25, 0.45, 0.3]])
    # by hand: the first wins never and ties with itself at ½·0.5; the others beat 0.5 and tie with
    # 0.5
    assert best_of_n_theory.win_rate(p, reward, won).tolist() == pytest.approx(
        [0.25 * 0.25 + 0.75 * (0.5 + 0.25)]
    )
    assert best_of_n_theory.tied(p, reward).tolist() == pytest.approx([0.5])
    assert best_of_n_theory.verdicts(
        torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[2.0, 0.0, 1.0]]), 2
    ).tolist() == [[1, 0, 0]]


def test_a_study_says_which_world_it_needs(bag: World, bandit: World) -> None:
    with pytest.raises(InputError, match="--world.testbed bandit"):
        next(best_of_n_theory.study(bag))
    with pytest.raises(InputError, match="hold out one size at least, and give three others"):
        next(preference_scaling.study(bandit, sizes=(10, 20)))
    with pytest.raises(InputError, match=r"--cut is 1\.0"):
        next(scaling_fit.study(bandit, about="gold", cut=1.0))


@pytest.mark.parametrize("which", ["bag", "bandit"])
def test_laws_of_exact_curves(which: str, request: pytest.FixtureRequest) -> None:
    world: World = request.getfixturevalue(which)
    lines = list(
        scaling_fit.study(
            world, about="gold", pairs=(50, 800), reward_widths=(4,), points=14, resamples=20
        )
    )
    curves, trends = [x for x in lines if "beyond" in x], [x for x in lines if "trend_in" in x]
    assert [(x["optimiser"], x["pairs"]) for x in curves] == [
        (o, p) for p in (50, 800) for o in ("rl", "best-of-n")
    ]
    assert {x["trend_in"] for x in trends} == {"pairs"}
    for x in curves:
        assert x["d_max"] > 0.5 and x["true_r_peak"] >= 0 and x["beyond_others"] is not None
        assert x["beats_persistence"] == (x["beyond"] < x["beyond_stays"])
    more = {x["optimiser"]: x for x in curves if x["pairs"] == 800}["rl"]["true_r_peak"]
    assert more > {x["optimiser"]: x for x in curves if x["pairs"] == 50}["rl"]["true_r_peak"], (
        "data helps"
    )


def test_the_tilt_is_the_optimum_that_the_curve_claims(bag: World) -> None:
    of = scaling_fit.exact(bag)
    curve = gold_curves.tilts(of, gold_curves.fitted(of, 200, 0), 9)
    assert [d for d, _ in curve] == sorted(d for d, _ in curve) and curve[0][0] < 0.5 < 2 < curve[
        -1
    ][0]


def test_the_chain_of_metrics_by_hand() -> None:
    p = torch.tensor([[[0.3, 0.1, 0.2]], [[0.3, 0.4, 0.1]]], dtype=torch.float64)
    found = metrics(p.log())
    assert found["log_p"][:, 0].tolist() == pytest.approx([math.log(0.3)] * 2)
    assert found["p_choices"][:, 0].tolist() == pytest.approx([0.5, 0.375])
    assert found["brier"][:, 0].tolist() == pytest.approx(
        [-(0.25 + (1 / 6) ** 2 + (1 / 3) ** 2), -(0.625**2 + 0.5**2 + 0.125**2)]
    )
    assert found["accuracy"][:, 0].tolist() == [1, 0]
    assert found["wrong"].exp()[:, 0].tolist() == pytest.approx([0.3, 0.5])


def test_ranks_and_correlation() -> None:
    y = torch.tensor([[1.0], [3.0], [3.0], [9.0]], dtype=torch.float64)
    assert ranks(y)[:, 0].tolist() == [0.5, 2.0, 2.0, 3.5]
    still = torch.full((4, 1), 2.0, dtype=torch.float64)
    assert correlation(y, still).tolist() == [0.0] and correlation(y, -y).tolist() == pytest.approx(
        [-1.0]
    )


def test_probabilities_too_small_to_square_have_a_correlation() -> None:
    tiny = torch.tensor([[1e-200], [2e-200], [3e-200]], dtype=torch.float64)
    assert correlation(tiny, ranks(tiny)).tolist() == pytest.approx([1.0])


def test_models_trained_here_are_asked_what_a_text_goes_on_with(bag: World, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{i} and {i + 1} make {2 * i + 1} . " for i in range(900)))
    lines = list(
        continuous_metrics.study(
            bag, text=str(text), widths=(4, 8), at=(5, 40), asked=20, length=16, ending=4
        )
    )
    at = {(x["family"], x["metric"]): x for x in lines if "metric" in x}
    assert {f for f, _ in at} == set(continuous_metrics.FAMILIES)
    assert at["trained", "log_p"]["largest"] > at["trained", "log_p"]["smallest"]
    assert at["frozen", "log_p"]["spearman"] == at["trained", "log_p"]["spearman"]
    assert at["frozen", "p_choices"]["spearman"] == pytest.approx(
        at["frozen", "log_p"]["spearman"], abs=0.05
    ), "where wrong choices stay, the share is a monotone map of p"
    assert at["common", "log_p"]["spearman"] == at["trained", "log_p"]["spearman"]
    wrong = {f: at[f, "mass on the wrong choices"]["pearson"] for f in continuous_metrics.FAMILIES}
    assert wrong["frozen"] == 0 and abs(wrong["common"]) > abs(wrong["trained"])
    with pytest.raises(InputError, match="three models"):
        next(continuous_metrics.study(bag, widths=(4,), at=(5,)))


def test_your_models_are_asked_your_questions(bag: World, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from families import checkpoint

    file = tmp_path / "questions.jsonl"
    rows = [
        {"question": "the old mill is", "choices": ["open", "closed today"], "answer": 1},
        {"question": "what is the", "choices": ["weather", "pond"], "answer": 0},
    ]
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    folders = tuple(str(checkpoint(tmp_path / f, f)) for f in ("llama", "qwen2", "gpt2"))
    found = family_of_models(folders, file, compute=(3.0, 1.0, 2.0))
    assert found.scale.exp().tolist() == pytest.approx([1, 2, 3])
    lines = list(continuous_metrics.study(bag, models=folders, questions=str(file)))
    assert next(x for x in lines if x.get("metric") == "log_p")["models"] == 3
    # by plain transformers: the sum over the choice's tokens, its end token left out
    from transformers import AutoModelForCausalLM, AutoTokenizer

    plain: Any = AutoModelForCausalLM.from_pretrained(folders[0])
    words: Any = AutoTokenizer.from_pretrained(folders[0])
    ask = words("the old mill is")["input_ids"]
    said = words("closed today", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = plain(torch.tensor([[*ask, *said]])).logits[0].double()
    barred = [words.pad_token_id, words.bos_token_id, *range(len(words), logits.shape[-1])]
    logits[:, barred] = -math.inf
    logps = logits.log_softmax(-1)
    want = sum(float(logps[len(ask) - 1 + i, t]) for i, t in enumerate(said))
    assert float(found.logp[-1, 0, 0]) == pytest.approx(want, abs=1e-3)
    with pytest.raises(InputError, match="need --questions"):
        next(continuous_metrics.study(bag, models=folders))
    file.write_text('{"question": "a", "choices": ["b", "c"], "answer": 2}\n')
    with pytest.raises(InputError, match="row 1: a question"):
        family_of_models(folders, file)


def test_preference_scaling_tells_taste_from_error(bandit: World) -> None:
    small: dict[str, Any] = {"sizes": (50, 100, 200, 400, 1600), "widths": (512,), "kinds": 2000}
    small |= {"tails": (1.5,)}
    found = list(preference_scaling.study(bandit, **small, shared=0.0))
    lines = {x["suite"]: x for x in found if x["kind"] == "curve"}
    assert (
        lines["errors"]["accuracy"][-1] > 0.8
        and lines["errors"]["loss"][-1] < lines["errors"]["loss"][0] - 0.05
    )
    assert lines["facts"]["accuracy"][-1] > 0.75
    assert abs(lines["taste"]["accuracy"][-1] - 0.5) < 0.03 and lines["taste"]["flat"]
    one = lines["one taste"]
    assert one["accuracy"][-1] > 0.7 and one["gain_over_chance"] > 0.05 and not one["flat"]
    for x in lines.values():
        assert (
            x["floor"] == pytest.approx(-(0.1 * math.log(0.1) + 0.9 * math.log(0.9)))
            and min(x["loss"]) > x["floor"]
        )
    assert {x["arm"] for x in found if x["kind"] == "spent"} == set(lines)
    # the same suite, with annotators who share most of their taste, can be learnt
    alike, _ = preference_scaling.study(bandit, **small, suites=("taste",), shared=0.8)
    assert alike["gain_over_chance"] > 0.05 and not alike["flat"]
    with pytest.raises(InputError, match="--shared"):
        next(preference_scaling.study(bandit, shared=1.5))
    with pytest.raises(InputError, match="--suites"):
        next(preference_scaling.study(bandit, suites=("tastes",)))


@pytest.mark.full
def test_small_models_foretell_a_larger_one_on_a_users_text(bag: World, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat and the dog sat on the log . " * 400)
    lines = list(
        scaling_fit.study(
            bag, text=str(text), widths=(4, 8, 12), held_out=16, batches=(4, 8), steps=40
        )
    )
    runs = [x for x in lines if "run" in x]
    assert [x["run"] for x in runs].count("held out") == 2 and len(runs) == 6
    assert all(x["loss"][-1] < x["loss"][0] for x in runs)
    told = [x for x in lines if x.get("predicted") == "trajectory"]
    assert {x["batch"] for x in told} == {4, 8} and set(told[0]["errors"]) == set(
        training_curves.ARMS
    )
    spent = [x for x in lines if x.get("kind") == "spent"]
    assert {x["arm"] for x in spent} == set(training_curves.ARMS)
    assert {x["updates"] for x in spent} == {160}
    with pytest.raises(InputError, match="need three widths"):
        next(scaling_fit.study(bag, widths=(8, 16)))
    with pytest.raises(InputError, match="cannot be read as UTF-8 text"):
        next(scaling_fit.study(bag, text=str(tmp_path / "none")))
    with pytest.raises(InputError, match="training or gold"):
        next(scaling_fit.study(bag, about="lives"))


def test_your_own_runs_are_judged_without_training(bag: World, tmp_path: Path) -> None:
    law = LossLaw(12.6, 0.15, 5.0, 0.6, CriticalBatch(4.1, 3.0))
    steps, file = np.geomspace(20, 2000, 12), tmp_path / "runs.jsonl"
    plan = [(600, 16), (1500, 16), (4000, 4), (4000, 16), (4000, 64), (20000, 4), (20000, 64)]
    rows = [
        {"size": n, "batch": b, "step": s, "loss": x}
        for n, b in plan
        for s, x in zip(steps, law(n, b, steps), strict=True)
    ]
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    lines = list(scaling_fit.study(bag, curves=str(file)))
    told = [x for x in lines if x.get("predicted") == "trajectory"]
    assert len(told) == 2 and all(x["beats_persistence"] for x in told)
    assert scaling_fit.claim.effect is not None
    effect = scaling_fit.claim.effect({"study": lines})
    assert isinstance(effect, dict) and min(effect.values()) > 0.5
    file.write_text('{"size": 1, "batch": 1, "step": 1}\n')
    with pytest.raises(InputError, match="row 1: size, batch, step and loss"):
        next(scaling_fit.study(bag, curves=str(file)))
