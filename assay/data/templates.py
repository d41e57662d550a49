"""Jinja2 with one rule for all pages: no text becomes markup, and no character stays invisible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from assay.safe_text import parts, visible


def environment(folder: Path) -> jinja2.Environment:
    """Templates of a folder of this package.

    Every value that a template prints goes through `visible` and is escaped. The filter `pieces`
    takes a text apart for templates that set hidden characters off.

    Args:
        folder: Where the templates lie.

    Returns:
        The environment; a name that a template misspells is an error.
    """
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["pieces"] = parts
    return env


def _shown(value: Any) -> Any:
    return value if isinstance(value, (Markup, jinja2.Undefined)) else visible(value)


def markdown(folder: Path) -> jinja2.Environment:
    """Templates of Markdown, which terminals show too: as `environment`, but nothing is escaped.

    The filter `cell` writes a text so that it cannot break a table.
    """
    env = environment(folder)
    env.autoescape = False
    env.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return env
