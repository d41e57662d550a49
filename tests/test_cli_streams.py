"""Real pipes whose reader goes: no traceback, on stdout or stderr, in the middle or at the end."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from assay.cli import libraries
from assay.evaluation.alerts import Alerts
from assay.records.runs import Run

ASSAY = f"{sys.executable} -m assay"


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("reader", ["head -1", "head -c 1", "true"])
@pytest.mark.parametrize("words", ["--help", "run grpo --help", "show dpo", "completion bash"])
def test_a_reader_of_results_that_goes_leaves_no_traceback(words: str, reader: str) -> None:
    assert shell(f"{ASSAY} {words} --quiet | {reader} > /dev/null").stderr == ""


def test_a_run_goes_on_when_nobody_reads_its_lines(tmp_path: Path) -> None:
    """What was asked for is its folder."""
    small = "--world table --world.pairs 40 --world.members 1 --max-steps 4 --eval-steps 1"
    run = f"{ASSAY} run leave_one_out {small} --eval-generations 2 --out {tmp_path / 'a'}"
    told = shell(f"set -o pipefail; {run} | true; echo $?")
    assert told.stdout.strip() == "0" and "Traceback" not in told.stderr
    assert "nobody reads the lines any more; the run goes on" in told.stderr
    assert len((tmp_path / "a" / "readings.jsonl").read_text().splitlines()) == 6
    assert Run.open(tmp_path / "a").about["state"] == "done"


def test_a_reader_of_errors_that_goes_keeps_the_exit_code() -> None:
    told = shell(f"{{ {ASSAY} lst 2>&3; echo $? >&2; }} 3> >(true)")
    assert told.stderr.strip() in ("2", "1")
    assert "Traceback" not in told.stderr


def test_a_closed_stream_is_no_error() -> None:
    told = shell(f"{ASSAY} --version >&-; echo $?")
    assert (told.stdout.strip(), told.stderr) == ("0", "")
    assert shell(f"{ASSAY} lst 2>&-; echo $?").stdout.strip() == "2"


def test_warnings_of_libraries_are_for_verbose(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "import warnings\nwarnings.warn('an old name', FutureWarning)\n"
        "paper = Paper('T', 'A', 2020, 'u')\ndef recipe(task, *, loop=None): ...\nPaper = None\n"
    )
    code = "import sys; from assay.cli import entry; sys.argv = ['assay', *sys.argv[1:]]; entry()"
    lines = [sys.executable, "-c", f"import warnings, logging\n{code}", "doctor", "--no-hub"]
    loud = "import warnings; warnings.warn('an old name', FutureWarning)"
    hushed = f"from assay.cli import libraries; libraries.hush_warnings(); {loud}"
    assert "old name" in subprocess.run(
        [sys.executable, "-c", loud], capture_output=True, text=True, timeout=60
    ).stderr  # fmt: skip
    quiet = subprocess.run(
        [sys.executable, "-c", hushed], capture_output=True, text=True, timeout=60
    )
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert subprocess.run(lines, capture_output=True, text=True, timeout=120).stderr == ""


def test_what_a_user_set_themselves_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "info")
    monkeypatch.delenv("DATASETS_VERBOSITY", raising=False)
    libraries.hush(verbose=False, quiet=False)
    assert os.environ["TRANSFORMERS_VERBOSITY"] == "info"
    assert os.environ["DATASETS_VERBOSITY"] == "error"


def test_own_warnings_say_that_they_are_and_each_kind_of_training_s_comes_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = logging.getLogger("assay")
    before = list(log.handlers)
    try:
        libraries.hush(verbose=False, quiet=False)
        libraries.hush(verbose=False, quiet=False)
        log.warning("assay: the disk is nearly full\x1b[2J")
        for _ in range(2):
            reading = {"step": 5, "stats": {"frac_reward_zero_std": 1.0}}
            Alerts()(reading)
    finally:
        log.handlers = before
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "warning: the disk is nearly full⟨U+001B⟩[2J"
    assert len(said) == 2 and said[1].startswith("warning: all completions of every prompt")
