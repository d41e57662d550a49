"""Text of models, files and people stays text on every page: nothing runs, loads, leaves or is
dressed up, with the page's policy and without it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile import ATTACKS, ELSEWHERE, hostile
from made import FILES, best_of_n_page, label_page, written
from visiting import NO_HARM, Visiting, chromium, gone, visit  # noqa: F401

pytestmark = pytest.mark.browser
ALL_AWAKE = """async () => {
  for (const e of document.querySelectorAll('.live, details, .answer')) {
    if (e.localName === 'details') e.open = true;
    e.scrollIntoView();
    await new Promise(done => setTimeout(done, 20));
  }
}"""
POKE = """() => {
  for (const e of document.querySelectorAll('body *'))
    for (const kind of ['mouseover', 'mousemove', 'focus', 'focusin', 'toggle'])
      e.dispatchEvent(new MouseEvent(kind, {bubbles: true}));
}"""


def test_the_attacks_work_on_a_page_that_does_not_escape(tmp_path: Path, visit: Visiting) -> None:
    """Without this the other tests could pass because nothing is watched."""
    file = tmp_path / "naive.html"
    worked = set()
    for name in ATTACKS:
        text = hostile("naive", name)
        # each attribute's text opens a quote of the other kind at its end
        context = {"end-of-style": f"<style>{text}"}
        context |= {"attribute": f"""<p title="{text}' tabindex=0>"""}
        context |= {"apostrophe": f"""<p title='{text}" tabindex=0>"""}
        context |= {"address": f"<a href='{text}'>"}
        context |= {"end-of-script": f"<script>'{text}'</script>"}
        context |= {"end-of-comment": f"<!--{text}-->", "end-of-title": f"<title>{text}</title>"}
        page = "<!doctype html><meta charset=utf-8>" + context.get(name, text)
        file.write_text(page, encoding="utf-8")
        seen = visit(file.as_uri())
        seen.page.wait_for_timeout(100)
        try:
            seen.js(POKE)
            harmed = seen.harm() != NO_HARM
        except gone():  # the text has taken the tab elsewhere
            harmed = any(u.startswith(ELSEWHERE) for u in seen.requests)
        worked |= {name} if harmed else set()
    assert set(ATTACKS) - worked == {"template", "expression", "markdown", "controls"}, (
        "these four are not for HTML"
    )


@pytest.mark.parametrize("policy", [True, False], ids=["policy", "no-policy"])
@pytest.mark.parametrize("kind", FILES)
def test_no_field_of_a_file_becomes_markup(kind: str, policy: bool, visit: Visiting) -> None:
    seen = visit(written(kind, hostile), policy=policy)
    seen.js(ALL_AWAKE)
    if kind != "notebook":
        awake = "document.querySelectorAll('.awake').length"
        seen.until(f"{awake} > 0")
    seen.page.wait_for_timeout(300)
    seen.js(POKE)
    assert seen.harm() == NO_HARM
    assert "<script>" in seen.js("document.body.innerText"), "the text is there, as text"
    assert seen.requests == [seen.page.url], "the page is one file"


def test_the_box_over_a_point_shows_text(visit: Visiting) -> None:
    """The chart library writes this box as HTML."""
    seen = visit(written("report", hostile), policy=False)
    seen.js("document.querySelector('.live').scrollIntoView()")  # there it comes alive
    seen.until("document.querySelectorAll('.awake').length > 0")
    point = seen.page.locator(".awake path[opacity='0']").last
    point.hover(force=True)
    seen.until("document.querySelector('#vg-tooltip-element.visible') !== null")
    box = seen.page.locator("#vg-tooltip-element")
    assert "onerror" in box.inner_text() and seen.harm() == NO_HARM
    assert box.locator("img, script, svg, a, style").count() == 0


def test_a_style_in_a_name_changes_nothing(tmp_path: Path, visit: Visiting) -> None:
    """Names are no part of a selector, a colour or a style."""

    def styled(field: str) -> str:
        return f"{field};}}*{{display:none!important;background:url({ELSEWHERE}/{field})}}/*"

    seen = visit(best_of_n_page(tmp_path, styled), policy=False)
    assert seen.js("getComputedStyle(document.querySelector('h1')).display") == "block"
    assert seen.js("getComputedStyle(document.body).backgroundImage") == "none"
    assert seen.strangers() == []


@pytest.mark.parametrize("policy", [True, False], ids=["policy", "no-policy"])
def test_no_field_of_the_labeling_page_becomes_markup(
    policy: bool, tmp_path: Path, visit: Visiting
) -> None:
    with label_page(tmp_path, hostile) as served:
        seen = visit(served.address, policy=policy)
        for left in (2, 1, 0):
            seen.js("document.querySelectorAll('details').forEach(d => d.open = true)")
            seen.js(POKE)
            assert seen.harm() == NO_HARM
            said = seen.js("document.body.innerText")
            assert said.count("<script>") >= 5 * len([a for a in ATTACKS if a == "script"])
            seen.page.keyboard.press("1")
            seen.until(f"document.getElementById('progress').innerText.startsWith('{3 - left} of')")
        assert seen.js("document.getElementById('over').innerText").startswith("All labeled")
        assert seen.harm() == NO_HARM
    places = {u.removeprefix(served.address) for u in seen.requests}
    assert places <= {"", "page.css", "page.js", "label", "undo"}
