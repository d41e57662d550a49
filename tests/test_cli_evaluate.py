"""assay evaluate, and what fit, score and bon say at their end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_cli_files import pairs, responses, write

from assay import cli


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_fit_says_how_it_does_on_new_prompts_and_what_to_do_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [{"question" if k == "prompt" else k: v for k, v in r.items()} for r in pairs(40)]
    fit = ["fit", write("p.jsonl", rows[:30]), "-o", "R", "--members", "2"]
    fit += ["--columns", "prompt=question", "--held-out", write("h.jsonl", rows[25:])]
    assert cli.main(fit) == 0
    out, err = capsys.readouterr()
    said = out.splitlines()
    assert err == ""
    assert "evaluated on h.jsonl: 10 pairs of 10 prompts" in said
    assert any(line.split()[:2] == ["accuracy", "1.000"] and "1.000]" in line for line in said)
    assert not any("[1.000, 1.000]" in line for line in said), "ten right pairs are no certainty"
    assert any("calibration error" in line for line in said)
    assert any(line.startswith("note: 5 of 15 prompts of h.jsonl are among") for line in said)
    assert said[-4].startswith("wrote R: 2 members on words")
    assert said[-3].startswith(
        "checked: loaded by assay, its scores of 8 rows differ by at most 0 "
    )
    assert said[-2] == "next: assay score R ROWS.jsonl -o SCORED.jsonl"

    assert cli.main(["evaluate", "R", "h.jsonl", "--columns", "prompt=question"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "evaluated on h.jsonl: 15 pairs of 15 prompts"
    assert said[-1] == "next: assay run grpo --model MODEL --prompts PROMPTS.jsonl --rewards R"


def test_evaluate_takes_a_function_and_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    Path("judge.py").write_text(
        "def score(prompts, completions, weight):\n"
        "    return [w * len(c) for c, w in zip(completions, weight)]\n"
    )
    rows = [{**r, "weight": 1 + i} for i, r in enumerate(pairs(12))]
    words = ["evaluate", "judge.py:score", write("p.jsonl", rows), "--json"]
    assert cli.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    longer = sum(len(r["chosen"]) > len(r["rejected"]) for r in pairs(12)) / 12
    assert found["accuracy"]["mean"] == longer and found["pairs"] == 12
    assert found["length"]["scores_longer"] == 1 and found["members"][0]["name"] == "score"
    assert cli.main(["score", "judge.py:score", "p.jsonl", "-o", "s.jsonl"]) == 0
    assert "wrote s.jsonl: every row with the columns" in capsys.readouterr().out


def test_scored_responses_are_evaluated_within_prompts(capsys: pytest.CaptureFixture[str]) -> None:
    Path("judge.py").write_text(
        "def score(prompts, completions):\n    return [-float(len(c)) for c in completions]\n"
    )
    file = write("r.jsonl", [{k: v for k, v in r.items() if k != "guess"} for r in responses()])
    assert cli.main(["evaluate", "judge.py:score", file, "--score", "truth", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pairs"] == 6 * 6 and found["prompts"] == 6
    assert (found["ties"], found["accuracy"]["mean"]) == (0, 0), "the longest has the most truth"
    assert 0 < found["accuracy"]["high"] < 0.7 and found["accuracy"]["clusters"] == 6


def test_bon_says_which_n_to_run(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**r, "fair": 2 * r["truth"]} for r in responses()]
    bon = ["bon", write("r.jsonl", rows), "--gold", "truth"]
    assert cli.main([*bon, "--proxy", "fair", "-o", "curve.json"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-2] == "wrote curve.json" and said[-1].endswith("--rewards REWARD --most 4")
    assert cli.main([*bon, "--proxy", "guess"]) == 0
    assert "no proxy here is better than chance" in capsys.readouterr().out


def test_pairs_that_a_reward_was_fitted_to_are_warned_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit = ["fit", write("p.jsonl", pairs(30)[:20]), "-o", "R", "--members", "2"]
    assert cli.main(fit) == 0
    write("new.jsonl", pairs(30)[20:])
    capsys.readouterr()
    assert cli.main(["evaluate", "R", "new.jsonl"]) == 0
    assert capsys.readouterr().err == ""
    assert cli.main(["evaluate", "R", "p.jsonl"]) == 0
    assert "warning: R was fitted to these pairs, so the evaluation is too good" in (
        capsys.readouterr().err
    )


def test_a_file_of_conversations_is_named_and_a_reward_that_ties_all_is_warned_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("judge.py").write_text(
        "def score(prompts, completions): return [float(len(c)) for c in completions]\n"
    )
    rows = [
        {
            "prompt": [{"role": "user", "content": r["prompt"]}],
            **{k: [{"role": "assistant", "content": r[k]}] for k in ("chosen", "rejected")},
        }
        for r in pairs(12)
    ]
    file = write("talks.jsonl", rows)
    assert cli.main(["check", file]) == 0
    assert "12 rows are read as conversations: a reward function gets lists of messages" in (
        capsys.readouterr().out
    )
    assert cli.main(["evaluate", "judge.py:score", file]) == 0
    err = capsys.readouterr().err
    assert "warning: score gives both texts of all 12 pairs the same score; the file holds" in err
    assert cli.main(["check", write("p.jsonl", pairs(12))]) == 0
    assert "conversation" not in capsys.readouterr().out
