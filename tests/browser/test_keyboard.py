"""Without a mouse: everything is reached in the order in which it is read, and seen when it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hostile import LONG
from made import label_page, plain, written
from visiting import Visit, Visiting, chromium, visit  # noqa: F401

from assay.records.runs import read_lines

pytestmark = pytest.mark.browser
FOCUSED = """() => {
  const e = document.activeElement;
  if (!e || e === document.body) return null;
  const s = getComputedStyle(e), b = e.getBoundingClientRect();
  window.visited = window.visited || [];
  visited.push(e);
  return {
    what: e.id || e.value || e.localName,
    seen: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2,
    there: b.width > 0 && b.bottom > 0 && b.top < innerHeight,
    later: visited.length < 2 || !!(visited.at(-2).compareDocumentPosition(e) & 4),
  };
}"""
AT = "document.getElementById('progress').innerText.startsWith('{} of')"


def walk(seen: Visit, most: int = 200) -> list[dict[str, Any]]:
    """What has the focus after each press of Tab, until the page is through."""
    stops = []
    for _ in range(most):
        seen.page.keyboard.press("Tab")
        at = seen.js(FOCUSED)
        if at is None:
            return stops
        stops.append(at)
    raise AssertionError(f"no end after {most} stops: {stops[-3:]}")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_tab_reaches_everything_of_the_labeling_page_in_order(
    dark: bool, tmp_path: Path, visit: Visiting
) -> None:
    with label_page(tmp_path, lambda field: f"{field} {LONG * 100}") as served:
        seen = visit(served.address, height=700, dark=dark)
        seen.page.keyboard.press("1")
        seen.until(AT.format(1))
        stops = walk(seen)
        names = [s["what"] for s in stops]
        controls = [n for n in names if n in ("undo", "summary", "first", "second", "tie")]
        assert controls[:2] == ["undo", "summary"]
        assert names[-3:] == ["first", "tie", "second"], "the buttons, as they stand"
        assert all(s["seen"] and s["there"] and s["later"] for s in stops), stops
        texts = len(names) - len({"undo", "summary"}) - 3
        assert texts == 3, "the prompt and both texts are too long for their boxes, and scroll"


def test_a_whole_session_by_tab_and_space(tmp_path: Path, visit: Visiting) -> None:
    with label_page(tmp_path, plain, pairs=4) as served:
        seen = visit(served.address)
        for i, choice in enumerate(("first", "tie", "second")):
            for _ in range(12):
                seen.page.keyboard.press("Tab")
                if seen.js("document.activeElement.value") == choice:
                    break
            seen.page.keyboard.press("Space" if i % 2 else "Enter")
            seen.until(AT.format(i + 1))
        while seen.js("document.activeElement.id") != "undo":
            seen.page.keyboard.press("Tab")
        seen.page.keyboard.press("Enter")
        seen.until(AT.format(2))
    rows = read_lines(tmp_path / "labels.jsonl")
    assert [r["label"] for r in rows[:3]] == [1.0, 0.5, 0.0] and rows[3]["undone"]


def test_a_whole_session_by_two_keys(tmp_path: Path, visit: Visiting) -> None:
    with label_page(tmp_path, plain, pairs=6) as served:
        seen = visit(served.address, width=360, height=700, dark=True)
        for i, key in enumerate("12=t0"):
            shown = seen.js("document.querySelector('input[name=id]').value")
            seen.page.keyboard.press(key)
            seen.until(AT.format(i + 1))
            rows = read_lines(tmp_path / "labels.jsonl")
            assert len(rows) == i + 1 and rows[-1]["id"] == shown
            assert rows[-1]["label"] == [1.0, 0.0, 0.5, 0.5, 0.5][i]
        seen.page.keyboard.press("Control+1")
        seen.page.wait_for_timeout(100)
        assert seen.js(AT.format(5)), "a key of the browser's is none of the page's"
        seen.page.keyboard.press("u")
        seen.until(AT.format(4))
        for i in (5, 6):
            seen.page.keyboard.press("ArrowLeft")
            seen.until(AT.format(i))
        assert seen.js("document.getElementById('over').innerText").startswith("All labeled")
        assert seen.log == []


def test_a_key_held_down_is_one_label(tmp_path: Path, visit: Visiting) -> None:
    with label_page(tmp_path, plain, pairs=6) as served:
        seen = visit(served.address)
        for _ in range(4):
            seen.page.keyboard.down("1")  # the second and later ones repeat
        seen.until(AT.format(1))
        seen.page.wait_for_timeout(300)
        assert len(read_lines(tmp_path / "labels.jsonl")) == 1


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_tab_reaches_every_part_of_a_report_in_order(dark: bool, visit: Visiting) -> None:
    seen = visit(written("report"), dark=dark)
    seen.until("document.querySelectorAll('.awake').length > 0")
    stops = walk(seen)
    assert all(s["seen"] and s["there"] and s["later"] for s in stops), [
        s for s in stops if not (s["seen"] and s["there"] and s["later"])
    ]
    for what in ("summary", ".scroll", ".switches input", ".papers a"):
        left = seen.page.evaluate(
            "what => [...document.querySelectorAll(what)].filter(e => e.checkVisibility()"
            " && !visited.includes(e)).map(e => e.outerHTML.slice(0, 100))",
            what,
        )
        assert left == [], f"Tab never reaches {what}"


def test_keys_unfold_and_switch(visit: Visiting) -> None:
    seen = visit(written("report"))
    seen.until("document.querySelectorAll('.awake').length > 0")
    lines = "document.querySelectorAll('.wide .awake .mark-line path').length"
    before = seen.js(lines)
    seen.page.locator(".switches input").first.focus()
    seen.page.keyboard.press("Space")
    seen.until(f"{lines} < {before}")
    seen.page.keyboard.press("Space")
    seen.until(f"{lines} === {before}")
    fold = seen.page.locator("details.record > summary").first
    fold.focus()
    seen.page.keyboard.press("Enter")
    assert seen.js("document.querySelector('details.record').open")
