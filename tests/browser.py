"""A real browser, driven over a pipe with the standard library alone (Chrome's remote debugging
protocol).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOUND = next(
    (
        p
        for name in ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell")
        if (p := shutil.which(name))
    ),
    None,
)


START = """import os, sys
there = [os.dup(int(fd)) for fd in sys.argv[1:3]]
high = [os.dup2(fd, 200 + i) for i, fd in enumerate(there)]
os.dup2(200, 3)
os.dup2(201, 4)
os.execv(sys.argv[3], sys.argv[3:])"""  # the browser reads at 3 and writes at 4


class Tab:
    """One page: `go`, `press` a key, `js` evaluates an expression."""

    def __init__(self, to: int, back: int):
        self.to, self.back, self.n, self.rest, self.session = to, back, 0, b"", ""
        self.log: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.n += 1
        message = {
            "id": self.n,
            "method": method,
            "params": params,
            **({"sessionId": self.session} if self.session else {}),
        }
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            got = self._next()
            if got.get("method") in (
                "Log.entryAdded",
                "Runtime.exceptionThrown",
                "Page.javascriptDialogOpening",
            ):
                self.log.append(json.dumps(got["params"])[:300])
            if got.get("id") == self.n:
                assert "error" not in got, got
                result: dict[str, Any] = got["result"]
                return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            more = os.read(self.back, 1 << 16)
            assert more, "the browser has gone"
            self.rest += more
        one, _, self.rest = self.rest.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        return message

    def js(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)[
            "result"
        ].get("value")

    def until(self, expression: str, seconds: float = 20.0) -> None:
        """Wait until an expression is true; a page on its way out answers nothing, which is no
        answer.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(AssertionError):
                if self.js(expression) is True:
                    return
            time.sleep(0.05)
        raise AssertionError(f"never true: {expression}; {self.js('document.body.innerText')}")

    def go(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def press(self, key: str) -> None:
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def narrow(self, width: int, dark: bool) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=700,
            deviceScaleFactor=1,
            mobile=True,
        )
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )

    def shot(self, path: Path) -> None:
        path.write_bytes(
            base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        )


@contextlib.contextmanager
def tab(profile: Path) -> Iterator[Tab]:
    """A headless browser with one tab, gone afterwards."""
    assert FOUND is not None
    ours_out, theirs_in = os.pipe()[::-1]  # we write, it reads at 3
    ours_in, theirs_out = os.pipe()  # it writes at 4, we read
    flags = [
        "--headless",
        "--remote-debugging-pipe",
        "--disable-gpu",
        "--no-first-run",
        "--disable-dev-shm-usage",
        "--disable-extensions",
        f"--user-data-dir={profile}",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(theirs_in), str(theirs_out), FOUND, *flags],
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Tab(ours_out, ours_in)
    finally:
        process.terminate()
        process.wait(20)
        os.close(ours_out)
        os.close(ours_in)
