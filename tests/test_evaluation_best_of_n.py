"""`bon` and `check` as plain functions: the curve against brute force, ragged groups, ties, and
what they refuse.
"""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.data import summary
from assay.data.summary import check
from assay.errors import InputError
from assay.evaluation import best_of_n_curve
from assay.evaluation.best_of_n_curve import bon
from assay.rewards.fit_file import fit


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def pool(prompts: int = 5, answers: int = 4) -> list[dict[str, Any]]:
    draw = np.random.default_rng(1)
    return [
        {
            "prompt": f"p{b}",
            "response": "x" * int(draw.integers(1, 50)),
            "gold": float(draw.normal()),
            "proxy": float(draw.normal()),
        }
        for b in range(prompts)
        for _ in range(answers)
    ]


def test_the_curve_is_the_mean_over_all_subsets(tmp_path: Path) -> None:
    rows = pool()
    found = bon(write(tmp_path / "s.jsonl", rows), gold="gold", proxy=["proxy"], ns=[1, 2, 3, 4])
    for k, n in enumerate(found["ns"]):
        want = [
            np.mean(
                [
                    max(some, key=lambda r: r["proxy"])["gold"]
                    for some in itertools.combinations([r for r in rows if r["prompt"] == p], n)
                ]
            )
            for p in {r["prompt"] for r in rows}
        ]
        assert found["curves"]["proxy"]["gold"][k] == pytest.approx(np.mean(want), abs=1e-9)
        assert found["kl"][k] == pytest.approx(math.log(n) - (n - 1) / n)
    line, oracle = found["curves"]["proxy"], found["oracle"]["gold"]
    assert all(
        low <= g <= high
        for low, g, high in zip(line["low"], line["gold"], line["high"], strict=True)
    )
    assert all(
        a <= b + 1e-12 for a, b in zip(line["gold"], oracle, strict=True)
    ) and oracle == sorted(oracle)
    assert line["proxy"] == sorted(line["proxy"]) and not found["completions"]["ragged"]
    json.dumps(found, allow_nan=False)


def test_ragged_groups_are_flagged_and_counted(tmp_path: Path) -> None:
    found = bon(write(tmp_path / "s.jsonl", pool()[:-2]), gold="gold")
    assert found["completions"] == {
        "least": 2,
        "most": 4,
        "ragged": True,
        "sizes": {"2": 1, "4": 4},
    }
    assert (
        found["curves"]["proxy"]["prompts"] == [5, 5, 4] and found["warnings"]["ragged groups"] == 1
    )
    whole = found["curves"]["proxy"]["best_of_all"]["gold"]
    rows = pool()[:-2]
    assert whole == pytest.approx(
        np.mean(
            [
                max((r for r in rows if r["prompt"] == f"p{b}"), key=lambda r: r["proxy"])["gold"]
                for b in range(5)
            ]
        )
    )
    assert any("ragged" in line or "fewer than 4" in line for line in best_of_n_curve.says(found))


def test_ties_share_and_repeated_answers_are_told(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "response": "same", "gold": g, "proxy": 1.0} for g in (0.0, 1.0)]
    found = bon(write(tmp_path / "s.jsonl", rows), gold="gold")
    assert (
        found["curves"]["proxy"]["gold"] == [0.5, 0.5]
        and found["curves"]["proxy"]["tied_at_the_top"] == 1.0
    )
    assert found["repeated_completions"] == 1 and any(
        "repeat another" in line for line in best_of_n_curve.says(found)
    )


def test_the_peak_and_what_is_lost_after_it(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"p{b}", "response": str(i), "proxy": i, "gold": -abs(i - 5)}
        for b in range(8)
        for i in range(8)
    ]
    found = bon(write(tmp_path / "s.jsonl", rows), gold="gold", ns=[1, 2, 4, 8])["curves"]["proxy"]
    assert (
        found["peak"]["n"] == 4
        and found["after_peak"]["gold"] < 0
        and found["after_peak"]["high"] < 0
    )


