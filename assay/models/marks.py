"""Special tokens of a tokenizer as marks, and text in which they are ordinary characters.

A tokenizer reads its special tokens out of any text, so that "<|im_end|>" in a user's question ends
the question. A twin of the tokenizer, in which every mark has another name, reads them as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from assay.errors import InputError

Encode = Callable[[str], list[int]]
_PRIVATE = range(0xE000, 0xF900)  # characters that Unicode leaves to private use


class Marks:
    """The strings that a tokenizer reads as special tokens.

    These are its special tokens and those added tokens that its chat template writes around turns,
    such as DeepSeek's `<｜User｜>`. Added tokens of what an assistant says, such as `<think>`, are
    none.

    Args:
        tokenizer: Of transformers.
        writes: What the chat template writes: its source, and a conversation that went through it.

    Attributes:
        ids: The id of each mark.
        barred: Ids that text never has: those of the marks, without that of unknown characters.
    """

    def __init__(self, tokenizer: Any, writes: str = ""):
        self.tokenizer = tokenizer
        added = {int(i): t for i, t in tokenizer.added_tokens_decoder.items()}
        words = {t.content for t in added.values()}
        self.ids: dict[str, int] = {
            t.content: i
            for i, t in added.items()
            if t.content and (t.special or (t.content in writes and _turn(t.content, words)))
        }
        unknown = {tokenizer.unk_token_id} - {
            tokenizer.bos_token_id,
            tokenizer.eos_token_id,
            tokenizer.pad_token_id,
        }
        self.barred = frozenset(self.ids.values()) - unknown
        longest = sorted(self.ids, key=len, reverse=True)
        self._any = re.compile("|".join(map(re.escape, longest))) if longest else None
        # a tokenizer has a thousand marks of few beginnings, and most texts have none of these
        self._begins = {m[:3] for m in self.ids}
        self._twin: tuple[str, Encode] | None = None

    def first(self, text: str) -> str | None:
        """Return the first mark that stands written out in a text, or None."""
        if self._any is None or not any(b in text for b in self._begins):
            return None
        found = self._any.search(text)
        return None if found is None else found[0]

    def all(self, text: str) -> list[str]:
        """Return every mark that stands written out in a text, in order."""
        return [] if self._any is None else self._any.findall(text)

    def count(self, text: str) -> int:
        """Count the special tokens that stand written out in a text."""
        return sum(self.ids[m] in self.barred for m in self.all(text))

    def replaced(self, text: str, by: Callable[[str], str]) -> str:
        """Return a text with every mark replaced.

        Args:
            text: The text.
            by: From a mark to what stands in its place.
        """
        return text if self._any is None else self._any.sub(lambda m: by(m[0]), text)

    def as_text(self, text: str) -> list[int]:
        """Encode a text whose marks are ordinary characters.

        Raises:
            InputError: The tokenizer cannot write a mark in other tokens.
        """
        encode = self._encoder(text)[1]
        return self._checked(encode, text, 0, self.replaced(text, lambda _: " "), text)

    def between(self, text: str, sign: str = "", hidden: Sequence[str] = ()) -> list[int]:
        """Encode a text that a template wrote: its marks are special tokens, hidden ones are not.

        Args:
            text: The text; a number between two `sign`s is the place of a hidden mark.
            sign: The character around a hidden mark's place; "" where nothing is hidden.
            hidden: The marks that are ordinary characters.

        Raises:
            InputError: The tokenizer cannot write a mark in other tokens.
        """
        parts = re.split(f"{sign}([0-9]+){sign}", text) if sign else [text]
        parts[1::2] = [hidden[int(p)] for p in parts[1::2]]
        plain = "".join(parts)
        mark, encode = self._encoder(plain)
        order = {name: f"{mark}{i}{mark}" for i, name in enumerate(self.ids)}
        own = sum(map(self.count, parts[::2]))
        parts[::2] = [self.replaced(p, order.__getitem__) for p in parts[::2]]
        return self._checked(encode, "".join(parts), own, " ".join(parts[::2]), plain)

    def _checked(
        self, encode: Encode, text: str, marks: int, without: str, plain: str
    ) -> list[int]:
        """Encode a text, and see that what should be characters is.

        Args:
            encode: The twin.
            text: The text as the twin reads it.
            marks: Its special tokens.
            without: The same without the marks that are characters.
            plain: The text as it reads.
        """
        ids, unknown = encode(text), self.tokenizer.unk_token_id
        more = unknown in ids and ids.count(unknown) > encode(without).count(unknown)
        if more or sum(i in self.barred for i in ids) != marks:
            raise InputError(
                f"the tokenizer has no way to write {self.first(plain)!r} as ordinary characters; "
                "take it out of the text"
            )
        return ids

    def _encoder(self, text: str) -> tuple[str, Encode]:
        """Return a character that is not in the text, and the twin whose marks are named by it."""
        whole(text)
        if self._twin is None or self._twin[0] in text:
            sign = unused(text)
            renamed = {name: f"{sign}{i}{sign}" for i, name in enumerate(self.ids)}
            make = _fast if self.tokenizer.is_fast else _slow
            self._twin = sign, make(self.tokenizer, renamed)
        return self._twin


def unused(text: str) -> str:
    """Return a character that a text does not hold, one that Unicode leaves to private use.

    Raises:
        InputError: The text holds them all.

    Example:
        >>> hex(ord(unused("a text")))
        '0xe000'
    """
    found = next((c for c in map(chr, _PRIVATE) if c not in text), None)
    if found is None:
        raise InputError(
            "a text holds all characters that Unicode leaves to private use, and special tokens; "
            "take one of the two out of it"
        )
    return found


def whole(text: str) -> str:
    """Return a text, if tokenizers can read it.

    Args:
        text: The text.

    Raises:
        InputError: A character is half of a surrogate pair.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as why:
        at = why.start
        raise InputError(
            f"character {at + 1} of a text is U+{ord(text[at]):04X}, half of a surrogate pair, "
            f"which no tokenizer reads (after {text[max(0, at - 30) : at]!r}); repair the text"
        ) from why
    return text


