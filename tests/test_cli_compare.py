"""compare on a terminal: tables that its columns hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_evaluation_compare import folder  # noqa: F401  (a fixture)

from assay.cli.compare import for_terminal
from assay.engine.clean_stream import STYLE
from assay.evaluation.compare import compare


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_gets_aligned_tables_and_no_markdown(
    folder: Path,
    columns: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    found, _ = compare([folder], baseline="leave_one_out")
    lines = re.sub(rf"{STYLE}\[[0-9;]*m", "", for_terminal(found)).splitlines()
    assert max(map(len, lines)) <= columns and not any("|" in line for line in lines)
    mine = [line.split() for line in lines if line.startswith("mine")]
    assert " ".join(mine[0]) == "mine 6 0.00 ± 0.00 4.8 ± 2.2 0.50 ± 0.00 4.2 ± 2.2"
    assert " ".join(mine[2]) == "mine gold at equal KL +0.995 ± 0.096 * 6/6 100 %"
