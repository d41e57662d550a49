"""What in the files of a model would run code, or open a file that is no part of the model.

A folder with a model is somebody's data. Its settings can name Python files to import (`auto_map`),
kernels to download and run (`attn_implementation`), and files outside the folder. Only names are
read here, before any library opens the folder. Code is refused unless the user trusts it; what is
unpickled, and what leaves the folder, is refused always.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from typing import Any

# Files of settings, by name; other names that `configuration_files` may choose are matched too.
_SETTINGS = re.compile(
    r".*config.*\.json|special_tokens_map\.json|added_tokens\.json|chat_template\.json"
)
_MOST = 64 << 20  # bytes of a file of settings: the largest known ones have a few hundred kilobytes
_CODE = ("auto_map", "custom_pipelines", "custom_generate")
_KERNEL = re.compile(r"_?(attn|experts)_implementation(_internal)?")
# Implementations that transformers has itself. Others, flash_attention_2 among them, can be
# downloaded from the hub as compiled code where they are not installed.
_OWN = ("eager", "sdpa", "flex_attention", "grouped_mm", "batched_mm")
# Settings that name files, which belong beside the settings.
_FILES = ("configuration_files", "fast_tokenizer_files", "gguf_file", "transformers_weights")
_TOKENIZERS = ("Tokenizer", "TokenizerFast", "Backend")  # how the classes of tokenizers are named
_SAFE = (".safetensors", ".safetensors.index.json")

_TRUSTED: ContextVar[bool] = ContextVar("trusted", default=False)


@contextmanager
def trusting(code: bool) -> Iterator[None]:
    """Say within a block whether code that comes with models may run.

    Args:
        code: What the user said: `--trust-remote-code`. A block within a block decides for itself.

    Example:
        >>> with trusting(True):
        ...     trusted()
        True
        >>> trusted()
        False
    """
    token = _TRUSTED.set(code)
    try:
        yield
    finally:
        _TRUSTED.reset(token)


def trusted() -> bool:
    """Whether the user trusts the code of models that are opened now."""
    return _TRUSTED.get()


def refusal(folder: Path, *, trust: bool) -> str:
    """What in a folder keeps it from being opened.

    Args:
        folder: A folder with a model or a part of one; also one of the hub's cache.
        trust: Whether the user trusts the model's code.

    Returns:
        A clause that begins with a file's name and says what to do; "" where nothing is wrong.
    """
    settings = sorted(p for p in folder.glob("*.json") if _SETTINGS.fullmatch(p.name))
    for path in settings:
        said = _read(path)
        if isinstance(said, str):
            return said
        for key, value in _entries(said):
            if wrong := _elsewhere(key, value) or ("" if trust else _code(key, value)):
                return f"{path.name} {wrong}"
    for path in sorted(folder.glob("*.safetensors.index.json")):
        if wrong := _index(path):
            return f"{path.name} {wrong}"
    return "" if trust else _linked(folder)


def _code(key: str, value: Any) -> str:
    """Why an entry would run code, as a clause; "" where it would not."""
    if key in _CODE and value:
        return (
            f"names Python code that comes with the model ({key}: {_first(value)}); read that "
            "code, and say --trust-remote-code to run it, or remove the entry where transformers "
            "has a class of its own"
        )
    if _KERNEL.fullmatch(key):
        other = [s for s in _texts(value) if s and s.removeprefix("paged|") not in _OWN]
        if other:
            return (
                f"asks for the {'attention' if 'attn' in key else 'experts'} {other[0][:80]!r} "
                f"({key}), which may be downloaded and run as code; remove the entry, or say "
                "--trust-remote-code"
            )
    return ""


def _elsewhere(key: str, value: Any) -> str:
    """Why an entry is refused even where the code is trusted, as a clause."""
    if key == "tokenizer_class" and isinstance(value, str) and not value.endswith(_TOKENIZERS):
        return f"has the tokenizer_class {value[:80]!r}, which is no tokenizer; correct it"
    if key not in _FILES:
        return ""
    for name in _texts(value):
        if name and not _inside(name):
            return f"names the file {name[:80]!r} ({key}), which is outside of it; remove the entry"
        if key == "transformers_weights" and name and not name.endswith(_SAFE):
            return (
                f"names the weights {name[:80]!r}, which may be a pickle and are never opened; "
                "write them by save_pretrained, which makes safetensors"
            )
    if key == "gguf_file" and value:
        return f"names a GGUF file ({_first(value)}), which is not read here; remove the entry"
    return ""


def _index(path: Path) -> str:
    """What is wrong with the names of an index of weights, as a clause."""
    said = _read(path)
    if isinstance(said, str):
        return said.removeprefix(f"{path.name} ")
    shards = said.get("weight_map")
    for name in sorted(set(_texts(shards))) if isinstance(shards, dict) else ():
        if not _inside(name) or not name.endswith(".safetensors"):
            return f"names the weights {name[:80]!r}, which are no safetensors in this folder"
    return ""


def _linked(folder: Path) -> str:
    """A link that leads out of the folder, as a clause; links of the hub's cache lead to blobs."""
    home = folder.resolve()
    for path in sorted(folder.iterdir()):
        if not path.is_symlink():
            continue
        end = path.resolve()
        blob = home.parent.name == "snapshots" and end.parent == home.parent.parent / "blobs"
        weights = path.suffix == ".safetensors" and end.suffix == ".safetensors"
        if not (blob or weights or end.is_relative_to(home)):
            return (
                f"{path.name} is a link to {end}, outside of the folder; copy the file into the "
                "folder, or say --trust-remote-code"
            )
    return ""


def _read(path: Path) -> dict[str, Any] | str:
    """The object of a file of settings; a clause where it is too large or no object."""
    if not path.is_file():
        return {}
    if path.stat().st_size > _MOST:
        return (
            f"{path.name} has {path.stat().st_size:,} bytes, and settings of a model have at most "
            f"{_MOST:,}; give the folder that save_pretrained wrote"
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as why:
        return f"{path.name} is not JSON ({str(why)[:80]})"
    return found if isinstance(found, dict) else {}


def _entries(said: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every (key, value) of an object, those of inner objects too."""
    waiting: list[Any] = [said]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict):
            yield from inner.items()
            waiting += inner.values()
        elif isinstance(inner, list):
            waiting += inner


def _texts(value: Any) -> Iterator[str]:
    """Every text of a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _first(value: Any) -> str:
    """The first text of a value, for a sentence."""
    return next(_texts(value), str(value))[:80]


def _inside(name: str) -> bool:
    """Whether the name of a file stays in its folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and ":" not in name
