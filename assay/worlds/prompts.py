"""What people wrote, for a world of real models: prompts, pairs and demonstrations out of files, as
a policy's tokens.

All three share one list of prompts: `Samples.prompts.row` points into it, so that a judge reads of
any answer what its prompt said and what the file's other columns hold, whichever file it came from.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch

from assay.core import Pairs, Prompts, Rng, Samples, cat
from assay.data.stream import stream
from assay.errors import InputError
from assay.models.tokenizer import Ask, Tokens

log = logging.getLogger("assay")
Turns = tuple[tuple[str, str], ...]
Answers = Sequence[tuple[int, Any]]  # (place of its prompt, a Pair or a Demo)
_BLOCK = 256  # rows tokenised and padded together


@dataclass
class Asked:
    """The prompts, in order of appearance: text, turns, and the columns that somebody takes. `own`:
    the places that answers are drawn for.
    """

    texts: list[str] = field(default_factory=list)
    turns: list[Turns | None] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    own: list[int] = field(default_factory=list)

    def add(
        self, text: str, turns: Turns | None, row: Mapping[str, Any], wanted: Collection[str] | None
    ) -> int:
        """One more prompt; `wanted`: the columns to keep, None for all. Returns its place."""
        at = len(self.texts)
        self.texts.append(text)
        self.turns.append(turns)
        for name in row:
            if (wanted is None or name in wanted) and name not in (
                "prompts",
                "completions",
            ):  # what a function is handed anyway
                self.columns.setdefault(name, [None] * at).append(row.get(name))
        for cells in self.columns.values():
            if len(cells) == at:
                cells.append(None)
        self.known.setdefault(text, at)
        return at

    def place(
        self, text: str, turns: Turns | None, row: Mapping[str, Any], wanted: Collection[str] | None
    ) -> int:
        """Where this prompt stands, added if it is new."""
        return self.known[text] if text in self.known else self.add(text, turns, row, wanted)


def taken(judges: Sequence[Any]) -> set[str] | None:
    """The columns that judges ask for by name; None where one takes whatever there is."""
    if any(getattr(j, "open", False) for j in judges):
        return None
    return {name for j in judges for name in getattr(j, "takes", ())}


def read_all(
    prompts: str,
    pairs: str,
    demos: str,
    columns: Mapping[str, str],
    split: str,
    wanted: Collection[str] | None,
) -> tuple[Asked, Answers, Answers]:
    """The prompts, and (place of its prompt, item) of every pair and demonstration. What pairs and
    demonstrations ask comes after the prompts' file, or is the prompts where there is none; an
    empty prompt is trained on, never drawn from. Other columns are kept only where somebody takes
    them. All faults of a file are told.
    """
    asked, files = Asked(), [f for f in (prompts, pairs, demos) if f]
    unused = set(columns) if len(files) > 1 else None
    if prompts:
        for (text, turns), row in stream(
            prompts, "prompts", columns=columns, split=split or None, unused=unused
        ):
            asked.add(text, turns, row, wanted)
    elif not files:
        raise InputError(
            "--world.prompts must be given: a file of prompts; or --world.pairs or "
            "--world.demos, whose prompts are taken"
        )
    mine = len(asked.texts)
    out = []
    for path, kind in ((pairs, "pairs"), (demos, "demonstrations")):
        some = (
            stream(path, kind, columns=columns, split=split or None, unused=unused) if path else ()
        )
        out.append(
            [(asked.place(item.prompt, item.turns, row, wanted), item) for item, row in some]
        )
    if unused:
        part = sorted(unused)[0]
        raise InputError(
            f"--world.columns {part}={columns[part]}: there is no such column in "
            f"{' or '.join(files)}"
        )
    asked.own = [
        p for p in range(mine if prompts else len(asked.texts)) if prompts or asked.texts[p].strip()
    ]
    return asked, out[0], out[1]


def closing(tokenizer: Any, ends: Sequence[int], *, chat: bool) -> list[int]:
    """The ids that end an answer, the one first that the chat template writes behind what an
    assistant said: what a model of several ends is trained on should close as its own answers do.
    """
    if not chat or len(ends) < 2:
        return list(ends)
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    try:
        text = tokenizer.apply_chat_template(said, tokenize=False)
    except Exception as why:  # a template is a program, and raises what it likes
        raise InputError(
            "the chat template refuses a question and an answer "
            f"({' '.join(str(why).split())[:100]}); give --world.chat false"
        ) from why
    tail = tokenizer(str(text).rpartition("b")[2], add_special_tokens=False, verbose=False)[
        "input_ids"
    ]
    first = next((i for i in tail if i in ends), ends[0])
    return [first, *(e for e in ends if e != first)]


def opening(tokenizer: Any) -> None:
    """Warn of a chat template that does not end a prompt with what it writes before an assistant's
    words: answers, and those of pairs and demonstrations, then begin without it. Templates that
    write nothing there are as they should be.
    """
    asked = [{"role": "user", "content": "what is asked"}]
    both = [*asked, {"role": "assistant", "content": "what is answered"}]
    try:
        begun, plain, whole = (
            str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=now))
            for turns, now in ((asked, True), (asked, False), (both, False))
        )
    except Exception:  # a template is a program; what it refuses is said where a prompt meets it
        return
    before = whole[len(begun) :].partition("what is answered")[0]
    if begun == plain and whole.startswith(begun) and before.strip():
        log.warning(
            "the chat template has no generation prompt: it writes %r before what an assistant "
            "says, and answers here begin without it; a template with add_generation_prompt "
            "mends that",
            before,
        )


class Room:
    """One tokenizer, one template, and how much has room in it: files' texts as Prompts, Pairs and
    Samples.
    """

    def __init__(
        self,
        vocabulary: Tokens,
        asked: Asked,
        *,
        chat: bool,
        max_prompt: int,
        max_tokens: int,
        dtype: torch.dtype,
    ):
        self.vocabulary, self.asked, self.chat, self.dtype = vocabulary, asked, chat, dtype
        self.template = chat and bool(getattr(vocabulary.tokenizer, "chat_template", None))
        self.max_prompt, self.max_tokens = max_prompt, max_tokens
        self.ids: dict[int, array[int] | None] = {}

    def prompt(self, place: int) -> array[int] | None:
        """A prompt's ids, None where they are too many."""
        if place not in self.ids:
            text, turns = self.asked.texts[place], self.asked.turns[place]
            ask: Ask = (
                turns
                if turns is not None and self.chat
                else (("user", text),)
                if self.template
                else text
            )
            ids = self.vocabulary.encode(ask)
            self.ids[place] = array("i", ids) if len(ids) <= self.max_prompt else None
        return self.ids[place]

    def prompts(self, places: Sequence[int]) -> Prompts:
        """Those of these places that have room, padded on the left."""
        some = [(p, ids) for p in places if (ids := self.prompt(p)) is not None]
        return self.vocabulary.padded(
            [ids for _, ids in some], torch.tensor([p for p, _ in some], dtype=torch.int64)
        )

    def divided(self, held_out: int, rng: Rng, file: str) -> tuple[list[int], list[int]]:
        """The places of prompts that no recipe sees, and of those that answers are drawn for. A
        text that a file has twice stands on one side only.
        """
        asked = self.asked
        short = [p for p in asked.own if self.prompt(p) is not None]
        if len(short) <= held_out:
            raise InputError(
                f"{file} has {len(asked.own)} prompts, {len(short)} of them of at most "
                f"{self.max_prompt} tokens, and {held_out} are held out: give more prompts, a "
                "larger --world.max-prompt, or a smaller --world.held-out"
            )
        if len(short) < len(asked.own):
            log.warning(
                "%s: %d of %d prompts are longer than %d tokens and left out",
                file,
                len(asked.own) - len(short),
                len(asked.own),
                self.max_prompt,
            )
        mixed = [short[i] for i in rng.permutation(len(short)).tolist()]
        unseen, rest = mixed[:held_out], mixed[held_out:]
        texts = {asked.texts[p] for p in unseen}
        seen = [p for p in rest if asked.texts[p] not in texts]
        if not seen:
            raise InputError(
                f"{file} asks the same again and again: every prompt that would be trained on is "
                "held out too; give other prompts, or a smaller --world.held-out"
            )
        if len(seen) < len(rest):
            log.warning(
                "%s: %d prompts are left out: the same texts are held out",
                file,
                len(rest) - len(seen),
            )
        return unseen, seen

    def pairs(self, path: str, rows: Answers, unseen: Collection[int]) -> Pairs:
        """Comparisons, the preferred answer first; those of `unseen` prompts are left out."""
        x, kept = self._answered(path, rows, unseen, lambda p: (p.chosen, p.rejected), "pairs")
        own = {f.name: getattr(x, f.name) for f in fields(Samples)}
        return Pairs(
            **own,
            p=torch.tensor([p.p for p in kept], dtype=self.dtype),
            margin=torch.tensor([p.margin for p in kept], dtype=self.dtype),
        )

    def demos(self, path: str, rows: Answers, unseen: Collection[int]) -> Samples:
        """Answers to imitate, one a row."""
        return self._answered(path, rows, unseen, lambda d: (d.answer,), "demonstrations")[0]

    def _answered(
        self,
        path: str,
        rows: Answers,
        unseen: Collection[int],
        answers: Callable[[Any], tuple[str, ...]],
        kind: str,
    ) -> tuple[Samples, list[Any]]:
        """What can be trained on, and the items it is of. What has no room, and what belongs to a
        held-out prompt, is left out and counted; nothing is cut, for a cut answer is another
        answer.
        """
        texts = {self.asked.texts[p] for p in unseen}
        free = [(place, item) for place, item in rows if self.asked.texts[place] not in texts]
        fits = [(place, item) for place, item in free if self.prompt(place) is not None]
        parts, kept = [], []
        for at in range(0, len(fits), _BLOCK):
            block = fits[at : at + _BLOCK]
            x = self.vocabulary.answers(
                self.prompts([place for place, _ in block]),
                [answers(i) for _, i in block],
                self.dtype,
            )
            short = (x.lengths <= self.max_tokens).all(1)
            if bool(short.any()):
                x = x[short]
                T = int(x.lengths.max())
                parts.append(
                    replace(
                        x,
                        action=x.action[..., :T],
                        mask=x.mask[..., :T],
                        given=x.given[..., :T],
                        logp=x.logp[..., :T],
                    )
                )
                kept += [
                    item for (_, item), keep in zip(block, short.tolist(), strict=True) if keep
                ]
        left = {
            "of held-out prompts": len(rows) - len(free),
            f"with a prompt of more than {self.max_prompt} tokens": len(free) - len(fits),
            f"with an answer of more than {self.max_tokens} tokens": len(fits) - len(kept),
        }
        said = ", ".join(f"{n:,} {what}" for what, n in left.items() if n)
        if not kept:
            raise InputError(
                f"{path} has {len(rows):,} {kind}, and none can be used ({said}); raise "
                "--world.max-prompt or --world.max-tokens, or lower --world.held-out"
            )
        if said:
            log.warning("%s: of %s %s, left out: %s", path, f"{len(rows):,}", kind, said)
        return cat(parts), kept

    @property
    def wide(self) -> int:
        """The longest prompt that was found to have room."""
        return max((len(ids) for ids in self.ids.values() if ids is not None), default=0)
