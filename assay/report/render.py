"""The templates of the report, and how they are filled."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from assay import __version__
from assay.data.escape import capital
from assay.data.templates import environment, markdown
from assay.report.library import library

TEMPLATES = Path(__file__).parent / "templates"


def document(template: str, *, charts: bool = True, **values: Any) -> str:
    """A whole page: its style, its two scripts, and a policy that admits these and nothing else.

    Args:
        template: A template that extends base.html.
        charts: Whether it has charts; a page without any has no script.
        **values: What it prints: `heading`, `sizes`, `worlds` and its own.

    Returns:
        HTML that needs no other file.
    """
    scripts = [library(), (TEMPLATES / "report.js").read_text("utf-8")] if charts else []
    style = "".join((TEMPLATES / name).read_text("utf-8") for name in ("style.css", "chart.css"))
    return (
        templates()
        .get_template(template)
        .render(
            **values,
            policy=_policy(scripts),
            style=style,
            scripts=scripts,
            licences=(TEMPLATES / "vega-licences.txt").read_text("utf-8") if charts else "",
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            version=__version__,
        )
    )


def counted(n: int, what: str) -> str:
    """A number of things."""
    return f"{n} {what}{'' if n == 1 else 's'}"


def _policy(scripts: Sequence[str]) -> str:
    """What the page may do: run these scripts and no other, load nothing."""
    sums = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts)
    allowed = " ".join(f"'sha256-{s}'" for s in sums) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def templates() -> jinja2.Environment:
    """The report's templates. Two filters let markup through; no text of a record meets them."""
    env = environment(TEMPLATES)
    env.filters["capital"] = capital
    env.filters["ours"] = Markup  # a file of this package, or the chart library
    env.filters["picture"] = Markup  # SVG that an XML library wrote
    return env


def written(template: str, **values: Any) -> str:
    """A template of Markdown with these values."""
    return _markdown().get_template(template).render(**values)


@cache
def _markdown() -> jinja2.Environment:
    return markdown(TEMPLATES)
