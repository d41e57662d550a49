"""Functions of a user's Python file, named as `FILE.py:name`: rewards and labelers."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.registry.catalogue import nearest
from assay.registry.live import PYTHON

LOADED = "assay_function_"  # begins the names of modules that are loaded from a user's file


def function_in_file(spec: str, flag: str) -> Callable[..., Any]:
    """Import the function that `FILE.py:name` names.

    Args:
        spec: `FILE.py:name`.
        flag: The flag that gave it, for the messages.

    Returns:
        The function.

    Raises:
        InputError: There is no such file, it cannot be imported, or it has no such function.
    """
    file, colon, name = spec.rpartition(":")
    path = Path(file)
    if not colon or path.suffix != ".py":
        raise InputError(f"--{flag} is '{spec}'; name a function as FILE.py:name")
    if not path.is_file():
        raise InputError(f"--{flag} is '{spec}', and there is no file {file}")
    about = importlib.util.spec_from_file_location(LOADED + path.stem, path)
    assert about is not None and about.loader is not None
    module = importlib.util.module_from_spec(about)
    sys.modules[about.name] = module
    try:
        about.loader.exec_module(module)
    except (Exception, SystemExit) as why:  # a user's file may raise anything
        raise InputError(
            f"{file} cannot be imported ({described(why)}); repair it, or give another file"
        ) from why
    found = getattr(module, name, None)
    if not callable(found):
        defined = [k for k, v in vars(module).items() if inspect.isfunction(v)]
        raise InputError(f"{file} has no function {name}{nearest(name, defined)}")
    return found  # type: ignore[no-any-return]


def awaited(found: Awaitable[Any]) -> Any:
    """Return what an `async` function of a user returns.

    Where a loop runs already, as in a notebook, it runs in a loop of its own in another thread.
    """

    async def whole() -> Any:
        return await found

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(whole())
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, whole()).result()


def described(why: BaseException, function: Callable[..., Any] | None = None) -> str:
    """Describe an exception on one line without control characters: it goes to a terminal.

    Args:
        why: The exception.
        function: Whose call raised it; the line named is then the last one in its file, if the
            exception came through it.

    Returns:
        For example "KeyError at line 3 of judge.py: 'want'".
    """
    frames = traceback.extract_tb(why.__traceback__)
    code = getattr(inspect.unwrap(function), "__code__", None) if function is not None else None
    own = [f for f in frames if code is not None and f.filename == code.co_filename]
    last = (own or frames)[-1:]
    where = ""
    if last and not isinstance(why, SyntaxError):
        where = f" at line {last[0].lineno} of {last[0].filename}"
    text = "".join(c if c.isprintable() else " " for c in str(why))[:160]
    return f"{type(why).__name__}{where}{': ' if text else ''}{text}"


def function_name(function: Callable[..., Any]) -> str:
    """How a record names a function: `FILE.py:name` where another process can import it so.

    A function of a notebook, of the script that runs, or inside another function is
    `python:name`, which only its own program can go on with.
    """
    name = str(getattr(function, "__name__", type(function).__name__))
    alone = f"{PYTHON}{name}"
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:  # an object with __call__, or a builtin
        return alone
    module = getattr(function, "__module__", "__main__")
    top = getattr(function, "__qualname__", name) == name and name.isidentifier()
    same = getattr(sys.modules.get(module), name, None) is function  # and none that wraps it
    if file is None or module == "__main__" or not (top and same) or not Path(file).is_file():
        return alone
    return f"{file}:{name}"


def labeler_name(function: Callable[..., Any]) -> str:
    """How a record names a live labeler: `FILE.py:name` where another process can import it so,
    else `module:qualname`.

    Example:
        >>> labeler_name(print)
        'builtins:print'
    """
    found = function_name(function)
    if not found.startswith(PYTHON):
        return found
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(named, '__module__', None) or '__main__'}:{named.__qualname__}"  # type: ignore[attr-defined]
