"""One pass over a file: what it is, how much of it, and every fault."""
from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from assay.data.faults import SHOWN, Faults
from assay.data.kinds import Layout, layout
from assay.data.pairs import DROPPABLE, Pair, pairs
from assay.data.read import Source, open_source
from assay.data.scored import Scored, scored, text_of
from assay.errors import InputError

PEEK = 100  # rows from which the kind is told
Item = Pair | Scored | tuple[int, str]


def _key(*texts: str) -> bytes:
    digest = blake2b(digest_size=12)
    for t in texts:
        raw = t.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.digest()


@dataclass
class Checked:
    """A file that was read once. `items` are its pairs, responses or texts if they were asked to be kept."""

    source: Source
    layout: Layout
    faults: Faults
    rows: int = 0
    usable: int = 0
    characters: list[int] = field(default_factory=list)
    prompts: Counter[bytes] = field(default_factory=Counter)
    items: list[Any] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """For JSON and for the command line."""
        sizes = sorted(self.characters)
        groups = Counter(self.prompts.values())
        return {"file": self.source.name, "format": self.source.format, "kind": self.layout.kind, "parts": self.layout.parts,
                "columns": list(self.layout.columns), "numeric": list(self.layout.numeric), "others": list(self.layout.others),
                "rows": self.rows, "usable": self.usable, "prompts": len(self.prompts),
                "rows_a_prompt": {"least": min(groups, default=0), "most": max(groups, default=0), "ragged": len(groups) > 1},
                "characters": {"median": sizes[len(sizes) // 2], "most": sizes[-1]} if sizes else None,
                "errors": dict(self.faults.errors), "warnings": dict(self.faults.warnings),
                "faults": [{**f.plain(), "says": str(f)} for f in (*self.faults.shown, *self.faults.warned)],
                "shown_at_most": SHOWN, "ok": not self.faults.errors}


def check(path: str | Path, *, columns: Mapping[str, str] | None = None, split: str | None = None, want: str | None = None,
          score: str | None = None, limit: int | None = None, drop: bool = False, keep: bool = False) -> Checked:
    """Read a whole file once. Nothing but a file that cannot be opened or understood raises; every other fault is in `.faults`.

    `limit`: longest prompt plus answer in characters; longer rows are left out and counted, and if all are it is an
    error. `drop`: rows with faults are left out and counted instead of being errors. `keep`: hold the items.
    """
    source = open_source(path, split=split)
    faults = Faults(source.name, source.line)
    stream = source.rows(faults)
    first = list(itertools.islice(stream, PEEK))
    if not first:
        faults.stop()
        raise InputError(f"{source.name} holds no rows; give a file with at least one")
    found = layout([r for _, r in first], source.name, columns=columns, want=want, score=score)
    out = Checked(source, found, faults)

    def counted() -> Iterator[tuple[int, dict[str, Any]]]:
        for item in itertools.chain(first, stream):
            out.rows += 1
            yield item

    reader = pairs if found.kind in ("pairs", "choices") else scored if "response" in found.parts else _texts
    items: Iterator[Any] = reader(counted(), found, faults)
    _walk(items, out, limit, keep)
    _whole(out, limit)
    if drop:
        faults.forgiven(DROPPABLE)
    if not out.usable and not faults.errors:
        faults.error("nothing left", None, None, f"none of its {out.rows:,} rows can be used", "repair them")
    return out



def _walk(items: Iterator[Any], out: Checked, limit: int | None, keep: bool) -> None:
    """Count lengths, duplicates and prompts; keep what is usable."""
    seen: set[bytes] = set()
    for item in items:
        texts: tuple[str, ...]
        if isinstance(item, Pair):
            texts = (item.prompt, item.chosen, item.rejected)
            size = len(item.prompt) + max(len(item.chosen), len(item.rejected))
        else:
            texts = (item.prompt, item.response) if isinstance(item, Scored) else (item[1],)
            size = sum(map(len, texts))
        row = item[0] if isinstance(item, tuple) else item.row
        out.characters.append(size)
        if limit is not None and size > limit:
            out.faults.warn("longer than the limit", row, None, f"{size:,} characters, the limit is {limit:,}",
                            "such rows are left out; raise the limit or shorten them")
            continue
        key = _key(*texts)
        if key in seen:
            out.faults.warn("duplicated row", row, None, "the same texts stand in an earlier row", "remove one of them")
        elif isinstance(item, Pair) and _key(item.prompt, item.rejected, item.chosen) in seen:
            out.faults.warn("contradicted row", row, None, "an earlier row prefers the other of the same two answers",
                            "both are kept: together they say that it is close")
        seen.add(key)
        out.prompts[_key(texts[0])] += 1
        out.usable += 1
        if keep:
            out.items.append(item)


def _whole(out: Checked, limit: int | None) -> None:
    """What is only an error when it is true of all rows."""
    faults, warned = out.faults, out.faults.warnings
    if out.usable:
        return
    if warned["longer than the limit"] and warned["longer than the limit"] == len(out.characters):
        faults.error("all longer than the limit", None, None, f"all {len(out.characters):,} usable rows are longer "
                     f"than the limit of {limit:,} characters", "raise the limit or shorten the texts")
    if warned["chosen equals rejected"] and not out.characters:
        faults.error("all chosen equal rejected", None, out.layout.parts.get("rejected") or out.layout.parts.get("second"),
                     f"the two answers are the same text in all {warned['chosen equals rejected']:,} rows",
                     "check that the file was written with both answers")


def _texts(rows: Iterator[tuple[int, dict[str, Any]]], found: Layout, faults: Faults) -> Iterator[tuple[int, str]]:
    """Prompts and demonstrations: their texts must be there and hold something."""
    for i, row in rows:
        texts = [(c, text_of(i, row, c, faults)) for c in found.parts.values()]
        for column, text in texts:
            if text is not None and not text[0].strip():
                faults.error("empty text", i, column, "no text", "repair the row, or leave such rows out with --drop")
        good = [t[0] for _, t in texts if t is not None and t[0].strip()]
        if len(good) == len(texts):
            yield i, "\n\n".join(good)


def leaks(mine: Checked, other: Checked) -> int:
    """How many distinct prompts two files share; counted as a warning of `mine`."""
    both = len(mine.prompts.keys() & other.prompts.keys())
    if both:
        mine.faults.warn("prompt in both splits", None, mine.layout.parts.get("prompt"),
                         f"{both:,} of its {len(mine.prompts):,} prompts also stand in {other.source.name}",
                         "what is fitted on one and measured on the other would be measured on what it has seen", times=both)
    return both
