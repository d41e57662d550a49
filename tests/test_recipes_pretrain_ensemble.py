"""The grid of pretraining and fine-tuning seeds: fair groups, and lines that keep their word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from families import checkpoint
from test_fit_parts import PAIRS

from assay.core import InputError, Loop, Rng, World
from assay.loops.ensemble_policies import reinforced
from assay.recipes import pretrain_ensemble
from assay.rewards.attributes import attributes
from assay.rewards.scored_texts import scored_texts
from assay.rewards.seed_grid import biased, costs, kinds_of, selected, siblings
from assay.worlds import hub, study, table

SMALL: dict[str, Any] = {
    "seeds": 2,
    "width": 8,
    "layers": 1,
    "steps": 3,
    "pretrain_steps": 3,
    "most": 4,
    "prompts": 4,
}


@pytest.fixture(scope="module")
def world() -> World:
    return table.world(testbed="bag", pairs=60, members=4, seed=1)


def test_every_model_is_in_as_many_ensembles_of_either_kind() -> None:
    kinds = kinds_of(3, unpretrained=True)
    for kind in ("single", "finetune", "pretrain"):
        assert sorted(m for group in kinds[kind] for m in group) == list(range(9))
    assert all(len({m // 3 for m in group}) == 1 for group in kinds["finetune"])
    for group in kinds["pretrain"]:
        assert len({m // 3 for m in group}) == len({m % 3 for m in group}) == 3
    assert kinds["unpretrained"] == [[9 + m for m in group] for group in kinds["pretrain"]]
    assert "unpretrained" not in kinds_of(3, unpretrained=False)


def test_a_pretraining_is_paid_once_by_each_ensemble_that_uses_it() -> None:
    cost = costs(kinds_of(3, unpretrained=True), 50, pretrain=100, fit=10)
    assert cost == {
        "single": (110, 50, 1),
        "finetune": (130, 50, 3),
        "pretrain": (330, 50, 3),
        "unpretrained": (30, 50, 3),
    }


def test_a_share_of_the_labels_goes_to_the_feature() -> None:
    assert torch.equal(biased(PAIRS, "length", 0.0, Rng(0)).action, PAIRS.action)
    count = attributes(biased(PAIRS, "length", 1.0, Rng(0)), "length")[..., 0]
    assert bool((count[:, 0] >= count[:, 1]).all())
    half = attributes(biased(PAIRS, "length", 0.5, Rng(0)), "length")[..., 0]
    before = attributes(PAIRS, "length")[..., 0]
    wrong, left = (int((c[:, 1] > c[:, 0]).sum()) for c in (before, half))
    assert 0 < left < wrong
    with pytest.raises(InputError, match=r"--bias is 1\.5"):
        biased(PAIRS, "length", 1.5, Rng(0))


def test_models_of_one_mind_gain_nothing_by_company_and_independent_ones_do() -> None:
    """Gold plus noise of one's own: an ensemble over what differs averages the noise."""
    rng = torch.Generator().manual_seed(0)
    gold = torch.randn(40, 32, generator=rng, dtype=torch.float64)
    noise = torch.randn(3, 1, 40, 32, generator=rng, dtype=torch.float64).expand(3, 3, 40, 32)
    r = (gold + noise).reshape(9, 40, 32)  # fine-tuning seeds of a trunk are one model
    kinds = kinds_of(3, unpretrained=False)
    lines = list(selected(r, gold, torch.zeros_like(gold), kinds, 16, "length"))
    at = {(x["ensemble"], x["aggregate"]): x["gold"] for x in lines if x["n"] == 16}
    assert at["finetune", "mean"] == pytest.approx(at["single", "mean"])
    assert at["pretrain", "mean"] > at["finetune", "mean"] + 0.2
    assert at["gold", "mean"] > at["pretrain", "mean"]
    won = {x["by"]: x["wins"] for x in siblings(r, gold, kinds, 16)}
    assert won["itself"] == pytest.approx(won["the same pretraining"])
    assert won["another pretraining"] < won["itself"] - 0.1


def test_the_study_trains_its_grid_and_says_what_it_spent(world: World) -> None:
    lines = list(pretrain_ensemble.study(world, **SMALL, feature="tokens:12-12", bias=0.3))
    start = [x["gold"] for x in lines if x["kind"] == "best_of_n" and x["n"] == 1]
    assert max(start) - min(start) < 1e-9, "at n = 1 nobody chooses"
    spent = {x["arm"]: x for x in lines if x["kind"] == "spent"}
    assert [spent[k]["updates"] for k in ("single", "finetune", "pretrain", "unpretrained")] == [
        6,
        9,
        12,
        6,
    ]
    assert len({x["labels"] for x in spent.values()}) == 1
    assert spent["finetune"]["scored"] == spent["pretrain"]["scored"] == 2 * 32
    assert {x["samples"] for x in lines if x["kind"] == "agreement"} == {"reference", "aligned"}
    updates = [x["updates"] for x in lines if x["kind"] == "pretraining"]
    assert updates == [3, 3, 0, 0]


