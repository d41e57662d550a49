"""Run folders in, one self-contained HTML file out: nothing on it comes from anywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from assay.engine.atomic import write_bytes
from assay.engine.os_errors import writing_to
from assay.errors import InputError
from assay.records.methods import Ground, grounds
from assay.report import laws
from assay.report.bibliography import GAO, bibtex, citations, papers
from assay.report.render import counted, document
from assay.report.section import section


@np.errstate(all="ignore")  # what is not finite is shown as a dash, not as a warning
def build(
    folders: Sequence[Path | str],
    out: Path | str,
    *,
    baseline: str | None = None,
    title: str = "",
    prompts: int = 4,
) -> Path:
    """Write the report on runs.

    Args:
        folders: Run folders, or folders with runs in them.
        out: The HTML file.
        baseline: The method (label or recipe) that others are compared with at matched KL.
        title: The report's heading.
        prompts: How many prompts' completions are shown for each method.

    Returns:
        The path of the file.

    Raises:
        InputError: A folder is no run, a record is damaged, or no method is called `baseline`.
    """
    found = grounds(folders)
    names = sorted({n for g in found for m in g.methods for n in (m.label, m.recipe)})
    if baseline is not None and baseline not in names:
        raise InputError(
            f"--baseline is {baseline!r}, and no method of these runs is called so; there are: "
            f"{', '.join(names)}"
        )
    fits = [{m.label: f for m in g.methods if (f := laws.fits_of(m))} for g in found]
    worlds = [
        section(g, f"w{i}", f, baseline, prompts)
        for i, (g, f) in enumerate(zip(found, fits, strict=True))
    ]
    cited = papers((t.about for g in found for t in g.tracks), *([GAO] if any(fits) else []))
    text = document(
        "report.html",
        heading=title or "How much gold is in this reward?",
        sizes=_sizes(found),
        worlds=worlds,
        papers=citations(cited),
        bibtex="\n\n".join(bibtex(p) for p in cited),
    )
    out = Path(out)
    with writing_to(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, text.encode("utf-8", "backslashreplace"))
    return out


def _sizes(found: Sequence[Ground]) -> str:
    runs = len({t.run.folder for g in found for t in g.tracks})
    methods = sum(len(g.methods) for g in found)
    return ", ".join(
        counted(n, what) for n, what in ((runs, "run"), (methods, "method"), (len(found), "world"))
    )
