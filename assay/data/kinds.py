"""Infer from its columns what a file holds: pairs, scored responses, demonstrations or prompts."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from assay.data.column_errors import CANONICAL, missing, no_response, no_verdict
from assay.data.faults import clipped
from assay.data.nested import advice
from assay.data.numbers import number
from assay.data.prompt_columns import (
    JOINED,
    first_of,
    joined_parts,
    one_completion,
    prompt_parts,
)
from assay.data.scale import Scale
from assay.data.score_column import score_column
from assay.data.verdict_column import verdict_parts
from assay.errors import InputError

KINDS = ("pairs", "choices", "scored", "demonstrations", "prompts")
ANSWER = ("response", "completion", "answer", "output", "generation")
_STEMS = (
    "response",
    "output",
    "answer",
    "completion",
    "conversation",
    "generation",
    "candidate",
    "sample",
    "human_ref",
)
_ENDS = (("_1", "_2"), ("_0", "_1"), ("_a", "_b"), ("_A", "_B"), ("1", "2"), ("_one", "_two"))
TWO = tuple((stem + a, stem + b) for stem in _STEMS for a, b in _ENDS)


@dataclass(frozen=True)
class Layout:
    """What a file holds, and in which columns.

    Attributes:
        kind: One of `KINDS`.
        parts: The file's column of each part, such as {"prompt": "question"}.
        columns: All its columns.
        numeric: Columns of numbers.
        others: Columns that play no part.
        scale: How the label column is read; None before that is decided, or without labels.
        asks: What the user has to say before the labels can be read; "" for nothing.
        left_out: Parts of a prompt that the user leaves out.
        advice: What to write where the rows hold completions that are not read; "" for nothing.
    """

    kind: str
    parts: dict[str, str]
    columns: tuple[str, ...]
    numeric: tuple[str, ...] = ()
    others: tuple[str, ...] = field(default=())
    scale: Scale | None = None
    asks: str = ""
    advice: str = ""
    left_out: frozenset[str] = frozenset()

    def get(self, row: Mapping[str, Any], part: str) -> Any:
        """The row's cell for a part; None if the file has no such part."""
        return row.get(self.parts[part]) if part in self.parts else None


def layout(
    rows: list[dict[str, Any]],
    file: str,
    *,
    columns: Mapping[str, str] | None = None,
    want: str | None = None,
    score: str | None = None,
) -> Layout:
    """Infer what a file holds.

    Args:
        rows: Its first rows.
        file: Its name, for messages.
        columns: The file's column for each part, such as {"prompt": "question"}; "" for a part that
            is not to be read.
        want: The kind that is needed: "pairs", "scored", "prompts", or "responses", scored or not.
        score: The numeric column of scored responses.

    Raises:
        InputError: The columns make none of the kinds, or not the one that is needed.
    """
    if not rows:
        raise InputError(f"{file} has no rows; give a file with at least one")
    seen = tuple(dict.fromkeys(k for row in rows for k in row))
    named = dict(columns or {})
    for part, name in named.items():
        if part not in CANONICAL:
            near = difflib.get_close_matches(part, CANONICAL, n=1)
            raise InputError(
                f"--columns {part}={name}: there is no part "
                f"'{part}'{f'; did you mean {near[0]}?' if near else ''}; the parts are "
                f"{', '.join(CANONICAL)}"
            )
        if not name and part not in JOINED:
            raise InputError(
                f"--columns {part}=: a name is missing; {', '.join(JOINED)} can be left out so"
            )
        if name and name not in seen:
            raise missing(name, seen, file)
    if score is not None and score not in seen:
        raise missing(score, seen, file)
    found = _found(rows, seen, named, score, file, want)
    used = set(found.parts.values())
    return replace(
        found,
        others=tuple(c for c in seen if c not in used),
        left_out=frozenset(part for part, name in named.items() if not name),
    )


