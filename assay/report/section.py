"""One world's part of the page, as data for its template."""

from __future__ import annotations

from dataclasses import dataclass

from assay.data.escape import capital
from assay.records.methods import Ground
from assay.report import figure, flags, laws, matched, origins, panels, results, training, watch
from assay.report.chart import Chart
from assay.report.completions import Prompt, completions
from assay.report.figure import Picture
from assay.report.origins import Record
from assay.report.panels import Multiples
from assay.report.table import Cell, Table, named
from assay.stats.curve_fit import Fit


@dataclass
class Section:
    """One world's part of the page: nothing of another world stands on its axes."""

    ident: str
    title: str
    about: str
    settings: list[str]
    read: bool
    what: str
    methods: list[Cell]
    by_kl: Picture | None
    by_step: Picture | None
    findings: list[Cell]
    summary: Table
    bests: Table
    matched: Table | str
    watch: watch.Panel | None
    fits: list[tuple[Chart, str]]
    fits_table: Table | None
    multiples: list[Multiples]
    completions: list[tuple[Cell, list[Prompt]]]
    costs: Table
    faults: list[str]
    records: list[Record]


def section(
    ground: Ground, ident: str, fits: dict[str, list[Fit]], baseline: str | None, prompts: int
) -> Section:
    """Everything that the page says of one world.

    Args:
        ground: The world, with its methods and their runs.
        ident: What the names of its charts begin with.
        fits: By method: its own form and then the other one; {} for none.
        baseline: The method that the others are compared with, if any.
        prompts: Prompts whose completions are shown, at most, for each method.
    """
    fitted = [m for m in ground.methods if m.label in fits]
    rows = [panels.multiples(ground, f"{ident}-{key[0]}", key) for key in ("rewards", "golds")]
    rows.append(training.training(ground, f"{ident}-t"))
    shown = [
        (named(m, beside=m.tracks[0].name), completions(ground, m.tracks[0], prompts))
        for m in ground.methods
    ]
    return Section(
        ident=ident,
        title=ground.title,
        about=_gold(ground),
        settings=_settings(ground),
        read=any(t.readings for t in ground.tracks),
        what=f"{capital(ground.gold_name)} and proxy" if ground.read("gold") else "Proxy",
        methods=[named(m) for m in ground.methods],
        by_kl=figure.headline(ground, f"{ident}-kl"),
        by_step=figure.headline(ground, f"{ident}-step", "step"),
        findings=results.findings(ground),
        summary=results.summary_table(ground),
        bests=results.bests(ground),
        matched=matched.matched(ground, baseline),
        watch=watch.panel(ground, ident),
        fits=[
            (
                panels.fitted(m, fits[m.label], f"{ident}-fit{m.place}"),
                laws.verdict(fits[m.label], ground.gold_name),
            )
            for m in fitted
        ],
        fits_table=laws.fits_table(ground, fits) if fitted else None,
        multiples=[row for row in rows if row],
        completions=[(cell, some) for cell, some in shown if some],
        costs=origins.costs(ground),
        faults=origins.faults(ground),
        records=[origins.provenance(t) for m in ground.methods for t in m.tracks],
    )


def _settings(ground: Ground) -> list[str]:
    """The world as flags that can be typed: what differs from its defaults, without seeds."""
    world = {k: v for k, v in ground.tracks[0].about["world"].items() if k != "seed"}
    name = [f"--world {world['name']}"] if world.get("name") else []
    return [*name, *flags.world_flags(world)]


def _gold(ground: Ground) -> str:
    if not ground.read("gold"):
        return (
            "No gold was read here: proxies and reward models only, so nothing on this page says "
            "whether quality rose."
        )
    if ground.gold_name != "gold":
        return (
            "What stands for quality here is a model that no method saw in training. It is a "
            "stand-in, and is not called gold."
        )
    kind = f"Kind of gold: {ground.gold_kind or 'not recorded'}"
    # a column of a file: who knows what its makers saw
    return (
        f"{kind}."
        if str(ground.gold_kind).startswith("the column")
        else f"{kind}; no method sees it."
    )
