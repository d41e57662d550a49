"""The files, folders and functions that a world's arguments name, by what they hold: a run goes on
with what it began with.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.records.input_digests import base_of, digests, file_digest
from assay.records.own_inputs import OWN, SOURCE, WEIGHTS, expanded
from assay.records.runs import Run
from assay.records.verify import Finding, may_go_on, verify

log = logging.getLogger("assay")
ACCEPT = "--accept-changes"
_PLACES, _BYTES = 64, 1 << 14  # what an earlier assay read of each file of a folder


def held(world: Mapping[str, Any]) -> dict[str, str]:
    """Digests by path, as they were given: of files (of `FILE.py:name` that file), of folders and
    of each file in them, and of the bases that they name.
    """
    names = dict.fromkeys(
        v.rpartition(":")[0] if ".py:" in v else v
        for v in (*_texts(world.values()), *_texts((world.get("others") or {}).values()))
        if v
    )
    found: dict[str, str] = {}
    for name in names:
        if here := digests(name):
            found |= here
            base = base_of(name)
            found |= digests(base) if base else {}
    return found


def own(named: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Digests of the files that a run keeps of what came from Python, by their names in the record.

    Args:
        named: The world's arguments as the record has them.
        folder: The run's folder.
    """
    names = {expanded(v, folder): v for v in _texts(named.values()) if v.startswith(OWN)}
    found = held({v: v for v in names})
    return {names.get(path, path.replace(str(folder), "{run}", 1)): v for path, v in found.items()}


@dataclass(frozen=True)
class Change:
    """A file that is not what it was when a run began.

    Attributes:
        path: The file.
        before: Its digest then; None where it was not there.
        now: Its digest now; None where it is gone.
        part: What it is part of: model, adapter, recipe or data.
    """

    path: str
    before: str | None
    now: str | None
    part: str

    def __str__(self) -> str:
        if self.now is None:
            return f"{self.path} is gone, which was there when the run began"
        if self.before is None:
            return f"{self.path} was not there when the run began"
        return (
            f"{self.path} changed since the run began (sha256 {self.before[:12]} then, "
            f"{self.now[:12]} now)"
        )


def changes(about: Mapping[str, Any], where: str) -> list[Change]:
    """What differs between a run's inputs and what lies at their places now.

    Args:
        about: The run's record.
        where: Its folder.
    """
    before: dict[str, str | None] = expanded(about.get("inputs") or {}, where)
    world = expanded(about.get("world") or {}, where)
    found = []
    for root in (
        p for p in before if not p.startswith((WEIGHTS, SOURCE)) and not _inside(p, before)
    ):
        then = {p: d for p, d in before.items() if p == root or p.startswith(f"{root}/")}
        now = digests(root)
        now |= {p: file_digest(Path(p)) for p in then if p not in now and Path(p).is_file()}
        files = sorted({*then, *now} - {root})
        if (
            not now or len(then) == 1
        ):  # gone, a file, or a folder of which an earlier assay kept one
            same = Path(root).is_dir() and then[root] == sketch(Path(root))
            files = [] if same else [root]
        found += [
            Change(p, then.get(p), now.get(p), _part(p, about, world))
            for p in files
            if then.get(p) != now.get(p)
        ]
    return found


def findings(folder: Path) -> list[Finding]:
    """What is found of each file of a run, and of the inputs that it began with.

    Args:
        folder: The run's folder.
    """
    try:
        found = verify(folder)
        about = Run.open(folder).about
        changed = changes(about, str(folder))
    except InputError as why:
        return [Finding("run.json", str(why))]
    found += [Finding(c.path, str(c)) for c in changed]
    same = len(about.get("inputs") or {}) - len(changed)
    return found + ([Finding("inputs", note=f"{same} as they were")] if same > 0 else [])


def _inside(path: str, others: Iterable[str]) -> bool:
    """Whether a path is that of a file in one of the folders among others."""
    return any(path.startswith(f"{p}/") for p in others)


