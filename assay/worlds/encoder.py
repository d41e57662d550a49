"""People's prompts, pairs and demonstrations as a policy's tokens, within its limits of length."""

from __future__ import annotations

import logging
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch

from assay.core import DESIRABLE, Pairs, Prompts, PromptTexts, Rng, Samples, cat
from assay.data.desirable import desirable
from assay.data.turns import Turn, Turns
from assay.engine import progress
from assay.engine.plural import counted
from assay.errors import InputError
from assay.models.text_encoder import PromptText, Templated
from assay.models.text_notes import marked_note, unread_notes
from assay.models.tokenizer import Completion, Tokens
from assay.worlds.item_tokens import ItemTokens
from assay.worlds.prompts import Items, PromptTable

log = logging.getLogger("assay")
_BLOCK = 256  # rows tokenised and padded together
_UNSEEN = "of held-out prompts"
_REFUSED = "that cannot be encoded"
_SAME = "whose two completions give the same tokens"
_CURES = {  # what makes such a row usable
    _UNSEEN: "lower --held-out",
    _REFUSED: "repair the rows or take a model whose template writes them",
    _SAME: "give pairs that differ in what the chat template writes",
}


@dataclass
class Encoder:
    """Encodes a table of prompts and the items that belong to them.

    Attributes:
        vocabulary: The policy's tokenizer.
        table: The prompts.
        chat: Whether conversations, and texts if the tokenizer has a template, go through it.
        max_prompt: Most tokens of a prompt; longer ones are left out.
        max_tokens: Most tokens of a completion; longer ones are left out.
        dtype: Of log-probabilities and labels.
        templated: The parts of the rows that a chat template wrote already.
        read: How the table's prompts read; all prompts made here carry it.
    """

    vocabulary: Tokens
    table: PromptTable
    chat: bool
    max_prompt: int
    max_tokens: int
    dtype: torch.dtype
    templated: frozenset[str] = frozenset()
    _ids: dict[int, array[int] | None] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        table = self.table
        self.items = ItemTokens(self.vocabulary, self.chat, self.templated)
        self.read = PromptTexts(
            self.vocabulary.decode, table.texts, table.turns, table.columns, self._others
        )

    def _others(self, texts: Sequence[str], turns: Sequence[Turns | None]) -> Prompts:
        """Prompts that are not in the table, encoded as those of the table are."""
        return self.vocabulary.prompts(
            [self._through(text, said) for text, said in zip(texts, turns, strict=True)]
        )

    def ids(self, place: int) -> array[int] | None:
        """The token ids of the prompt at a place; None if they are too many."""
        if place not in self._ids:
            with self._at(self.table.where[place] if self.table.where else ""):
                ids = self.vocabulary.encode(self._input(place))
            self._ids[place] = array("i", ids) if len(ids) <= self.max_prompt else None
        return self._ids[place]

    @contextmanager
    def _at(self, where: str) -> Iterator[None]:
        """Name a row in what is said about it."""
        self.vocabulary.text.chat.at = where
        try:
            yield
        except InputError as why:
            raise InputError(f"{where}: {why}" if where else str(why)) from why

    def _input(self, place: int) -> PromptText:
        """What the tokenizer gets for a prompt of the table: turns or text."""
        return self._through(self.table.texts[place], self.table.turns[place])

    def _through(self, text: str, turns: Turns | None) -> PromptText:
        if isinstance(text, Templated):
            return text
        if turns is not None and self.chat:
            return turns
        template = getattr(self.vocabulary.tokenizer, "chat_template", None)
        # a text without a prompt, such as a column `text`, answers no user
        return (Turn("user", text),) if self.chat and template and text else text

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt that was encoded and not left out."""
        return max((len(ids) for ids in self._ids.values() if ids is not None), default=0)

    def prompts(self, places: Sequence[int]) -> Prompts:
        """The prompts at these places, without those that are too long, padded on the left."""
        found = [(p, ids) for p in places if (ids := self.ids(p)) is not None]
        made = self.vocabulary.padded(
            [ids for _, ids in found], torch.tensor([p for p, _ in found], dtype=torch.int64)
        )
        return replace(made, decode=self.read)

    def quarter(self, most: int, file: str) -> int:
        """How many prompts to hold out where that is not said: a quarter of a small file.

        Args:
            most: The number for a large file.
            file: The file's name, for the message.
        """
        own = progress.over(self.table.own, "tokenizing prompts", "prompts")
        there = sum(self.ids(p) is not None for p in own)
        held_out = max(1, min(most, there // 4))
        if held_out < most and self.table.own:
            log.warning(
                "%s: %d of its %d prompts are held out, a quarter, where a longer file gives %d",
                file,
                held_out,
                there,
                most,
            )
        return held_out

    def divided(
        self, held_out: int, rng: Rng, file: str, *, alone: bool = False
    ) -> tuple[list[int], list[int]]:
        """Divide the prompts into held-out ones and those that recipes see.

        A text that a file has twice is on one side only.

        Args:
            held_out: Prompts to hold out.
            rng: Address of the order.
            file: The file's name, for messages.
            alone: Whether it is a file of prompts, and not of pairs or demonstrations.

        Returns:
            Places of held-out prompts, and places of the others.

        Raises:
            InputError: There are too few prompts.
        """
        table = self.table
        if not table.own:
            raise InputError(
                f"{file} holds texts without prompts, and a policy is read on prompts; give a file "
                "of prompts with --prompts, or name the column with --columns prompt=NAME"
            )
        own = progress.over(table.own, "tokenizing prompts", "prompts")
        short = [p for p in own if self.ids(p) is not None]
        if alone:
            self._note_marks(file, ((table.rows[p], table.texts[p], ()) for p in table.own))
            self._note_unread(file)
        if len(short) <= held_out:
            raise InputError(
                f"{file} has {len(table.own)} prompts, {len(short)} of them of at most "
                f"{self.max_prompt} tokens, and {held_out} are held out; give more prompts, a "
                "larger --max-prompt, or a smaller --held-out (-1 for none)"
            )
        if len(short) < len(table.own):
            log.warning(
                "%s: %d of %d prompts are longer than %d tokens and are left out",
                file,
                len(table.own) - len(short),
                len(table.own),
                self.max_prompt,
            )
        mixed = [short[i] for i in rng.permutation(len(short)).tolist()]
        unseen, rest = mixed[:held_out], mixed[held_out:]
        texts = {table.texts[p] for p in unseen}
        seen = [p for p in rest if table.texts[p] not in texts]
        if not seen:
            raise InputError(
                f"{file} repeats its prompts: every prompt to train on is held out too; give other "
                "prompts, or a smaller --held-out"
            )
        if len(seen) < len(rest):
            log.warning(
                "%s: %d prompts are left out because the same texts are held out",
                file,
                len(rest) - len(seen),
            )
        return unseen, seen

    def pairs(self, path: str, items: Items, unseen: Collection[int]) -> Pairs:
        """Preference pairs, the preferred completion first.

        Args:
            path: Their file, for messages.
            items: (place of its prompt, pair).
            unseen: Places of held-out prompts, whose pairs are left out.
        """
        x, used = self._completed(path, items, unseen, ("chosen", "rejected"), "pair")
        own = {f.name: getattr(x, f.name) for f in fields(Samples)}
        return Pairs(
            **own,
            p=torch.tensor([p.p for p in used], dtype=self.dtype),
            margin=torch.tensor([p.margin for p in used], dtype=self.dtype),
        )

    def demos(self, path: str, items: Items, unseen: Collection[int]) -> Samples:
        """See `pairs`; these are demonstrations, one completion a row.

        Where all of the file's are labelled 0 or 1, `extra[DESIRABLE]` has their labels.
        """
        x, used = self._completed(path, items, unseen, ("completion",), "demonstration")
        if desirable([item for _, item in items]) is None:
            return x
        good = torch.tensor([[item.label] for item in used], dtype=self.dtype)
        return replace(x, extra={**x.extra, DESIRABLE: good.to(x.mask.device)})

    def _completed(
        self, path: str, items: Items, unseen: Collection[int], parts: Sequence[str], kind: str
    ) -> tuple[Samples, list[Any]]:
        """The encoded items and the items themselves, without those that cannot be used.

        What is too long or belongs to a held-out prompt is left out and counted. Nothing is cut: a
        completion that is cut is another completion.
        """
        self._note_marks(path, self.items.texts(items, parts, self.table))
        texts = {self.table.texts[p] for p in unseen}
        free = [(place, item) for place, item in items if self.table.texts[place] not in texts]
        fits = [(place, item) for place, item in free if self.ids(place) is not None]
        made: list[Samples] = []
        used: list[Any] = []
        out = Counter[str]()
        for at in progress.over(range(0, len(fits), _BLOCK), f"tokenizing {kind}s", "blocks"):
            block = list[tuple[int, Any]]()
            rows = list[list[Completion]]()
            for place, item in fits[at : at + _BLOCK]:
                try:
                    with self._at(f"{path}, row {item.row}"):
                        asked = self.table.turns[place], self.table.texts[place]
                        row = self.items.tokens(item, parts, *asked)
                except InputError as why:
                    out[_REFUSED] += 1
                    if out[_REFUSED] == 1:
                        self._warn(path, f"some rows cannot be encoded, the first: {why}")
                    continue
                if len(row) == 2 and row[0] == row[1]:
                    out[_SAME] += 1
                elif max(len(ids) for ids, _ in row) > self.max_tokens:
                    out[f"with a completion of more than {self.max_tokens} tokens"] += 1
                else:
                    block.append((place, item))
                    rows.append(row)
            if block:
                prompts = self.prompts([place for place, _ in block])
                made.append(self.vocabulary.completed(prompts, rows, self.dtype))
                used += [item for _, item in block]
        self._note_unread(path)
        left_out = {
            _UNSEEN: len(items) - len(free),
            f"with a prompt of more than {self.max_prompt} tokens": len(free) - len(fits),
            **out,
        }
        several = ", ".join(f"{n:,} {what}" for what, n in left_out.items() if n)
        if not used:
            cures = [_cure(what) for what, n in left_out.items() if n]
            raise InputError(
                f"{path} has {counted(len(items), kind)}, and none can be used ({several}); "
                f"{', and '.join(cures) or 'give other rows'}"
            )
        if several:
            log.warning("%s: of %s, left out: %s", path, counted(len(items), kind), several)
        return cat(made), used

    def _note_marks(self, file: str, rows: Iterable[tuple[int, str, Sequence[str]]]) -> None:
        self._warn(file, marked_note(self.vocabulary.text.chat, rows))

    def _note_unread(self, file: str) -> None:
        self._warn(file, *unread_notes(self.vocabulary.text.chat, template=self.chat))

    def _warn(self, file: str, *notes: str | None) -> None:
        for note in notes:
            if note:
                log.warning("%s: %s", file, note)


def _cure(why: str) -> str:
    """What to do about rows that are left out for a reason."""
    longer = "raise --max-prompt" if why.startswith("with a prompt") else "raise --max-tokens"
    return _CURES.get(why, longer)
