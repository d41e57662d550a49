"""Execute the notebooks: docs/notebooks/NAME.py becomes NAME.ipynb with its outputs.

    python docs/tools/notebooks.py engineer researcher

The Python file is the source. The notebook is written without what belongs to one machine (times,
progress bars, what libraries say on stderr), so that it changes only where the text, the code or a
number does.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parents[1] / "notebooks"
SHORT = ("engineer", "researcher")  # on the embedded worlds, under a minute together
PATIENCE = 1800  # seconds that one cell may take


def read(name: str) -> NotebookNode:
    """The notebook of a Python file, without outputs.

    Args:
        name: The file's name without its ending.
    """
    found = jupytext.read(HERE / f"{name}.py")
    for i, cell in enumerate(found.cells):
        cell.id = f"cell-{i}"
        cell.metadata = {}
    found.metadata = {"kernelspec": found.metadata["kernelspec"]}
    return found


def executed(name: str, folder: Path) -> NotebookNode:
    """The notebook with its outputs. An error in a cell is raised.

    Args:
        name: The file's name without its ending.
        folder: The folder that the cells run in.
    """
    notebook = read(name)
    client = NotebookClient(
        notebook,
        timeout=PATIENCE,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    notebook.metadata["language_info"] = {"name": "python"}  # and not one machine's version
    return notebook


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """The notebook without progress bars and without what was written to stderr."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [
                o
                for o in cell.outputs
                if o.get("name") != "stderr" and not any("widget" in k for k in o.get("data", {}))
            ]
    notebook.metadata.pop("widgets", None)
    return notebook


def main(names: list[str]) -> None:
    """Execute some notebooks and write them beside their sources."""
    for name in names or SHORT:
        nbformat.write(cleaned(executed(name, HERE)), HERE / f"{name}.ipynb")


if __name__ == "__main__":
    main(sys.argv[1:])
