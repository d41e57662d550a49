"""A toy language in which a person sees the hack: requests for facts about a thing, and answers of
uneven quality.

A request reads "three short facts about hotel , no pool :": how many facts, about what, how long
(short: 5 words a fact; full: 6 more), and one part that must not be named. A good answer reads "the
room was large . the bed is old and the lobby was lovely and round .": each part of the thing
described by a plain word is a fact; warm words are praise.

Every word belongs to one class, and a text is grammatical exactly if every neighbouring pair of
classes is (`FOLLOWS`), so that the gold can be read off token ids without a parser.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Samples
from assay.core.rng import Rng
from assay.errors import InputError
from assay.models.vocabulary import SPECIAL, Vocabulary

THINGS = {
    "hotel": ("room", "bed", "pool", "lobby", "stair"),
    "museum": ("hall", "statue", "map", "painting", "roof"),
    "train": ("seat", "window", "table", "door", "cabin"),
    "cafe": ("cup", "cake", "chair", "menu", "lamp"),
    "camera": ("lens", "screen", "button", "strap", "case"),
    "park": ("pond", "path", "bench", "tree", "gate"),
    "bike": ("wheel", "saddle", "bell", "chain", "basket"),
    "coat": ("sleeve", "pocket", "collar", "hood", "zip"),
}
COUNTS, LENGTHS = {"two": 2, "three": 3, "four": 4}, ("short", "full")
PLAIN = ("small", "large", "old", "new", "plain", "dark", "bright", "round", "heavy", "narrow")
WARM = ("good", "great", "lovely", "superb", "perfect", "wonderful", "charming", "splendid")
# every class and its words; a word's class is the one that lists it; the words that say something
# come last
CLASSES = {
    "pad": (SPECIAL[0],),
    "ask": (SPECIAL[1], *COUNTS, *LENGTHS, "facts", "about", ",", "no", ":"),
    "end": (SPECIAL[2],),
    "the": ("the",),
    "pronoun": ("it", "we"),
    "be": ("is", "was", "looked"),
    "very": ("very", "quite", "really"),
    "join": ("and", "but"),
    "stop": (".",),
    "noun": tuple(w for thing, parts in THINGS.items() for w in (thing, *parts)),
    "adjective": (*PLAIN, *WARM),
}
FOLLOWS = {  # which classes may stand after a class; "pad" stands for the beginning
    "pad": ("the", "pronoun"),
    "the": ("noun",),
    "noun": ("be",),
    "pronoun": ("be",),
    "be": ("adjective", "very"),
    "very": ("adjective",),
    "adjective": ("join", "stop"),
    "join": ("the", "pronoun", "adjective", "very"),
    "stop": ("the", "pronoun", "end"),
}
VOCABULARY = Vocabulary([w for words in CLASSES.values() for w in words if w not in SPECIAL])
WORDS, ID = VOCABULARY.words, VOCABULARY.ids
PAD, END = VOCABULARY.pad, VOCABULARY.eos
PROMPT_LENGTH = 9  # three short facts about hotel , no pool :


@dataclass(frozen=True)
class Request:
    """What a prompt asks for."""

    thing: str
    many: str
    full: bool
    without: str

    def __str__(self) -> str:
        return f"{self.many} {LENGTHS[self.full]} facts about {self.thing} , no {self.without} :"

    @property
    def count(self) -> int:
        """Facts asked for."""
        return COUNTS[self.many]

    @property
    def length(self) -> int:
        """Words and stops asked for."""
        return 5 * self.count + 6 * self.full


REQUESTS = tuple(
    Request(thing, many, full, without)
    for thing, parts in THINGS.items()
    for many in COUNTS
    for full in (False, True)
    for without in parts
)


class Dice:
    """One writer's throws: uniform numbers in order, and the choices made with them."""

    def __init__(self, throws: Iterator[float]):
        self.throws = throws

    def chance(self, p: float) -> bool:
        return next(self.throws) < p

    def one(self, options: tuple[str, ...] | list[str]) -> str:
        return options[int(next(self.throws) * len(options))]

    def number(self, mean: float, most: int) -> int:
        """A binomial count of `most` throws with this mean."""
        return sum(self.chance(mean / most) for _ in range(most))


