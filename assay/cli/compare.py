"""compare: methods side by side at one budget, against a plain, a tuned and a stopped baseline."""

from __future__ import annotations

import json
from pathlib import Path

from assay.cli import flags
from assay.cli.flags import Flag
from assay.cli.report import must_be_ours, runs_in
from assay.errors import InputError
from assay.evaluation.compare import compare
from assay.report.comparison import figure, markdown

KNOWN = {
    "baseline": Flag("baseline", str, "leave_one_out", "the plain method"),
    "tuned": Flag("tuned", str, None, "the recipe that is the plain method with a price on KL"),
    "budget": Flag("budget", str, "generated"),
    "apart": Flag("apart", bool, False),
    "out": Flag("out", str, None, "a folder for the files"),
    "json": Flag("json", bool, False, "print JSON"),
}


def compare_(argv: list[str]) -> int:
    """assay compare FOLDER… [--baseline leave_one_out] [--tuned kl_in_loss] [--out FOLDER] [--json]

    Compares the runs of a sweep, paired by seed and world: gold at equal KL, peak, end, drop and cost of each method,
    and its differences from the plain baseline, from the same with a price on KL that was tuned on the other seeds, and
    from the plain one stopped at its best. Prints markdown; --out also writes compare.md, compare.json and a figure a
    world. assay sweep METHODS… leave_one_out kl_in_loss --seeds 0..9 --out FOLDER makes the runs.
      --baseline NAME   the plain method: a recipe that was run in one setting
      --tuned NAME      the recipe whose settings are the prices on KL (default: kl_in_loss or kl_in_reward)
      --budget COUNT    what all must have spent alike: drawn (default), judged or updates
      --apart           list methods of another budget apart, instead of refusing to compare
    """
    words, given = flags.split(argv, ["json", "apart"])
    options = flags.parse(given, KNOWN, "assay compare")
    if not words:
        raise InputError("assay compare needs the folder of a sweep")
    folders = [f for word in words for f in runs_in(Path(word))]
    wanted = {k: options.get(k, KNOWN[k].default) for k in ("baseline", "tuned", "budget", "apart")}
    found, drawn = compare(folders, **wanted)
    text = markdown(found)
    if "out" in options:
        figures = {}
        for i, (ground, rows, plain) in enumerate(drawn):
            ordered = [plain, *[r for r in rows if r is not plain]]
            figures[f"compare{i or ''}.svg"] = figure(
                ground, [(r.label, [c.track for c in r.cells.values()]) for r in ordered]
            )
        whole = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
        write(
            Path(options["out"]),
            {
                "compare.md": (text, "# Comparison", "assay compare"),
                "compare.json": (whole, "{", '"made_by": "assay compare"'),
                **{k: (v, "<svg", 'class="chart"') for k, v in figures.items()},
            },
        )
    print(json.dumps(found, ensure_ascii=False) if options.get("json") else text)
    return 0


def write(folder: Path, files: dict[str, tuple[str, str, str]]) -> None:
    """Files by name: (content, how ours begin, what is in ours). Nothing but an older comparison is
    written over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, (_, begin, mark) in files.items():
        must_be_ours(folder / name, begin, mark, "--out")
    for name, (content, _, _) in files.items():
        (folder / name).write_text(content, encoding="utf-8")