def _turn(token: str, words: Iterable[str]) -> bool:
    """Whether an added token that a template writes marks turns: `<think>` with `</think>` is a tag
    within a turn, and a blank or a word is text.
    """
    closed = any(w != token and w.replace("/", "", 1) == token for w in words)
    opened = "/" in token and token.replace("/", "", 1) in words
    plain = token.strip()
    return any(c.isalpha() for c in plain) and not plain.isalnum() and not closed and not opened


def _fast(tokenizer: Any, renamed: Mapping[str, str]) -> Encode:
    """The twin of a tokenizer of the tokenizers library."""
    from tokenizers import Tokenizer

    plan = json.loads(tokenizer.backend_tokenizer.to_str())
    for token in plan["added_tokens"]:
        token["content"] = renamed.get(token["content"], token["content"])
    model = plan["model"]
    words = model["vocab"]
    if isinstance(words, dict):
        model["vocab"] = {renamed.get(word, word): i for word, i in words.items()}
        if not renamed.keys().isdisjoint(words) and "merges" in model:
            model["merges"] = [m for m in model["merges"] if _apart(m, renamed)]
    else:
        model["vocab"] = [[renamed.get(word, word), score] for word, score in words]
    if model.get("unk_token") in renamed:
        model["unk_token"] = renamed[model["unk_token"]]
    twin = Tokenizer.from_str(
        json.dumps({**plan, "post_processor": None, "truncation": None, "padding": None})
    )
    return lambda text: list(twin.encode(text, add_special_tokens=False).ids)


def _apart(merge: Any, renamed: Mapping[str, str]) -> bool:
    """Whether a merge of BPE neither makes nor uses a mark."""
    one, other = merge if isinstance(merge, list) else merge.split(" ", 1)
    return renamed.keys().isdisjoint((one, other, one + other))


def _slow(tokenizer: Any, renamed: Mapping[str, str]) -> Encode:
    """The twin of a tokenizer in Python."""
    ids = {
        renamed.get(t.content, t.content): int(i) for i, t in tokenizer.added_tokens_decoder.items()
    }
    cut = re.compile("(" + "|".join(map(re.escape, sorted(ids, key=len, reverse=True))) + ")")

    def encode(text: str) -> list[int]:
        out = list[int]()
        for piece in filter(None, cut.split(text)):
            if piece in ids:
                out.append(ids[piece])
            else:
                out += tokenizer.convert_tokens_to_ids(tokenizer._tokenize(piece))
        return out

    return encode
