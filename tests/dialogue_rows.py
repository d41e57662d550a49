"""Small dialogues for tests of how rows are read, and ways to read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from assay import data

U, A = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}
B = {"role": "assistant", "content": "No"}
ENDS = {"chosen": "Yo", "rejected": "No"}


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return file


def scan(path: Path, *rows: dict[str, Any], **options: Any) -> data.Scan:
    return data.scan_file(lines(path, *rows), keep=True, **options)


def one(path: Path, row: dict[str, Any], **options: Any) -> Any:
    found = scan(path, row, **options)
    found.faults.stop()
    return found.items[0]


def turns(item: Any) -> list[tuple[str, str]]:
    return [(t.role, t.content) for t in item.turns or ()]
