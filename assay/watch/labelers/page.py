"""A page on this machine where a person compares two completions with two keys.

The page is served on the loopback address alone, by uvicorn in a thread of its own; `page_app`
holds the application and its guard. It works without JavaScript, too: the keys are a convenience,
the buttons are a form. A label is on disk before the next pair is shown.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.watch.labelers.people import LabelStore, labeling
from assay.watch.labelers.questions import CHOICES

LAST_VIEW = 3.0  # seconds in which the browser can fetch the closing page
GRACE = 2  # seconds in which open requests may end when the server stops


class LabelPage:
    """Serves a run's questions to a browser on this machine.

    Args:
        folder: The run's folder.
        port: The port; 0 for a free one.
        twice: The share of pairs that is shown a second time, from 0 to 1.
        by: The name that stands beside every label.

    Raises:
        InputError: The run has no questions for people, another process takes labels for it, or
            the port cannot be used.

    Example:
        >>> page = LabelPage("runs/mine")  # doctest: +SKIP
        >>> print(page.start())  # doctest: +SKIP
        >>> page.wait()  # doctest: +SKIP
        >>> page.stop()  # doctest: +SKIP
    """

    def __init__(self, folder: Path | str, *, port: int = 0, twice: float = 0.1, by: str = "page"):
        if not 0 <= twice <= 1:
            raise InputError(
                f"--twice is {twice}; it is the share of pairs asked a second time, from 0 to 1"
            )
        self.store, self.twice, self.by = LabelStore(folder), twice, by
        self._held = ExitStack()
        self._held.enter_context(labeling(self.store))
        self.token, self.lock = secrets.token_urlsafe(24), threading.Lock()
        self.done = threading.Event()  # no pair is left
        self.closing = threading.Event()  # the browser has fetched the closing page
        self.mine: list[str] = []  # ids in the order in which this page labeled them
        self.given = self.store.current()
        try:
            self.socket = _listen(port)
        except InputError:
            self._held.close()
            raise
        self.port = int(self.socket.getsockname()[1])
        self.thread: threading.Thread | None = None
        self._notice()

    @property
    def address(self) -> str:
        """Where the page is. Anyone who knows it and sits at this machine can label."""
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    def start(self) -> str:
        """Serve in a thread of its own.

        Returns:
            The page's address.
        """
        import uvicorn

        from assay.watch.labelers.page_app import application

        hosts = {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost")}
        self.server = uvicorn.Server(
            uvicorn.Config(
                application(self, self.token, hosts),
                access_log=False,  # an address holds the token
                log_config=None,
                log_level="critical",  # page_app says what a person can mend
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=GRACE,
            )
        )
        self.thread = threading.Thread(
            target=self.server.run, args=([self.socket],), name="labeling page", daemon=True
        )
        self.thread.start()
        return self.address

    def wait(self) -> None:
        """Wait until no pair is left and the browser has shown so (a few seconds at most)."""
        self.done.wait()
        if self.closing.wait(LAST_VIEW):
            time.sleep(0.3)  # its stylesheet follows

    def stop(self) -> None:
        """End the server and wait for its thread. A second call does nothing."""
        if self.thread is not None:
            self.server.should_exit = True
            self.thread.join()
            self.thread = None
        self.socket.close()
        self._held.close()

    def label(self, id: str, choice: str) -> None:
        """Write a label down, unless the pair has one: a key pressed twice is one label.

        Args:
            id: The pair's id.
            choice: first, second or tie; anything else is ignored.
        """
        with self.lock:
            pair = next((p for p in self.store.pairs(self.twice) if p.id == id), None)
            if pair is not None and choice in CHOICES and id not in self.given:
                self.store.label(pair, choice, self.by)
                self.given[id] = self.store.line(pair, choice, self.by)
                self.mine.append(id)
                self._notice()

    def undo(self) -> None:
        """Take back the last label that this page wrote."""
        with self.lock:
            if self.mine:
                id = self.mine.pop()
                self.store.undo(id, self.by)
                self.given.pop(id, None)
                self._notice()

    def view(self) -> dict[str, Any]:
        """What the template shows.

        Returns:
            given and total: counts of pairs; pair: the next one, or None; can_undo: whether this
            page has written a label.
        """
        pairs = self.store.pairs(self.twice)
        left = [p for p in pairs if p.id not in self.given]
        if not left:
            self.closing.set()
        return {
            "given": len(pairs) - len(left),
            "total": len(pairs),
            "pair": left[0] if left else None,
            "can_undo": bool(self.mine),
        }

    def _notice(self) -> None:
        """Set `done` where no pair is left."""
        if any(p.id not in self.given for p in self.store.pairs(self.twice)):
            self.done.clear()
        else:
            self.done.set()


def _listen(port: int) -> socket.socket:
    """A socket that listens on the loopback address."""
    found = socket.socket()
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(("127.0.0.1", port))
        found.listen()
    except (OSError, OverflowError) as why:
        found.close()
        raise InputError(
            f"--port is {port}, and nothing can be served there ({why}); leave it out for a "
            "free one"
        ) from why
    return found
