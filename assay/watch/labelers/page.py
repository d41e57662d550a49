"""A small page on this machine where a person judges pairs with two keys. Standard library only.

It is served on the loopback address alone, under a path that holds a random token; requests of
another host or origin are refused, so that no other page a browser has open can read or write here.
Everything from prompts and answers is escaped, and the page runs no script but its own file. It
works without that file, too: the keys are a convenience, the buttons are a form. A label is on disk
before the next pair is shown.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from assay.data.escape import marked, safe
from assay.errors import InputError
from assay.watch.labelers.people import Desk, Pair
from assay.watch.labelers.questions import SAID

HERE = Path(__file__).parent
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
FILES = {"page.js": "text/javascript; charset=utf-8", "page.css": "text/css; charset=utf-8"}
MOST = 10_000  # bytes of a form
BUTTONS = (
    ("first", "1", "The first is better"),
    ("tie", "=", "Neither is"),
    ("second", "2", "The second is better"),
)


class Page:
    """Serves a run's questions. `start()` returns its address; `done` is set when nothing is left
    to judge.
    """

    def __init__(self, folder: Path | str, *, port: int = 0, twice: float = 0.1, by: str = "page"):
        if not 0 <= twice <= 1:
            raise InputError(
                f"--twice is {twice}; it is the share of pairs asked a second time, from 0 to 1"
            )
        self.desk, self.twice, self.by = Desk(folder), twice, by
        self.token, self.lock, self.done = (
            secrets.token_urlsafe(24),
            threading.Lock(),
            threading.Event(),
        )
        self.mine: list[str] = []  # ids in the order in which this page labeled them
        self.given = self.desk.said()
        try:
            self.server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        except (OSError, OverflowError) as why:
            raise InputError(
                f"--port is {port}, and nothing can be served there ({why}); leave it out for a "
                "free one"
            ) from why
        self.server.daemon_threads = True
        self.hosts = {f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")}
        self._notice()

    @property
    def address(self) -> str:
        """Where the page is. Whoever knows it may label."""
        return f"http://127.0.0.1:{self.server.server_port}/{self.token}/"

    def start(self) -> str:
        """Serve in a thread of its own."""
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self.address

    def stop(self) -> None:
        """Serve no more."""
        self.server.shutdown()
        self.server.server_close()

    # ---- what a request does

    def label(self, id: str, said: str) -> None:
        """Write a label down, unless the pair has one: a key pressed twice is one answer."""
        with self.lock:
            pair = next((p for p in self.desk.pairs(self.twice) if p.id == id), None)
            if pair is not None and said in SAID and id not in self.given:
                self.desk.label(pair, said, self.by)
                self.given[id] = self.desk.line(pair, said, self.by)
                self.mine.append(id)
                self._notice()

    def undo(self) -> None:
        """Take back the last label that was given here."""
        with self.lock:
            if self.mine:
                id = self.mine.pop()
                self.desk.undo(id, self.by)
                self.given.pop(id, None)
                self._notice()

    def _notice(self) -> None:
        if any(p.id not in self.given for p in self.desk.pairs(self.twice)):
            self.done.clear()
        else:
            self.done.set()

    def html(self) -> str:
        """The page as it is now: the next pair, or that nothing is left."""
        pairs = self.desk.pairs(self.twice)
        left = [p for p in pairs if p.id not in self.given]
        n = len(pairs) - len(left)
        undo = (
            '<form method="post" action="undo"><button id="undo" aria-keyshortcuts="u">Undo the '
            "last (u)</button></form>"
            if self.mine
            else ""
        )
        body = (
            self._pair(left[0])
            if left
            else (
                '<section class="over" id="over"><h1>All judged</h1><p>Every label is on disk. '
                "Go on in the terminal; this page may be closed.</p></section>"
            )
        )
        return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><meta name="referrer" content="same-origin">
<title>{n} of {len(pairs)} judged · assay</title><link rel="stylesheet" href="page.css"><script src="page.js" defer></script>
</head><body><header><progress value="{n}" max="{len(pairs)}" aria-label="judged"></progress>
<p id="progress">{n} of {len(pairs)} judged</p>{undo}</header><main>{body}</main></body></html>
"""

    def _pair(self, pair: Pair) -> str:
        buttons = "".join(
            f'<button name="said" value="{said}" aria-keyshortcuts="{key}" '
            f'data-key="{key}"><kbd>{key}</kbd> {what}'
            "</button>"
            for said, key, what in BUTTONS
        )
        return (
            '<section class="prompt" aria-labeledby="p"><h1 id="p">Prompt</h1><div '
            f'class="text">{marked(pair.prompt)}</div>'
            '</section><div class="two"><section aria-labeledby="a"><h2 id="a">First</h2><div '
            'class="text" id="first">'
            f'{marked(pair.first)}</div></section><section aria-labeledby="b"><h2 '
            'id="b">Second</h2><div class="text" '
            f'id="second">{marked(pair.second)}</div></section></div><form method="post" '
            'action="label" id="judge"><input '
            f'type="hidden" name="id" value="{safe(pair.id)}"><div '
            f'class="keys">{buttons}</div></form>'
        )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        page = self

        class Handler(BaseHTTPRequestHandler):
            server_version, sys_version, protocol_version = "assay", "", "HTTP/1.1"
            timeout = 60

            def log_message(self, *_: Any) -> None:
                """Addresses hold the token: nothing is logged."""

            def answer(
                self,
                code: int,
                text: str = "",
                kind: str = "text/plain; charset=utf-8",
                **heads: str,
            ) -> None:
                raw = text.encode("utf-8", "backslashreplace")
                self.send_response(code)
                for name, value in {
                    "Content-Type": kind,
                    "Content-Length": str(len(raw)),
                    "Content-Security-Policy": POLICY,
                    "X-Content-Type-Options": "nosniff",
                    "Referrer-Policy": "same-origin",
                    "Cache-Control": "no-store",
                    "Cross-Origin-Resource-Policy": "same-origin",
                    **heads,
                }.items():
                    self.send_header(name, value)
                if code >= 400:
                    self.send_header("Connection", "close")
                    self.close_connection = True
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(raw)

            def what(self) -> str | None:
                """The path after the token; None where host, origin or token is not ours, and then
                it has been refused.
                """
                token, _, rest = self.path.removeprefix("/").partition("?")[0].partition("/")
                origin, site = (
                    self.headers.get("Origin"),
                    self.headers.get("Sec-Fetch-Site", "none"),
                )
                fair = self.headers.get("Host") in page.hosts and site in ("none", "same-origin")
                if not fair or (
                    origin is not None and origin.removeprefix("http://") not in page.hosts
                ):
                    self.answer(403, "refused: not this page's own host or origin\n")
                elif not hmac.compare_digest(token.encode("utf-8", "replace"), page.token.encode()):
                    self.answer(404, "nothing here: open the address that the terminal shows\n")
                else:
                    return rest
                return None

            def do_GET(self) -> None:
                rest = self.what()
                if rest is None:
                    return
                if rest == "":
                    self.answer(200, page.html(), "text/html; charset=utf-8")
                elif rest in FILES:
                    self.answer(200, (HERE / rest).read_text("utf-8"), FILES[rest])
                else:
                    self.answer(404, "nothing here\n")

            do_HEAD = do_GET

            def do_POST(self) -> None:
                rest = self.what()
                if rest is None:
                    return
                size = self.headers.get("Content-Length", "")
                if not size.isdigit() or int(size) > MOST:
                    self.answer(413, "too long\n")
                    return
                form = urllib.parse.parse_qs(self.rfile.read(int(size)).decode("utf-8", "replace"))
                if rest == "label":
                    page.label(form.get("id", [""])[0], form.get("said", [""])[0])
                elif rest == "undo":
                    page.undo()
                else:
                    self.answer(404, "nothing here\n")
                    return
                self.answer(303, Location=f"/{page.token}/")

        return Handler
