"""Conversations as a chat template writes them: what goes in, and a check that all of it is there.

A template is a program that came with a model. It may refuse a conversation, and it may leave out
what somebody said; both are errors here. It may have no place for tools, calls and reasoning; then
those are counted, for the message about them.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from assay.data.turns import REASONING, Turn, Turns
from assay.errors import InputError
from assay.models.marks import Marks, unused
from assay.models.template_limits import rendered


@dataclass(frozen=True)
class Hidden:
    """Marks that stand written out in a conversation, hidden while its template renders.

    Attributes:
        sign: Around the place of each; "" where the conversation has none.
        marks: The marks by place.
    """

    sign: str = ""
    marks: tuple[str, ...] = ()

    def into(self, value: Any) -> Any:
        """Return a value of a message with its marks hidden, in every string and name of it."""
        if not self.sign:
            return value
        if isinstance(value, str):
            place = {m: f"{self.sign}{i}{self.sign}" for i, m in enumerate(self.marks)}
            any_of = "|".join(map(re.escape, sorted(place, key=len, reverse=True)))
            return re.sub(any_of, lambda m: place[m[0]], value)
        if isinstance(value, dict):
            return {self.into(k): self.into(v) for k, v in value.items()}
        return [self.into(v) for v in value] if isinstance(value, list) else value


# Roles that chat templates know; their names stand in special tokens such as <|user|>.
SPEAKERS = ("user", "assistant", "system", "tool", "developer")
NOTHING = Hidden()


class Chat:
    """The chat template of a tokenizer.

    Args:
        tokenizer: Of transformers.

    Attributes:
        marks: The tokenizer's marks.
        source: The template; "" if the tokenizer has none.
        written: The marks that the template writes.
        unread: What the template has no place for, such as "tool_calls", with the places of it.
        opened: The places of completions that begin with what the generation prompt ends with.
        at: Where the conversations are that are rendered now, such as a row.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        own = getattr(tokenizer, "chat_template", None) or ""
        self.source = own if isinstance(own, str) else "\n".join(map(str, own.values()))
        writes = self.source + self._plain_talk()
        self.marks = Marks(tokenizer, writes)
        self.written = frozenset(m for m in self.marks.ids if m in writes)
        reads = [k for k in REASONING if re.search(rf"\b{k}\b", self.source)]
        self.reasoning = reads[0] if reads else REASONING[0]
        self.unread: dict[str, set[Hashable]] = {}
        self.opened: set[Hashable] = set()
        self.at: Hashable = None

    def _plain_talk(self) -> str:
        """A question, an answer and a question as the template writes them; "" if it refuses."""
        talk = [{"role": r, "content": "1"} for r in ("user", "assistant", "user")]
        if not self.source:
            return ""
        try:
            return rendered(self.tokenizer, talk)
        except Exception:  # what it refuses is an error where a conversation meets it
            return ""

    @functools.cached_property
    def after_answer(self) -> str:
        """What the template writes after an assistant's text, such as the token that ends it."""
        talk = (Turn("user", "1"), Turn("assistant", "2"))
        return self.text(talk, NOTHING).rpartition("2")[2]

    @functools.cached_property
    def opens(self) -> str:
        """What the generation prompt writes of an assistant's text, such as `<think>`; else ""."""
        ask = (Turn("user", "1"),)
        try:
            before = self.text((*ask, Turn("assistant", "2")), NOTHING).rpartition("2")[0]
            begun = self.text(ask, NOTHING, open_=True)
        except InputError:  # what it refuses is an error where a conversation meets it
            return ""
        return begun[len(before) :] if begun.startswith(before) else ""

    def after_opening(self, text: str) -> str:
        """Return a completion without what the generation prompt wrote of it already.

        Rows that begin with it are counted in `opened`.
        """
        mark = self.opens.strip()
        if not mark or not text.lstrip().startswith(mark):
            return text
        self.opened.add(self.at)
        rest = text.lstrip()[len(mark) :]
        return rest.removeprefix(self.opens.lstrip()[len(mark) :])

    def hidden(self, turns: Turns) -> Hidden:
        """Find the marks that stand written out in a conversation."""
        texts = [part for t in turns for part in (t.content, t.role) if part]
        texts += [part for t in turns if t.more for leaf in _leaves(t.extras()) for part in leaf]
        found = dict.fromkeys(m for text in texts for m in self.marks.all(text))
        return Hidden(unused("".join(texts)), tuple(found)) if found else NOTHING

    def text(self, turns: Turns, hidden: Hidden, *, open_: bool = False) -> str:
        """Write a conversation.

        Args:
            turns: The conversation.
            hidden: What `hidden` found in it, or in one that it is the beginning of.
            open_: Whether the assistant goes on after it. What an assistant began is gone on with.

        Raises:
            InputError: There is no template, or it refuses the conversation or leaves out a part.
        """
        if not self.source:
            raise InputError(
                "these prompts are conversations, and the tokenizer has no chat template; give "
                "prompts that are text, or a tokenizer with a template"
            )
        for turn in turns:
            self._role(turn.role)
        messages, tools = self._messages(turns, hidden)
        begun = open_ and turns[-1].role == "assistant"
        how = {"continue_final_message": True} if begun else {"add_generation_prompt": open_}
        try:
            text = rendered(self.tokenizer, messages, tools=tools, **how)
        except Exception as why:  # a template is a program, and raises what it likes
            raise InputError(
                "the chat template refuses a conversation of roles "
                f"{', '.join(t.role for t in turns)} ({' '.join(str(why).split())[:100]}); leave "
                "out the turns that it does not take, or use a model whose template takes them"
            ) from why
        for turn in turns:
            self._there(turn.role, hidden.into(turn.content), text)
        return text

    def _role(self, role: str) -> None:
        """Raise InputError for a role of the data that a template could make a special token of."""
        mark = next((m for m in self.marks.ids if role in m), None)
        if mark is not None and role not in SPEAKERS:
            raise InputError(
                f"the role {role!r} is a part of the special token {mark!r}, which a chat template "
                f"could write for it; give one of {', '.join(SPEAKERS)}"
            )

    def _messages(self, turns: Turns, hidden: Hidden) -> tuple[list[dict[str, Any]], Any]:
        """Return (the messages, the tools)."""
        messages, tools = [turn.message() for turn in turns], None
        for message in messages if any(turn.more for turn in turns) else ():
            tools = message.pop("tools", None) or tools
            for name in REASONING:
                if name in message:
                    message.setdefault(self.reasoning, message.pop(name))
        return hidden.into(messages), hidden.into(tools)

    def _there(self, role: str, content: str, text: str) -> None:
        """Raise InputError if a turn's content is not in what was written of it.

        Blanks may differ; a tool's answer may be written as JSON, or be JSON that is written anew.
        """
        said = content.strip()
        if said in text or "".join(said.split()) in "".join(text.split()):
            return
        if role == "tool" and (_written(said, text) or _anew(said, text)):
            return
        raise InputError(
            f"the chat template leaves out what the {role} said ({said[:40]!r}), and what is "
            "trained and scored would be something else; use another template"
        )

    def note(
        self, turns: Turns, text: str, hidden: Hidden = NOTHING, *, templated: bool = True
    ) -> None:
        """Count what a conversation says beside its texts and is not in what was written of it.

        Args:
            turns: The conversation.
            text: What was written of it.
            hidden: What was hidden while it was written.
            templated: Whether the template wrote it.
        """
        for turn in turns:
            for name, value in turn.extras().items() if turn.more else ():
                said = list(_leaves(value, name))
                left = dict.fromkeys(p for p, each in said if not _written(hidden.into(each), text))
                whole = left.keys() == dict.fromkeys(path for path, _ in said).keys()
                if said and (whole or (templated and not self._reads(name))):
                    left = {name: None}
                for path in left:
                    self.unread.setdefault(path, set()).add(self.at)

    def _reads(self, name: str) -> bool:
        """Whether the template knows a key of messages at all."""
        return (self.reasoning if name in REASONING else name) in self.source


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts and numbers of a message's value, each with the names that lead to it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, path)
    elif value is not None and not isinstance(value, bool):
        yield path, str(value)


def _written(said: str, text: str) -> bool:
    """Whether a text holds what was said, as it is or as JSON writes it."""
    said = said.strip()
    return (
        said in text
        or json.dumps(said)[1:-1] in text
        or json.dumps(said, ensure_ascii=False)[1:-1] in text
    )


def _anew(said: str, text: str) -> bool:
    """Whether what was said is JSON, of which a text holds all parts."""
    try:
        parts = list(_leaves(json.loads(said)))
    except (ValueError, RecursionError):
        return False
    return bool(parts) and all(_written(each, text) for _, each in parts)
