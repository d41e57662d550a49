"""A disk of a few kilobytes that the system itself fills up or locks, and commands that run on it.

The disk is a tmpfs in a mount namespace of its own: nothing outside sees it, and it goes with the
process. Its files are reached from outside through /proc.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from deaths import Killer

PAGE = 4096  # tmpfs gives room by the page
SPACES = (("unshare", "-m"), ("unshare", "-Urm"))  # by root, and by a user who may map themselves
WIDE, MANY = "64m", 100_000  # a disk without a bound could not be given one later


def space() -> tuple[str, ...] | None:
    """A command that starts another with mounts of its own; None where the system allows none."""
    for words in SPACES:
        try:
            tried = subprocess.run(
                [*words, "sh", "-c", "mount -t tmpfs -o size=40k none /mnt"], capture_output=True
            )
        except FileNotFoundError:
            return None
        if tried.returncode == 0:
            return words
    return None


class SmallDisk:
    """Commands on a disk whose size is set between them.

    Args:
        scratch: A folder for logs.
        place: An empty folder, where the disk is mounted.
        words: See `space`.
    """

    def __init__(self, scratch: Path, place: Path, words: tuple[str, ...]):
        self.place = place
        self.killer = Killer(scratch, inside=words)
        assert self.killer(scratch, ["--version"], -1) == 0  # it is in its space from now on
        self.pid = self.killer.process.pid
        self._enter = ["nsenter", "-t", str(self.pid), "-m"]
        if "-Urm" in words:
            self._enter += ["-U", "--preserve-credentials"]
        self._mount("-t", "tmpfs", "-o", f"size={WIDE},nr_inodes={MANY}", "none")
        self.root = Path(f"/proc/{self.pid}/root{place}") / "work"  # as seen from outside

    def _mount(self, *options: str) -> None:
        subprocess.run([*self._enter, "mount", *options, str(self.place)], check=True)

    def holds(self, start: Path) -> None:
        """Empty the disk, and copy a folder of work to it."""
        self.widen()
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.with_name("page").write_bytes(bytes(PAGE))  # a tmpfs of size 0 has no bound
        shutil.copytree(start, self.root)

    def leaves(self, pages: int) -> None:
        """Shrink the disk, so that so many pages are free."""
        used = self.used()
        self._mount("-o", f"remount,size={used + pages * PAGE}")

    def used(self) -> int:
        """The bytes that lie on the disk."""
        return shutil.disk_usage(self.root.parent).used

    def names(self, free: int) -> None:
        """Let the disk have so many names more."""
        found = subprocess.run(
            [*self._enter, "df", "--output=iused", str(self.place)],
            capture_output=True,
            text=True,
            check=True,
        )
        used = int(found.stdout.split()[-1])
        self._mount("-o", f"remount,nr_inodes={used + free}")

    def lock(self) -> None:
        """Let nothing be written any more."""
        self._mount("-o", "remount,ro")

    def widen(self) -> None:
        """Give the disk more room and names than any command needs, and let it be written to."""
        self._mount("-o", f"remount,rw,size={WIDE},nr_inodes={MANY}")

    def __call__(self, *words: str) -> tuple[int, str]:
        """Run a command in the folder of work.

        Returns:
            Its exit code, and what it wrote to the terminal.
        """
        code = self.killer(self.place / "work", [*words], -1)
        return code, self.killer.output()

    def close(self) -> None:
        """End the process; the disk goes with it."""
        self.killer.close()
