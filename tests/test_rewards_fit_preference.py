"""General preference models on text: laws of the form, a cycle, folders, and training on one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from test_worlds_hub import files, small

import assay
from assay.api.live import preference_named
from assay.cli import main
from assay.core import Loop, Rng
from assay.core.preference import CheckedPreference
from assay.data.memory import in_memory
from assay.errors import InputError
from assay.formulas.preference_embedding import general_preference_log_odds, skew_product
from assay.recipes import nash_md
from assay.rewards.fit_config import FitConfig
from assay.rewards.fit_file import fit
from assay.rewards.fit_preference import fitted_preference
from assay.rewards.fitted_preference import FittedPreference
from assay.rewards.linear_solvers import bradley_terry_optimum
from assay.rewards.load import load_reward
from assay.rewards.preference_optimum import _Loss, general_preference_optimum
from assay.watch.text_preference import open_preference

__all__ = ["files"]
HANDS = ("rock boulder stone", "paper sheet page", "scissors blade shears")
BEATS = {0: 2, 1: 0, 2: 1}


def cycle(prompts: int = 60) -> list[dict[str, str]]:
    """Texts of three kinds that beat one another in a circle, with words of their own."""
    draw = np.random.default_rng(1)
    rows = []
    for b in range(prompts):
        for winner, loser in BEATS.items():
            texts = [
                " ".join((*draw.permutation(HANDS[k].split()), f"n{draw.integers(9)}"))
                for k in (winner, loser)
            ]
            rows.append({"prompt": f"Round {b}?", "chosen": texts[0], "rejected": texts[1]})
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    at = tmp_path_factory.mktemp("preference")
    file = at / "pairs.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in cycle()), encoding="utf-8")
    found = fit(file, out=at / "P", preference_dim=2, config=FitConfig(members=2, ridge=0.1))
    return at / "P", found


def test_a_skew_product_is_r_v_times_w_and_swaps_to_its_exact_negative() -> None:
    v, w = torch.randn(2, 50, 6, generator=torch.Generator().manual_seed(0))
    R = torch.block_diag(*[torch.tensor([[0.0, -1.0], [1.0, 0.0]])] * 3)
    torch.testing.assert_close(skew_product(v, w), torch.einsum("bi,ij,bj->b", w, R, v))
    assert torch.equal(skew_product(v, w), -skew_product(w, v))
    assert not skew_product(v, v).any()
    e, f = torch.randn(2, 50, 7, generator=torch.Generator().manual_seed(1))
    assert torch.equal(general_preference_log_odds(e, f), -general_preference_log_odds(f, e))
    with pytest.raises(ValueError, match="planes have two"):
        skew_product(v[:, :3], w[:, :3])


def problem() -> tuple[Any, ...]:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(40, 5)).astype(np.float32)
    pairs = torch.from_numpy(draw.permutation(40).reshape(20, 2))
    p = torch.from_numpy(draw.uniform(size=20)).float()
    return x, pairs, p, torch.zeros(20), torch.ones(20, 1)


def test_without_planes_the_optimum_is_bradley_terrys() -> None:
    x, pairs, p, margin, counts = problem()
    mine = general_preference_optimum(
        sparse.csr_array(x), pairs, p=p, margin=margin, ridge=0.3, counts=counts, dim=0, rng=Rng(0)
    )
    other = bradley_terry_optimum(
        torch.from_numpy(x), pairs, p=p, margin=margin, ridge=0.3, counts=counts, tolerance=1e-8
    )
    torch.testing.assert_close(mine[:, 0], other, rtol=1e-3, atol=1e-4)


def test_the_gradient_of_the_fit_is_that_of_the_form_it_says() -> None:
    x, pairs, p, margin, counts = problem()
    ridge = np.array([0.3, 0.5, 0.5, 0.5, 0.5])
    label, gap, own_counts = (v.double().numpy() for v in (p, margin, counts[:, 0]))
    loss = _Loss(x.astype(np.float64), pairs.numpy(), label, gap, ridge, own_counts)
    w = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    w.requires_grad_()
    e = torch.from_numpy(x).double() @ w
    u = general_preference_log_odds(e[pairs[:, 0]], e[pairs[:, 1]])
    each = torch.nn.functional.logsigmoid
    own = -(p.double() * each(u) + (1 - p.double()) * each(-u)).sum()
    own = own + 0.15 * w[:, 0].square().sum() + 0.25 * w[:, 1:].square().sum()
    (slope,) = torch.autograd.grad(own, w)
    value, found = loss(w.detach().numpy().ravel())
    assert value == pytest.approx(own.item(), rel=1e-12)
    np.testing.assert_allclose(found, slope.numpy().ravel(), rtol=1e-9, atol=1e-12)


def test_a_dear_plane_stays_at_nothing() -> None:
    x, pairs, p, margin, counts = problem()
    with_planes, without = (
        general_preference_optimum(
            x, pairs, p=p, margin=margin, ridge=0.3, counts=counts, dim=d, rng=Rng(0),
            plane_ridge=1e3,
        )
        for d in (2, 0)
    )  # fmt: skip
    assert float(with_planes[..., 1:].abs().max()) < 1e-3
    torch.testing.assert_close(with_planes[..., :1], without, rtol=1e-2, atol=1e-3)


def test_it_fits_a_cycle_that_bradley_terry_cannot(folder: tuple[Path, dict[str, Any]]) -> None:
    found = folder[1]["evaluation"]
    assert found["accuracy"] > 0.93 and found["log_loss"] < 0.2
    assert found["bradley_terry_accuracy"] < 0.75 and found["bradley_terry_log_loss"] > 0.65
    assert found["gain"][1] > 0.4 and found["prompts"] == 60 and found["pairs"] == 180
    assert "the planes help" in found["says"][-1]


def test_a_transitive_file_says_that_planes_do_not_help() -> None:
    draw, rows = np.random.default_rng(0), []
    for b in range(60):
        good, bad = (" ".join(draw.choice(w, 3)) for w in (("clear", "kind"), ("rude", "wrong")))
        good, bad = (bad, good) if draw.uniform() < 0.2 else (good, bad)
        rows.append({"prompt": f"Question {b}?", "chosen": good, "rejected": bad})
    found = fitted_preference(in_memory(rows, "pairs"), dim=2, config=FitConfig(members=1)).about[
        "evaluation"
    ]
    assert found["gain"][0] < 0.02 and "the planes help" not in found["says"][-1]
    assert found["bradley_terry_accuracy"] == pytest.approx(0.8, abs=0.1)


def test_a_folder_gives_the_same_numbers_and_p_plus_its_swap_is_one(
    folder: tuple[Path, dict[str, Any]],
) -> None:
    model = FittedPreference.load(folder[0])
    texts = list(HANDS) * 5
    others = [HANDS[BEATS[i % 3]] for i in range(15)]
    p = model.compare(["Round?"] * 15, texts, others)
    assert bool((p > 0.8).all())
    assert torch.equal(p + model.compare(["Round?"] * 15, others, texts), torch.ones(15).double())
    back = torch.arange(14, -1, -1)
    swapped = model.compare(["Round?"] * 15, texts[::-1], others[::-1])
    torch.testing.assert_close(swapped[back], p, rtol=0, atol=1e-6)
    assert not list(folder[0].rglob("*.pkl")) and not list(folder[0].rglob("*.pt"))
    assert [x.name for x in folder[0].rglob("*.safetensors")] == ["weights.safetensors"]


def test_a_folder_is_the_preference_of_a_nash_recipe(
    folder: tuple[Path, dict[str, Any]], files: dict[str, str]
) -> None:
    task = small(files, preference=str(folder[0])).task
    x = task.reference.sample(task.prompts[torch.arange(3)], 4, Rng(0)("x"))
    y = task.reference.sample(task.prompts[torch.arange(3)], 2, Rng(0)("y"))
    checked = CheckedPreference(open_preference(str(folder[0]), "", task.prompts.text(), [None] *
                                                len(task.prompts), {}))  # fmt: skip
    torch.testing.assert_close(task.preference(x, y), -task.preference(y, x).mT)
    assert torch.equal(checked(x, x), -checked(x, x).mT)
    loop = Loop(max_steps=2, batch_size=2, num_generations=2, learning_rate=1e-3)
    *_, last = nash_md.recipe(task, mixture=0.25, loop=loop)
    assert all(bool(p.isfinite().all()) for p in last.policy.parameters())  # type: ignore[union-attr]


def test_what_is_given_to_the_wrong_flag_gets_one_sentence(
    folder: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="compares two completions and scores"):
        load_reward(folder[0])
    file = folder[0].parent / "pairs.jsonl"
    fit(file, out=tmp_path / "R", config=FitConfig(members=1, folds=0))
    with pytest.raises(InputError, match="holds a reward; give it with --rewards"):
        open_preference(str(tmp_path / "R"), "", ["a"], [None], {})
    for dim, config, said in (
        (3, FitConfig(), "give an even number"),
        (2, FitConfig(base="gpt2"), "add --frozen"),
        (2, FitConfig(held_out_share=0.1), "--folds"),
    ):
        with pytest.raises(InputError, match=said):
            fit(file, out=tmp_path / "X", preference_dim=dim, config=config)
    with pytest.raises(InputError, match="scores no row"):
        fit(file, out=tmp_path / "X", preference_dim=2, out_of_fold=tmp_path / "o.jsonl")
    damaged = folder[0].parent / "D"
    shutil.copytree(folder[0], damaged)
    (damaged / "embedding" / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="damaged or exchanged"):
        FittedPreference.load(damaged)


def test_the_command_says_what_it_found(
    folder: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder[0].parent / "pairs.jsonl"
    words = ["fit", str(file), "--preference-dim", "2", "--members", "1", "-o", str(tmp_path / "P")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert (
        "general preference  accuracy" in said
        and "the planes help" in said
        and "assay run nash_md" in said
    )


def test_the_python_face_fits_compares_and_is_kept(tmp_path: Path) -> None:
    taste = assay.fit_preference(cycle(20), members=2, ridge=0.1, folds=0)
    ask = ["Round 3?"] * 3
    texts = [[HANDS[k] for k in kind] for kind in (BEATS.keys(), BEATS.values())]
    assert all(p > 0.5 for p in taste(ask, *texts)), "each beats the one that it beats"
    assert taste(ask, *texts) == pytest.approx([1 - p for p in taste(ask, *texts[::-1])])
    assert preference_named(taste) == "python:PreferenceModel"
    assert taste.save(tmp_path / "P") == taste.folder and preference_named(taste) == str(
        taste.folder
    )
    again = FittedPreference.load(tmp_path / "P")
    assert again.compare(ask, *texts).tolist() == pytest.approx(taste(ask, *texts))
    with pytest.raises(InputError, match="member is no argument; the settings are .*members"):
        assay.fit_preference(cycle(2), member=2)
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        assay.fit_preference(cycle(2), out=tmp_path / "P")
