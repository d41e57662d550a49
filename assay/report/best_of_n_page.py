"""A best-of-n curve of a scored file as a page: each proxy becomes a record like any run's."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay import report
from assay.engine.atomic import is_free
from assay.errors import InputError
from assay.records.runs import Run, RunRecord

PAPER: dict[str, Any] = {
    "title": "WebGPT: Browser-assisted question-answering with human feedback",
    "authors": "Nakano et al.",
    "year": 2021,
    "url": "arXiv:2112.09332",
}


def page(result: Mapping[str, Any], out: str | Path) -> Path:
    """Draw what `assay bon` found: gold and proxy against √KL, the peak, Gao's forms.

    Args:
        result: What `evaluation.best_of_n_curve` returns.
        out: The HTML file, which must not exist.

    Returns:
        The path of the file.

    Raises:
        InputError: The file exists.
    """
    out = Path(out)
    if not is_free(out):
        raise InputError(f"{out} exists and is never overwritten; give another file with --page")
    with tempfile.TemporaryDirectory() as scratch:
        folders = [
            _record(result, name, Path(scratch) / f"{i:02}")
            for i, name in enumerate(result["proxies"])
        ]
        return report.build(folders, out, title=f"Best-of-n on {Path(result['file']).name}")


def _record(result: Mapping[str, Any], name: str, folder: Path) -> Path:
    curve = result["curves"][name]
    unit = curve["proxy_sd"] or 1.0  # proxies of different kinds share an axis in these units
    run = Run.create(
        folder,
        RunRecord(
            recipe=f"best by {name}",
            verb="bon",
            title=PAPER["title"],
            paper=PAPER,
            arguments={"proxy": f"{name}, in its standard deviations over the file"},
            world={
                "name": Path(result["file"]).name,
                "prompts": result["prompts"],
                "rows": result["rows"],
            },
            golds=[result["gold"]],
            gold_kind=f"the column {result['gold']}",
            rewards=[name],
            seed=result["seed"],
            inputs={result["file"]: result["input"]["sha256"]},
        ),
    )
    for k, n in enumerate(result["ns"]):
        gold, proxy = curve["gold"][k], curve["proxy"][k]
        run.append(
            {
                "step": k,
                "tag": f"n={n}",
                "kl": result["kl"][k],
                "kl_err": 0.0,
                "kl_kind": "exact" if n == 1 else "upper",
                "gold": gold,
                "gold_err": curve["err"][k],
                "golds": [gold],
                "proxy": proxy / unit,
                "rewards": [proxy],
                "n": curve["prompts"][k],
                "cost": {"generated": n, "scored": n},
            }
        )
    run.finish()
    return folder
