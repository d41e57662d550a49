"""What a person sees: bars on a terminal that move within a step, plain lines elsewhere."""

from __future__ import annotations

import itertools
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assay.api.progress import Notebook, Stack, page
from assay.cli import progress as cli_progress
from assay.cli import screen
from assay.engine import progress

SLOW = """
import sys, time
from assay import cli
from assay.models.samplers.decoding import CausalDecoding

step = CausalDecoding.step
def slowly(self):
    time.sleep(0.15)
    return step(self)
CausalDecoding.step = slowly
sys.exit(cli.main(sys.argv[1:]))
"""
ROOT = str(Path(__file__).parents[1])
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(words: list[str], folder: Path, **env: str) -> tuple[str, list[float]]:
    """What a command writes to a pseudo-terminal, and when."""
    main, side = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW, *words],
        stdout=side,
        stderr=side,
        stdin=subprocess.DEVNULL,
        cwd=folder,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "PYTHONPATH": ROOT, **env},
    )
    os.close(side)
    said, times = b"", []
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if select.select([main], [], [], 1.0)[0]:
            try:
                some = os.read(main, 1 << 16)
            except OSError:  # the other side is closed
                break
            if not some:
                break
            said += some
            times.append(time.monotonic())
        elif child.poll() is not None:
            break
    assert child.wait(timeout=10) == 0, said.decode()[-2000:]
    os.close(main)
    return said.decode(errors="replace"), times


def small_run(folder: Path, tokens: int = 12) -> list[str]:
    from families import checkpoint

    asks = "\n".join(f'{{"prompt": "tell me of {i}"}}' for i in range(12))
    (folder / "asks.jsonl").write_text(asks, encoding="utf-8")
    (folder / "f.py").write_text(
        "def score(prompts, completions):\n    return [float(len(c)) for c in completions]\n",
        encoding="utf-8",
    )
    model = str(checkpoint(folder / "model", "llama"))
    return (
        f"run grpo --model {model} --prompts asks.jsonl --rewards f.py:score --gold f.py:score "
        f"--max-tokens {tokens} --max-steps 1 --batch-size 2 -n 2 --eval-generations 1 --out run"
    ).split()


def test_the_bar_moves_within_a_step_and_nothing_is_silent(tmp_path: Path) -> None:
    said, times = on_terminal(small_run(tmp_path), tmp_path)
    plain = ANSI.sub("", said)
    within = {int(n) for n in re.findall(r"generating 4 completions\D+(\d+)/12 tokens", plain)}
    assert len(within) >= 4, "several pictures of one step"
    assert re.search(r"grpo\s.*0/1 steps", plain)
    assert max(b - a for a, b in itertools.pairwise(times)) < 2.0
    assert "3 of its 12 prompts are held out" in " ".join(plain.split())
    assert re.search(r"[\r\n]run\r?\n", plain) and "\x1b[?25h" in said, "the cursor is shown again"


@pytest.mark.full
def test_no_color_is_honoured(tmp_path: Path) -> None:
    said, _ = on_terminal(small_run(tmp_path, 2), tmp_path, NO_COLOR="1")
    assert "tokens" in said and not re.search(r"\x1b\[[0-9;]*3[0-9]m", said)


def test_without_a_terminal_a_line_says_what_took_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.quiet(False)
    monkeypatch.setattr(cli_progress, "SOON", 0.02)
    with cli_progress.shown():
        with progress.stage("loading gpt2"):
            time.sleep(0.03)
        with progress.stage("quick"):
            pass
        with progress.stage("sweep", 1, "runs"):
            with progress.stage("building world hub"):
                time.sleep(0.03)
            with progress.stage("grpo", 2, "steps"), progress.stage("generating 8 completions"):
                time.sleep(0.03)
        with progress.stage("watching", 1, "readings"):
            time.sleep(0.03)
    assert capsys.readouterr().err == "loading gpt2: 0 s\nbuilding world hub: 0 s\n"


def test_quiet_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "_QUIET", True)
    with cli_progress.shown():
        assert not progress.is_shown()


def test_a_notebook_s_cell_shows_escaped_lines_and_is_emptied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("assay.api.progress.MOMENT", 0.0)
    shown: list[str] = []

    def show(text: str) -> object:
        shown.append(text)
        return shown.append

    notebook = Notebook(show)  # type: ignore[arg-type]
    with notebook.shown(), progress.stage("loading <b>", 4, "files") as stage:
        stage.advance(3)
        text = page(notebook)
        time.sleep(0.6)
    assert "loading &lt;b&gt;" in text and 'value="3.000" max="4"' in text and "3/4 files" in text
    assert any("3/4 files" in s for s in shown) and shown[-1] == ""


def test_the_run_and_what_it_does_now_are_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.api.progress.MOMENT", 0.0)
    stack = Stack()
    with (
        progress.shown_by(stack),
        progress.stage("grpo", 20, "steps") as run,
        progress.stage("reading"),
        progress.stage("generating 8 completions", 16, "tokens") as going,
    ):
        run.advance(5)
        going.advance(4)
        first, second = stack.lines()
    assert (first.name, first.reached) == ("grpo", 5) and "5/20 steps" in first.counts
    assert second.name == "reading › generating 8 completions"
    assert second.short == "generating 8 completions" and "left" in second.counts
    assert stack.stages == []
