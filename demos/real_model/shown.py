"""What the run wrote before, at and after its peak, to the same questions: the first of them."""

from __future__ import annotations

import shutil
import textwrap

import assay
from assay.safe_text import visible

QUESTIONS = 3  # the first that are held out, and not those that show most


def before_and_after(run: assay.Run) -> str:
    """Return the answers of the untrained model, of the step gone back to and of the last step."""
    best = run.best
    read = [r for r in run.readings if r["tag"] != "best"]
    steps = {0: "untrained"}
    if best is not None:
        steps[best.step] = f"step {best.step}, which the watch goes back to"
    steps.setdefault(read[-1]["step"], f"step {read[-1]['step']}, where it stopped")
    width = min(120, shutil.get_terminal_size().columns)
    answers = {
        (c["step"], c["place"][0]): c
        for c in run.completions
        if c["place"] and c["place"][1] == 0 and c["tag"] != "best"
    }
    lines: list[str] = []
    for q in range(QUESTIONS):
        first = answers.get((0, q))
        if first is None:
            continue
        lines += ["", visible(str(first["prompt"]))]
        for step, name in steps.items():
            if (c := answers.get((step, q))) is not None:
                said = " ".join(visible(str(c["completion"])).split())
                scores = f"gold {c['gold']:.2f}, proxy {c['proxy']:.2f}"
                lines.append(f"  {name} ({scores})")
                lines += textwrap.wrap(
                    said, width - 4, initial_indent="    ", subsequent_indent="    "
                )
    return "\n".join(lines)