def _found(
    rows: list[dict[str, Any]],
    seen: tuple[str, ...],
    named: dict[str, str],
    score: str | None,
    file: str,
    want: str | None,
) -> Layout:
    def part(name: str, *names: str) -> dict[str, str]:
        column = named.get(name) or first_of(
            names or (name,), tuple(c for c in seen if c not in named.values())
        )
        return {name: column} if column else {}

    both = {**part("chosen"), **part("rejected")}
    two = next((t for t in TWO if t[0] in seen and t[1] in seen), None)
    if "first" in named and "second" in named:
        two = (named["first"], named["second"])
    dialogue = "messages" in named or "text" in named
    answer = {} if dialogue else part("response", *ANSWER)
    pair = len(both) == 2 or two is not None
    completions = {*both.values(), *(two or ())}
    prompt = prompt_parts(
        [c for c in seen if c not in completions],
        rows,
        named,
        file,
        dialogues=pair or bool(answer) or want == "prompts",
        closed=pair or want == "prompts",
    )
    numeric = tuple(c for c in seen if c not in prompt.values() and _number_column(rows, c))
    if len(both) == 2 and want in (None, "pairs"):
        return Layout("pairs", {**prompt, **both, **part("margin"), **part("p")}, seen, numeric)
    if want == "prompts":
        if prompt:
            return Layout("prompts", prompt, seen, numeric)
        if pair:
            raise InputError(
                f"{file} has its prompts inside {' and '.join(sorted(completions))}; give it as "
                "--pairs, whose prompts are used where no file of prompts is given, or name a "
                "column with --columns prompt=ITS_NAME"
            )
        raise missing("prompt", seen, file)
    if len(both) == 1 and score is None and not answer and not dialogue:
        raise missing("rejected" if "chosen" in both else "chosen", seen, file)
    if two and want in (None, "pairs"):
        parts, asks = _choices(two, seen, named, file)
        return Layout("choices", {**prompt, **parts}, seen, numeric, asks=asks)
    nested = "" if answer else advice(rows, [c for c in seen if c not in prompt.values()])
    if nested and want in ("pairs", "scored", "responses"):
        raise InputError(f"{file}: {nested}")
    if want == "pairs":
        raise missing("chosen", seen, file)
    if answer and (prompt or want in ("scored", "responses")):
        if not prompt:
            raise missing("prompt", seen, file)
        if want == "responses":
            return Layout("demonstrations", {**prompt, **answer}, seen, numeric)
        parts, asks = {**prompt, **answer}, ""
        column = score or named.get("score")
        if column is None:
            used = set(parts.values())
            free, numbers = ([c for c in names if c not in used] for names in (seen, numeric))
            column, asks = score_column(rows, free, numbers, file)
        if column or asks:
            scored = {"score": column} if column else {}
            return Layout("scored", parts | scored, seen, numeric, asks=asks)
        if want == "scored":
            raise InputError(
                f"{file} has {', '.join(seen)} and none of them has numbers; name the score with "
                "--score COLUMN"
            )
        if "response" not in named:
            one_completion(rows, seen, answer["response"], file)
        return Layout("demonstrations", parts, seen, numeric)
    if want in ("scored", "responses"):
        raise no_response(seen, two, file)
    for name, names in (("messages", ("messages", "conversations")), ("text", ("text",))):
        held = part(name, *names)
        if held:
            free = [c for c in seen if c not in (*held.values(), *named.values())]
            joins = joined_parts(free, named) if name == "messages" else {}
            return Layout("demonstrations", {**held, **joins}, seen)
    if prompt:
        return Layout("prompts", prompt, seen, advice=nested)
    if nested:
        raise InputError(f"{file}: {nested}")
    raise InputError(
        f"{file} has the columns {clipped(', '.join(seen), 200)}, which make neither pairs "
        "(prompt, chosen, rejected), nor scored responses (prompt, response, a number), nor "
        "demonstrations (messages or text), nor prompts; rename with --columns "
        "prompt=ITS_NAME,chosen=ITS_NAME,rejected=ITS_NAME"
    )


def _choices(
    two: tuple[str, str], seen: tuple[str, ...], named: Mapping[str, str], file: str
) -> tuple[dict[str, str], str]:
    """The parts of a comparison of two columns, and the question which column is its verdict."""
    first, second = two
    taken = {name for which, name in named.items() if which != "margin"}
    verdict, rivals = verdict_parts([c for c in seen if c not in taken], first, second)
    if "verdict" in named:
        verdict, rivals = {"verdict": named["verdict"]}, []
    if not verdict and not rivals:
        raise no_verdict(two, seen, file)
    asks = ""
    if rivals:
        asks = (
            f"{file}: {' and '.join(rivals)} can each say which of {first} and {second} is "
            f"better; choose one with --columns verdict={rivals[0]}"
        )
    margin = {"margin": named["margin"]} if "margin" in named else {}
    return {"first": first, "second": second, **verdict, **margin}, asks


def _number_column(rows: list[dict[str, Any]], column: str) -> bool:
    """Whether most of the first cells are numbers."""
    cells = [row.get(column) for row in rows]
    known = [c for c in cells if c is not None]
    return bool(known) and sum(number(c) is not None for c in known) > 0.5 * len(known)
