"""Every string of a row is read, or named as unread, or its row is a counted fault; and the two
readers of a file agree.

Rows of every shape are drawn with a different word in every string. The word has to stand in what
is trained on, in a column or a key of a message that is named as unread with the right count, or in
a row that is counted as a fault.
"""

from __future__ import annotations

import ast
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from row_shapes import rows

from assay import data
from assay.data.stream import stream
from assay.data.turns import Turn
from assay.errors import InputError


def _words(value: Any) -> Iterator[str]:
    """All words in a cell."""
    text = value if isinstance(value, str) else json.dumps(value)
    seen = text.split("w")
    yield from {f"w{x}w" for x in seen if len(x) == 3 and x.isdigit()}


def _trained(items: list[Any]) -> str:
    """All that a file's items say."""
    said = []
    for item in items:
        for name in ("prompt", "chosen", "rejected", "response", "completion"):
            said.append(getattr(item, name, ""))
        replies = getattr(item, "replies", None) or (getattr(item, "reply", None) or (),)
        talk: list[Turn] = [*(getattr(item, "turns", None) or ()), *(t for r in replies for t in r)]
        said += [json.dumps(t.message()) for t in talk]
    return "\n".join(said)


def _unread(row: dict[str, Any], unread: Counter[str]) -> set[str]:
    """The words of columns, keys, parts and turns that are named as unread; their counts hold."""
    named = set[str]()
    for what in unread:
        _, _, name = what.partition("'")
        name = name.rstrip("'")
        if what.startswith("column "):
            assert unread[what] == 1
            named |= set(_words(row[name]))
        elif what.startswith("message "):
            found = list(_held(row, name, part="part" in what))
            assert 1 <= unread[what] <= len(found), (what, unread[what], len(found))
            named |= {w for value in found for w in _words(value)}
        else:  # turns that belong to no completion
            named |= {w for value in row.values() for w in _words(_ends(value))}
    return named


def _plain(value: Any) -> Any:
    """A cell with its texts parsed, and objects of lists as lists."""
    if isinstance(value, str) and value[:1] in "[{":
        try:
            value = json.loads(value)
        except ValueError:
            try:
                value = ast.literal_eval(value)
            except (ValueError, SyntaxError):
                return value
    lists = isinstance(value, dict) and all(isinstance(v, list) for v in value.values())
    if lists and ("role" in value or "from" in value):
        return [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]
    return value


def _held(value: Any, name: str, *, part: bool) -> Iterator[Any]:
    """What stands under a key of messages, or the parts of a type."""
    value = _plain(value)
    if isinstance(value, dict):
        if part and value.get("type") == name:
            yield value
        elif not part and value.get(name):
            yield value[name]
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        if isinstance(inner, dict | list) or (isinstance(inner, str) and inner[:1] in "[{"):
            yield from _held(inner, name, part=part)


def _ends(value: Any) -> list[Any]:
    """The last turns of a cell that holds messages."""
    value = _plain(value)
    return value[1:] if isinstance(value, list) else []


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(rows())
def test_nothing_that_a_row_says_is_lost(made: tuple[str, dict[str, Any]]) -> None:
    _, row = made
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_text(json.dumps(row))
        for want, kind in ((None, "pairs"), (None, "demonstrations"), ("prompts", "prompts")):
            found = _scanned(file, want)
            read = _streamed(file, kind)
            if found is None:
                assert read is None or kind == "demonstrations"
                continue
            if not (found.faults.errors or found.faults.warnings["chosen equals rejected"]):
                assert len(found.items) == 1
                trained, lost = _trained(found.items), {w for v in row.values() for w in _words(v)}
                lost -= {w for w in lost if w in trained} | _unread(row, found.faults.unread)
                assert not lost, (lost, row, found.items, found.faults.unread)
                _once(found.items[0])
            if kind == {"choices": "pairs"}.get(found.layout.kind, found.layout.kind):
                wanted = None if found.faults.errors else [_said(x) for x in found.items]
                assert (None if read is None else [_said(x) for x in read]) == wanted, row


def _scanned(file: Path, want: str | None) -> data.Scan | None:
    """The scan of a file; None for one that asks for its columns."""
    try:
        return data.scan_file(file, keep=True, tell=False, want=want)
    except InputError as why:
        if "--columns" not in str(why):
            raise
        return None


def _streamed(file: Path, kind: str) -> list[Any] | None:
    """What a verb that reads items one at a time reads; None for what it refuses."""
    try:
        return [item for item, _ in stream(file, kind)]
    except InputError:
        return None


def _said(item: Any) -> tuple[Any, ...]:
    """What an item says, alike for responses and for completions."""
    if hasattr(item, "chosen"):
        return item.prompt, item.turns, item.chosen, item.rejected, item.replies
    said = getattr(item, "completion", None) or getattr(item, "response", None)
    return (item.prompt, item.turns, *([said, item.reply] if said is not None else []))


def _once(item: Any) -> None:
    """Words of the prompt do not stand in it twice, nor in a completion."""
    count = Counter(w for w in _all(item.prompt))
    assert not [w for w, n in count.items() if n > 1], item
    for name in ("chosen", "rejected", "response", "completion"):
        assert not set(_all(getattr(item, name, ""))) & set(count), item


def _all(text: str) -> list[str]:
    return [f"w{x}w" for x in text.split("w") if len(x) == 3 and x.isdigit()]


def test_the_words_of_a_row_are_found() -> None:
    assert set(_words({"a": ["w001w", {"b": "Say w002w so."}]})) == {"w001w", "w002w"}
    assert list(_held({"m": [{"x": ["w003w"]}]}, "x", part=False)) == [["w003w"]]
