"""`fit`, `score` and `bon` on words: what they find, what they write, what they refuse."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from assay.errors import InputError
from assay.formulas.pairwise import bradley_terry, centring
from assay.rewards.features import features, grams, skeleton
from assay.rewards.fit_file import fit
from assay.rewards.linear_solvers import Design, centred_ridge, conjugate, pairwise, resampled
from assay.rewards.linear_text import Settings, WordsReward
from assay.rewards.load import load_reward
from assay.rewards.score_file import score

GOOD, DULL = ("clear", "helpful", "thanks", "certainly"), ("bad", "wrong", "no", "rude")


def pool(prompts: int = 24, answers: int = 6) -> list[dict[str, Any]]:
    """Answers whose score is their share of good words, and noise."""
    draw = np.random.default_rng(0)
    rows = []
    for b in range(prompts):
        for n in range(answers):
            good = draw.integers(0, 6)
            words = [
                *draw.choice(GOOD, good),
                *draw.choice(DULL, 5 - good if good < 5 else 0),
                f"topic{b}",
                f"x{draw.integers(99)}",
            ]
            rows.append(
                {
                    "prompt": f"Question about topic{b}?",
                    "response": " ".join(words),
                    "quality": float(good / 5 + draw.normal() / 5),
                    "source": f"m{n}",
                }
            )
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def read(path: Path | str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("fit")
    file = write(folder / "pool.jsonl", pool())
    return folder, fit(
        file,
        score="quality",
        out=folder / "R",
        members=3,
        folds=4,
        out_of_fold=folder / "oof.jsonl",
    )


def test_a_fit_learns_and_says_how_well_on_prompts_it_never_saw(
    fitted: tuple[Path, dict[str, Any]],
) -> None:
    _, found = fitted
    accuracy = found["accuracy"]
    assert accuracy["low"] < accuracy["mean"] < accuracy["high"] and accuracy["mean"] > 0.75
    assert accuracy["prompts"] == 24 and len(found["members_accuracy"]) == 3
    json.dumps(found, allow_nan=False)


def test_what_is_written_is_safetensors_and_json(fitted: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = fitted
    assert sorted(p.name for p in (folder / "R").iterdir()) == [
        "fit.json",
        "reward.json",
        "weights.safetensors",
    ]
    with safe_open(str(folder / "R" / "weights.safetensors"), "pt") as f:
        assert "weight" in set(f.keys())
    about = json.loads((folder / "R" / "fit.json").read_text())
    assert len(next(iter(about["inputs"].values()))) == 64 and about["accuracy"]["prompts"] == 24


def test_out_of_fold_scores_come_from_judges_that_never_saw_the_prompt(
    fitted: tuple[Path, dict[str, Any]],
) -> None:
    folder, _ = fitted
    rows = read(folder / "oof.jsonl")
    folds = {r["prompt"]: {x["fold"] for x in rows if x["prompt"] == r["prompt"]} for r in rows}
    assert (
        len(rows) == len(pool())
        and all(len(f) == 1 for f in folds.values())
        and len(set.union(*folds.values())) == 4
    )
    # change every answer and score of one fold: the scores that the other folds' judges gave must
    # not depend on it …
    changed = [
        r if next(iter(folds[r["prompt"]])) != 0 else {**r, "quality": 1 - r["quality"]}
        for r in pool()
    ]
    fit(
        write(folder / "changed.jsonl", changed),
        score="quality",
        out=folder / "R2",
        members=3,
        folds=4,
        out_of_fold=folder / "oof2.jsonl",
    )
    again = read(folder / "oof2.jsonl")
    for a, b in zip(rows, again, strict=True):
        assert a["fold"] == b["fold"]
        if (
            a["fold"] == 0
        ):  # … which here means: fold 0 was scored by judges of folds 1–3, whose data did not change
            assert a["proxy_judges"] == b["proxy_judges"]


def test_saved_and_loaded_scores_are_the_same_and_do_not_depend_on_neighbours(
    fitted: tuple[Path, dict[str, Any]],
) -> None:
    folder, _ = fitted
    reward = load_reward(folder / "R")
    rows = pool()[:20]
    asks, texts = [r["prompt"] for r in rows], [r["response"] for r in rows]
    whole = reward.scores(asks, texts)
    assert whole.shape == (3, 20)
    alone = torch.cat([reward.scores([a], [t]) for a, t in zip(asks, texts, strict=True)], 1)
    assert torch.equal(whole, alone)
    reward.save(folder / "copy")
    assert torch.equal(WordsReward.load(folder / "copy").scores(asks, texts), whole)


def test_score_writes_every_row_with_every_judge(fitted: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = fitted
    rows = [{k: v for k, v in r.items() if k != "quality"} for r in pool(4)]
    done = score(
        folder / "R", write(folder / "new.jsonl", rows), folder / "new_scored.jsonl", lam=0.5
    )
    out = read(folder / "new_scored.jsonl")
    assert done["rows"] == len(rows) == len(out)
    reward = load_reward(folder / "R")
    for row, original in zip(out, rows, strict=True):
        judges = reward.scores([original["prompt"]], [original["response"]])[:, 0]
        assert (
            row["proxy_judges"] == pytest.approx(judges.tolist(), abs=1e-6)
            and row["source"] == original["source"]
        )
        assert row["proxy"] == pytest.approx(float(judges.mean()), abs=1e-6)
        assert row["proxy_worst"] <= row["proxy"] + 1e-9 and row["proxy_spread"] >= 0
        assert row["proxy_uncertainty"] == pytest.approx(
            row["proxy"] - 0.5 * row["proxy_spread"] ** 2, abs=1e-9
        )
    with pytest.raises(InputError, match="never overwritten"):
        score(folder / "R", folder / "new.jsonl", folder / "new_scored.jsonl")
    with pytest.raises(InputError, match="already has a column 'proxy'"):
        score(folder / "R", folder / "new_scored.jsonl", folder / "twice.jsonl")
    assert not (folder / "twice.jsonl").exists()


def test_a_member_s_constant_a_prompt_changes_neither_worst_nor_uncertainty() -> None:
    from assay.rewards.score_file import judged

    scores = torch.randn(3, 8, dtype=torch.float64)
    asks = ["a"] * 5 + ["b"] * 3
    shifted = scores + torch.tensor([[1.0], [-3.0], [2.0]])
    one, two = judged(asks, scores, lam=0.5), judged(asks, shifted, lam=0.5)
    for name in ("_worst", "_uncertainty", "_spread"):
        assert torch.allclose(
            torch.tensor(one[name]),
            torch.tensor(two[name]) - (0 if name == "_spread" else shifted.mean() - scores.mean()),
        )


def test_pairs_are_fitted_by_bradley_terry(tmp_path: Path) -> None:
    rows = pool()
    pairs = []
    for b in range(24):
        mine = sorted(
            (r for r in rows if r["prompt"] == f"Question about topic{b}?"),
            key=lambda r: r["quality"],
        )
        pairs += [
            {"prompt": mine[0]["prompt"], "chosen": y["response"], "rejected": x["response"]}
            for x, y in zip(mine, mine[3:], strict=False)
            if y["quality"] > x["quality"]
        ]
    found = fit(
        write(tmp_path / "pairs.jsonl", pairs),
        out=tmp_path / "R",
        members=2,
        folds=3,
        out_of_fold=tmp_path / "oof.jsonl",
        resample="bootstrap",
    )
    assert found["accuracy"]["mean"] > 0.75 and found["used"] == len(pairs)
    assert {"proxy_chosen", "proxy_rejected", "fold"} <= set(read(tmp_path / "oof.jsonl")[0])
    done = score(tmp_path / "R", tmp_path / "pairs.jsonl", tmp_path / "scored.jsonl")
    assert done["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"members": 0}, "--members is 0"),
        ({"folds": 1}, "--folds is 1"),
        ({"folds": 99}, "24 prompts that can be used"),
        ({"resample": "boot"}, "--resample is 'boot'"),
        ({"ridge": 0.0}, "--ridge is 0.0"),
        ({"ridge": math.nan}, "--ridge is nan"),
        ({"smoothing": 0.7}, "--smoothing is 0.7"),
        ({"centre": -1.0}, "--centre is -1"),
        ({"frozen": True}, "--frozen is for models"),
        ({"score": "qualty"}, "no column 'qualty'.*did you mean 'quality'"),
        ({"score": "source"}, "column 'source'"),
        ({"base": "no/such-folder-here/at-all"}, "gives no tokenizer"),
        ({"folds": 0, "out_of_fold": "x.jsonl"}, "--out-of-fold needs"),
        ({"limit": 3}, "longer than the limit of 3"),
    ],
)
def test_arguments_that_cannot_be(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    file = write(tmp_path / "pool.jsonl", pool())
    with pytest.raises(InputError, match=sentence):
        fit(file, out=tmp_path / "R", **{"score": "quality", **options})
    assert not (tmp_path / "R").exists()


def test_a_folder_that_exists_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "R").mkdir()
    (tmp_path / "R" / "mine").write_text("kept")
    with pytest.raises(InputError, match="never overwritten"):
        fit(write(tmp_path / "pool.jsonl", pool()), score="quality", out=tmp_path / "R")
    assert (tmp_path / "R" / "mine").read_text() == "kept"


def test_nothing_to_compare(tmp_path: Path) -> None:
    same = write(
        tmp_path / "same.jsonl", [{"prompt": f"p{i}", "response": "x", "s": i} for i in range(9)]
    )
    with pytest.raises(InputError, match="no prompt has two answers with different scores"):
        fit(same, score="s", out=tmp_path / "R")
    with pytest.raises(InputError, match="holds prompts"):
        fit(write(tmp_path / "asks.jsonl", [{"prompt": "p"}]), out=tmp_path / "R")
    two = write(tmp_path / "two.jsonl", [{"prompt": "p", "response": "x", "s": 1.0, "t": 2.0}])
    with pytest.raises(InputError, match=r"several columns of numbers \(s, t\)"):
        fit(two, out=tmp_path / "R")


def test_a_damaged_reward_is_refused(fitted: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = fitted
    load_reward(folder / "R").save(tmp_path / "R")
    raw = bytearray((tmp_path / "R" / "weights.safetensors").read_bytes())
    raw[-1] ^= 1
    (tmp_path / "R" / "weights.safetensors").write_bytes(bytes(raw))
    with pytest.raises(InputError, match="damaged or exchanged"):
        load_reward(tmp_path / "R")
    (tmp_path / "R" / "reward.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        load_reward(tmp_path / "R")
    with pytest.raises(InputError, match="is no fitted reward"):
        load_reward(tmp_path)


# the solvers, against plain dense algebra


def design(rows: int, sparse: int, dense: int) -> tuple[Design, torch.Tensor]:
    full = torch.randn(rows, sparse) * (torch.rand(rows, sparse) < 0.3)
    more = torch.randn(rows, dense)
    at = full.nonzero()
    start = torch.nn.functional.pad((full != 0).sum(1).cumsum(0), (1, 0)).to(torch.int32)
    made = Design(at[:, 1].to(torch.int32), full[full != 0], start, sparse, more)
    return made, torch.cat([full, more], 1)


def test_a_design_multiplies_like_its_matrix() -> None:
    x, full = design(20, 15, 3)
    w, v = torch.randn(18, 2), torch.randn(20, 2)
    assert torch.allclose(x.times(w), full @ w, atol=1e-5) and torch.allclose(
        x.back(v), full.T @ v, atol=1e-5
    )


def test_ridge_within_prompts_is_ridge_on_all_pairs_of_a_prompt() -> None:
    x, full = design(24, 8, 2)
    group, score = torch.arange(24) % 4, torch.randn(24)
    counts = torch.tensor([[1.0, 2.0], [1.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    w = centred_ridge(x, score, group, ridge=0.7, counts=counts, tolerance=1e-6)
    for m in range(2):
        wide = full.double().clone().requires_grad_(False)
        a, b = 0.7 * torch.eye(10).double(), torch.zeros(10).double()
        for g in range(4):
            rows = (group == g).nonzero()[:, 0]
            for i in rows:
                for j in rows:
                    d, s = wide[i] - wide[j], float(score[i] - score[j])
                    k = float(counts[g, m]) / (2 * len(rows))
                    a, b = a + k * d[:, None] * d, b + k * d * s
        assert torch.allclose(w[:, m].double(), torch.linalg.solve(a, b), atol=1e-4)


def test_newton_s_optimum_has_no_gradient_left() -> None:
    x, full = design(30, 6, 2)
    pairs, p, margin = (
        torch.arange(30).view(-1, 2),
        torch.rand(15) * 0.5 + 0.5,
        torch.randn(15) * 0.1,
    )
    counts = torch.randint(0, 3, (15, 2)).float()
    w = pairwise(
        x,
        pairs,
        p=p,
        margin=margin,
        ridge=0.3,
        counts=counts,
        smoothing=0.1,
        centre=0.05,
        tolerance=1e-6,
    )
    free = w.double().clone().requires_grad_(True)
    s = full.double() @ free
    first, second = s[pairs[:, 0]].T, s[pairs[:, 1]].T
    each = bradley_terry(
        first, second, p=p.double(), margin=margin.double(), smoothing=0.1
    ) + 0.05 * centring(first, second)
    loss = (counts.T.double() * each).sum() + 0.15 * free.square().sum()
    assert (
        torch.autograd.grad(loss, free)[0].abs().max() < 1e-3
    )  # of about 10 at the start; float32


def test_conjugate_gradients_solve_each_column_by_itself() -> None:
    a = torch.randn(2, 6, 6, dtype=torch.float64)
    a = a @ a.transpose(1, 2) + torch.eye(6, dtype=torch.float64)
    b = torch.randn(6, 2, dtype=torch.float64)
    b[:, 1] = 0
    x = conjugate(
        lambda v: torch.stack([a[m] @ v[:, m] for m in range(2)], 1), b, tolerance=1e-10, most=50
    )
    assert torch.allclose(a[0] @ x[:, 0], b[:, 0]) and bool((x[:, 1] == 0).all())


def test_resamples() -> None:
    g = torch.Generator().manual_seed(0)
    out = resampled(10, 5, "leave-out", g)
    assert bool((out.sum(0) == 8).all()) and bool((out.sum(1) == 4).all())
    assert bool((resampled(10, 3, "bootstrap", g).sum(0) == 10).all()) and bool(
        (resampled(10, 1, "leave-out", g) == 1).all()
    )


def test_features_of_a_row_depend_on_the_row_alone() -> None:
    texts = ["# Title\n\n* **Bold:** yes", "", "plain words here", "😀 99 Problems"]
    every = features(["ask"] * 4, texts)
    for i, text in enumerate(texts):
        one = features(["ask"], [text])
        assert np.array_equal(every.words.rows(np.array([i])).index, one.words.index)
        assert np.array_equal(
            every.layout.rows(np.array([i])).count, one.layout.count
        ) and np.array_equal(every.style[i], one.style[0])
    assert np.isfinite(every.style).all()


def test_layout_sees_form_and_not_subject() -> None:
    assert list(skeleton("the cat sat\n- A dog")) == ["w", "\n", "-", " ", "W", " ", "w"] or list(
        skeleton("x")
    ) == ["w"]
    assert list(skeleton("some cats eat")) == list(skeleton("any dogs run fast")) == ["w"]
    assert list(skeleton("**Dogs:** 12")) != list(skeleton("**Dogs**: 12"))


def test_hashes_are_the_same_on_every_machine() -> None:
    assert (
        grams(np.array([1, 2], np.uint64), (1, 2)).tolist()
        == grams(np.array([1, 2], np.uint64), (1, 2)).tolist()
    )
    counted = features(["a"], ["hello world"]).words
    assert (
        counted.index.tolist() == sorted(counted.index.tolist()) and int(counted.count.sum()) == 3
    )
    assert Settings().least == 5
