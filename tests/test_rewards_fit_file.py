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
from assay.rewards.fit_file import fit
from assay.rewards.linear_text import LinearTextReward
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
        if a["fold"] == 0:  # scored by members of folds 1 to 3, whose data did not change
            assert a["proxy_members"] == b["proxy_members"]


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
    assert torch.equal(LinearTextReward.load(folder / "copy").scores(asks, texts), whole)


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
            row["proxy_members"] == pytest.approx(judges.tolist(), abs=1e-6)
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
    from assay.rewards.score_file import columns_of

    scores = torch.randn(3, 8, dtype=torch.float64)
    asks = ["a"] * 5 + ["b"] * 3
    shifted = scores + torch.tensor([[1.0], [-3.0], [2.0]])
    one, two = columns_of(asks, scores, lam=0.5), columns_of(asks, shifted, lam=0.5)
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
        ({"base": "no/such-folder-here/at-all"}, "there is no folder no/such-folder-here/at-all"),
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
    with pytest.raises(InputError, match="no prompt has two completions with different scores"):
        fit(same, score="s", out=tmp_path / "R")
    with pytest.raises(InputError, match="holds prompts"):
        fit(write(tmp_path / "asks.jsonl", [{"prompt": "p"}]), out=tmp_path / "R")
    two = write(tmp_path / "two.jsonl", [{"prompt": "p", "response": "x", "s": 1.0, "t": 2.0}])
    with pytest.raises(InputError, match=r"--score COLUMN; .* s \(1 to 1\), t \(2 to 2\)"):
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
