"""The notebooks run, and the committed .ipynb are made from the .py beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_docs_site import ROOT, tool

pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")

NAMES = ("engineer", "researcher", "real_model")


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_has_its_sources_cells(name: str) -> None:
    mine = tool("notebooks").read(name)
    written = nbformat.read(ROOT / "docs" / "notebooks" / f"{name}.ipynb", 4)
    assert [c.source for c in written.cells] == [c.source for c in mine.cells], "run `make docs`"
    errors = [o for c in written.cells for o in c.get("outputs", []) if o.output_type == "error"]
    assert errors == []
    assert any(c.get("outputs") for c in written.cells), "it was never executed: run `make docs`"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Jupyter's own, about transports and event loops
@pytest.mark.parametrize("name", ["engineer", pytest.param("researcher", marks=pytest.mark.full)])
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    notebook = tool("notebooks").executed(name, tmp_path)
    said = [
        o.get("text", "")
        for c in notebook.cells
        for o in c.get("outputs", [])
        if o.output_type == "stream" and o.name == "stderr"
    ]
    assert said == [], "a notebook that is quiet prints no warning"


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_on_a_real_model_runs(tmp_path: Path) -> None:
    if not os.environ.get("ASSAY_DOCS_MODEL"):
        pytest.skip("ASSAY_DOCS_MODEL names no model's folder")
    tool("notebooks").executed("real_model", tmp_path)
