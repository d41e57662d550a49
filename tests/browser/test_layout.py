"""What the pages look like: on a phone, with texts that are hard to lay out, in the dark."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from hostile import odd
from made import FILES, label_page, plain, written
from visiting import Visit, Visiting, chromium, visit  # noqa: F401

pytestmark = pytest.mark.browser
# a chart comes alive where it is in view
IN_VIEW = """() => [...document.querySelectorAll('.live')].find(e => e.checkVisibility())
  .scrollIntoView()"""
WRITTEN = [kind for kind in FILES if kind != "notebook"]  # a notebook has styles of its own
# what is wider than the screen and cannot be scrolled to
CUT = """width => [...document.querySelectorAll('body *')].filter(e =>
  e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})
  && !e.closest('thead, svg, .bibtex') && e.getClientRects().length
  && (e.getBoundingClientRect().right > width + 1
    || (e.scrollWidth > e.clientWidth + 1 && e.clientWidth
        && getComputedStyle(e).display !== 'inline'
        && ['hidden', 'clip'].includes(getComputedStyle(e).overflowX)
        && !e.classList.contains('live')))
).map(e => e.outerHTML.slice(0, 160))"""
SMALL = """least => [...document.querySelectorAll('a, button, summary, input, select')]
  .filter(e => e.checkVisibility()).map(e => [e, (e.closest('label') || e)])
  .filter(([e, t]) => !(e.localName === 'a' && e.closest('p, li'))
    && (t.getBoundingClientRect().height < least || t.getBoundingClientRect().width < least))
  .map(([e]) => e.outerHTML.slice(0, 160))"""
# text whose contrast with what is painted below it is less than 4.5 (3 where it is large)
FAINT = """() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const over = (top, below) => {
    const a = top.length > 3 ? top[3] : 1;
    return [0, 1, 2].map(i => top[i] * a + below[i] * (1 - a));
  };
  const paper = e => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) {
      const c = parse(getComputedStyle(at).backgroundColor);
      if (c.length && c[3] !== 0) layers.push(c);
    }
    const dark = matchMedia('(prefers-color-scheme: dark)').matches;
    const base = dark ? [18, 18, 18] : [255, 255, 255];
    return layers.reverse().reduce((below, c) => over(c, below), base);
  };
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.checkVisibility({checkOpacity: true})) continue;
    if (/^(script|style|title|desc)$/.test(e.localName)) continue;
    const s = getComputedStyle(e), below = paper(e);
    const ink = over(parse(e.namespaceURI.endsWith('svg') ? s.fill : s.color), below);
    const [a, b] = [light(ink), light(below)].sort((x, y) => y - x);
    const size = parseFloat(s.fontSize);
    const large = size >= 24 || (size >= 18.66 && s.fontWeight >= 700);
    const ratio = (a + .05) / (b + .05);
    seen += 1;
    if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)} ${e.outerHTML.slice(0, 120)}`);
  }
  return {seen, found};
}"""


def opened(seen: Visit) -> None:
    """Every part of a page that can be unfolded, unfolded; every chart alive."""
    seen.js("document.querySelectorAll('details').forEach(d => d.open = true)")
    if seen.js("document.querySelectorAll('.live').length"):
        seen.js(IN_VIEW)
        seen.until("document.querySelectorAll('.awake').length > 0")


def fits(seen: Visit, width: int) -> None:
    opened(seen)
    assert seen.js("document.documentElement.scrollWidth") <= width
    assert seen.page.evaluate(CUT, width) == []


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("kind", WRITTEN)
def test_nothing_is_cut_off_whatever_the_texts(kind: str, width: int, visit: Visiting) -> None:
    fits(visit(written(kind, odd), width=width), width)


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_nothing_of_the_labeling_page_is_cut_off(
    width: int, tmp_path: Path, visit: Visiting
) -> None:
    with label_page(tmp_path, odd) as served:
        seen = visit(served.address, width=width, height=700)
        fits(seen, width)
        keys = "document.querySelector('.keys').getBoundingClientRect()"
        assert seen.js(f"{keys}.bottom <= innerHeight"), "the buttons stay in view"
        assert seen.js(f"{keys}.height < innerHeight / 3"), "and leave room for the texts"
        assert seen.js("document.getElementById('first').clientHeight") > 100


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_finger_finds_what_can_be_pressed(kind: str, visit: Visiting) -> None:
    """24 pixels are WCAG 2.2's least size of a target."""
    seen = visit(written(kind), width=390, has_touch=True)
    opened(seen)
    assert seen.page.evaluate(SMALL, 24) == []


def test_a_finger_finds_the_buttons_of_the_labeling_page(tmp_path: Path, visit: Visiting) -> None:
    with label_page(tmp_path, plain) as served:
        seen = visit(served.address, width=390, has_touch=True)
        assert seen.page.evaluate(SMALL, 44) == []
        seen.page.locator("button[value=tie]").tap()
        seen.until("document.getElementById('progress').innerText.startsWith('1 of')")
        seen.page.wait_for_load_state()  # the style of the page that the form led to
        assert seen.page.evaluate(SMALL, 44) == [], "with the button that takes a label back"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("kind", WRITTEN)
def test_text_stands_out_from_its_paper(kind: str, dark: bool, visit: Visiting) -> None:
    seen = visit(written(kind), dark=dark)
    opened(seen)
    seen.page.wait_for_timeout(300)
    told = seen.js(FAINT)
    assert told["seen"] > 50 and told["found"] == []
    paper = seen.js("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_of_the_labeling_page_stands_out(dark: bool, tmp_path: Path, visit: Visiting) -> None:
    with label_page(tmp_path, lambda field: f"{field} \u202e", pairs=2) as served:
        seen = visit(served.address, dark=dark)
        opened(seen)
        told = seen.js(FAINT)
        assert told["seen"] > 10 and told["found"] == []


def test_faint_text_is_found(visit: Visiting, tmp_path: Path) -> None:
    """The measure itself: grey on white, by WCAG's own examples."""
    file = tmp_path / "grey.html"
    greys = "".join(f"<p style='color:{c}'>{c}</p>" for c in ("#767676", "#777777", "#aaa"))
    file.write_text(f"<!doctype html><body style='background:#fff'>{greys}", encoding="utf-8")
    found = visit(file.as_uri()).js(FAINT)["found"]
    assert [line.split()[0] for line in found] == ["4.48", "2.32"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("kind", [*WRITTEN, "labels"])
def test_axe_finds_no_fault(kind: str, dark: bool, tmp_path: Path, visit: Visiting) -> None:
    """The rules of WCAG that a program can check."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is absent").Axe()
    with label_page(tmp_path, plain) if kind == "labels" else nullcontext() as served:
        url = served.address if served else written(kind)
        seen = visit(url, dark=dark, policy=False)  # axe is a script of its own
        opened(seen)
        faults = axe.run(seen.page).response["violations"]
    assert [(f["id"], [n["html"][:120] for n in f["nodes"]]) for f in faults] == []