def test_length_is_always_there_to_choose_by(tmp_path: Path) -> None:
    rows = pool()
    found = bon(write(tmp_path / "s.jsonl", rows), gold="gold", proxy=["length", "proxy"])
    want = [
        max((r for r in rows if r["prompt"] == f"p{b}"), key=lambda r: len(r["response"]))["gold"]
        for b in range(5)
    ]
    assert found["curves"]["length"]["best_of_all"]["gold"] == pytest.approx(np.mean(want))


@pytest.mark.parametrize(
    ("rows", "options", "sentence"),
    [
        (pool(), {"gold": "golds"}, "no column 'golds'.*did you mean 'gold'"),
        (pool(), {"gold": "gold", "proxy": ["judge"]}, "no column 'judge'"),
        (pool(), {"gold": "gold", "ns": [9]}, "n = 9, and a prompt here has 1 to 4"),
        (pool(), {"gold": "gold", "ns": [0]}, "n = 0"),
        (pool(answers=1), {"gold": "gold"}, "one completion a prompt"),
        ([*pool(), {**pool()[0], "gold": None}], {"gold": "gold"}, "line 21, column 'gold': null"),
        (
            [*pool(), {**pool()[0], "proxy": "high"}],
            {"gold": "gold"},
            "line 21, column 'proxy': 'high'",
        ),
        ([{"response": "a", "gold": 1.0}], {"gold": "gold"}, "no|neither"),
    ],
)
def test_refusals(
    tmp_path: Path, rows: list[dict[str, Any]], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        bon(write(tmp_path / "s.jsonl", rows), **options)


def test_a_result_is_never_overwritten(tmp_path: Path) -> None:
    file = write(tmp_path / "s.jsonl", pool())
    bon(file, gold="gold", out=tmp_path / "bon.json")
    assert json.loads((tmp_path / "bon.json").read_text())["gold"] == "gold"
    with pytest.raises(InputError, match="never overwritten"):
        bon(file, gold="gold", out=tmp_path / "bon.json")


def test_check_says_what_a_file_is(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "chosen": "b", "rejected": "c", "note": 1},
        {"prompt": "d", "chosen": None, "rejected": "e", "note": 2},
    ]
    found = check(
        write(tmp_path / "a.jsonl", rows), against=[write(tmp_path / "b.jsonl", rows[:1])]
    )
    assert (
        not found["ok"]
        and found["kind"] == "pairs"
        and found["others"] == ["note"]
        and list(found["shared_prompts"].values()) == [1]
    )
    said = "\n".join(summary.says(found))
    assert (
        "2 rows, 1 usable" in said
        and "line 2, column 'chosen': null" in said
        and "error: 1 × null cell" in said
    )
    json.dumps(found, allow_nan=False)


def test_few_prompts_have_few_folds_and_one_has_none(tmp_path: Path) -> None:
    few = fit(write(tmp_path / "s.jsonl", pool(3)), score="gold", out=tmp_path / "R", members=2)
    one = fit(write(tmp_path / "t.jsonl", pool(1)), score="gold", out=tmp_path / "S", members=2)
    assert (
        few["folds"] == 3
        and few["accuracy"]["prompts"] == 3
        and one["folds"] == 0
        and one["accuracy"] is None
    )
    bare = [{k: v for k, v in r.items() if k != "proxy"} for r in pool(1)]
    with pytest.raises(InputError, match="--out-of-fold needs at least 2 prompts"):
        fit(
            write(tmp_path / "u.jsonl", bare),
            score="gold",
            out=tmp_path / "T",
            out_of_fold=tmp_path / "o.jsonl",
        )


def test_the_page_draws_every_proxy_and_is_never_overwritten(tmp_path: Path) -> None:
    file = write(tmp_path / "<b>s.jsonl", pool())
    bon(file, gold="gold", proxy=["proxy", "length"], page=tmp_path / "bon.html")
    text = (tmp_path / "bon.html").read_text(encoding="utf-8")
    assert (
        "best by proxy" in text
        and "best by length" in text
        and "<b>s.jsonl" not in text
        and "<svg" in text
    )
    with pytest.raises(InputError, match="never overwritten; give another file with --page"):
        bon(file, gold="gold", page=tmp_path / "bon.html")
