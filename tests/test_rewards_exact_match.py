"""A column of right answers as a judge: what counts as the same, and a run whose gold it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from families import checkpoint

from assay import cli
from assay.core import InputError
from assay.records.runs import Run
from assay.rewards.exact_match import ExactMatch, accepted, normal


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("Paris", " paris. ", True),
        ("the  Old\nMill", "The old mill", True),
        ("1,000", "1000.0", True),
        ("+42", "42", True),
        ("“yes”", "Yes!", True),
        ("ﬁne", "fine", True),
        ("STRASSE", "straße", True),
        ("1,00", "100", False),
        ("1_000", "1000", False),
        ("Paris, France", "Paris", False),
        ("nan", "NaN", True),
        ("0.1", "0.10", True),
        ("no", "not", False),
        ("-1", "1", False),
    ],
)
def test_what_is_the_same(a: str, b: str, same: bool) -> None:
    assert (normal(a) == normal(b)) == same


def test_any_of_a_list_is_right_and_an_empty_answer_is_not() -> None:
    judge = ExactMatch("answer")
    cells = [["tea", "black tea"], 4, "x", ["", None], True]
    scores = judge.scores(["?"] * 5, ["Black tea.", "4.0", "", "", "true"], None, {"answer": cells})
    assert scores.tolist() == [[1.0, 1.0, 0.0, 0.0, 0.0]] and accepted([None, {}]) == set()
    with pytest.raises(
        InputError,
        match=r"--world.gold is 'match:answer', and prompt 3 of p.jsonl \(counted from 0\) has",
    ):
        judge.possible({"answer": cells}, range(5), "world.gold", "p.jsonl")
    with pytest.raises(InputError, match="p.jsonl has no column 'answer'; it has topic$"):
        judge.possible({"topic": ["x"]}, [0], "world.gold", "p.jsonl")


@pytest.mark.full
def test_a_run_whose_gold_is_a_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the model's own first token where it is always drawn, so that some answers are right."""
    model = checkpoint(tmp_path / "m", "llama")
    rows = [
        {"prompt": f"what is {w}?", "answer": [chr(c) for c in range(33, 127)]} for w in "abcdefgh"
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    flags = [
        "--world",
        "hub",
        "--world.policy",
        str(model),
        "--world.prompts",
        str(tmp_path / "p.jsonl"),
        "--held-out",
        "4",
        "--world.rewards",
        "match:answer",
        "--world.gold",
        "match:answer",
        "--max-tokens",
        "2",
        "--max-steps",
        "1",
        "--batch-size",
        "2",
        "--num-generations",
        "8",
        "--eval-generations",
        "16",
        "--eval-steps",
        "1",
        "--learning-rate",
        "0.01",
        "--dtype",
        "float64",
    ]
    assert cli.main(["run", "leave_one_out", *flags, "--out", str(tmp_path / "run")]) == 0
    run = Run.open(tmp_path / "run")
    first = run.readings()[0]
    assert (
        run.about["gold_kind"] == "verifier"
        and run.about["golds"] == ["match answer"] == run.about["rewards"]
    )
    assert (
        run.about["world"]["dtype"] == "float64"
        and "device" not in run.about["world"]
        and run.about["run"]["device"] == "cpu"
    )
    assert 0 < first["gold"] < 1 and first["gold"] == first["proxy"]
    assert cli.main(["run", "--resume", "--out", str(tmp_path / "run"), "--dtype", "float32"]) == 2
    assert "is done already" in capsys.readouterr().err
    del rows[0]["answer"]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert cli.main(["run", "leave_one_out", *flags, "--out", str(tmp_path / "no")]) == 2
    assert "prompt 0 of" in capsys.readouterr().err
