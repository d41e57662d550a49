"""A million damaged inputs for every reader, guided by coverage: `make nightly`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.nightly
INPUTS = int(os.environ.get("ASSAY_FUZZ_INPUTS", "1000000"))


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="atheris is installed on Linux alone"
)
def test_a_million_inputs_break_no_promise(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris has no wheel for this Python")
    here = Path(__file__).parent
    kept = Path(os.environ.get("ASSAY_FUZZ_KEPT", tmp_path / "kept"))
    paths = [str(here.parent), str(here), os.environ.get("PYTHONPATH", "")]
    ran = subprocess.run(
        [sys.executable, "-m", "fuzz.guided", str(kept), "--inputs", str(INPUTS)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )
    assert ran.returncode == 0, f"{kept} keeps the inputs\n{ran.stdout[-3000:]}"
