"""The run record: a folder that is written line by line, survives a kill at any moment, and is read
by people and programs.

`run.json` says what was run, `readings.jsonl` what was measured (one JSON object a line),
`samples.jsonl` what the policies wrote. Strict JSON: what was not measured, and what is not finite,
is null; never 0, never NaN. Standard library only, so that a record can be read where nothing else
is installed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from assay.errors import InputError

SCHEMA = 2
STATES = ("running", "done", "failed", "waiting")
READING = (
    "step",
    "tag",
    "kl",
    "kl_err",
    "kl_kind",
    "gold",
    "gold_err",
    "golds",
    "rewards",
    "rewards_err",
    "proxy",
    "proxy_err",
    "n",
    "generated",
    "scored",
    "compared",
    "labels",
    "updates",
    "cost",
    "seconds",
    "stats",
    "watch",
)
SAMPLE = (
    "step",
    "tag",
    "place",
    "prompt",
    "completion",
    "gold",
    "golds",
    "rewards",
    "proxy",
    "logp",
)
_DISTRIBUTIONS = ("torch", "transformers", "safetensors", "numpy", "peft", "datasets", "accelerate")
_SPLITTERS = {
    0x85: "\\u0085",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}  # str.splitlines would break a line at these


def plain(value: Any, where: str = "the record") -> Any:
    """`value` as strict JSON can hold it: tuples as lists, paths as text, numbers that are not
    finite as None.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(
        f"{where} is a {type(value).__name__}: a record holds numbers, text, lists and dicts"
    )


def _bytes(value: Any, indent: int | None = None) -> bytes:
    text = json.dumps(
        plain(value), sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent
    )
    return (
        text.translate(_SPLITTERS).encode("utf-8", "backslashreplace") + b"\n"
    )  # a lone surrogate becomes its JSON escape


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _parse(raw: bytes, where: str, cure: str) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_not_json)
    except ValueError as why:
        raise InputError(f"{where} is damaged ({str(why)[:80]}); {cure}") from why
    if not isinstance(value, dict):
        raise InputError(
            f"{where} holds a {type(value).__name__} where a JSON object was expected; {cure}"
        )
    return value


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file, [] if it is not there. A last line without its line end was
    torn by a kill and is left out; any other line that is damaged is an InputError that names file
    and line. Nothing is written.
    """
    if not path.exists():
        return []
    *whole, _torn = path.read_bytes().split(b"\n")
    cure = "repair or delete that line, or run again into another folder"
    return [_parse(raw, f"{path}, line {i}", cure) for i, raw in enumerate(whole, 1)]


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append objects to a JSON-lines file, flushed and synced before this returns; a torn last line
    is cut off first.
    """
    block = b"".join(_bytes(row) for row in rows)
    with open(path, "a+b") as f:
        end = f.seek(0, os.SEEK_END)
        f.seek(max(0, end - 1))
        if end and f.read(1) != b"\n":
            f.seek(0)
            f.truncate(f.read().rfind(b"\n") + 1)
        f.write(block)
        f.flush()
        os.fsync(f.fileno())


