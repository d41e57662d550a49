"""The report's charts answer to a pointer; their stills stand in where scripts are off."""

from __future__ import annotations

from pathlib import Path

import pytest
from made import label_page, plain, written
from visiting import Visiting, chromium, visit  # noqa: F401

pytestmark = pytest.mark.browser


def test_a_pointer_reads_values(visit: Visiting) -> None:
    seen = visit(written("report"))
    seen.until("document.querySelectorAll('.awake').length > 0")
    seen.page.locator(".wide .awake path[opacity='0']").last.hover(force=True)
    seen.until("document.querySelector('#vg-tooltip-element.visible') !== null")
    box = seen.page.locator("#vg-tooltip-element").inner_text()
    assert "method" in box and "√KL" in box and "+" in box
    assert seen.log == [] and seen.js("refused") == []


def test_a_chart_comes_to_life_where_it_is_looked_at(visit: Visiting) -> None:
    seen = visit(written("report"))
    seen.until("document.querySelectorAll('.awake').length > 0")
    asleep = "document.querySelectorAll('.live:not(.awake)').length"
    assert seen.js(asleep) > 0
    for chart in seen.page.locator(".live").all():
        if chart.is_visible():
            chart.scroll_into_view_if_needed()
    shown = "[...document.querySelectorAll('.live:not(.awake)')].every(e => !e.checkVisibility())"
    seen.until(shown)
    assert seen.log == []


@pytest.mark.parametrize("kind", ["report", "comparison", "best of n"])
def test_without_scripts_the_page_is_whole(kind: str, visit: Visiting) -> None:
    url = written(kind)
    live = visit(url)
    live.until("document.querySelectorAll('.awake').length > 0")
    seen = visit(url, scripts=False)
    assert seen.js("document.querySelectorAll('.awake').length") == 0
    stills = seen.page.locator(".live svg.chart:visible")
    assert stills.count() > 0
    assert all(s.locator("path").count() > 2 for s in stills.all())
    assert seen.page.locator(".switches:visible").count() == 0, "what cannot work is not shown"
    words = "h1, h2, h3, caption, td, th, figcaption, summary, .answer"
    told = f"[...document.querySelectorAll('{words}')].map(e => e.textContent)"
    assert seen.js(told) == live.js(told)


def test_without_scripts_a_person_labels_by_the_buttons(tmp_path: Path, visit: Visiting) -> None:
    with label_page(tmp_path, plain) as served:
        seen = visit(served.address, scripts=False)
        for i, choice in enumerate(("first", "tie", "second")):
            assert seen.page.locator("#progress").inner_text() == f"{i} of 3 labeled"
            seen.page.locator(f"button[value={choice}]").click()
        assert seen.page.locator("#over").inner_text().startswith("All labeled")
