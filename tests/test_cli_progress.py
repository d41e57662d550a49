"""Without a terminal a long run says once a minute how far it is, and a short one says nothing."""

from __future__ import annotations

import time

import pytest

from assay.cli import progress as shown
from assay.cli import screen
from assay.engine import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def run(clock: list[float], *, steps: int, seconds: float) -> None:
    """Steps of a run within a sweep; each is generated in two halves."""
    with (
        progress.shown_by(shown.Lines()),
        progress.stage("sweep", 2, "runs"),
        progress.stage("grpo", steps, "steps") as going,
    ):
        for _ in range(steps):
            with progress.stage("generating", 2, "completions") as inner:
                for _ in range(2):
                    clock[0] += seconds / 2
                    inner.advance()
            going.advance()


def test_a_long_run_has_a_line_a_minute(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    run(clock, steps=4, seconds=90.0)
    out, err = capsys.readouterr()
    assert not out and err.splitlines() == [
        "step 1 of 4: generating",
        "step 1 of 4, 90 s a step, about 3 min left",
        "step 2 of 4, 90 s a step, about 90 s left",
        "step 3 of 4, 90 s a step",
    ]


def test_a_run_of_less_than_a_minute_has_none_nor_has_a_quiet_one(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    run(clock, steps=5, seconds=10.0)
    screen.quiet(True)
    try:
        run(clock, steps=4, seconds=90.0)
    finally:
        screen.quiet(False)
    assert capsys.readouterr().err == ""


def test_a_long_line_is_folded_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    line = "           watch: go on: step 20 is the best so far, 12 of 550 labels spent"
    folded = screen.hung(f"short\n{line}").split("\n")
    assert folded[0] == "short" and max(map(len, folded)) <= 40
    assert folded[2].startswith(" " * 13) and " ".join(" ".join(folded[1:]).split()) == line.strip()


def test_what_a_record_holds_cannot_move_a_terminal_s_cursor(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen.note("best: step 1: \x1b[2Jits gold")
    screen.teller(True, False)("watch: \x1b]0;title\x07go on\nnext line")
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err and "⟨U+001B⟩[2Jits gold" in err
    assert out.count("\n") == 2, "lines stay lines"
