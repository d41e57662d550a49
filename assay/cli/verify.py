"""verify: is what lies in a run's folder what assay wrote?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from assay.cli import screen
from assay.errors import InputError
from assay.safe_text import json_text, visible

if TYPE_CHECKING:
    from assay.records.verify import Finding


def verify_(*folders: str, trust_code: bool = False, json_: bool = False) -> int:
    """Check that the files of runs and fitted rewards are what assay wrote.

    Weights, what a run resumes from, readings, completions and labels are compared with the
    checksums that were written with them, states with the run that they say they belong to, and
    inputs with what they were when the run began. Nothing is changed. Exit code 1 says that
    something is wrong.

    Args:
        folders: Folders of runs or of fitted rewards, or folders that hold such folders, as a sweep
            does.
        trust_code: Name the Python files in the records of these runs, and let them be executed
            from now on. Read them first: a record that others sent may name any.

    Example:
        assay verify runs/grpo
        assay verify runs
    """
    if not folders:
        raise InputError(
            "assay verify needs the folder of a run, of a fitted reward, or of several"
        )
    if trust_code:
        for place in (f for name in folders for f in _places(Path(name))):
            _trust(place)
    found = {k: v for name in folders for k, v in _within(name, len(folders) == 1).items()}
    wrong = sum(bool(one.wrong) for findings in found.values() for one in findings)
    if json_:
        said = {f: [asdict(one) for one in findings] for f, findings in found.items()}
        print(json_text({"folders": said, "wrong": wrong}))
        return int(wrong > 0)
    for folder, findings in found.items():
        print(screen.wrapped(visible(folder)))
        for one in findings:
            mark, text = ("wrong", one.wrong) if one.wrong else ("ok   ", one.note)
            print(screen.wrapped(visible(f"  {mark}  {one.file}: {text}")))
    files = sum(map(len, found.values()))
    print(f"{files} files, {wrong or 'none'} wrong")
    return int(wrong > 0)


def _within(name: str, alone: bool) -> dict[str, list[Finding]]:
    """What is found in each run and reward of a folder; one of several may hold none.

    Raises:
        InputError: The only folder holds neither.
    """
    from assay.records.verify import Finding

    try:
        return {str(f): _findings(f) for f in _places(Path(name))}
    except InputError as why:
        if alone:
            raise
        return {name: [Finding(name, str(why))]}


def _trust(folder: Path) -> None:
    """Let the Python files that a run's record names be executed, and say which they are."""
    from assay.records import own_code
    from assay.records.runs import Run

    if not (folder / "run.json").is_file():
        return
    for file in own_code.named(Run.open(folder).about, folder):
        shown = visible(str(file.resolve()))
        if own_code.lies_in(file, folder):
            screen.note(
                f"{visible(str(folder))} may not execute {shown}, which lies in the run's own "
                "folder: move it to another place if you want to run it"
            )
            continue
        own_code.remember([file])
        screen.note(f"{visible(str(folder))} may execute {shown}")


def _places(folder: Path) -> list[Path]:
    """A folder that can be checked, or those within it.

    Raises:
        InputError: There is neither.
    """
    names = ("run.json", "reward.json")
    if any((folder / name).is_file() for name in names):
        return [folder]
    inside = sorted({p.parent for name in names for p in folder.glob(f"**/{name}")})
    # a reward that a run keeps among its inputs is the run's
    runs = [p for p in inside if not any(q in p.parents for q in inside)]
    if not runs:
        held = "holds no run and no fitted reward" if folder.is_dir() else "is no folder"
        raise InputError(
            f"{folder} {held if folder.exists() else 'does not exist'}; give the folder of a run "
            "or of a fitted reward, or one that holds such folders"
        )
    return runs


def _findings(folder: Path) -> list[Finding]:
    """What is found of each file of a run or of a fitted reward."""
    from assay.api.inputs import findings
    from assay.records.verify import Finding
    from assay.rewards.folder import faults

    if not (folder / "run.json").is_file():
        return [
            Finding(name, said, "" if said else "as it was written")
            for name, said in faults(folder)
        ]
    return findings(folder)
