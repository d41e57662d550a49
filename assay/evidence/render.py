"""The templates of the manual and of CLAIMS.md, and how their values are written."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from assay.data.escape import prose
from assay.data.templates import markdown
from assay.evidence.spending import SPENT


def written(template: str, **values: Any) -> str:
    """A template with these values, ending in one line end."""
    return _templates().get_template(template).render(**values).rstrip("\n") + "\n"


@cache
def _templates() -> jinja2.Environment:
    env = markdown(Path(__file__).parent / "templates")
    ours = {"prose": prose, "body": body, "settings": settings, "flags": flags, "value": value}
    env.filters |= {
        **ours,
        "effect": effect,
        "part": part,
        "spent": spent,
        "between": between,
        "earlier": earlier,
        "number": number,
        "json": line,
    }
    return env


def effect(row: Mapping[str, Any], before: str) -> str:
    """The effect with its interval, after some words; "" where there is none."""
    said = "" if row["effect"] is None else f"{before}{row['effect']:.3f}"
    return said + ("" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]")


def part(found: Mapping[str, Any]) -> str:
    """One part of an effect: its interval, δ, and what these seeds could have seen."""
    name = f"“{prose(found['name'])}”" if found["name"] else "the effect"
    role = "" if found["role"] == "effect" else f" ({found['role']})"
    said = f"{name}{role} {found['mean']:.3g}"
    if found["low"] is not None:
        said += f" [{found['low']:.3g}, {found['high']:.3g}]"
    if found["least"] is not None:
        said += f", δ {found['least']:.3g}"
    if found["sees"] is not None:
        said += f", sees {found['sees']:.3g}"
    if found["low"] is None or found["low"] <= found["median"] <= found["high"]:
        return said
    return f"{said}, median {found['median']:.3g}"


def number(found: float | None) -> str:
    """Write a number to three digits; a dash in place of None."""
    return "–" if found is None else f"{found:.3g}"


def spent(counts: Mapping[str, list[float]]) -> list[str]:
    """What an arm spent, in the order of `spending.SPENT`."""
    return [f"{sum(counts[k]) / len(counts[k]):,.4g}" if counts.get(k) else "–" for k in SPENT]


def between(total: Mapping[str, Mapping[str, list[float]]], what: str) -> str:
    """From where to where the arms' spending goes, in brackets; "" where it was not counted."""
    means = [sum(c[what]) / len(c[what]) for c in total.values() if c.get(what)]
    return f" (from {min(means):,.4g} to {max(means):,.4g})" if means else ""


def earlier(found: Mapping[str, Any]) -> str:
    """A verdict that a result replaced, with its seeds and its effect."""
    said = "" if found["effect"] is None else f", effect {found['effect']:.3g}"
    return f"{found['verdict']} on seeds {found['seeds'][0]} to {found['seeds'][-1]}{said}"


def flags(arguments: Mapping[str, Any]) -> str:
    """Constants as flags."""
    return " ".join(
        f"--{k.replace('_', '-')} {v if isinstance(v, str) else json.dumps(v)}"
        for k, v in arguments.items()
    )


def settings(arguments: Mapping[str, Any]) -> str:
    """Constants as flags, set as code."""
    return f"`{flags(arguments)}`" if arguments else "its defaults"


def line(found: Mapping[str, Any]) -> str:
    """One line of a study, as JSON with short numbers."""
    return json.dumps(short(found), ensure_ascii=False)


def value(found: Any) -> str:
    """A value in a table."""
    return prose(found) if isinstance(found, str) else json.dumps(short(found), ensure_ascii=False)


def short(found: Any) -> Any:
    """Numbers to four digits, wherever they stand."""
    if isinstance(found, float):
        return float(f"{found:.4g}")
    if isinstance(found, list):
        return [short(v) for v in found]
    return {k: short(v) for k, v in found.items()} if isinstance(found, dict) else found


def body(about: str) -> str:
    """A docstring as Markdown: paragraphs as prose, what is indented as it stands."""
    return "\n".join(_blocks(about))


def _blocks(about: str) -> list[str]:
    out: list[str] = []
    for block in re.split(r"\n\s*\n", about):
        lines = block.split("\n")
        plain = [line for line in lines if line[:4].strip() and line[:2] != "  "]
        if not plain:
            out += ["```text", *textwrap.dedent(block).split("\n"), "```", ""]
        elif len(plain) == len(lines):
            out += [prose(block), ""]
        else:  # a sentence with an indented list under it
            at = next(i for i, line in enumerate(lines) if line not in plain)
            rest = next((i for i in range(at, len(lines)) if lines[i] in plain), len(lines))
            table = textwrap.dedent("\n".join(lines[at:rest])).split("\n")
            out += [prose("\n".join(lines[:at])), "", "```text", *table, "```", ""]
            out += _blocks("\n".join(lines[rest:])) if rest < len(lines) else []
    return out[:-1] if out and not out[-1] else out
