"""Makes a folder whose name appears once all of its content is there and has been checked."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assay.engine.atomic import flush, make_folder, sync_folder
from assay.engine.leftovers import FOLDER, MOVING, forget, fresh_path, is_fresh
from assay.errors import InputError

_FILLED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)  # what a rename says of a name in use


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Give a fresh folder to write to; its content stands in `out` if the block ends well.

    So a folder of that name is whole, and has passed what the block checked. The fresh folder lies
    beside `out`, and takes its name in one step. Only where `out` is a disk of its own it lies
    within, and its entries are moved one by one; what a kill leaves of that is taken back by the
    next start.

    Args:
        out: A name that is free, or an empty folder.

    Yields:
        The fresh folder, which is gone in the end.

    Raises:
        InputError: Another process wrote `out` while the block ran; what it wrote stays.

    Example:
        >>> out = getfixture("tmp_path") / "runs" / "model"
        >>> with whole_folder(out) as fresh:
        ...     _ = (fresh / "config.json").write_text("{}")
        >>> [p.name for p in out.parent.iterdir()], [p.name for p in out.iterdir()]
        (['model'], ['config.json'])
    """
    whole = out.resolve() if out.is_symlink() or out.name in ("", "..") else out
    forget(whole)
    make_folder(whole.parent)
    with fresh_path(whole, FOLDER) as beside:
        fresh = _made(beside, whole)
        try:
            yield fresh
            _flush_all(fresh)
            _place(fresh, whole, out)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _flush_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        elif path.is_file():
            flush(path)


def _made(beside: Path, whole: Path) -> Path:
    """The fresh folder, made beside its place, or within it where that is another disk."""
    if not os.path.ismount(whole):
        try:
            beside.mkdir()
        except PermissionError:  # the place may be writable where the folder above is not
            if not whole.is_dir():
                raise
        else:
            return beside
    within = whole / beside.name
    within.mkdir()
    return within


def _place(fresh: Path, whole: Path, out: Path) -> None:
    """Give a fresh folder its name, unless something is there."""
    late = InputError(
        f"{out} was written by another process in the meantime, and is never overwritten; "
        "give another place"
    )
    if fresh.parent == whole:
        if not all(map(is_fresh, whole.iterdir())):
            raise late
        names = sorted(p.name for p in fresh.iterdir())
        (fresh / MOVING).write_text("\0".join(names), encoding="utf-8")
        flush(fresh / MOVING)
        for name in names:
            (fresh / name).rename(whole / name)
        sync_folder(whole)
        return
    try:
        if whole.is_dir():
            shutil.copymode(whole, fresh)
            if os.name == "nt":  # a rename there replaces no folder
                whole.rmdir()
        fresh.rename(whole)
    except OSError as why:
        if why.errno not in _FILLED:
            raise
        raise late from why
    sync_folder(whole.parent)
