"""check: what a file is, a repaired copy of it, and its rows as they are trained on."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from typing import Any

from assay.cli.endings import ending
from assay.cli.files import again, called, grammar, tell
from assay.engine.plural import counted

__all__ = ["check_", "grammar"]
NEXT = {  # what a file of each kind is for
    "pairs": "assay fit {} --out reward",
    "choices": "assay fit {} --out reward",
    "scored": "assay fit {} --out reward",
    "prompts": "assay run leave_one_out --model MODEL --prompts {} --rewards reward",
    "demonstrations": "assay run sft --model MODEL --demos {}",
}
KEPT: dict[str, tuple[str, ...]] = {"run": ("columns", "label_map", "split", "templated")}
KEPT["fit"] = (*KEPT["run"], "score")


def check_(*words: str, json_: bool = False, **settings: Any) -> int:
    """Say what a data file is, list every fault in it with row and column, and repair it.

    A file holds pairs, chats, transcripts, scored responses or prompts. The exit code is 2 where
    there are errors, and 0 where --fix wrote a copy without them. The copy has one form for all
    dialects, and everything that is changed or left out is counted. --show prints rows as they are
    trained on.

    Example:
        assay check pairs.jsonl
        assay check pairs.jsonl --columns prompt=question --against held_out.jsonl
        assay check pairs.jsonl --fix repaired.jsonl
        assay check pairs.jsonl --show 3 --model MODEL
    """
    from assay.cli.row_lines import row_lines
    from assay.data.summary import says

    found = called("check", words, settings)
    fixed, lined = found.get("fix"), found["format"].startswith(("JSON lines", "CSV", "TSV"))
    tell(
        found,
        json_,
        [
            *says(found),
            *([] if fixed is None else _fix_lines(fixed)),
            *row_lines(found.get("show", ()), line=lined),
        ],
    )
    if not found["ok"] and fixed is None:
        errors = sum(found["errors"].values())
        print(f"assay: {found['file']} has {counted(errors, 'error')}", file=sys.stderr)
        return 2
    kind = found["kind"] if fixed is None else fixed["kind"]
    if kind in NEXT:
        file = found["file"] if fixed is None else fixed["out"]
        how = NEXT[kind].format(shlex.quote(file))
        ending(("next", how + again(_still(settings, fixed), KEPT[how.split()[1]])), as_json=json_)
    return 0


def _still(settings: Mapping[str, Any], fixed: Mapping[str, Any] | None) -> dict[str, Any]:
    """The flags that the next command needs: a repaired copy has standard columns and one part."""
    if fixed is None:
        return dict(settings)
    named = (settings.get("columns") or {}).get("score")
    score = settings.get("score") or named
    return {"score": score, "templated": settings.get("templated")}


def _fix_lines(fixed: Mapping[str, Any]) -> list[str]:
    """The result of a repair for a person."""
    lines = list[str]()
    for name, key in (("repaired", "repaired"), ("left out", "left_out")):
        for kind, found in fixed[key].items():
            lines.append(f"{name}: {found['count']:,} × {kind}{_rows(found)}")
    lines += [
        f"renamed: column '{old}' is '{new}', because readers would take it for a part of the row"
        for old, new in fixed["renamed"].items()
    ]
    lines += [f"kept: {n:,} × {kind}" for kind, n in fixed["kept"].items()]
    if not fixed["changed"]:
        lines.append("nothing had to be repaired: the copy holds the same rows")
    of = "" if fixed["written"] == fixed["rows"] else f" of {fixed['rows']:,}"
    rows = f"{fixed['written']:,}{of} {'row' if fixed['rows'] == 1 else 'rows'}"
    return [*lines, f"wrote {fixed['out']}: {rows}, {fixed['kind']}"]


def _rows(found: Mapping[str, Any]) -> str:
    some = ", ".join(map(str, found["rows"]))
    if not some:
        return ""
    more = ", …" if found["count"] > len(found["rows"]) else ""
    return f" ({'row' if len(found['rows']) == 1 and not more else 'rows'} {some}{more})"