def _part(path: str, about: Mapping[str, Any], world: Mapping[str, Any]) -> str:
    """What a file is part of."""
    for key, part in (("peft", "adapter"), ("policy", "model")):
        name = str(world.get(key) or "")
        for root in (name, base_of(name) if name else ""):
            if root and (path == root or path.startswith(f"{root}/")):
                return part
    return "recipe" if path == about.get("path") else "data"


def unchanged(about: Mapping[str, Any], where: str, *, accept: bool = False) -> None:
    """Before a recorded run goes on: are its inputs what they were?

    A recipe's own file may have been repaired, and a change of it is a warning.

    Args:
        about: The run's record.
        where: Its folder.
        accept: Go on all the same, with a warning for each change.

    Raises:
        InputError: One changed or is gone, or the run's own files are not what it wrote.
    """
    if about.get("state") != "done":
        may_go_on(Path(where))
    found = changes(about, where)
    refused = [] if accept else [c for c in found if c.part != "recipe"]
    if refused:
        raise InputError(
            f"{_listed(refused)}; put back what {where} began with, start another run with --from "
            f"{where}, or go on all the same with {ACCEPT}"
        )
    for change in found:
        log.warning("%s: %s goes on with what is there now", change, where)


def same_policy(about: Mapping[str, Any], where: str) -> None:
    """Before a run's policy is loaded or exported: are its base and its adapter what they were?

    The weights that a run keeps may be adapters alone, and belong to that base. Any other change
    makes no policy wrong, and is a warning.

    Args:
        about: The run's record.
        where: Its folder.

    Raises:
        InputError: The model or the adapter's configuration changed or is gone.
    """
    found = changes(about, where)
    wrong = [c for c in found if c.part in ("model", "adapter")]
    if wrong:
        raise InputError(
            f"{_listed(wrong)}, and the policy of {where} belongs to what was there: put it back"
        )
    for change in found:
        log.warning("%s: %s was made with what was there", change, where)
    for path in about.get("changed") or {}:
        log.warning("%s changed while %s was under way (%s)", path, where, ACCEPT)


def _listed(found: list[Change]) -> str:
    """The first changes of several, as a clause."""
    more = f", and {len(found) - 3} more differ" if len(found) > 3 else ""
    return ", ".join(map(str, found[:3])) + more


def accepted(about: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What a record says of a run that goes on with other inputs.

    Args:
        about: The run's record.
        where: Its folder.

    Returns:
        Its new `inputs`, and in `changed` the digests that they had first; {} without a change.
    """
    found = changes(about, where)
    if not found:
        return {}
    # the run's own files have names in the record that hold wherever it lies
    named = {expanded(k, where): k for k in about.get("inputs") or {}}
    moved = {named.get(c.path, c.path): c for c in found}
    inputs = {k: v for k, v in (about.get("inputs") or {}).items() if k not in moved}
    inputs |= {k: c.now for k, c in moved.items() if c.now is not None}
    whole = {k: v for n in inputs for k, v in digests(expanded(n, where)).items() if k in inputs}
    before = {k: c.before for k, c in moved.items()} | dict(about.get("changed") or {})
    return {"inputs": {**inputs, **whole}, "changed": before}


def sketch(folder: Path) -> str:
    """What an earlier assay kept of a folder: SHA-256 of its files' names, sizes and evenly spaced
    parts.
    """
    said = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        size = path.stat().st_size
        said.update(f"{path.name}\0{size}\n".encode("utf-8", "surrogateescape"))
        with open(path, "rb") as f:
            for at in sorted({max(0, size - _BYTES) * k // (_PLACES - 1) for k in range(_PLACES)}):
                f.seek(at)
                said.update(f.read(_BYTES))
    return said.hexdigest()


def _texts(values: Any) -> Iterator[str]:
    """The texts among some arguments, and in the lists among them."""
    for v in values:
        if isinstance(v, str):
            yield v
        elif isinstance(v, (list, tuple)):
            yield from _texts(v)