@pytest.mark.full
def test_a_file_of_scored_responses_is_text_pairs_and_gold(tmp_path: Path) -> None:
    """Better responses are of other words, and no prompt is both fitted to and chosen for."""
    rng = torch.Generator().manual_seed(0)
    words = ("rain", "mill", "old", "gold")
    rows = []
    for i in range(40):
        for _ in range(8):
            drawn = torch.randint(4, (6,), generator=rng).tolist()
            said = " ".join(words[k] for k in drawn)
            rows.append({"prompt": f"question {i}", "response": f"{said}.", "s": drawn.count(3)})
    path = tmp_path / "judged.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    given = {**SMALL, "most": 8, "prompts": 8, "steps": 60, "rate": 1e-2, "unpretrained": False}
    lines = list(pretrain_ensemble.study(study.world(), **given, file=str(path), score="s"))
    gold = {(x["ensemble"], x["n"]): x["gold"] for x in lines if x["kind"] == "best_of_n"}
    assert gold["single", 8] > gold["single", 1] + 1 and gold["gold", 8] >= gold["single", 8]
    assert {x["ensemble"] for x in lines if "ensemble" in x} == {
        "single",
        "finetune",
        "pretrain",
        "gold",
    }
    assert "unpretrained" not in {x["arm"] for x in lines if x["kind"] == "spent"}
    read = scored_texts(str(path), "s", Rng(0), held_out=8, least=8, longest=5)
    assert read.pool.mask.shape == (8, 8, 5) and read.score.shape == (8, 8)
    known = set(read.pairs.prompts.text())
    assert known.isdisjoint(read.pool.prompts.text()) and len(known) == 32


def test_what_a_file_cannot_be_used_for_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"{i}", "chosen": "a", "rejected": "b"} for i in range(9)]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    with pytest.raises(InputError, match="has pairs, and --file takes scored responses"):
        next(pretrain_ensemble.study(study.world(), **SMALL, file=str(path)))
    with pytest.raises(InputError, match="leave --grid, --rl-steps, --text"):
        next(pretrain_ensemble.study(study.world(), **SMALL, file=str(path), rl_steps=1))
    rows = [{"prompt": f"{i}", "response": "a", "s": j} for i in range(9) for j in range(3)]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    with pytest.raises(InputError, match="0 prompts with 4 responses, and 4 are held out"):
        next(pretrain_ensemble.study(study.world(), **SMALL, file=str(path), score="s"))


def test_models_fitted_elsewhere_are_taken_as_a_grid(world: World) -> None:
    lines = list(pretrain_ensemble.study(world, grid=True, most=4, prompts=4))
    assert {x.get("ensemble") for x in lines if x["kind"] == "best_of_n"} == {
        "single",
        "finetune",
        "pretrain",
        "gold",
    }
    odd = table.world(testbed="bag", pairs=60, members=3, seed=1)
    with pytest.raises(InputError, match="3 reward models, and --grid"):
        next(pretrain_ensemble.study(odd, grid=True))


def test_policies_are_trained_on_one_ensemble_of_each_kind(world: World) -> None:
    """From one reference, read once for all, with completions that are counted as spent."""
    given = {**SMALL, "pretrain_steps": 0}
    plain = list(pretrain_ensemble.study(world, **given))
    trained = list(pretrain_ensemble.study(world, **given, rl_steps=2, rl_batch=3))
    spent = [{x["arm"]: x for x in y if x["kind"] == "spent"} for y in (trained, plain)]
    lines = [x for x in trained if x["kind"] == "rl"]
    kinds = ("single", "finetune", "pretrain", "unpretrained")
    assert [(x["ensemble"], x["step"]) for x in lines] == [
        (kind, t) for kind in kinds for t in (0, 1, 2)
    ]
    assert all((x["kl"] == 0) == (x["step"] == 0) for x in lines)
    assert len({(x["gold"], x["count"]) for x in lines if x["step"] == 0}) == 1
    assert world.loop is not None
    rollouts = 2 * 3 * world.loop.num_generations
    for kind in kinds:
        with_rl, without = (s[kind] for s in spent)
        assert with_rl["generated"] == without["generated"] + rollouts
        assert with_rl["updates"] == without["updates"] + 2
    assert spent[0]["pretrain"]["scored"] == 2 * spent[0]["single"]["scored"]


def test_policies_of_the_same_members_are_the_same(world: World) -> None:
    """Kinds differ in their members alone: prompts, random numbers and steps are shared."""
    kinds = {"single": [[1]], "again": [[1]], "other": [[2]]}
    loop = Loop(max_steps=3, batch_size=4, num_generations=4, learning_rate=0.1)
    given: dict[str, Any] = {"members": world.task.rewards, "feature": "tokens:12-12"}
    lines = list(reinforced(world.task, loop, world.held_out, kinds, **given, read=world.gold))
    of = {k: [{**x, "ensemble": ""} for x in lines if x["ensemble"] == k] for k in kinds}
    assert of["single"] == of["again"] and of["single"][0] == of["other"][0]
    assert of["single"][-1]["gold"] != of["other"][-1]["gold"]


def test_a_model_and_a_file_of_pairs_are_enough(tmp_path: Path) -> None:
    """Any tokenizer: its tokens are numbered anew. Without gold, gold's columns are empty."""
    folder = checkpoint(tmp_path / "model", "llama")
    rows = [
        {"prompt": f"question {i}", "chosen": f"the old mill {i}", "rejected": "it rains"}
        for i in range(24)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    there = hub.world(policy=str(folder), pairs=str(path), max_tokens=24, held_out=4)
    lines = list(pretrain_ensemble.study(there, **SMALL))
    chosen = [x for x in lines if x["kind"] == "best_of_n"]
    assert {x["ensemble"] for x in chosen} == {"single", "finetune", "pretrain", "unpretrained"}
    assert all(x["gold"] is None for x in chosen)
    assert {x["by"] for x in lines if x["kind"] == "siblings"} == {
        "itself",
        "the same pretraining",
        "another pretraining",
    }