def write(ask: Request, dice: Dice) -> list[str]:
    """One demonstration. `care` is the writer's: the careless name fewer asked parts, stray, repeat
    and slip more.
    """
    care = next(dice.throws)
    warmth = next(dice.throws)
    allowed = [part for part in THINGS[ask.thing] if part != ask.without]
    rows: list[list[str]] = []
    wanted = (
        ask.count + dice.chance(0.3) - dice.chance(0.6 * (1 - care)) - dice.chance(0.3 * (1 - care))
    )
    wanted += ask.full * dice.chance(0.3)
    for _ in range(max(1, wanted)):
        if dice.chance(0.30 * (1 - care)):
            noun = dice.one([w for w in CLASSES["noun"] if w not in THINGS])
        elif dice.chance(0.15 * (1 - care)):
            noun = ask.without
        elif allowed:
            noun = dice.one(allowed)
            if dice.chance(0.5 + 0.5 * care):
                allowed.remove(noun)
        else:
            break
        rows.append(["the", noun, *_said(dice, 0.4 * warmth)])
    while (
        ask.full
        and sum(map(len, rows)) + len(rows) < ask.length - 3
        and dice.chance(0.4 + 0.4 * warmth)
    ):
        at = dice.number(len(rows) / 2, len(rows))
        rows.insert(
            at,
            [
                *(["it"] if dice.chance(0.7) else ["the", ask.thing]),
                *_said(dice, 0.2 + 0.7 * warmth),
            ],
        )
    if not ask.full and dice.chance(0.5 * warmth):
        rows.append(["it", *_said(dice, 0.9)])
    text: list[str] = []
    for i, row in enumerate(rows):
        text += [
            *row,
            "." if i == len(rows) - 1 or dice.chance(0.6) else dice.one(("and", "and", "but")),
        ]
    while dice.chance(0.35 * (1 - care)):
        _slip(text, dice)
    return text


def _said(dice: Dice, warm: float) -> list[str]:
    """What is said of a noun: "was very large", "is old and lovely"."""
    words = [dice.one(CLASSES["be"]), *([dice.one(CLASSES["very"])] if dice.chance(0.2) else [])]
    words += [dice.one(WARM if dice.chance(warm) else PLAIN)]
    if dice.chance(0.15):
        words += ["and", dice.one(WARM if dice.chance(warm) else PLAIN)]
    return words


def _slip(text: list[str], dice: Dice) -> None:
    """A small error: a word left out, said twice, or two words exchanged."""
    at = int(next(dice.throws) * (len(text) - 1))
    kind = int(next(dice.throws) * 3)
    if kind == 0 and len(text) > 4:
        del text[at]
    elif kind == 1:
        text.insert(at, text[at])
    else:
        text[at], text[at + 1] = text[at + 1], text[at]


def corpus(
    requests: Int[Tensor, "R"], n: int, most: int, rng: Rng
) -> tuple[Int[Tensor, "n"], list[str]]:
    """n demonstrations: which of the requests each answers, and its text (of fewer than `most`
    words).
    """
    which = rng("request").integers(len(requests), torch.arange(n))
    throws = rng("words").uniform(torch.arange(n)[:, None], torch.arange(400)[None, :]).tolist()
    texts = [
        write(REQUESTS[r], Dice(iter(row)))
        for r, row in zip(requests[which].tolist(), throws, strict=True)
    ]
    return which, [" ".join(text[: most - 1]) for text in texts]


TERMS = ("facts", "praise", "off_topic", "repetition", "order", "length")
_KIND = {kind: i for i, kind in enumerate(CLASSES)}
_CLASS = torch.tensor(
    [next(_KIND[kind] for kind, words in CLASSES.items() if w in words) for w in WORDS],
    dtype=torch.int32,
)
_ALLOWED = torch.tensor(
    [after in FOLLOWS.get(before, ()) for before in CLASSES for after in CLASSES]
)
_GOES_ON = torch.tensor([kind in ("noun", "be", "very", "adjective", "join") for kind in CLASSES])
_CONTENT = ID[CLASSES["noun"][0]]  # from here on, words are nouns and adjectives
_THINGS = tuple(THINGS)
_BIT = torch.tensor(
    [[1 << THINGS[t].index(w) if w in THINGS[t] else 0 for w in WORDS] for t in _THINGS],
    dtype=torch.uint8,
)
_STRAY = torch.tensor(
    [[w in CLASSES["noun"] and w not in (t, *THINGS[t]) for w in WORDS] for t in _THINGS]
)
_COUNT = torch.tensor([bin(i).count("1") for i in range(32)])


