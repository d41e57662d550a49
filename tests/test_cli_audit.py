"""assay audit from the outside: flags, exit codes, sentences; and assay.audit beside it."""

from __future__ import annotations

import json
from pathlib import Path

import hackable_rewards as made
import pytest
from families import checkpoint
from test_cli_files import write

import assay
from assay import cli
from assay.errors import InputError

HERE = Path(__file__).resolve().parent
JUDGE = f"{HERE / 'hackable_rewards.py'}"
FAST = ("--words", "0", "--no-stability")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("c.jsonl", made.completions(24, 4))


def test_a_reward_that_fails_ends_with_one_and_a_sentence_for_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["audit", f"{JUDGE}:flattery", "--scored", "c.jsonl", *FAST]) == 1
    out, err = capsys.readouterr()
    said = out.splitlines()
    every, some = (f"{n} completions of 24 prompts" for n in (96, 48))
    assert said[0] == f"audit of flattery on c.jsonl: {every}; {some} probed"
    row = next(line for line in said if line.startswith("  flattering"))
    assert row.endswith("does not rise   fails") and "100 % [" in row
    assert [line for line in err.splitlines() if line.startswith("assay: fails: ")] == [
        line for line in err.splitlines() if "flattery, probe flattering: +" in line
    ]
    assert said[-1] == "11 checks: 1 fails, 10 pass"


def test_a_sound_reward_ends_with_zero(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audit", f"{JUDGE}:exact", "--scored", "c.jsonl", "--probes", "padded,prompt"]
    assert cli.main([*words, *FAST]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "2 checks: 2 pass" and "fails" not in err


def test_thresholds_are_flags(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audit", f"{JUDGE}:length", "--scored", "c.jsonl", "--probes", "headings,empty", *FAST]
    assert cli.main([*words, "--max-effect", "9"]) == 0
    assert cli.main([*words, "--max-effect", "0.1"]) == 1
    capsys.readouterr()
    assert cli.main([*words, "--max-effect", "9", "--min-fall", "50"]) == 1
    assert "probe empty: -" in capsys.readouterr().err
    assert cli.main([*words, "--max-effect", "9", "--max-length-correlation", "0.2"]) == 1
    assert "correlation with length: +0." in capsys.readouterr().err


def test_few_prompts_decide_nothing_and_fail_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    file = write("few.jsonl", made.completions(5, 4))
    words = ["audit", f"{JUDGE}:flattery", "--scored", file, "--probes", "flattering"]
    assert cli.main([*words, *FAST]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 check: 1 undecided"


def test_json_is_what_python_returns(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audit", f"{JUDGE}:form", "--scored", "c.jsonl", "--probes", "list", "--json"]
    assert cli.main([*words, *FAST]) == 1
    found = json.loads(capsys.readouterr().out)
    mine = assay.audit(f"{JUDGE}:form", scored="c.jsonl", probes=("list",), words=0)
    assert json.loads(mine.to_json())["probes"] == found["probes"]
    assert found["probes"][0]["change"]["mean"] > 1 and found["verdicts"] == {"fails": 1}
    assert not mine.ok and len(mine.failed) == 1
    (record,) = mine.records()
    assert record["probe"] == "list" and record["low"] < record["mean"] < record["high"]
    assert list(mine.to_pandas().columns) == list(record)


def test_several_rewards_are_audited_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audit", f"{JUDGE}:exact", f"{JUDGE}:form", f"{JUDGE}:exact", "--scored", "c.jsonl"]
    assert cli.main([*words, "--probes", "list", "--json", *FAST]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [r["name"] for r in found["rewards"]] == ["exact", "form", "exact #2"]
    assert [c["verdict"] for c in found["checks"]] == ["passes", "fails", "passes"]


def test_completions_of_a_model_are_sampled(capsys: pytest.CaptureFixture[str]) -> None:
    model = checkpoint(Path("tiny"), "llama")
    file = write("p.jsonl", [{"prompt": f"the old mill {i}", "answer": i} for i in range(3)])
    words = ["audit", f"{JUDGE}:exact", "--model", str(model), "--prompts", file]
    words += ["-n", "4", "--max-tokens", "6", "--probes", "padded", "--json"]
    assert cli.main([*words, "--gold", f"{JUDGE}:exact"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["completions"]["completions"] == 12 and found["completions"]["prompts"] == 3
    assert "length" in found and found["length"]["gold"] is not None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "an audit needs completions, from --scored FILE or sampled from --model"),
        (["--model", "m"], "give them by --prompts FILE"),
        (["--scored", "c.jsonl", "--model", "m", "--prompts", "p"], "and both are given"),
        (["--scored", "c.jsonl", "--prompts", "p"], "leave --prompts out"),
        (["--scored", "c.jsonl", "--probes", "pad"], "'pad', and there is no such probe"),
        (["--scored", "c.jsonl", "--max-effect", "-1"], "--max-effect is -1.0; give a number 0"),
        (["--scored", "c.jsonl", "--a-prompt", "0"], "--a-prompt is 0; give at least 1"),
        (["--scored", "c.jsonl", "--gold", "rihgt"], "'rihgt'"),
        (["--scored", "none.jsonl"], "none.jsonl"),
    ],
)
def test_what_cannot_be_audited_is_one_sentence(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["audit", f"{JUDGE}:exact", *words]) == 2
    err = capsys.readouterr().err
    assert says in err and "Traceback" not in err


def test_an_audit_needs_a_reward_and_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", "--scored", "c.jsonl"]) == 2
    assert "an audit needs a reward" in capsys.readouterr().err
    rows = [{k: v for k, v in r.items() if k != "answer"} for r in made.completions(4, 2)]
    assert cli.main(["audit", f"{JUDGE}:exact", "--scored", write("n.jsonl", rows)]) == 2
    assert "reward exact needs a column 'answer'" in capsys.readouterr().err
    with pytest.raises(InputError, match="one completion a prompt"):
        assay.audit(
            made.form, scored=[{"prompt": f"{i}", "response": "a", "answer": 1} for i in range(3)]
        )
    with pytest.raises(InputError, match="beside scored it is the name of a column"):
        assay.audit(made.form, scored="c.jsonl", gold=made.exact)


def test_several_rewards_are_read_by_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    rewards = [f"{JUDGE}:{name}" for name in ("length", "flattery")]
    cli.main(["audit", *rewards, "--scored", "c.jsonl", *FAST, "--json"])
    found = json.loads(capsys.readouterr().out)["members"]
    assert found["names"] == ["length", "flattery"]
    assert found["parting"]["ns"] == [1, 2, 4] and found["parting"]["prompts"] == 24
    assert found["turning"] is None and "members of one ensemble" in found["says"][-1]
    cli.main(["audit", rewards[0], "--scored", "c.jsonl", *FAST, "--json"])
    assert json.loads(capsys.readouterr().out)["members"] is None


def test_members_that_cannot_be_compared_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    Path("flat.py").write_text("def flat(prompts, completions):\n    return [1.0] * len(prompts)\n")
    cli.main(["audit", f"{JUDGE}:length", "flat.py:flat", "--scored", "c.jsonl", *FAST])
    assert "Not measured: reward model 1 " in capsys.readouterr().out
