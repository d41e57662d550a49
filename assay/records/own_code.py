"""Which Python files a record may have executed: those that this user gave to assay here.

To go on with a run, to start one like it, to export it or to watch it executes the Python files
that its record names: a recipe, a world, rewards, a labeler. A record may come from others, and a
digest in it proves nothing, because who sends a record writes both. So a marker in the user's
cache folder remembers each Python file that a run of this user named; a record can name no other.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from assay.data.cache import folder as cache
from assay.engine.plural import counted
from assay.errors import InputError
from assay.records.own_inputs import expanded
from assay.registry.functions import function_name

MARKERS = "python-files"  # the cache's folder with an empty file for each Python file
_PARTS = ("path", "recipe", "world", "fit", "watch", "arguments")  # what is executed by name
_BEGINS = re.compile(r"(?:^|(?<=[=,:\0]))")
_ENDS = re.compile(r"\.py\b")
_TYPED = set[Path]()  # what the caller of this process named


def python_files(value: Any) -> list[Path]:
    """The Python files that exist and that a value names, such as "judge.py:score".

    Args:
        value: Text, a path, a function, or what holds these.

    Example:
        >>> python_files({"rewards": ["no_such_file.py:score"]})
        []
    """
    found = dict[Path, None]()
    for text in _texts(value):
        for end in _ENDS.finditer(text):
            for begin in _BEGINS.finditer(text, 0, end.start()):
                file = Path(text[begin.start() : end.end()])
                if "\0" not in str(file) and _is_file(file):
                    found[file] = None
    return list(found)


def named(about: Mapping[str, Any], folder: Path | str) -> list[Path]:
    """The Python files that may be executed where one goes on from a record.

    Args:
        about: The run's record.
        folder: The run's folder.
    """
    return python_files(expanded([about[k] for k in _PARTS if about.get(k)], folder))


def typed(*given: Any) -> None:
    """Tell which files a command or a call names itself: these may be executed in it.

    Args:
        given: Words of a command line, or arguments.
    """
    _TYPED.update(p.resolve() for p in python_files(given))


def remember(files: Iterable[Path]) -> None:
    """Let records of this user name some Python files from now on.

    Args:
        files: The files. Where the cache cannot be written they have to be named again each time.
    """
    for file in files:
        marker = _marker(file)
        try:
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
        except OSError:
            return


def only_known_code(about: Mapping[str, Any], folder: Path | str) -> None:
    """Refuse a record that names Python files which this user never gave to assay.

    Args:
        about: The run's record.
        folder: The run's folder.

    Raises:
        InputError: A file lies in the run's folder, or no run of this user named it.
    """
    files = named(about, folder)
    for file in files:
        if lies_in(file, folder):
            raise InputError(
                f"{folder} names the Python file {file}, which lies in the run's own folder: "
                "its code came with the run and is not executed; read it, and move it to "
                "another place if you want to run it"
            )
    strange = [f for f in files if f.resolve() not in _TYPED and not _marker(f).exists()]
    if strange:
        more = f" and {counted(len(strange) - 1, 'more')}" if len(strange) > 1 else ""
        raise InputError(
            f"{folder} names the Python file {strange[0]}{more}, which would be executed, and no "
            "run of yours has named it on this machine: the record may come from somebody else. "
            f"Read the file, and say assay verify {folder} --trust-code; or name it again in this "
            "command"
        )
    remember(files)


def lies_in(file: Path, folder: Path | str) -> bool:
    """Whether a Python file lies in a run's folder, by its name or by where a link leads."""
    inside = Path(folder).resolve()
    return file.resolve().is_relative_to(inside) or file.absolute().is_relative_to(inside)


def _marker(file: Path) -> Path:
    where = os.fsencode(file.resolve())
    return cache() / MARKERS / hashlib.sha256(where).hexdigest()[:32]


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value; a function of a file counts as FILE.py:name."""
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from _texts(v)
    elif isinstance(value, (str, Path)):
        yield str(value)
    elif callable(value):
        yield function_name(value)
