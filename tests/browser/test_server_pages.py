"""A reward server on this machine and pages of other sites in its browser: they score nothing, read
nothing, and what the server itself shows is no markup.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from test_origins import other  # noqa: F401
from visiting import NO_HARM, Visiting, chromium, visit  # noqa: F401

from assay.serve.server import RewardServer

pytestmark = pytest.mark.browser
HOSTILE = "<script>ran.push('name')</script><img src=x onerror=ran.push('image')>"
PATHS = ("/health", "/v1/models", "/metrics")
# every way in which a script may ask: what it reads, or how it fails
ASKS = """async ([address, paths]) => {
  const told = {}, body = JSON.stringify({prompts: ['p'], completions: ['c']});
  const ways = {
    json: ['/v1/score', {method: 'POST', body, headers: {'content-type': 'application/json'}}],
    text: ['/v1/score', {method: 'POST', body}],
    'text without cors': ['/v1/score', {method: 'POST', body, mode: 'no-cors'}],
    'with a token': ['/v1/score', {method: 'POST', body, headers: {authorization: 'Bearer x'}}],
  };
  for (const path of paths) {
    ways[path] = [path, {}];
    ways[path + ' without cors'] = [path, {mode: 'no-cors'}];
  }
  for (const [name, [path, way]] of Object.entries(ways)) {
    try {
      const reply = await fetch(address + path, way);
      told[name] = `${reply.type} ${reply.status} ${(await reply.text()).length}`;
    } catch (why) {
      told[name] = 'failed';
    }
  }
  navigator.sendBeacon(address + '/v1/score', body);
  return told;
}"""
Served = tuple[str, list[str]]


@pytest.fixture
def served() -> Iterator[Served]:
    """A server's address, and the completions that it was asked to score."""
    scored = list[str]()

    def length(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
        scored.extend(completions)
        return [float(len(c)) for c in completions]

    with RewardServer(length, name=HOSTILE, log_requests=False) as server:
        yield server.url, scored


@pytest.mark.parametrize("host", ["other.invalid", "127.0.0.1", "localhost"])
def test_a_script_of_another_site_scores_and_reads_nothing(
    host: str, served: Served, other: tuple[str, dict[str, str]], visit: Visiting
) -> None:
    """Another port of the same name is another origin, too."""
    seen = visit(other[0].replace("other.invalid", host), anywhere=True)
    told = seen.page.evaluate(ASKS, [served[0], list(PATHS)])
    assert {k: v for k, v in told.items() if v not in ("failed", "opaque 0 0")} == {}
    seen.page.wait_for_timeout(300)  # a beacon is sent when the browser sees fit
    assert served[1] == []


def test_a_form_of_another_site_scores_nothing(
    served: Served, other: tuple[str, dict[str, str]], visit: Visiting
) -> None:
    address, pages = other
    field = '{"prompts":["p"],"completions":["c"],"model":"'
    pages["/"] = (
        f"<!doctype html><form method=post enctype=text/plain action={served[0]}/v1/score>"
        f"<input name='{field}' value='\"}}'></form><script>document.forms[0].submit()</script>"
    )
    seen = visit(address, anywhere=True)
    seen.page.wait_for_url(f"{served[0]}/v1/score")
    assert "refused: a page of another origin" in seen.js("document.body.innerText")
    assert served[1] == []


def test_a_name_that_points_here_is_refused(served: Served, visit: Visiting) -> None:
    """DNS rebinding: the browser takes the other name's page and this server for one origin."""
    rebound = served[0].replace("127.0.0.1", "rebound.invalid")
    seen = visit(rebound + "/health", anywhere=True)
    assert "the Host header names another machine" in seen.js("document.body.innerText")
    told = seen.page.evaluate(ASKS, [rebound, list(PATHS)])
    assert all(v in ("failed", "opaque 0 0") or " 403 " in v for v in told.values()), told
    assert served[1] == []


@pytest.mark.parametrize("path", [*PATHS, "/" + HOSTILE, "/v1/score"])
def test_what_the_server_shows_is_no_markup(path: str, served: Served, visit: Visiting) -> None:
    seen = visit(served[0] + path)
    missing = path not in PATHS  # the console tells of a reply that is an error
    seen.log = [x for x in seen.log if not (missing and "Failed to load resource" in x)]
    assert seen.harm() == NO_HARM
    headers = seen.page.reload().headers
    assert headers["x-content-type-options"] == "nosniff" and "server" not in headers
    assert not headers["content-type"].startswith("text/html")


def test_a_program_on_this_machine_is_answered(served: Served, visit: Visiting) -> None:
    """The refusals above are of others: the same words from the server's own origin are taken."""
    seen = visit(served[0] + "/health")
    told = seen.page.evaluate(ASKS, [served[0], list(PATHS)])
    assert told["json"].startswith("basic 200 ") and "c" in served[1]
