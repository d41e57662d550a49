"""The page in a real browser: charts answer to a pointer and to switches, nothing is cut off."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import FOUND, Tab, tab
from pages import HOSTILE, make

from assay import report

pytestmark = pytest.mark.skipif(FOUND is None, reason="no browser on this machine")
AWAKE = "document.querySelectorAll('.live.awake').length > 0"
HOVER = """[...document.querySelectorAll('.wide .awake path')]
  .filter(p => p.getAttribute('opacity') === '0').at(-1)"""
CENTRE = """p => {
  const b = p.getBoundingClientRect();
  return [b.x + b.width / 2, b.y + b.height / 2];
}"""
TOO_WIDE = """() => [...document.querySelectorAll('h1, h2, h3, th, td, figcaption, summary, .live')]
  .filter(e => e.offsetParent && e.checkVisibility())
  .filter(e => e.getBoundingClientRect().right > 391 || e.scrollWidth > e.clientWidth + 1)
  .filter(e => !e.closest('thead')).map(e => e.outerHTML.slice(0, 200)).join()"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("browser")
    long = {"name": "toy", "model": "a_name_without_any_place_to_break_it_" * 4, "peft": None}
    runs = [
        make(
            folder / f"{i}", name, seed, slope=slope, world=long, rewards=[HOSTILE, "two"], count=12
        )
        for i, (name, seed, slope) in enumerate(
            [("plain", 0, 1.0), ("plain", 1, 1.0), ("plain", 2, 1.0), (HOSTILE, 0, 1.3)]
        )
    ]
    return report.build(runs, folder / "report.html", title=HOSTILE).as_uri()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Tab]:
    with tab(tmp_path / "profile") as t:
        yield t


def test_a_pointer_reads_values_and_a_switch_hides_a_method(page: str, browser: Tab) -> None:
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=1200,
        height=900,
        deviceScaleFactor=1,
        mobile=False,
    )
    browser.go(page)
    browser.until(AWAKE)
    shown = "document.querySelectorAll('.wide .awake .mark-line path').length"
    before = browser.js(shown)
    target = browser.js(f"JSON.stringify(({CENTRE})({HOVER}))")
    x, y = json.loads(target)
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    browser.until("document.querySelector('#vg-tooltip-element.visible') !== null")
    box = browser.js("document.querySelector('#vg-tooltip-element').innerText")
    assert "method" in box and "√KL" in box and "+" in box
    browser.js("document.querySelector('.switches input').click()")
    browser.until(f"{shown} < {before}")
    browser.js("document.querySelector('.switches input').click()")
    browser.until(f"{shown} === {before}")
    assert browser.js("document.querySelectorAll('img').length") == 0, "hostile names stayed text"
    assert browser.log == [], "nothing was refused by the policy, and nothing failed"


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_cut_off_on_a_phone(page: str, browser: Tab, dark: bool) -> None:
    browser.narrow(390, dark)
    browser.go(page)
    browser.until(AWAKE)
    assert browser.js("document.documentElement.scrollWidth") <= 390
    wide = browser.js(f"({TOO_WIDE})()")
    assert wide == "", "headings, cells and charts are as wide as the page"
    paper = browser.js("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")


def test_without_scripts_there_are_stills(page: str, browser: Tab) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.call("Page.navigate", url=page)
    end = time.monotonic() + 20
    while not (found := browser.js("document.querySelectorAll('.wide svg.chart path').length")):
        assert time.monotonic() < end
    assert found > 20 and browser.js("document.querySelectorAll('.awake').length") == 0
    assert browser.js("getComputedStyle(document.querySelector('.switches')).display") == "none"
