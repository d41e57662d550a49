"""Kills a command of assay at the n-th of its durable operations, in a process of its own.

A durable operation changes what is on the disk: a write, a truncation, a file or folder that is
made, linked, renamed or deleted, a flush. Each one in the folder of work has a number, the same in
every run of the same command. At the number asked for, the process ends at once, as by SIGKILL: no
`finally` runs, no buffer is flushed. A write that is cut leaves half of its bytes.

`Killer` starts one process that has loaded everything, and forks a child of it for each command.
Run as a script, this file is that process.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

KILLED = 137
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CALLS = (  # functions of `os` whose first argument is a path or a descriptor
    *("replace", "rename", "link", "symlink", "mkdir", "rmdir", "unlink", "remove"),
    *("truncate", "ftruncate", "fsync"),
)
TIDIES = ("unlink", "rmdir", "truncate", "ftruncate")  # a disk that is full allows them


class Points:
    """Counts the durable operations below a folder, and ends the process at one of them.

    Args:
        root: The folder of work.
        at: The operation at which the process ends; 0 for none, -1 to count none.
        error: Where it is not 0, that operation and all later ones raise this error of the system.
        log: Where the operations are listed, and which of them no flush has followed.
    """

    def __init__(self, root: Path, at: int, log: Path, error: int = 0):
        self.error = error
        self.root, self.at, self.count = os.path.realpath(root) + os.sep, at, 0
        self.log, self.lines = log, list[str]()
        self.dirty = set[str]()  # files with bytes, and folders with names, that may be lost

    def inside(self, path: Any) -> str | None:
        """The path as text if it is one of the work's."""
        if isinstance(path, int):
            try:
                path = os.readlink(f"/proc/self/fd/{path}")
            except OSError:
                return None
        whole = os.path.join(os.path.realpath(os.path.dirname(os.path.abspath(path))), "")
        whole += os.path.basename(os.fspath(path))
        return whole if os.path.join(whole, "").startswith(self.root) else None

    def __call__(self, what: str, path: str, torn: Callable[[], Any] = lambda: None) -> None:
        """One more operation."""
        self.count += 1
        self.lines.append(f"{self.count} {what} {path.removeprefix(self.root)}")
        here = self.count == self.at  # what is torn may count as one more
        if here:
            torn()
        if self.error and 0 < self.at <= self.count and not what.startswith(TIDIES):
            raise OSError(self.error, os.strerror(self.error), path)
        if here and not self.error:
            os._exit(KILLED)

    def told(self) -> None:
        """Write the list down."""
        said = {"points": self.lines, "dirty": sorted(p for p in self.dirty if os.path.exists(p))}
        self.log.write_text(json.dumps(said))

    def patch(self) -> None:
        """Put the counters in place of `open`, of functions of `os`, and of safetensors' writer."""
        for name in CALLS:
            setattr(os, name, self.call(name, getattr(os, name)))
        self.os_open, self.open = os.open, builtins.open
        os.open = self.opening_number  # type: ignore[assignment]
        builtins.open = io.open = self.opening  # type: ignore[assignment]
        import safetensors.torch

        safetensors.torch.serialize_file = self.saving(safetensors.torch.serialize_file)

    def call(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            first = given[0] if given else named.get("path", named.get("src"))
            at = None if named.get("dir_fd") is not None else self.inside(first)
            if named.get("dir_fd") is not None and (folder := self.inside(named["dir_fd"])):
                at = os.path.join(folder, first)
            if at is not None:
                self(name, at)
            found = real(*given, **named)
            if at is not None:
                self.note(name, at, given)
            return found

        return counted

    def note(self, name: str, at: str, given: tuple[Any, ...]) -> None:
        """Keep in mind what a loss of power would undo."""
        if name == "fsync":
            self.dirty.discard(at)
        elif name in ("replace", "rename", "link"):
            to = self.inside(given[1])
            if to is not None:
                self.dirty.add(os.path.dirname(to))
                if at in self.dirty:
                    self.dirty.add(to)
        elif name == "mkdir":
            self.dirty.add(os.path.dirname(at))
        elif name in ("truncate", "ftruncate"):
            self.dirty.add(at)

    def opening_number(self, path: Any, flags: int, *given: Any, **named: Any) -> int:
        at = self.inside(path) if flags & WRITING and named.get("dir_fd") is None else None
        if at is not None:
            self("open", at)
            if not os.path.exists(at):
                self.dirty.add(os.path.dirname(at))
        return self.os_open(path, flags, *given, **named)

    def opening(
        self, file: Any, mode: str = "r", buffering: int = -1, *given: Any, **named: Any
    ) -> Any:
        """`open`; a file to be written to counts each write of its buffer."""
        at = self.inside(file) if set(mode) & set("wax+") and not isinstance(file, int) else None
        if at is None:
            return self.open(file, mode, buffering, *given, **named)
        self(f"open {mode}", at)
        if not os.path.exists(at):
            self.dirty.add(os.path.dirname(at))
        raw = Dying(file, mode.replace("b", "").replace("t", ""), self, at)
        if buffering == 0:
            return raw
        whole = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)  # type: ignore[type-var]
        if "b" in mode:
            return whole
        names = ("encoding", "errors", "newline")
        text = io.TextIOWrapper(whole, **{**dict(zip(names, given)), **named})  # type: ignore[arg-type]
        text.mode = mode  # type: ignore[attr-defined]
        return text

    def saving(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(tensors: Any, filename: Any, *given: Any, **named: Any) -> Any:
            at = self.inside(filename)
            if at is None:
                return real(tensors, filename, *given, **named)

            def half() -> None:
                real(tensors, filename, *given, **named)
                os.truncate(filename, os.path.getsize(filename) // 2)

            self.dirty |= {at, os.path.dirname(at)}
            self("save", at)
            self("save half of", at, half)
            return real(tensors, filename, *given, **named)

        return counted


class Dying(io.FileIO):
    """A file whose writes are counted."""

    def __init__(self, file: Any, mode: str, points: Points, at: str):
        super().__init__(file, mode)
        self._points, self._at = points, at

    def write(self, data: Any) -> int:
        whole = bytes(data)
        real = super().write
        self._points("write half to", self._at, lambda: real(whole[: len(whole) // 2]))
        self._points.dirty.add(self._at)
        return real(whole) or 0

    def truncate(self, size: int | None = None) -> int:
        self._points("truncate", self._at)
        self._points.dirty.add(self._at)
        return super().truncate(size)


def serve() -> None:
    """Read jobs from stdin, one JSON object a line, and run each in a child."""
    import torch

    from assay import cli

    torch.set_num_threads(1)
    for module in ("assay.api.execution", "assay.rewards.fit_file", "assay.rewards.score_file"):
        __import__(module)
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            _child(job, cli.main)
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


def _child(job: dict[str, Any], main: Callable[[list[str]], int]) -> None:
    code = 1
    os.chdir(job["root"])
    os.environ["PAID"] = job["log"] + ".paid"
    points = Points(Path(job["root"]), job["at"], Path(job["log"]), job["error"])
    with open(job["said"], "w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), line_buffering=True)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w"), line_buffering=True)
        sys.stdin = open(os.devnull)  # noqa: SIM115
        sys.path.insert(0, job["root"])
        if job["at"] >= 0:
            points.patch()
        try:
            code = main(job["words"])
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        if not job["at"]:
            points.told()
        os._exit(code)


class Killer:
    """Runs commands in children of a process that has loaded everything.

    Args:
        scratch: A folder for logs, outside the folders of work.
        inside: A command that starts the process in a space of its own.
    """

    def __init__(self, scratch: Path, inside: tuple[str, ...] = ()):
        self.said, self.log = scratch / "said.txt", scratch / "log.json"
        self.process = subprocess.Popen(
            [*inside, sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parent.parent),
                "OMP_NUM_THREADS": "1",
                "NO_COLOR": "1",
                "XDG_CACHE_HOME": str(scratch / "cache"),
            },
        )

    def __call__(self, root: Path, words: list[str], at: int = 0, error: int = 0) -> int:
        """Run a command in a folder of work, and end it at an operation.

        Args:
            root: The folder.
            words: The command without "assay".
            at: The operation; 0 to let it end, -1 to let it end with nothing counted.
            error: In place of the death, the disk refuses with this error from there on.

        Returns:
            Its exit code, `KILLED` where it was ended.
        """
        job = {"root": str(root), "words": words, "at": at, "error": error}
        job |= {"said": str(self.said), "log": str(self.log)}
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return int(json.loads(self.process.stdout.readline()))

    def points(self) -> list[str]:
        """The operations of the last command that was not ended."""
        return list(json.loads(self.log.read_text())["points"])

    def unflushed(self) -> list[str]:
        """What a loss of power could have undone when that command had ended."""
        return list(json.loads(self.log.read_text())["dirty"])

    def paid(self) -> list[str]:
        """The calls of labelers since this was last asked: each wrote a line to $PAID."""
        path = Path(f"{self.log}.paid")
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def output(self) -> str:
        """What the last command wrote to stdout and stderr."""
        return self.said.read_text()

    def close(self) -> None:
        """End the process."""
        self.process.communicate()
        shutil.rmtree(self.said.parent / "cache", ignore_errors=True)


if __name__ == "__main__":
    serve()
