"""What every repaired copy of a data file is held to."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from assay import data
from assay.data.items import texts_of
from assay.data.repair import repair
from assay.data.summary import check

# What a copy keeps, and says.
STAY = {"contradicted row", "no shared prompt", "empty response", "rejected is rated higher"}
HALF = "half a character (U+FFFD in its place)"


GOOD = {"prompt": "2+2?", "chosen": "4", "rejected": "5"}
ASKED = [{"role": "user", "content": "Hi"}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def items_of(path: Path, **how: Any) -> list[Any]:
    """What is usable in a file, without what stands in it twice."""
    found = data.scan_file(path, keep=True, drop=True, tell=False, **how)
    first = {texts_of(x): x for x in reversed(found.items)}
    return [dataclasses.replace(x, row=0) for x in found.items if first[texts_of(x)] is x]


def holds(path: Path, **how: Any) -> dict[str, Any]:
    """Repair a file and hold the copy to the law; the repair's own account."""
    out, twice = path.with_name("out.jsonl"), path.with_name("twice.jsonl")
    for old in (out, twice):
        old.unlink(missing_ok=True)
    found = repair(path, out, **how)
    again = {k: v for k, v in how.items() if k in ("limit", "against")}
    if found["kind"] == "scored":
        again["score"] = how["score"] = found["parts"]["score"]
    shown = check(out, **again)
    assert shown["ok"] and set(shown["warnings"]) <= STAY, shown["faults"]
    assert not [what for what in shown["not_read"] if not what.startswith("column ")]
    assert found["kept"] == {k: n for k, n in shown["warnings"].items() if n}
    how.pop("against", None)
    how.pop("limit", None)
    again.pop("against", None)
    assert shown["rows"] == found["written"]
    if HALF not in found["repaired"] and "limit" not in again and not shown["shared_prompts"]:
        assert items_of(out, **again) == items_of(path, **how)
    lost = sum(
        n["count"] for k, n in found["left_out"].items() if not k.startswith(("mess", "turn"))
    )
    assert found["written"] + lost == found["rows"]
    second = repair(out, twice, **again)
    assert not second["changed"], second
    assert twice.read_bytes() == out.read_bytes()
    return found


def counts(found: dict[str, Any], key: str) -> dict[str, int]:
    return {kind: n["count"] for kind, n in found[key].items()}
