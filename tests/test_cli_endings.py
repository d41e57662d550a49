"""The last lines of verbs: on stderr, what to do next, with commands that are accepted."""

from __future__ import annotations

import doctest
import importlib
import shlex
from pathlib import Path

import pytest
from test_cli_help import accepted
from test_cli_run import SMALL, _elsewhere  # noqa: F401  (a fixture)

from assay import cli


def ended(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, dict[str, str]]:
    """What a verb printed on stdout, and its last lines by their first words."""
    capsys.readouterr()
    assert cli.main([*words]) == 0
    out, err = capsys.readouterr()
    return out, dict(line.split(":", 1) for line in err.strip().splitlines() if ": " in line)


def test_verbs_say_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", "leave_one_out", *SMALL]
    out, last = ended(capsys, *run, "--out", "my runs/a")
    assert out.splitlines()[-1] == "my runs/a", "the folder alone is the last line of stdout"
    assert shlex.split(last["report"]) == ["assay", "report", "my runs/a", "-o", "report.html"]
    assert "weights" not in last, "transformers cannot load a policy of the table"
    accepted(last["report"].strip())
    out, last = ended(capsys, "report", "my runs/a")
    assert last["look at it"].strip() == "open report.html in a browser"
    assert Path("report.html").exists()
    sweep = ["sweep", "leave_one_out", "kl_in_loss", *SMALL, "--seeds", "0", "--out", "s"]
    _, last = ended(capsys, *sweep)
    for line in last.values():
        accepted(line.strip())
    assert last["compare"].strip() == "assay compare s"


@pytest.mark.parametrize("flag", ["--json", "--quiet"])
def test_programs_hear_no_hints(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "leave_one_out", *SMALL, "--out", "a", flag]) == 0
    err = capsys.readouterr().err
    assert "assay report" not in err
    assert cli.main(["claims", flag]) == 0
    assert capsys.readouterr().err == ""


def test_a_file_of_pairs_leads_to_a_fit(capsys: pytest.CaptureFixture[str]) -> None:
    row = '{"prompt": "p", "chosen": "a", "rejected": "b"}\n'
    Path("pairs.jsonl").write_text(row)
    _, last = ended(capsys, "check", "pairs.jsonl")
    assert last["next"].strip() == "assay fit pairs.jsonl --out reward"
    accepted(last["next"].strip())


@pytest.mark.parametrize("name", ["cli.endings", "cli.doctor", "cli.showing", "core.rng"])
def test_examples_of_docstrings_hold(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"assay.{name}"))
    assert found.attempted > 0 and found.failed == 0
