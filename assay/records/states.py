"""The states of a run on disk: policies, and what it resumes from. Each says whose it is.

The content of each is covered by a checksum (`engine/checkpoint.py`). What it says of itself is its
step, its tag, and the identity of its run; a state that belongs elsewhere is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assay.engine import checkpoint
from assay.errors import InputError
from assay.records.identity import difference, identity
from assay.records.runs import Run


def save_state(
    folder: Path, path: Path, state: Any, step: int, tag: str = "", *, more: Any = None
) -> None:
    """Write a state of a run.

    Args:
        folder: The run's folder.
        path: The file, in the folder.
        state: Nested tensors and plain values.
        step: The step that it belongs to.
        tag: The tag of its policy.
        more: JSON values that are kept with it.

    Raises:
        NotWritten: The disk is full; a file that was there before is still there.
    """
    whose = identity(Run.open(folder).record) if (folder / "run.json").exists() else None
    about = {"step": step, "tag": tag, "run": whose, **(more or {})}
    checkpoint.save(path, state, about)


def load_state(
    folder: Path,
    path: Path,
    decode: Any = None,
    *,
    step: int | None = None,
    tag: str | None = None,
) -> Any:
    """Read a state of a run.

    Args:
        folder: The run's folder.
        path: The file, in the folder.
        decode: How restored Prompts turn ids into text.
        step: The step that it has to be of.
        tag: The tag that it has to have.

    Raises:
        InputError: The file is damaged, or is not the state of this step of this run.
    """
    check_state(folder, path, step=step, tag=tag)
    return checkpoint.load(path, decode)


def check_state(
    folder: Path, path: Path, *, step: int | None = None, tag: str | None = None
) -> dict[str, Any]:
    """Check by its description that a state is this run's; its tensors are not read.

    Args:
        folder: The run's folder.
        path: The file, in the folder.
        step: The step that it has to be of.
        tag: The tag that it has to have.

    Returns:
        The description.

    Raises:
        InputError: It is of another run, or of another step.
    """
    said = checkpoint.about(path)
    if (folder / "run.json").exists() and said.get("run") is not None:
        here = identity(Run.open(folder).record)
        if found := difference(said["run"], here):
            name, then, now = found
            raise InputError(
                f"{path} was saved by a run with {name} {then!r:.60}, and {folder / 'run.json'} "
                f"says {now!r:.60}: the file belongs to another run, or the record was edited; put "
                "back what was there, or start another run with --from"
            )
    for name, wanted in (("step", step), ("tag", tag)):
        if wanted is not None and said.get(name, wanted) != wanted:
            raise InputError(
                f"{path} holds the policy of {name} {said[name]!r:.40}, and {name} {wanted!r:.40} "
                "was expected: it was exchanged with another file; put back what was there"
            )
    return said
