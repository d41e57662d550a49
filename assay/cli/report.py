"""report: records become one HTML file, one figure, or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assay.cli import flags
from assay.cli.flags import Flag
from assay.errors import InputError

KNOWN = {
    "out": Flag("out", str, "report.html", "the HTML file"),
    "json": Flag("json", bool, False, "print JSON"),
    "figure": Flag("figure", str, None, "an SVG file: the headline figure alone"),
    "baseline": Flag("baseline", str, None, "the method that others are compared with"),
    "title": Flag("title", str, "", "the report's heading"),
}


def report_(argv: list[str]) -> int:
    """assay report RUN… [-o report.html] [--baseline METHOD] [--title TEXT] [--figure FILE.svg]
    [--json]

    A RUN is a run's folder, or a folder with runs somewhere in it (a sweep's). Prints a table and
    writes the report; with --json prints the table as JSON and writes only what --out or --figure
    name. A report or figure that is there is replaced; any other file is not.
    """
    words, given = flags.split(argv, ["json"])
    options = flags.parse(given, KNOWN, "assay report")
    if not words:
        raise InputError("assay report needs the folders of runs, such as runs/*")
    from assay.report import build, summary, svg

    folders = [f for word in words for f in runs_in(Path(word))]
    found = summary(folders)
    written, page = None, "out" in options or not options.get("json")
    out = Path(options.get("out", KNOWN["out"].default))
    if page:
        must_be_ours(out, "<!doctype html>", "· assay</title>", "-o")
    if "figure" in options:
        must_be_ours(Path(options["figure"]), "<svg", 'class="chart"', "--figure")
        Path(options["figure"]).write_text(svg(folders), encoding="utf-8")
    if page:
        written = build(
            folders, out, baseline=options.get("baseline"), title=options.get("title", "")
        )
    if options.get("json"):
        print(json.dumps(found, ensure_ascii=False))
    else:
        print(f"{table(found)}\n\n{written}")
    return 0


def must_be_ours(path: Path, begin: str, mark: str, flag: str) -> None:
    """A report may be written anew over a report. Raises InputError where anything else stands."""
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    if not text.startswith(begin) or mark not in text:
        raise InputError(
            f"{path} exists and is no report of assay's, so it is not overwritten; give another "
            f"file with {flag}"
        )


def runs_in(folder: Path) -> list[Path]:
    """The folder itself where it is a run, else the runs below it. Raises InputError where there is
    none.
    """
    if (folder / "run.json").exists():
        return [folder]
    below = sorted(p.parent for p in folder.rglob("run.json")) if folder.is_dir() else []
    if not below:
        raise InputError(
            f"{folder} is not a run, and there is none in it: a run is a folder with a run.json"
        )
    return below


def table(found: Sequence[dict[str, Any]]) -> str:
    """What each method reached, for a terminal."""
    head = [
        "method",
        "world",
        "seeds",
        "gold at the reference",
        "at the peak",
        "√KL there",
        "at the end",
        "√KL there",
        "drop",
    ]
    lines = [head]
    for s in found:
        lines.append(
            [
                str(s["method"]),
                str(s["world"]),
                str(s["seeds"]),
                number(s["reference_gold"]),
                number(s["peak_gold"], s["peak_gold_half"]),
                root(s["peak_kl"]),
                number(s["final_gold"], s["final_gold_half"]),
                root(s["final_kl"]),
                number(s["drop"], s["drop_half"]),
            ]
        )
    wide = [max(len(row[i]) for row in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            f"{cell:<{w}}" if i < 2 else f"{cell:>{w}}"
            for i, (cell, w) in enumerate(zip(row, wide))
        ).rstrip()
        for row in lines
    )


def number(value: float | None, half: float | None = None) -> str:
    """Three decimals, with half an interval where there is one."""
    return "–" if value is None else f"{value:.3f}" + ("" if half is None else f" ±{half:.3f}")


def root(kl: float | None) -> str:
    """√KL."""
    return "–" if kl is None else f"{max(0.0, kl) ** 0.5:.2f}"
