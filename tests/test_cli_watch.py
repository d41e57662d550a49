"""`assay watch status` on runs that functions and gold have watched."""

from __future__ import annotations

import pytest
from test_watch_run import RUN, _elsewhere  # noqa: F401  # a fixture

from assay import cli
from assay.errors import InputError
from assay.watch.labelers.people import LabelStore


def test_every_watched_run_has_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    """Also one whose labels people had no part in."""
    for by in ("judge.py:gold", "gold"):
        out = by.partition(".")[0]
        words = ["--max-steps", "8", "--watch", by, "--watch.budget", "40", "--out", out]
        assert cli.main([*RUN, *words]) == 0
        said = capsys.readouterr().err.splitlines()
        plan = next(line for line in said if line.startswith("watch: "))
        assert plan.startswith("watch: 40 labels for 2 looks: 14 a look"), said
        assert cli.main(["watch", "status", out]) == 0
        told = capsys.readouterr().out
        assert f"labeled by {by}" in told and "0 waiting" in told
    with pytest.raises(InputError, match=r"no questions for people .judge.py:gold labeled it."):
        LabelStore("judge")
