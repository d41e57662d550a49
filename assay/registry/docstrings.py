"""Google-style docstrings as data, from which help and the manual's tables are made."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from dataclasses import dataclass, field

from docstring_parser import DocstringParam, DocstringRaises, DocstringReturns, ParseError
from docstring_parser.google import DEFAULT_SECTIONS, GoogleParser, Section, SectionType

_SINGLE = ("Source", "Note", "Notes", "See Also", "Formula", "Warning")
_PARSER = GoogleParser(
    [*DEFAULT_SECTIONS, *(Section(title, title.lower(), SectionType.SINGULAR) for title in _SINGLE)]
)
_ON_ONE_LINE = re.compile(rf"^({'|'.join(_SINGLE)}|Returns|Yields|Example): +(\S.*)$", re.M)


@dataclass(frozen=True)
class Docs:
    """A parsed docstring.

    Attributes:
        summary: The first paragraph, on one line.
        body: The paragraphs between the summary and the first section.
        arguments: Text by parameter name, from `Args:` or `Attributes:`.
        returns: The text of `Returns:` or `Yields:`.
        raises: Text by exception name.
        sections: The other sections (source, example, note …) by title in lower case.
    """

    summary: str = ""
    body: str = ""
    arguments: dict[str, str] = field(default_factory=dict)
    returns: str = ""
    raises: dict[str, str] = field(default_factory=dict)
    sections: dict[str, str] = field(default_factory=dict)


def parse(text: str | None, names: Collection[str] = ()) -> Docs:
    """Parse a Google-style docstring.

    Args:
        text: The docstring, indented or not.
        names: The parameters of the function. Where the docstring has no `Args:`, text such as
            "beta: weight of the KL term; n: completions" is read for these names.

    Returns:
        The parts. A section that cannot be parsed is left in `body`, never lost.

    Example:
        >>> parse("Add.\\n\\nArgs:\\n    a, b: The terms.\\n").arguments
        {'a': 'The terms.', 'b': 'The terms.'}
    """
    if not text:
        return Docs()
    text = _ON_ONE_LINE.sub(r"\1:\n    \2", inspect.cleandoc(text))
    try:
        found = _PARSER.parse(text)
    except ParseError:
        head, _, rest = text.partition("\n\n")
        return Docs(_flat(head), rest.strip())
    head, _, rest = (found.description or "").partition("\n\n")
    arguments: dict[str, str] = {}
    raises: dict[str, str] = {}
    sections: dict[str, str] = {}
    returns = ""
    for part in found.meta:
        described = part.description or ""
        if isinstance(part, DocstringParam):
            arguments |= {n.strip().lstrip("*"): _flat(described) for n in part.arg_name.split(",")}
        elif isinstance(part, DocstringRaises):
            raises[part.type_name or ""] = _flat(described)
        elif isinstance(part, DocstringReturns):
            kind = f"{part.type_name}: " if part.type_name else ""
            returns = kind + described
        else:
            sections[part.args[0]] = described
    summary, body = _flat(head), rest.strip()
    if names and not arguments:
        arguments = _in_prose(f"{head}\n{rest}", names)
        if summary.partition(":")[0].partition(",")[0].strip() in names:
            summary, body = "", ""  # the docstring is nothing but such a list
    return Docs(summary, body, arguments, returns, raises, sections)


def first_sentence(text: str) -> str:
    """The first sentence of a text, for places that have one line.

    Example:
        >>> first_sentence("Rows a pass, e.g. 4. Changes no number.")
        'Rows a pass, e.g. 4.'
    """
    end = re.search(r"(?<!e\.g)(?<!i\.e)\.(?=\s+[A-Z`(0-9])", text)
    return text if end is None else text[: end.end()]


def clause(text: str) -> str:
    """A first sentence as the end of another: "The folder." is "the folder".

    Example:
        >>> clause("The folder to write. It must not exist.")
        'the folder to write'
    """
    sentence = first_sentence(text).rstrip(".")
    return (
        sentence[:1].lower() + sentence[1:]
        if sentence[1:2].islower() or sentence[1:2] == " "
        else sentence
    )


def reflowed(text: str) -> str:
    """Paragraphs on one line each, for a terminal that wraps; indented lines stay as they are."""
    blocks = re.split(r"\n\s*\n", text)
    return "\n\n".join(b if re.search(r"^\s", b, re.M) else _flat(b) for b in blocks)


def _flat(text: str) -> str:
    """A paragraph on one line."""
    return " ".join(text.split())


def _in_prose(text: str, names: Collection[str]) -> dict[str, str]:
    """Descriptions written as `name: text. name, name: text`, by name."""
    word = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    listed = re.compile(rf"(?:^|(?<=[.;:)\s]))((?:{word})(?:, (?:{word}))*)(?: \([^)]*\))?: ")
    flat = _flat(text)
    starts = list(listed.finditer(flat))
    found: dict[str, str] = {}
    for i, match in enumerate(starts):
        end = starts[i + 1].start() if i + 1 < len(starts) else len(flat)
        said = flat[match.end() : end].strip().rstrip(";")
        found |= dict.fromkeys(match.group(1).split(", "), said)
    return found
