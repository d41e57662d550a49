"""--label-map and the lines about the label, from the command line and from Python."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

import assay
from assay import cli
from assay.api.arguments import pythonic
from assay.api.values import shown, value
from assay.errors import InputError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def opened(n: int = 24, one: Any = 1, zero: Any = 0) -> list[dict[str, Any]]:
    """Verdicts of which 0 means the first completion, the good one."""
    return [
        {
            "prompt": f"question {i}",
            "response_a": f"a bad answer {i}" if i % 2 else f"the best of all {i}",
            "response_b": f"the best of all {i}" if i % 2 else f"a bad answer {i}",
            "label": one if i % 2 else zero,
        }
        for i in range(n)
    ]


def write(rows: list[dict[str, Any]], name: str = "open.jsonl") -> str:
    Path(name).write_text("".join(json.dumps(r) + "\n" for r in rows))
    return name


JUDGE = "def f(prompts, completions):\n    return [float('best' in c) for c in completions]\n"
FIT = ["--members", "2", "--folds", "2", "-o", "reward"]
MAP = ["--label-map", "0=first,1=second"]
SAYS = "label: column label (0 = response_a is better, 1 = response_b, as --label-map says)"
ROW = '  row 1: chosen "the best of all 0", rejected "a bad answer 0", p 1'


@pytest.mark.parametrize("verb", [["check"], ["fit", *FIT], ["evaluate", "judge.py:f"]])
def test_an_open_label_stops_every_verb_with_both_flags(
    verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("judge.py").write_text(
        "def f(prompts, completions):\n    return [len(c) for c in completions]\n"
    )
    assert cli.main([*verb, write(opened())]) == 2
    said = capsys.readouterr().err
    assert "--label-map 1=first,0=second" in said and MAP[1] in said
    assert not Path("reward").exists()


def test_check_and_fit_say_what_they_took_for_the_label(capsys: pytest.CaptureFixture[str]) -> None:
    file = write(opened())
    assert cli.main(["check", file, *MAP]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert SAYS in lines and ROW in lines and sum(x.startswith("  row ") for x in lines) == 3
    assert f"assay fit {file} --out reward --label-map 0=first,1=second" in told.out + told.err
    assert cli.main(["fit", file, *MAP, *FIT]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert SAYS in lines and ROW in lines
    about = json.loads(Path("reward/fit.json").read_text())
    assert about["label"]["column"] == "label" and len(about["label"]["rows"]) == 3
    assert about["label"]["rows"][0] == {
        "row": 1,
        "chosen": "the best of all 0",
        "rejected": "a bad answer 0",
        "p": 1.0,
    }
    assert about["arguments"]["label_map"] == {"0": "first", "1": "second"}


def test_a_map_turns_an_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    Path("judge.py").write_text(
        "def f(prompts, completions):\n    return ['best' in c for c in completions]\n"
    )
    file = write(opened())
    found = []
    for said in ("0=first,1=second", "1=first,0=second"):
        argv = ["evaluate", "judge.py:f", file, "--label-map", said, "--json"]
        assert cli.main(argv) == 0
        found.append(json.loads(capsys.readouterr().out)["accuracy"]["mean"])
    assert found == [1.0, 0.0]


def test_words_become_scores_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"prompt": "q", "response": w, "rating": w} for w in ("good", "bad")]
    argv = ["check", write(rows), "--label-map", "good=1,bad=0", "--json"]
    assert cli.main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["usable"], found["parts"]["score"]) == ("scored", 2, "rating")
    assert found["label"]["says"].startswith("good = 1, bad = 0, as --label-map says")


def test_a_fit_in_python_logs_the_label_and_keeps_it(caplog: pytest.LogCaptureFixture) -> None:
    rows = opened(one=True, zero=False)
    with pytest.raises(InputError, match=r'label_map=\{"true": "first", "false": "second"\}'):
        assay.fit_reward(rows, members=2)
    with caplog.at_level(logging.INFO, logger="assay"):
        rm = assay.fit_reward(rows, members=2, label_map={False: "first", True: "second"})
    assert "assay: label: column label (false = response_a is better, true = " in caplog.text
    assert ROW.strip() in caplog.text
    assert rm.about["label"]["rows"][0]["chosen"] == "the best of all 0"
    assert rm.evaluate(rows, label_map={False: 1.0, True: 0}).accuracy.mean > 0.5


def test_mappings_in_sentences_are_dicts_in_python() -> None:
    assert pythonic(
        "give --columns chosen=a,rejected=b,p=label, or --label-map -1=first,0.5=tie."
    ) == (
        'give columns={"chosen": "a", "rejected": "b", "p": "label"}, or '
        'label_map={"-1": "first", "0.5": "tie"}.'
    )


def test_a_map_with_commas_is_typed_as_json() -> None:
    given = {"a, clearly": "first", "b": "second"}
    assert value(shown(given), dict[str, str], "--label-map") == given
    assert shown({"1": "first", "0": "second"}) == "1=first,0=second"