def _replace(path: Path, content: bytes) -> None:
    """A new name, synced, then a rename: a process killed at any moment leaves the old file or the
    new one.
    """
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with open(fresh, "wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    os.replace(fresh, path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Run:
    """One run's folder. `about` is run.json. Reading never writes, so a run in progress may be read
    by anybody.
    """

    def __init__(self, folder: Path, about: dict[str, Any]):
        self.folder, self.about = folder, about

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {self.about.get('recipe')}, {self.about.get('state')})"

    @classmethod
    def create(cls, folder: Path | str, about: Mapping[str, Any]) -> Run:
        """Start a record: `about` over `provenance()`. Raises InputError if the folder holds
        anything: never overwritten.
        """
        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(
                f"{folder} exists and is not an empty folder, and a run is never overwritten: "
                "give another folder, or go on with the run that is there with --resume"
            )
        folder.mkdir(parents=True, exist_ok=True)
        run = cls(folder, {})
        run.note(
            {
                **provenance(),
                "started": _now(),
                "finished": None,
                "state": "running",
                **about,
                "schema": SCHEMA,
            }
        )
        return run

    @classmethod
    def open(cls, folder: Path | str) -> Run:
        """Read a record. Raises InputError if there is none, if it is damaged, or if a later assay
        wrote it.
        """
        path = Path(folder) / "run.json"
        if not path.is_file():
            raise InputError(f"{folder} is not a run: it has no run.json")
        about = _parse(path.read_bytes(), str(path), "restore it, or run again into another folder")
        if not isinstance(about.get("schema"), int) or about["schema"] > SCHEMA:
            raise InputError(
                f"{path} has schema {about.get('schema')!r} and this assay reads up to {SCHEMA}: "
                f"install the assay that wrote it ({about.get('assay') or 'version unknown'}) or "
                "a later one"
            )
        return cls(Path(folder), about)

    def note(self, more: Mapping[str, Any]) -> None:
        """Change entries of run.json, all at once. `state` is one of running, done, failed,
        waiting.
        """
        about = {**self.about, **plain(more, "run.json")}
        if about.get("state") not in STATES:
            raise ValueError(f"state is {about.get('state')!r}; it is one of {', '.join(STATES)}")
        _replace(self.folder / "run.json", _bytes(about, indent=1))
        self.about = about

    def finish(self, more: Mapping[str, Any] | None = None) -> None:
        """Close the record: `finished` is now, `state` is "done" unless `more` says otherwise."""
        self.note({"finished": _now(), "state": "done", **(more or {})})

    def append(self, reading: Mapping[str, Any]) -> None:
        """Write one reading. What it leaves out was not measured: null. Its keys are READING's; the
        rest goes into `stats`.
        """
        write_lines(self.folder / "readings.jsonl", [_filled(reading, READING)])

    def keep(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write answers, one line each, with the keys of SAMPLE."""
        write_lines(self.folder / "samples.jsonl", [_filled(row, SAMPLE) for row in rows])

    def readings(self) -> list[dict[str, Any]]:
        """The readings, in the order of writing."""
        return _stepped(self.folder / "readings.jsonl", READING)

    def samples(self) -> list[dict[str, Any]]:
        """The answers kept, in the order of writing."""
        return _stepped(self.folder / "samples.jsonl", SAMPLE)

    def cut(self, after_step: int) -> None:
        """Forget what is later than `after_step`, and the re-reading of a chosen checkpoint, which
        is always made last: a resumed run makes both again. Labels are never cut: they were paid
        for.
        """
        for name in ("readings.jsonl", "samples.jsonl"):
            path = self.folder / name
            kept = [
                r for r in _stepped(path, ()) if r["step"] <= after_step and r.get("tag") != "best"
            ]
            if path.exists():
                _replace(path, b"".join(_bytes(r) for r in kept))


def _filled(row: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """A line about to be written: all of `keys`, null where `row` has none. Another key is a slip
    of the writer's.
    """
    unknown = [k for k in row if k not in keys]
    if unknown or not isinstance(row.get("step"), int):
        raise ValueError(
            f"a line needs a whole-number step and may have the keys {', '.join(keys)}; "
            f"found step {row.get('step')!r} and {unknown or 'no other keys'}"
        )
    return {**dict.fromkeys(keys), **row}


def _stepped(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """The lines of a file of the record, each with all of `keys`."""
    rows = read_lines(path)
    for i, row in enumerate(rows, 1):
        if not isinstance(row.get("step"), int):
            raise InputError(
                f"{path}, line {i} has step {row.get('step')!r} where a whole number was expected; "
                f"repair or delete that line, or run again into another folder"
            )
    return [{**dict.fromkeys(keys), **row} for row in rows]


def digest(path: Path | str) -> str:
    """SHA-256 of a file, or of a folder: of its files' relative names and digests, sorted by name."""
    path = Path(path)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        listing = "".join(f"{p.relative_to(path).as_posix()}\0{digest(p)}\n" for p in files)
        return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
    if not path.is_file():
        raise InputError(f"{path} does not exist, so it has no digest")
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that this code runs from, with "+changes" if tracked files differ;
    None outside one.
    """
    home = Path(__file__).resolve().parents[2]
    if not (home / ".git").exists():
        return None
    said = []
    for question in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]):
        ask = ["git", "-C", str(home), *question]
        try:
            said.append(subprocess.run(ask, capture_output=True, text=True, timeout=20, check=True))
        except (OSError, subprocess.SubprocessError):
            return None
    return said[0].stdout.strip() + ("+changes" if said[1].stdout.strip() else "")


def provenance() -> dict[str, Any]:
    """What this process is: the versions, the commit, the machine (without its name or its user)."""
    from assay import __version__

    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory = None
    versions = {name: _version(name) for name in _DISTRIBUTIONS}
    return {
        "assay": __version__,
        "commit": _commit(),
        "schema": SCHEMA,
        "versions": {
            "python": platform.python_version(),
            **{k: v for k, v in versions.items() if v},
        },
        "machine": {
            "system": platform.system(),
            "release": platform.release(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "memory_gb": None if memory is None else round(memory / 1e9, 1),
        },
    }
