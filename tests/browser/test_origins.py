"""Other sites, which know the labeling page's whole address: they write nothing, read nothing and
show nothing of it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from made import label_page, plain
from visiting import Visiting, chromium, visit  # noqa: F401

from assay.watch.labelers.page import LabelPage

pytestmark = pytest.mark.browser
FORM = """<!doctype html><form method=post action="{address}{path}" {more}>
<input name=id value="{id}"><input name=choice value=first></form>
<script>document.forms[0].submit()</script>"""
# every way in which a script may ask: what it reads, or how it fails
ASKS = """async ([address, id]) => {
  const told = {};
  const body = new URLSearchParams({id, choice: 'first'});
  const ways = {
    post: {method: 'POST', body},
    'post without cors': {method: 'POST', body, mode: 'no-cors'},
    'post of json': {method: 'POST', body: '{}', headers: {'content-type': 'application/json'}},
    get: {},
    'get without cors': {mode: 'no-cors'},
    'get with cookies': {credentials: 'include'},
  };
  for (const [name, way] of Object.entries(ways)) {
    const path = name.startsWith('post') ? 'label' : '';
    try {
      const reply = await fetch(address + path, way);
      told[name] = `${reply.type} ${reply.status} ${(await reply.text()).length}`;
    } catch (why) {
      told[name] = 'failed';
    }
  }
  navigator.sendBeacon(address + 'label', body);
  return told;
}"""


@pytest.fixture
def other() -> Iterator[tuple[str, dict[str, str]]]:
    """Another site: its address, and its pages by path."""
    pages: dict[str, str] = {"/": "<!doctype html><title>other</title>"}

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.get(self.path, "").encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://other.invalid:{server.server_address[1]}", pages
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[LabelPage]:
    with label_page(tmp_path, plain) as page:
        yield page


def written(page: LabelPage) -> list[str]:
    file = page.store.folder / "labels.jsonl"
    return file.read_text("utf-8").splitlines() if file.exists() else []


def first_id(page: LabelPage) -> str:
    return str(page.store.pairs(0.0)[0].id)


@pytest.mark.parametrize("path", ["label", "undo"])
@pytest.mark.parametrize(
    "more", ["", "enctype=text/plain", "enctype=multipart/form-data", "target=_blank"]
)
def test_a_form_of_another_site_writes_nothing(
    path: str, more: str, served: LabelPage, other: tuple[str, dict[str, str]], visit: Visiting
) -> None:
    address, pages = other
    if path == "undo":
        served.label(first_id(served), "second")
    before = written(served)
    values = {"address": served.address, "path": path, "id": first_id(served), "more": more}
    pages["/"] = FORM.format(**values)
    seen = visit(address, anywhere=True)
    if "_blank" not in more:
        seen.page.wait_for_url(f"{served.address}{path}")
        assert seen.js("document.body.innerText").startswith("refused: ")
    seen.page.wait_for_timeout(200)
    assert written(served) == before and len(before) == (path == "undo")


@pytest.mark.parametrize("host", ["other.invalid", "127.0.0.1", "localhost"])
def test_a_script_of_another_site_reads_and_writes_nothing(
    host: str, served: LabelPage, other: tuple[str, dict[str, str]], visit: Visiting
) -> None:
    """Another port of the same name is another origin, too."""
    seen = visit(other[0].replace("other.invalid", host), anywhere=True)
    told = seen.page.evaluate(ASKS, [served.address, first_id(served)])
    readable = {k: v for k, v in told.items() if v not in ("failed", "opaque 0 0")}
    assert readable == {}, "neither a reply nor a label"
    time.sleep(0.2)  # a beacon is sent when the browser sees fit
    assert written(served) == []


def test_another_site_shows_nothing_in_a_frame(
    served: LabelPage, other: tuple[str, dict[str, str]], visit: Visiting
) -> None:
    """A frame that nobody sees would take the clicks."""
    address, pages = other
    tags = "".join(f"<{t}></{t}>" for t in ("iframe", "object", "embed", "script", "img", "link"))
    pages["/"] = f"<!doctype html>{tags}"
    seen = visit(address, anywhere=True)
    told: list[int] = []
    ours = f"127.0.0.1:{served.port}/"
    seen.page.on("response", lambda r: told.append(r.status) if ours in r.url else None)
    seen.page.evaluate(
        """([address]) => {
          window.loaded = [];
          const names = {iframe: 'src', object: 'data', embed: 'src', script: 'src', img: 'src'};
          for (const [tag, name] of Object.entries(names)) {
            const e = document.querySelector(tag);
            if (tag === 'script' || tag === 'img') e.onload = () => loaded.push(tag);
            const file = tag === 'script' || tag === 'img' ? 'page.js' : '';
            const fresh = e.cloneNode(); fresh.onload = e.onload;
            fresh.setAttribute(name, address + file); e.replaceWith(fresh);
          }
        }""",
        [served.address],
    )
    seen.page.wait_for_timeout(500)
    assert seen.js("loaded") == []
    assert len(told) >= 3 and set(told) == {403}, "not even to a frame that would show nothing"


def test_a_window_that_another_site_opens_is_out_of_its_reach(
    served: LabelPage, other: tuple[str, dict[str, str]], visit: Visiting
) -> None:
    seen = visit(other[0], anywhere=True)
    told = seen.page.evaluate(
        """async address => {
          const opened = window.open(address);
          await new Promise(done => setTimeout(done, 500));
          try { return String(opened.document.body.innerText); } catch (why) { return why.name; }
        }""",
        served.address,
    )
    assert told in ("SecurityError", "TypeError")


def test_a_name_that_points_here_is_not_this_page(served: LabelPage, visit: Visiting) -> None:
    """DNS rebinding: the browser takes the other name's page and this server for one origin."""
    rebound = served.address.replace("127.0.0.1", "rebound.invalid")
    seen = visit(rebound, anywhere=True)
    assert seen.js("document.body.innerText").startswith("refused: not this page's own host")
    told = seen.page.evaluate(ASKS, [rebound, first_id(served)])
    assert all(v in ("failed", "opaque 0 0") or " 403 " in v for v in told.values()), told
    assert written(served) == []


def test_the_page_itself_may_write(served: LabelPage, visit: Visiting) -> None:
    """The refusals above are of others: the same words from the page's own form are taken."""
    seen = visit(served.address)
    seen.page.locator("button[value=first]").click()
    seen.until("document.getElementById('progress').innerText.startsWith('1 of')")
    assert [json.loads(line)["label"] for line in written(served)] == [1.0]


def test_headers_keep_the_page_to_itself(served: LabelPage, visit: Visiting) -> None:
    seen = visit(served.address)
    headers = seen.page.reload().headers
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy
    assert headers["x-frame-options"] == "DENY", "for browsers that know no frame-ancestors"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store" and "server" not in headers
