"""Damage to valid input that keeps most of its structure, so that it gets past the first check."""

from __future__ import annotations

import csv
import gzip
import io
import json
import struct
from collections.abc import Sequence
from random import Random
from typing import Any

FORMS = ("json", "lines", "csv", "text", "bytes", "tensors")
MOST = 100_000  # bytes of one input
STRUCTURED = 20_000  # bytes above which only bytes are damaged, so that damage stays quick


class Raw(str):
    """Text that stands in JSON as it is: a number too large, NaN, half a character."""


class Twice(dict):
    """An object in which each key stands twice."""


LEAVES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 10**25, 0.5, -0.0, 1e308, 5e-324),
    *(Raw("1e999"), Raw("-1e999"), Raw("NaN"), Raw("Infinity"), Raw("9" * 400), Raw("1E400")),
    *("", " ", "\t", "\n", "a\r\nb", "\x00", "\x1b[2J\x1b[31m", "\u202e", "\u2028", "\ufeff"),
    *(Raw('"\\ud800"'), Raw('"\\udc00\\ud800"'), "🙂", "é" * 99, "x" * 300, "y" * 9000),
    *("=1+1", "＝1", "@x", "-1", "1,5", "1e3", "nan", "inf", "true", "null", "None", "0x10"),
    *("../../x", "/nobody/here", "~nobody/x", "http://127.0.0.1:9/", "owner/name", "{{ 7 }}"),
    *("[]", '[{"role": "user", "content": "hi"}]', "\n\nHuman: a\n\nAssistant: b", "'", '"'),
    *("<|user|>", "</s>", "first", "tie", "A", "user", "assistant", "tool", "a" + "\u0301" * 50),
    *([], {}, [[]], [None], [{}], {"": None}, {"role": None}, {"role": "user", "content": None}),
    *([{"role": "user", "content": [{"type": "text", "text": "x"}]}], [0.5] * 3, Raw("-"), Raw("")),
)
SPLICES = (
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n\n", b'"', b"'", b",", b";"),
    *(b"\t", b"{", b"}", b"[", b"]", b"\\", b"\\ud800", b"\xed\xa0\x80", b"\xc3", b"\xe2\x80\xa8"),
    *(b"NaN", b"1e999", b"-", b"#", b"%", b"{{", b"}}", b"{%", b"\x85", b"\x1b[", b"null", b":"),
)


def mutated(data: bytes, form: str, rng: Random, words: Sequence[str] = ()) -> bytes:
    """Damage some input once to four times.

    Args:
        data: The input.
        form: One of `FORMS`.
        rng: Decides everything.
        words: Keys and texts of valid inputs, which damage may write elsewhere.

    Returns:
        Other bytes, at most `MOST`.
    """
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        data = data[:MOST]
        known = rng.random() < 0.75 and len(data) < STRUCTURED
        made = _BY_FORM[form](data, rng, words) if known and form in _BY_FORM else None
        data = _bytes(data, rng) if made is None else made
    return data[:MOST]


def words_of(seeds: Sequence[bytes]) -> tuple[str, ...]:
    """The keys and the short texts of valid inputs."""
    found: dict[str, None] = {}
    for seed in seeds:
        for line in seed.splitlines():
            value = _parsed(line)
            for path in _places(value) if value is not None else ():
                leaf = _at(value, path)
                found |= dict.fromkeys(leaf) if isinstance(leaf, dict) else {}
                found |= {leaf: None} if isinstance(leaf, str) and len(leaf) < 40 else {}
    return tuple(found)


