"""Which policy of a run is the best, in which state the run is, and how to go on with it.

A finished run says so in its record. Of one that is not finished, the same rule (`result.py`) is
applied to what has been read and kept so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assay.engine.folder_lock import is_held
from assay.errors import InputError
from assay.records.memory import MemoryRun
from assay.records.result import Best, Kept, Watched, chosen, named
from assay.records.runs import Run
from assay.records.schema import Reading
from assay.records.verdicts import during

CARRY = "carry.safetensors"  # what a run resumes from
EARLIER = "best.safetensors"  # the best policy by gold in runs of an earlier assay


@dataclass(frozen=True)
class BestPolicy:
    """The best policy of a run.

    Attributes:
        step: Its step; 0 is the reference.
        tag: Its tag, "" where a step has one policy.
        reason: Why it is this one, in a sentence.
        chosen_by: watch, gold or last.
        reading: Its reading: the one on fresh completions where gold chose it.
        file: The file that holds its weights; None for the reference, and for a policy without
            weights.
    """

    step: int
    tag: str
    reason: str
    chosen_by: str
    reading: Reading | None = field(repr=False)
    file: Path | None

    @property
    def name(self) -> str:
        """Its name in a sentence: "step 40" or "the reference"."""
        return named({"step": self.step, "tag": self.tag})


def best(run: Run | MemoryRun, readings: Sequence[Mapping[str, Any]] | None = None) -> BestPolicy:
    """The best policy of a run, by the one rule of `records/result.py`.

    Args:
        run: A run, finished or not.
        readings: Its readings, where they are at hand; else they are read.

    Raises:
        InputError: The run has no reading yet.

    Example:
        >>> run = Run.create(getfixture("tmp_path") / "run", {"recipe": "mine"})
        >>> run.append({"step": 0, "gold": 0.5})
        >>> run.append({"step": 5, "gold": 0.25})
        >>> found = best(run)
        >>> found.step, found.chosen_by, found.reason
        (0, 'gold', 'its gold is the highest of 2 readings')
    """
    record = run.record.result
    read: Any = run.readings() if readings is None else readings
    if record is not None:
        found = record["best"]
    elif isinstance(run, MemoryRun):
        raise InputError("a run in memory has no best policy before its end")
    else:
        found = _so_far(run, read)
    tag = found["tag"] or ""
    return BestPolicy(
        found["step"],
        tag,
        found["reason"],
        found["chosen_by"],
        _reading(read, found["step"], tag, found["chosen_by"] == "gold"),
        None if found["file"] is None or run.folder is None else within(run.folder, found["file"]),
    )


def within(folder: Path, name: str) -> Path:
    """The path of a file that a record names.

    Raises:
        InputError: It is not in the run's folder.
    """
    path = Path(name)
    if not name or "\0" in name or path.is_absolute() or ".." in path.parts or path == Path():
        raise InputError(
            f"{folder / 'run.json'} names {name!r:.80}, which is no file of the run's folder; "
            "restore it, or run again into another folder"
        )
    return folder / path


def policies(run: Run) -> dict[tuple[int, str], Path]:
    """The policies of a run that can be loaded, by step and tag; the reference needs no file.

    Args:
        run: The run.
    """
    found: dict[tuple[int, str], Path] = {}
    for path in (
        *run.folder.glob("kept-*.safetensors"),
        *run.folder.glob("policies/*.safetensors"),
    ):
        step, _, tag = path.stem.removeprefix("kept-").partition("-")
        if step.isdigit():
            found[int(step), tag] = path
    result = run.record.result
    for policy in () if result is None else (result["last"], result["best"]):
        if policy["file"] is not None:
            found[policy["step"], policy["tag"] or ""] = within(run.folder, policy["file"])
    return {k: found[k] for k in sorted(found)}


def last(run: Run) -> Kept:
    """The last policy that a run has kept.

    Args:
        run: A run, finished or not.

    Raises:
        InputError: The run has no reading yet.
    """
    if run.record.result is not None:
        return run.record.result["last"]
    end = _curve(run, run.readings())[-1]
    kept = policies(run).get((end["step"], end["tag"] or ""))
    if kept is not None:
        return {"step": end["step"], "tag": end["tag"], "file": _inside(run, kept)}
    carry = run.folder / CARRY
    if not carry.exists():
        return {"step": 0, "tag": "", "file": None}
    from assay.engine.checkpoint import about

    return {"step": int(about(carry).get("step", end["step"])), "tag": "", "file": CARRY}


def state_of(run: Run) -> str:
    """The state of a run as it is, and not only as its record says.

    Args:
        run: The run.

    Returns:
        A state of the record; "stopped" where the record says "running" and no process holds the
        folder, as a kill leaves it.
    """
    state = run.record.state
    return "stopped" if state == "running" and is_held(run.folder) is False else state


def state_said(run: Run) -> str:
    """The state of a run in a clause, with how to go on.

    Args:
        run: The run.

    Example:
        >>> run = Run.create(getfixture("tmp_path") / "another", {"recipe": "mine"})
        >>> state_said(run).replace(str(run.folder), "RUN")
        'stopped without a word before its first reading; go on with: assay run --resume --out RUN'
    """
    state, record = state_of(run), run.record
    if state == "failed":
        return f"failed: {record.error or 'no reason was recorded'}"
    if state == "done":
        return "done"
    read = run.readings()
    end = (record.loop or {}).get("max_steps")
    at = (
        f"at step {read[-1]['step']}{f' of {end}' if end else ''}"
        if read
        else "before its first reading"
    )
    what = {
        "stopped": f"stopped without a word {at}",
        "interrupted": f"interrupted {at}",
        "waiting": f"waiting for labels {at}",
        "running": f"running: read up to step {read[-1]['step']}{f' of {end}' if end else ''}"
        if read
        else "running: nothing read yet",
    }[state]
    on = f"; go on with: {again(run)}" if record.verb == "recipe" or not record.verb else ""
    return what if state == "running" else what + on


def again(run: Run) -> str:
    """The command that goes on with a run."""
    return f"assay run --resume --out {run.folder}"


def _so_far(run: Run, readings: Sequence[Reading]) -> Best:
    """The best of what an unfinished run, or one of an earlier assay, has kept."""
    curve = _curve(run, readings)
    end = last(run)
    looks = during(run.folder, curve)
    if looks:
        said = looks[-1]
        stopped = said["word"] == "stop"
        watch: Watched = {
            "stopped": stopped,
            "word": said["word"],
            "at": curve[-1]["step"],
            "best": said["best"],
            "labels": said["labels"],
        }
        return chosen(
            last=end,
            watch=watch,
            back=_kept(run, said.get("back", said["best"]), "") if stopped else None,
        )
    read = [r for r in curve if r["gold"] is not None]
    if not read:
        return chosen(last=end)
    high = max(read, key=lambda r: r["gold"] or 0.0)
    top = _kept(run, high["step"], (high["tag"] or "") if high["step"] else "")
    if top["step"] and (run.folder / EARLIER).exists():
        top = {**top, "file": EARLIER}
    name = "held-out model" if "held" in str(run.record.gold_kind) else "gold"
    return chosen(last=end, gold=top, gold_name=name, readings=len(read))


def _kept(run: Run, step: int, tag: str) -> Kept:
    path = policies(run).get((step, tag)) if step else None
    return {"step": step, "tag": tag, "file": None if path is None else _inside(run, path)}


def _inside(run: Run, path: Path) -> str:
    return path.relative_to(run.folder).as_posix()


def _curve(run: Run, readings: Sequence[Reading]) -> list[Reading]:
    """The readings without the second look at the best one.

    Raises:
        InputError: There is none.
    """
    read = [r for r in readings if r["tag"] != "best"]
    if not read:
        raise InputError(f"{run.folder} has no reading yet; go on with it: {again(run)}")
    return read


def _reading(readings: Sequence[Reading], step: int, tag: str, fresh: bool) -> Reading | None:
    """A policy's reading; the second one, on fresh completions, where that is wanted."""
    read = [r for r in readings if r["step"] == step]
    second: list[Any] = [r for r in read if r["tag"] == "best"]
    if fresh and second:
        return second[-1]
    first = [r for r in read if r["tag"] != "best" and (not step or (r["tag"] or "") == tag)]
    return first[-1] if first else None