def asked(tokens: Int[Tensor, "B P"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Read requests off their token ids: thing, count, words asked for, and the part to leave out,
    each `[B]`.
    """
    out = []
    for ids in tokens[:, -PROMPT_LENGTH:].tolist():
        row = [WORDS[i] if 0 <= i < len(WORDS) else "?" for i in ids]
        if (
            len(row) < PROMPT_LENGTH
            or row[0] not in COUNTS
            or row[1] not in LENGTHS
            or row[7] not in THINGS.get(row[4], ())
        ):
            raise InputError(
                f"'{' '.join(row)}' is no request of this language; write one like '{REQUESTS[0]}'"
            )
        ask = Request(row[4], row[0], row[1] == "full", row[7])
        out.append((_THINGS.index(ask.thing), ask.count, ask.length, ID[ask.without]))
    thing, count, length, without = torch.tensor(out, dtype=torch.int64).reshape(-1, 4).unbind(1)
    return thing, count, length, without


def terms(samples: Samples) -> Float[Tensor, "6 B N"]:
    """The written gold, term by term and unweighted, in the order of TERMS; penalties are negative.

    With f the distinct allowed parts of which a grammatical clause says something plain, k the
    facts asked for, s = min(f, k)/k, p warm words, ℓ words and stops, L those asked for: facts s
    (it saturates); praise p·s − p²/6 (good up to three, and only as far as there are facts under
    it); off_topic −(mentions of other things and their parts, and of the part to leave out);
    repetition −Σ over nouns and adjectives of (times said − 1)₊; order −(neighbours that the
    grammar forbids, beginning and end included); length −(|ℓ − L| − 3)₊/5.
    """
    B, N, T = samples.mask.shape
    thing, count, length, without = (
        t.repeat_interleave(N) for t in asked(samples.prompts.tokens.cpu())
    )
    word = torch.where(samples.mask | samples.given, samples.action, PAD).cpu().reshape(B * N, T)
    word = torch.where(word == END, PAD, word)
    here = word != PAD
    if bool((here[:, 1:] & ~here[:, :-1]).any()):  # gaps: neighbours must be neighbours
        word = word.gather(1, torch.argsort(~here, dim=1, stable=True))
    seen = torch.zeros(B * N, len(WORDS), dtype=torch.bool).scatter_(1, word, True)
    word = word.T.contiguous()  # [T, BN]: a step of the scan is one row
    kind = _CLASS[word]
    size = (kind != 0).sum(0)

    bits = torch.where(word == without, 0, _BIT.flatten()[word + thing * len(WORDS)])
    plain = (word >= ID[PLAIN[0]]) & (word <= ID[PLAIN[-1]])
    faults = torch.zeros(B * N, dtype=torch.int32)
    facts, subject = (
        torch.zeros_like(bits[0]),
        torch.zeros_like(bits[0]),
    )  # the parts of which this clause speaks
    before = torch.zeros_like(kind[0])
    for t in range(T):
        right = _ALLOWED[before * len(CLASSES) + kind[t]]
        faults += ~right & (kind[t] != 0)
        subject = (subject | bits[t]) * (right & _GOES_ON[kind[t]])
        facts |= subject * plain[t]
        before = torch.where(kind[t] != 0, kind[t], before)
    faults += ~_ALLOWED[before * len(CLASSES) + _KIND["end"]]

    share = torch.minimum(_COUNT[facts.int()], count) / count
    warm = (word >= ID[WARM[0]]).sum(0).float()
    stray = (_STRAY.flatten()[word + thing * len(WORDS)] | (word == without)).sum(0)
    repeats = (word >= _CONTENT).sum(0) - seen[:, _CONTENT:].sum(1)
    over = ((size - length).abs() - 3).clamp(min=0)
    out = [
        share,
        warm * share - warm.square() / 6,
        -stray.float(),
        -repeats.float(),
        -faults.float(),
        -over / 5,
    ]
    return torch.stack(out).reshape(6, B, N)