def written(value: Any) -> str:
    """JSON text, in which `Raw` and `Twice` stand as they are."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        items = [f"{json.dumps(str(k))}: {written(v)}" for k, v in value.items()]
        return "{" + ", ".join(items * (2 if isinstance(value, Twice) else 1)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _places(value: Any) -> list[tuple[Any, ...]]:
    """The paths to a value and to everything in it, at most a thousand."""
    out, left = [()], [((), value)]
    while left and len(out) < 1000:
        path, node = left.pop()
        inner = node.items() if isinstance(node, dict) else ()
        inner = enumerate(node) if isinstance(node, list) else inner
        for key, v in inner:
            out.append((*path, key))
            left.append(((*path, key), v))
    return out


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _json(data: bytes, rng: Random, words: Sequence[str]) -> bytes | None:
    value = _parsed(data)
    if value is None:
        return None
    try:
        return written(_changed(value, rng, words)).encode("utf-8", "surrogatepass")
    except RecursionError:
        return b"[" * 5000


def _changed(value: Any, rng: Random, words: Sequence[str]) -> Any:
    """A JSON value with one place of it changed."""
    path = rng.choice(_places(value))
    if not path:
        return rng.choice(LEAVES) if rng.random() < 0.1 else _wrapped(value, rng)
    holder, key = _at(value, path[:-1]), path[-1]
    how = rng.randrange(9)
    if how <= 2:
        holder[key] = rng.choice(LEAVES)
    elif how == 3:
        del holder[key]
    elif how == 4 and isinstance(holder, dict):
        new = rng.choice(words) if words and rng.random() < 0.7 else str(rng.choice(LEAVES))
        holder[new] = holder.pop(key)
    elif how == 5:
        holder[key] = json.loads(json.dumps(_at(value, rng.choice(_places(value)))))
    elif how == 6 and isinstance(holder, list):
        holder[key:key] = [holder[key]] * rng.choice((1, 2, 300))
    elif how == 7 and words:
        holder[key] = rng.choice(words)
    else:
        holder[key] = _wrapped(holder[key], rng)
    return value


def _wrapped(value: Any, rng: Random) -> Any:
    how = rng.randrange(5)
    if how == 0 and isinstance(value, dict):
        return Twice(value)
    if how == 1:
        return {"content": value, "role": "user"}
    if how == 2:
        depth = rng.choice((3, 90, 1100))
        return Raw("[" * depth + written(value) + "]" * depth)
    return json.dumps(value) if how == 3 and not isinstance(value, str) else [value]


def _lines(data: bytes, rng: Random, words: Sequence[str]) -> bytes | None:
    lines = data.split(b"\n")
    i = rng.randrange(len(lines))
    how = rng.randrange(10)
    if how <= 6:
        made = _json(lines[i], rng, words)
        if made is None:
            return None
        lines[i] = made
        return b"\n".join(lines)
    return _by_line(lines, i, rng)


def _by_line(lines: list[bytes], i: int, rng: Random) -> bytes:
    how = rng.randrange(8)
    if how == 0:
        del lines[i]
    elif how == 1:
        lines[i:i] = [lines[i]] * rng.choice((1, 2, 120))
    elif how == 2:
        lines[i] = lines[i][: rng.randrange(len(lines[i]) + 1)]
    elif how == 3:
        rng.shuffle(lines)
    else:
        ends = (b"\r\n", b"\r", b"\n\n", b"\n \n", b"")
        return rng.choice(ends).join(lines) if how < 6 else _packed(b"\n".join(lines), rng)
    return b"\n".join(lines)


def _packed(data: bytes, rng: Random) -> bytes:
    """The same text in another encoding, packed, or packed and torn."""
    how = rng.randrange(5)
    if how == 0:
        return b"\xef\xbb\xbf" + data
    if how == 1:
        return data.decode("utf-8", "replace").encode("utf-16")
    packed = gzip.compress(data, 1, mtime=0)
    return packed if how < 4 else packed[: rng.randrange(len(packed))]


def _csv(data: bytes, rng: Random, words: Sequence[str]) -> bytes | None:
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8"))))
    except (ValueError, csv.Error):
        return None
    rows = [r for r in rows if r]
    if not rows or rng.random() < 0.2:
        return _by_line(data.split(b"\n"), rng.randrange(data.count(b"\n") + 1), rng)
    row, how = rng.choice(rows), rng.randrange(8)
    i = rng.randrange(len(row))
    if how <= 3:
        row[i] = str(rng.choice(LEAVES))
    elif how == 4:
        del row[i]
    elif how == 5:
        row[i:i] = [row[i]] * rng.choice((1, 3, 200))
    elif how == 6 and words:
        row[i] = rng.choice(words)
    else:
        row[i] = (row[i] * rng.choice((2, 2000)))[:9000]
    text = io.StringIO(newline="")
    mark = rng.choice((",", ",", ",", ";", "\t", "|"))
    csv.writer(text, delimiter=mark, lineterminator=rng.choice(("\n", "\r\n", "\r"))).writerows(
        rows
    )
    return text.getvalue().encode("utf-8", "surrogatepass")


def _tensors(data: bytes, rng: Random, words: Sequence[str]) -> bytes | None:
    """A safetensors file with a changed header of the right length, sometimes of a wrong one."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        return None
    header, body = data[8 : 8 + length], data[8 + length :]
    if rng.random() < 0.2 and body:
        return data[: 8 + length] + _bytes(body, rng)
    value = _parsed(header)
    if isinstance(value, dict) and isinstance(value.get("__metadata__"), dict):
        inner = value["__metadata__"]
        name = rng.choice([*inner, ""])
        made = _json(str(inner.get(name, "")).encode("utf-8", "replace"), rng, words)
        if made is not None and rng.random() < 0.7:
            inner[name] = made.decode("utf-8", "replace")
            header = json.dumps(value).encode()
            return struct.pack("<Q", len(header)) + header + body
    made = _json(header, rng, words)
    if made is None:
        return None
    size = len(made) + rng.choice((0, 0, 0, 0, 1, -1, 1 << 40))
    return struct.pack("<Q", max(0, size)) + made + body


def _text(data: bytes, rng: Random, words: Sequence[str]) -> bytes | None:
    """A text with one of its pieces left out, repeated, moved or replaced."""
    lines = data.split(b"\n")
    if rng.random() < 0.3:
        return _by_line(lines, rng.randrange(len(lines)), rng)
    pieces = data.split(b" ")
    i, j = rng.randrange(len(pieces)), rng.randrange(len(pieces))
    how = rng.randrange(5)
    if how == 0:
        del pieces[i]
    elif how == 1:
        pieces[i], pieces[j] = pieces[j], pieces[i]
    elif how == 2:
        pieces[i:i] = pieces[min(i, j) : max(i, j) + 1] * rng.choice((1, 30))
    else:
        new = rng.choice(words) if words and how == 3 else str(rng.choice(LEAVES))
        pieces[i] = new.encode("utf-8", "surrogatepass")
    return b" ".join(pieces)


def _bytes(data: bytes, rng: Random) -> bytes:
    made, how = bytearray(data), rng.randrange(7)
    i = rng.randrange(len(made) + 1)
    j = min(len(made), i + rng.choice((1, 2, 8, 60)))
    if how == 0 and made:
        made[min(i, len(made) - 1)] ^= 1 << rng.randrange(8)
    elif how == 1:
        del made[i:j]
    elif how == 2:
        made[i:i] = made[i:j] * rng.choice((1, 2, 99))
    elif how == 3:
        del made[i:]
    elif how == 4:
        made[i:j] = rng.choice((b"\0", b"\xff", b"\x7f")) * (j - i)
    elif how == 5:
        made[i:j] = rng.randbytes(j - i)
    else:
        made[i:i] = rng.choice(SPLICES)
    return bytes(made)


_BY_FORM = {"json": _json, "lines": _lines, "csv": _csv, "text": _text, "tensors": _tensors}
