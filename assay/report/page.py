"""Run folders in, one self-contained HTML file out: no script, no font and no style from anywhere else."""
from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from assay import __version__
from assay.report import answers as side_by_side
from assay.report import figure, tables
from assay.report.bibliography import GAO, bibliography, papers
from assay.report.chart import STYLE as CHART_STYLE
from assay.report.escape import safe
from assay.report.figure import Picture
from assay.report.records import Ground, grounds

STYLE = (Path(__file__).parent / "style.css").read_text("utf-8")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def build(folders: Sequence[Path | str], out: Path | str, *, baseline: str | None = None, title: str = "", prompts: int = 4) -> Path:
    """Write the report on these runs to `out` and return its path.

    `baseline`: the method (label or recipe) that others are compared with at matched KL. `prompts`: how many prompts'
    answers are shown for each method. Raises InputError where a folder is no run or a record is damaged.
    """
    found = grounds(folders)
    uses_gao = False
    sections = []
    for i, ground in enumerate(found):
        markup, gao = section(ground, f"w{i}", baseline, prompts)
        sections.append(markup)
        uses_gao |= gao
    cited = papers((t.about for g in found for t in g.tracks), *([GAO] if uses_gao else []))
    runs = len({t.run.folder for g in found for t in g.tracks})
    heading = title or "How much gold is in this reward?"
    contents = "".join(f'<li><a href="#w{i}">{safe(g.title)}</a></li>' for i, g in enumerate(found)) if len(found) > 1 else ""
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="referrer" content="no-referrer"><title>{safe(heading)} · assay</title><style>{STYLE}{CHART_STYLE}</style></head>
<body><header><p class="kicker">assay report</p><h1>{safe(heading)}</h1>
<p class="lead">{_count(runs, "run")}, {_count(sum(len(g.methods) for g in found), "method")}, {_count(len(found), "world")}; written
{datetime.now(UTC).strftime("%Y-%m-%d %H:%M")} UTC by assay {safe(__version__)}.</p>
{f'<nav aria-label="Worlds"><ul>{contents}</ul></nav>' if contents else ""}</header><main>{"".join(sections)}
{f'<section id="papers"><h2>Bibliography</h2>{bibliography(cited)}</section>' if cited else ""}</main></body></html>
"""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_name(f"{out.name}.{os.getpid()}.new")
    fresh.write_bytes(page.encode("utf-8", "backslashreplace"))
    os.replace(fresh, out)
    return out


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _figure(picture: Picture | None, number: str) -> str:
    if picture is None:
        return ""
    return (f'<figure class="headline"><div class="wide">{picture.wide}</div><div class="narrow">{picture.narrow}</div>'
            f"<figcaption><b>{number}</b> {safe(' '.join(picture.caption))}</figcaption></figure>")


def section(ground: Ground, ident: str, baseline: str | None, prompts: int) -> tuple[str, bool]:
    """One world's part of the page, and whether Gao's forms were fitted in it."""
    fits = {m.label: f for m in ground.methods if (f := tables.fits_of(m))}
    gold = ground.gold_name
    about = "; ".join(f"{k} {v}" for k, v in ground.world.items() if k != "name")
    parts = [f'<section id="{ident}" class="world"><h2>{safe(ground.title)}</h2>',
             f'<p class="about">{safe(about)}{". " if about else ""}{_gold(ground)}</p>',
             _figure(figure.headline(ground, f"{ident}-kl"), "Gold and proxy against KL." if ground.read("gold") else "Proxy against KL."),
             _figure(figure.headline(ground, f"{ident}-step", "step"), "Runs whose KL was not measured, against the step."),
             tables.summary_table(ground), tables.matched(ground, baseline)]
    if not any(t.readings for t in ground.tracks):
        parts.insert(2, "<p>Nothing has been read yet.</p>")
    if fits:
        charts = "".join(f"<figure>{figure.fitted(m, fits[m.label], f'{ident}-fit{m.place}')}<figcaption>"
                         f"{safe(tables.verdict(fits[m.label], gold))}</figcaption></figure>" for m in ground.methods if m.label in fits)
        parts.append(f'<h3>Does it follow Gao’s law?</h3><p>Points are readings, the solid curve is the form meant for the optimiser '
                     f'(d(α − βd) for best-of-n, d(α − β log d) for RL), the dotted one the other form, a ring its peak.</p>'
                     f'<div class="multiples two">{charts}</div>{tables.fits_table(ground, fits)}')
    parts += [_multiples(ground, f"{ident}-j", "judges", "Judges, one by one"), _multiples(ground, f"{ident}-g", "golds", "Golds, one by one")]
    read = [(m, side_by_side.answers(ground, m.tracks[0], prompts)) for m in ground.methods]
    if any(a for _, a in read):
        blocks = "".join(f'<details class="method"{" open" if i == 0 else ""}><summary>{tables.name(m)} <small>{safe(m.tracks[0].name)}</small></summary>'
                         f"{a}</details>" for i, (m, a) in enumerate((m, a) for m, a in read if a))
        parts.append(f"<h3>What the answers looked like</h3><p>The first prompts of each method’s first run, not selected: the same prompt at the "
                     f"reference, at the peak and at the end. Marks such as ⟨U+202E⟩ stand for characters that a browser would hide.</p>{blocks}")
    faults = tables.faults(ground)
    parts += [f"<h3>Costs</h3>{tables.costs(ground)}", "<h3>Faults met</h3>",
              f'<ul class="faults">{"".join(f"<li>{safe(f)}</li>" for f in faults)}</ul>' if faults else "<p>None.</p>",
              f"<h3>Provenance</h3>{''.join(tables.provenance(t) for m in ground.methods for t in m.tracks)}</section>"]
    return "".join(parts), bool(fits)


def _gold(ground: Ground) -> str:
    if not ground.read("gold"):
        return "No gold was read here: proxies and judges only, so nothing on this page says whether quality rose."
    if ground.gold_name != "gold":
        return "What stands for quality here is a model that no method saw in training. It is a stand-in, and is not called gold."
    return f"Gold is {safe(ground.gold_kind or 'of a kind not recorded')}; no method sees it."


def _multiples(ground: Ground, ident: str, key: str, heading: str) -> str:
    names = ground.golds if key == "golds" else next((list(t.about.get("judges") or []) for t in ground.tracks if t.about.get("judges")), [])
    if key == "golds" and len(ground.golds) < 2:
        return ""
    picture = figure.multiples(ground, ident, key, names)
    if picture is None:
        return ""
    legend = " ".join(f'<span class="entry">{tables.name(m)}</span>' for m in ground.methods)
    calibrated = picture.caption[1] == "calibrated"
    said = (f"Dashed: the judge, scaled to {ground.gold_name}’s spread between prompts; solid: {ground.gold_name}." if calibrated else
            "Each in its own units.") + " All above the reference, with 95 % intervals."
    return f'<h3>{heading}</h3><p>{said} {legend}</p><div class="multiples">{picture.wide}</div>'
