"""What a verb takes, as data: its words and its flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from assay.api.flags import Flag

# where help shows the flags of `assay fit` and its like, which no prefix groups
HEADINGS = {
    **dict.fromkeys(("base", "lora", "frozen", "pooling", "max_length", "members"), "Model"),
    **dict.fromkeys(
        (
            *("columns", "label_map", "split", "templated", "score", "limit", "drop"),
            *("against", "folds", "resample"),
        ),
        "Data",
    ),
    **dict.fromkeys(
        ("epochs", "batch_size", "learning_rate", "ridge", "smoothing", "centre", "pairs_a_prompt"),
        "Optimisation",
    ),
}


@dataclass(frozen=True)
class Words:
    """The words of a command that are no flags.

    Attributes:
        name: What help calls them.
        many: Whether there may be more than one.
        help: One line.
        choices: What a shell completes them with; other words are accepted as well.
    """

    name: str
    many: bool = False
    help: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grammar:
    """What one verb takes.

    Attributes:
        verb: As it is typed, e.g. `watch status`.
        flags: Flags by name.
        words: Its words, in order; only the last may be `many`.
        what: Whose flags these are, for messages; the verb where it is empty.
        named: The recipe that is typed, after a space, for the command that shows its help.
        summary: One line on what it does.
        about: Further paragraphs for help.
        elsewhere: Of a flag that is not here and like none that is: where it would be, as an
            addition to a sentence.
        mistyped: Of a flag and a text that is no value of its type: what was likely meant, as an
            addition to a sentence.
        examples: Commands that help shows at its end.
        instead: What to do with a word that has no place, e.g. "assay show {word} tells of one
            paper".
    """

    verb: str
    flags: Mapping[str, Flag]
    words: Sequence[Words] = ()
    what: str = ""
    named: str = ""
    summary: str = ""
    about: str = ""
    examples: Sequence[str] = ()
    elsewhere: Callable[[str], str] = lambda name: ""
    mistyped: Callable[[Flag, str], str] = lambda flag, text: ""
    instead: str = ""

    @property
    def subject(self) -> str:
        """Whose flags these are."""
        return self.what or f"assay {self.verb}"
