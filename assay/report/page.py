"""Run folders in, one self-contained HTML file out: no script, no font and no style from anywhere
else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from assay import __version__
from assay.data.escape import capital, safe
from assay.errors import InputError
from assay.records.methods import Ground, grounds
from assay.report import figure, laws, origins, panels, tables, watch
from assay.report.answers import answers
from assay.report.bibliography import GAO, bibliography, papers
from assay.report.chart import STYLE as CHART_STYLE
from assay.report.figure import Picture
from assay.stats.curve_fit import Fit

STYLE = (Path(__file__).parent / "style.css").read_text("utf-8")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def build(
    folders: Sequence[Path | str],
    out: Path | str,
    *,
    baseline: str | None = None,
    title: str = "",
    prompts: int = 4,
) -> Path:
    """Write the report on these runs to `out` and return its path.

    `baseline`: the method (label or recipe) that others are compared with at matched KL. `prompts`:
    how many prompts' answers are shown for each method. Raises InputError where a folder is no run,
    a record is damaged, or no method is called `baseline`.
    """
    found = grounds(folders)
    names = sorted({n for g in found for m in g.methods for n in (m.label, m.recipe)})
    if baseline is not None and baseline not in names:
        raise InputError(
            f"--baseline is {baseline!r}, and no method of these runs is called so; there are: "
            f"{', '.join(names)}"
        )
    fits = [{m.label: f for m in g.methods if (f := laws.fits_of(m))} for g in found]
    body = "".join(
        section(g, f"w{i}", f, baseline, prompts)
        for i, (g, f) in enumerate(zip(found, fits, strict=True))
    )
    cited = papers((t.about for g in found for t in g.tracks), *([GAO] if any(fits) else []))
    if cited:
        body += f'<section id="papers"><h2>Bibliography</h2>{bibliography(cited)}</section>'
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_name(f"{out.name}.{os.getpid()}.new")
    fresh.write_bytes(
        _page(found, title or "How much gold is in this reward?", body).encode(
            "utf-8", "backslashreplace"
        )
    )
    os.replace(fresh, out)
    return out


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _page(found: Sequence[Ground], heading: str, body: str) -> str:
    runs, methods = (
        len({t.run.folder for g in found for t in g.tracks}),
        sum(len(g.methods) for g in found),
    )
    sizes = f"{_count(runs, 'run')}, {_count(methods, 'method')}, {_count(len(found), 'world')}"
    contents = (
        "".join(f'<li><a href="#w{i}">{safe(g.title)}</a></li>' for i, g in enumerate(found))
        if len(found) > 1
        else ""
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="referrer" content="no-referrer"><title>{safe(heading)} · assay</title><style>{STYLE}{CHART_STYLE}</style></head>
<body><header><p class="kicker">assay report</p><h1>{safe(heading)}</h1>
<p class="lead">{sizes}; written {datetime.now(UTC).strftime("%Y-%m-%d %H:%M")} UTC by assay {safe(__version__)}.</p>
{f'<nav aria-label="Worlds"><ul>{contents}</ul></nav>' if contents else ""}</header><main>{body}</main></body></html>
"""


def section(
    ground: Ground, ident: str, fits: dict[str, list[Fit]], baseline: str | None, prompts: int
) -> str:
    """One world's part of the page: nothing of another world stands on its axes or in its tables."""
    about = "; ".join(f"{k} {v}" for k, v in ground.world.items() if k != "name")
    said = tables.findings(ground)
    parts = [
        f'<section id="{ident}" class="world"><h2>{safe(ground.title)}</h2>',
        f'<p class="about">{safe(about)}{". " if about else ""}{safe(_gold(ground))}</p>',
        "" if any(t.readings for t in ground.tracks) else "<p>Nothing has been read yet.</p>",
        _figure(figure.headline(ground, f"{ident}-kl"), f"{_what(ground)} against KL."),
        _figure(
            figure.headline(ground, f"{ident}-step", "step"),
            f"{_what(ground)} by step, where KL was not measured.",
        ),
        f'<ul class="findings">{"".join(said)}</ul>' if said else "",
        tables.summary_table(ground),
        tables.matched(ground, baseline),
        watch.panel(ground, ident),
        _laws(ground, ident, fits),
        panels.multiples(ground, f"{ident}-j", "rewards"),
        panels.multiples(ground, f"{ident}-g", "golds"),
        _answers(ground, prompts),
    ]
    faults = origins.faults(ground)
    parts += [
        f"<h3>Costs</h3>{origins.costs(ground)}",
        "<h3>Faults met</h3>",
        f'<ul class="faults">{"".join(f"<li>{safe(f)}</li>" for f in faults)}</ul>'
        if faults
        else "<p>None.</p>",
        f"<h3>Provenance</h3>{''.join(origins.provenance(t) for m in ground.methods for t in m.tracks)}</section>",
    ]
    return "".join(parts)


def _what(ground: Ground) -> str:
    return f"{capital(ground.gold_name)} and proxy" if ground.read("gold") else "Proxy"


def _gold(ground: Ground) -> str:
    if not ground.read("gold"):
        return "No gold was read here: proxies and judges only, so nothing on this page says whether quality rose."
    if ground.gold_name != "gold":
        return "What stands for quality here is a model that no method saw in training. It is a stand-in, and is not called gold."
    kind = f"Kind of gold: {ground.gold_kind or 'not recorded'}"
    return (
        f"{kind}."
        if str(ground.gold_kind).startswith("the column")
        else f"{kind}; no method sees it."
    )  # files: who knows


def _figure(picture: Picture | None, what: str) -> str:
    if picture is None:
        return ""
    return (
        f'<figure><div class="wide">{picture.wide}</div><div class="narrow">{picture.narrow}</div>'
        f"<figcaption><b>{safe(what)}</b> {safe(picture.caption)}</figcaption></figure>"
    )


def _laws(ground: Ground, ident: str, fits: dict[str, list[Fit]]) -> str:
    if not fits:
        return ""
    charts = "".join(
        f"<figure>{panels.fitted(m, fits[m.label], f'{ident}-fit{m.place}')}<figcaption>{safe(laws.verdict(fits[m.label], ground.gold_name))}</figcaption></figure>"
        for m in ground.methods
        if m.label in fits
    )
    return (
        "<h3>Does it follow Gao’s law?</h3><p>Points are readings. Solid: the form meant for the "
        "optimiser, d(α − βd) "
        "for best-of-n and d(α − β log d) for RL. Dotted: the other one. A ring marks the fitted "
        "peak.</p>"
        f'<div class="multiples two">{charts}</div>{laws.fits_table(ground, fits)}'
    )


def _answers(ground: Ground, prompts: int) -> str:
    shown = [(m, text) for m in ground.methods if (text := answers(ground, m.tracks[0], prompts))]
    if not shown:
        return ""
    blocks = "".join(
        f'<details class="method"{" open" if i == 0 else ""}><summary>{tables.name(m)} '
        f"<small>{safe(m.tracks[0].name)}</small></summary>{text}</details>"
        for i, (m, text) in enumerate(shown)
    )
    return (
        "<h3>What the answers looked like</h3><p>The first prompts of each method’s first run, "
        "not selected: the same prompt at the reference, at the peak and at the end. Marks such "
        f"as ⟨U+202E⟩ stand for characters that a browser would hide.</p>{blocks}"
    )
