"""Rows of a data file as lines for a person, of at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from assay.safe_text import json_text, visible

WIDE, LINES = 100, 8  # columns of a line, and lines of one text
_BREAK = "↵"  # stands for a line end


def row_lines(rows: Sequence[Mapping[str, Any]], *, line: bool) -> list[str]:
    """Rows as they were read and, where they have tokens, as they are trained on.

    All text is spelled out: nothing of it is obeyed by a terminal.

    Args:
        rows: As `assay.api.checking.check` gives them.
        line: Whether the rows of the file are its lines.
    """
    out = list[str]()
    for row in rows:
        out.append(f"{'line' if line else 'row'} {row['row']}: {_label(row)}")
        tokens = row.get("tokens")
        if tokens is None:
            out += _read(row)
        elif "error" in tokens:
            out += [*_read(row), *_wrapped(tokens["error"], "  no tokens  ")]
        else:
            out += _tokens(tokens)
    return out


def _label(row: Mapping[str, Any]) -> str:
    if "p" in row:
        margin = f", margin {row['margin']:g}" if row["margin"] else ""
        tie = ", a tie" if row["p"] == 0.5 else ""
        return f"a pair, chosen is better with p = {row['p']:g}{tie}{margin}"
    if "score" in row:
        return f"a response with the score {row['score']:g}"
    return {"demonstrations": "a demonstration", "prompts": "a prompt"}.get(
        row["kind"], row["kind"]
    )


def _read(row: Mapping[str, Any]) -> list[str]:
    """The parts of a row with who says them."""
    parts = [("prompt", row["prompt"])] + [(c["name"], c["messages"]) for c in row["completions"]]
    out = list[str]()
    for name, said in parts:
        out.append(f"  {name}")
        if isinstance(said, str):
            out += _wrapped(said, f"    {'text':<9}  ")
            continue
        for message in said:
            more = {k: v for k, v in message.items() if k not in ("role", "content")}
            out += _wrapped(message["content"], f"    {visible(message['role']):<9}  ")
            for key, value in more.items():
                text = value if isinstance(value, str) else json_text(value)
                out += _wrapped(text, f"    {'':<9}  {visible(key)}: ")
    return out


def _tokens(tokens: Mapping[str, Any]) -> list[str]:
    """The tokens of a row: its prompt as text, its completions with what is learned."""
    prompt = tokens["prompt"]
    out = [f"  prompt: {_size(prompt)}, given"]
    out += _wrapped(prompt["text"], "    text     ")
    out += _pieces(prompt["pieces"], prompt["ids"], "    tokens   ")
    for said in tokens["completions"]:
        learned = sum(said["learned"])
        given = f", {said['n'] - learned:,} of them given" if learned < said["n"] else ""
        last = ", without an end token"
        if said["ends"]:
            last = f", ends with {_piece(said['pieces'][-1], said['ids'][-1])}"
        out.append(f"  {said['name']}: {_size(said)}{given}{last}")
        each = zip(said["learned"], said["pieces"], said["ids"], strict=True)
        for own, run in groupby(each, key=lambda one: one[0]):
            _, pieces, ids = zip(*run, strict=True)
            out += _pieces(pieces, ids, "    learned  " if own else "    given    ")
    return out


def _size(part: Mapping[str, Any]) -> str:
    over = f", OVER the limit of {part['limit']:,}: such rows are left out" if part["over"] else ""
    return f"{part['n']:,} {'token' if part['n'] == 1 else 'tokens'}{over}"


def _piece(piece: str, token: int) -> str:
    return f"{token} «{_one_line(piece)}»"


def _pieces(pieces: Iterable[str], ids: Iterable[int], begin: str) -> list[str]:
    """Tokens with their ids, as many on a line as it takes."""
    lines, now = list[str](), begin
    every = [_piece(p, i) for p, i in zip(pieces, ids, strict=True)]
    for n, one in enumerate(every):
        if now.strip() and len(now) + len(one) > WIDE and now != begin:
            lines.append(now.rstrip())
            now = " " * len(begin)
            if len(lines) == LINES:
                lines.append(f"{now}… {len(every) - n:,} more tokens (--json prints all)")
                return lines
        now += one + "  "
    return [*lines, now.rstrip()]


def _wrapped(text: str, begin: str) -> list[str]:
    """A text in lines of limited number and width, with signs for line ends."""
    room = WIDE - len(begin)
    lines = textwrap.wrap(_one_line(text), room, drop_whitespace=False, break_on_hyphens=False) or [
        "(empty)"
    ]
    if len(lines) > LINES:
        left = sum(map(len, lines[LINES:]))
        lines = [*lines[:LINES], f"… {left:,} more characters (--json prints all)"]
    return [(begin if n == 0 else " " * len(begin)) + one for n, one in enumerate(lines)]


def _one_line(text: str) -> str:
    return visible(text).replace("\n", _BREAK).replace("\t", "⇥")
