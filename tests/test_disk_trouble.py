"""A disk that refuses: whatever write fails, and however, a run ends in one sentence, leaves whole
files, and goes on to the same end.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from families import checkpoint as tiny
from safetensors import SafetensorError
from test_cli_run import _elsewhere, readings  # noqa: F401  (a fixture)

import assay
from assay import cli
from assay.engine import checkpoint
from assay.engine.atomic import forget_fresh
from assay.engine.os_errors import not_written
from assay.errors import InputError, NotWritten
from assay.records.best import CARRY
from assay.records.lines import read_lines, write_lines
from assay.records.runs import Run

RUN = [
    *("run", "leave_one_out", "--world", "table", "--world.pairs", "40", "--world.prompts", "8"),
    *("--world.members", "2", "--max-steps", "3", "--save-steps", "1", "--eval-steps", "2"),
]


class Fault:
    """Makes the n-th write of a process fail, and with `on` all later ones too."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, *, on: bool, code: int):
        self.at, self.on, self.code, self.count = at, on, code, 0
        for owner, name in ((os, "replace"), (os, "fsync"), (Path, "write_bytes"), (Path, "mkdir")):
            patch.setattr(owner, name, self.failing(getattr(owner, name)))
        patch.setattr(checkpoint, "save_file", self.failing(checkpoint.save_file, rust=True))

    def failing(self, real: Callable[..., Any], rust: bool = False) -> Callable[..., Any]:
        def write(*given: Any, **named: Any) -> Any:
            self.count += 1
            if self.count == self.at or (self.on and self.count > self.at):
                said = os.strerror(self.code)
                if rust:
                    raise SafetensorError(f"Error while serializing: {said} (os error {self.code})")
                raise OSError(self.code, said)
            return real(*given, **named)

        return write


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The readings of a run that never failed, and how many writes it makes."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        fault = Fault(patch, 0, on=False, code=errno.ENOSPC)
        assert cli.main([*RUN, "--out", str(out)]) == 0
    return readings(str(out)), fault.count


@pytest.mark.parametrize("on", [False, True])
def test_a_run_goes_on_to_the_same_end_whichever_write_fails(
    on: bool, whole: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, count = whole
    assert count > 20
    for at in range(1, count + 1):
        code = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE)[at % 5]
        out = f"at-{at}"
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            Fault(patch, at, on=on, code=code)
            assert cli.main([*RUN, "--out", out]) == 1, f"write {at} failed in silence"
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert os.strerror(code) in said.splitlines()[-1]
        assert not [p for p in Path().rglob("*") if p.name.endswith(".new")], at
        if Path(out, "run.json").exists():
            assert said.endswith(f"; then go on with: assay run --resume --out {out}\n"), said
            if not on:
                assert Run.open(out).record.state == "failed"
                assert os.strerror(code) in str(Run.open(out).record.error)
            assert cli.main(["run", "--resume", "--out", out]) == 0
        else:
            assert not Path(out).exists()
            assert cli.main([*RUN, "--out", out]) == 0
        assert readings(out) == expected, f"write {at}"
