"""Chromium, driven by Playwright. A visit writes down whatever a page must not do.

`make browser` runs these tests. They are skipped where Playwright or a browser is absent; the
variable CHROMIUM names the browser's executable.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
WATCHED = """
window.ran = window.ran || [];
window.refused = [];
document.addEventListener('securitypolicyviolation',
  e => refused.push(`${e.violatedDirective} ${e.blockedURI} ${e.sample}`));
"""
# what a text has become if it was taken for markup: a tag that no page of ours has, a handler, a
# link that is none of ours; a notebook's own figures are images of SVG, in which nothing runs
STRAYS = """() => [...document.querySelectorAll('*')].filter(e =>
  !e.matches('img[src^="data:image/svg+xml;base64,"][style][alt]')).filter(e =>
  /^(iframe|object|embed|base|img|math|foreignobject|animate|audio|video)$/i.test(e.localName)
  || (e.localName === 'link' && e.getAttribute('href') !== 'page.css')
  || [...e.attributes].some(a => a.name.startsWith('on')
    || (/^(href|src|action|xlink:href|formaction)$/.test(a.name)
      && !/^(#|https:\\/\\/arxiv\\.org\\/abs\\/|label$|undo$|page\\.(css|js)$)/.test(a.value)))
).map(e => e.outerHTML.slice(0, 200))"""


def gone() -> type[Exception]:
    """Playwright's exception, which is there wherever a page is."""
    from playwright.sync_api import Error

    return Error


@dataclass
class Visit:
    """One page of the browser.

    Attributes:
        page: Playwright's page.
        requests: The addresses that it asked for.
        log: Dialogs, exceptions, and what the console showed as an error.
    """

    page: Any
    requests: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def js(self, expression: str) -> Any:
        """What an expression or a function comes to in the page."""
        return self.page.evaluate(expression)

    def until(self, expression: str, seconds: float = 20.0) -> None:
        """Wait until an expression is true; a page on its way out answers nothing.

        Playwright's own waiting evaluates text in the page, which the pages' policy refuses.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(gone()):
                if self.js(expression) is True:
                    self.page.wait_for_load_state()  # with its styles, and with who hears keys
                    return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {expression}; {self.js('document.body.innerText')}")

    def strangers(self) -> list[str]:
        """The requests to another place than the one that the page came from."""
        here = urlsplit(self.page.url)
        return [u for u in self.requests if urlsplit(u)[:2] != here[:2] and u[:5] != "data:"]

    def harm(self) -> dict[str, list[str]]:
        """Whatever a hostile text has done here; empty lists are the only good answer."""
        return {
            "ran": self.js("ran"),
            "refused by the policy": self.js("refused"),
            "log": self.log,
            "strangers": self.strangers(),
            "frames": [f.url for f in self.page.frames[1:]],
            "strays": self.js(STRAYS),
        }


NO_HARM: dict[str, list[str]] = {
    k: [] for k in ("ran", "refused by the policy", "log", "strangers", "frames", "strays")
}
Visiting = Callable[..., Visit]


def executable() -> str | None:
    """The browser: the one that CHROMIUM names, or the first that is found."""
    named = os.environ.get("CHROMIUM")
    return named or next((p for n in NAMES if (p := shutil.which(n))), None)


@pytest.fixture(scope="module")  # one driver at a time in a process
def chromium() -> Iterator[Any]:
    """The browser itself, once for the tests of a file."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: make browser"
    )
    found = executable()
    if found is None:
        pytest.skip("no browser on this machine: install chromium, or set CHROMIUM")
    flags = ["--host-resolver-rules=MAP *.invalid 127.0.0.1"]  # other sites, on this machine
    flags += ["--no-sandbox"] if os.name != "nt" and os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Visiting]:
    """Open an address in a fresh context: `visit(url, width=390, dark=True)`.

    Whatever goes elsewhere is written down and never leaves. `policy=False` takes the page's
    content security policy away, so that escaping is tested without its help.
    """
    contexts = []

    def open_(
        url: str,
        *,
        width: int = 1200,
        height: int = 900,
        dark: bool = False,
        scripts: bool = True,
        policy: bool = True,
        anywhere: bool = False,
        **more: Any,
    ) -> Visit:
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            bypass_csp=not policy,
            **more,
        )
        contexts.append(context)
        context.add_init_script(WATCHED)
        seen = Visit(context.new_page())
        here = urlsplit(url)[:2]

        def pass_on(route: Any) -> None:
            seen.requests.append(route.request.url)
            if anywhere or urlsplit(route.request.url)[:2] == here:
                route.continue_()
            else:
                route.abort()

        def dialog(d: Any) -> None:
            seen.log.append(f"dialog: {d.message}")
            d.dismiss()

        context.route("**/*", pass_on)
        seen.page.on("dialog", dialog)
        seen.page.on("pageerror", lambda e: seen.log.append(f"exception: {e}"))
        seen.page.on("console", lambda m: m.type == "error" and seen.log.append(m.text))
        seen.page.goto(url)
        return seen

    yield open_
    for context in contexts:
        context.close()
