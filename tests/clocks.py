"""Commands under a clock that tests set: libfaketime between the process and the system."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deaths import Killer

# libfaketime takes its offset also off a sleep until a steady time: it is refused, or never ends
SLEEP = """import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds)
"""
STEP = 3600  # seconds by which a clock that goes backwards is set back each time


def preload() -> str | None:
    """The library that stands in for the clock; None where it is not installed."""
    if shutil.which("faketime") is None:
        return None
    asked = ["faketime", "-m", "-f", "+0d", "sh", "-c", "echo $LD_PRELOAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip() or None


class Clock:
    """A clock that tests set, also while a command runs under it.

    Args:
        file: Where it is written down.
        library: See `preload`.
    """

    def __init__(self, file: Path, library: str):
        self.file, self.set_back = file, 0
        self.at("+0d")
        file.with_name("sitecustomize.py").write_text(SLEEP)
        self.env = {  # the steady clock goes on: setting the other leaves it alone
            "PYTHONPATH": f"{Path(__file__).parent.parent}{os.pathsep}{file.parent}",
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def killer(self, scratch: Path) -> Killer:
        """A process whose commands see this clock."""
        return Killer(scratch, inside=("env", *(f"{k}={v}" for k, v in self.env.items())))

    def at(self, when: str) -> None:
        """Set it.

        Args:
            when: An offset ("-1d"), or "@" and a date and time.
        """
        fresh = self.file.with_name("fresh")
        fresh.write_text(when + "\n")
        fresh.replace(self.file)  # no process reads half of it

    @contextmanager
    def going_backwards(self) -> Iterator[None]:
        """Set it back by an hour, again and again, while the block runs."""
        ended, self.set_back = threading.Event(), 0

        def back() -> None:
            while not ended.wait(0.1):
                self.set_back += 1
                self.at(f"-{self.set_back * STEP}")

        thread = threading.Thread(target=back)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.at("+0d")
