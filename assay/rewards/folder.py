"""The folder of a fitted reward: `reward.json` (what it is) and `weights.safetensors`.

Nothing is pickled. `reward.json` is written last and holds the digest of every file of weights and
its own seal, so that a damaged or exchanged file is found before it scores anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from assay.engine.atomic import write_bytes
from assay.engine.os_errors import writing_to
from assay.errors import InputError
from assay.records.runs import digest
from assay.records.seals import seal_of

ABOUT, WEIGHTS = "reward.json", "weights.safetensors"
SCHEMA = 2
_AGAIN = "fit the reward again"
R = TypeVar("R")


def write_reward(
    folder: Path | str,
    kind: str,
    names: Sequence[str],
    tensors: Mapping[str, Tensor],
    more: Mapping[str, Any],
    *,
    files: Sequence[str] = (WEIGHTS,),
) -> None:
    """Write a reward's weights, then its description.

    Args:
        folder: Where to; it is made if it is not there.
        kind: What `load_reward` dispatches on.
        names: The members' names.
        tensors: The weights; none where `files` are written already.
        more: What else is needed to make the reward again, as JSON can hold it.
        files: The files of weights, relative to the folder, whose digests are kept.
    """
    folder = Path(folder)
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if tensors:
        whole = {k: v.detach().contiguous().cpu() for k, v in tensors.items()}
        with writing_to(folder / WEIGHTS, sum(t.nbytes for t in whole.values())):
            save_file(whole, str(folder / WEIGHTS))
    about = {
        "schema": SCHEMA,
        "kind": kind,
        "names": list(names),
        "partial": False,
        **more,
        "files": {name: digest(folder / name) for name in files},
    }
    about["seal"] = seal_of(about)
    said = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
    write_bytes(folder / ABOUT, said.encode())


def files_in(folder: Path, name: str) -> list[str]:
    """The files of a folder within a reward's folder, by their names in the latter.

    Args:
        folder: The reward's folder.
        name: The folder in it.
    """
    inside = sorted(p for p in (folder / name).rglob("*") if p.is_file())
    return [p.relative_to(folder).as_posix() for p in inside]


def describe(folder: Path | str) -> dict[str, Any]:
    """Read `reward.json`.

    Raises:
        InputError: The folder holds no fitted reward, a damaged one, or one of another schema.
    """
    path = Path(folder) / ABOUT
    if not path.is_file():
        raise InputError(
            f"{folder} is no fitted reward: it has no {ABOUT}; give the folder that "
            "`assay fit … -o` wrote"
        )
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(about["kind"], str):
            raise TypeError("the kind is not text")
        whole = about.get("seal") in (None, seal_of(about))  # an earlier assay wrote none
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as why:
        raise InputError(f"{path} is damaged ({type(why).__name__}); {_AGAIN}") from why
    if about.get("schema") != SCHEMA:
        raise InputError(
            f"{path} has schema {about.get('schema', 1)!r} and this assay reads schema "
            f"{SCHEMA}; {_AGAIN}"
        )
    if not whole:
        raise InputError(
            f"{path} was edited or damaged after assay wrote it (it does not match its seal); put "
            f"it back, or {_AGAIN}"
        )
    return dict(about)


def faults(folder: Path | str) -> list[tuple[str, str]]:
    """Compare the files of a fitted reward with their digests.

    Args:
        folder: The reward's folder.

    Returns:
        (file, what is wrong with it) for each; "" where it is what was written.
    """
    folder = Path(folder)
    try:
        files = dict(describe(folder)["files"])
    except (InputError, KeyError, TypeError, ValueError) as why:
        return [(ABOUT, f"{folder / ABOUT} cannot be read: {why}")]
    return [(ABOUT, ""), *((name, _wrong(folder, name, known)) for name, known in files.items())]


def _wrong(folder: Path, name: str, known: str) -> str:
    """What is wrong with a file of weights; "" where nothing is."""
    if not (folder / name).is_file():
        return f"{folder / name} is gone, which {ABOUT} names"
    if digest(folder / name) != known:
        return (
            f"{folder / name} is not the file that {ABOUT} was written for: it is damaged or "
            "exchanged"
        )
    return ""


def read_reward(
    folder: Path | str, kind: str, make: Callable[[dict[str, Any], dict[str, Tensor]], R]
) -> R:
    """Read what `write_reward` wrote.

    Args:
        folder: The reward's folder.
        kind: The kind that it must be of.
        make: Called with the description and the tensors.

    Returns:
        What `make` returns.

    Raises:
        InputError: A file is missing, damaged, exchanged, or of another kind.
    """
    folder, about = Path(folder), describe(folder)
    if about["kind"] != kind:
        raise InputError(
            f"{folder / ABOUT} describes a reward of kind '{about['kind']}', not "
            f"'{kind}'; give another folder"
        )
    try:
        for name, known in about["files"].items():
            if wrong := _wrong(folder, name, known):
                raise InputError(f"{wrong}; {_AGAIN}")
        tensors = load_file(str(folder / WEIGHTS)) if WEIGHTS in about["files"] else {}
        return make(about, tensors)
    except (
        OSError,
        AttributeError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        RuntimeError,
        SafetensorError,
    ) as why:
        if isinstance(why, InputError):
            raise
        said = " ".join(str(why).split())[:80]
        raise InputError(
            f"{folder} holds no readable reward of kind '{kind}' "
            f"({type(why).__name__}: {said}); {_AGAIN}"
        ) from why
