"""Calls of a calculator: requests, the tools, and what is wrong with a call.

A request is "3 + 5 :", "3 * 5 * 2 mod 7 :" or "8 - 3 :", with two or three numbers and one sign.
Six tools are at hand: add, times and take, each of two or of three numbers. Their names have two
words, "add two" and "add three": two begin alike, and the second word says how many numbers.
A call names its arguments: "add two ( first = 3 , second = 5 )", and with "mod 7" one more,
"modulus = 7". The order of the arguments does not matter.

Which arguments a tool declares decides what an error is called:

- *hallucinated*: the tool has no such parameter ("third" of a tool of two numbers);
- *redundant*: it has one ("modulus"), and the request gives none;
- *missing*: the request gives one, and the call does not.

A call *runs* if a tool of that name exists, declares all its arguments, and has all numbers that it
needs. What runs may still be the wrong call: another tool, other values, a modulus too much or too
little. The tool's message says of a call that does not run that it failed, and is silent on one
that is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from assay.errors import InputError
from assay.models.vocabulary import Vocabulary
from assay.worlds.dice import Dice

VERBS = {"+": "add", "*": "times", "-": "take"}
COUNTS = {2: "two", 3: "three"}
PLACES = ("first", "second", "third")
MODULUS = "modulus"
MOST = 9
TOOLS = {
    f"{verb} {count}": PLACES[:n] for verb in VERBS.values() for n, count in COUNTS.items()
}  # with the numbers that each needs; every one also declares a modulus
VOCABULARY = Vocabulary(
    [
        *map(str, range(MOST + 1)),
        *VERBS,
        "mod",
        ":",
        *VERBS.values(),
        *COUNTS.values(),
        "sum",
        "(",
        ")",
        ",",
        "=",
        *PLACES,
        MODULUS,
    ]
)
UNKNOWN = "sum"  # the first word of no tool


@dataclass(frozen=True)
class Call:
    """A call: the tool's name and its arguments, in order."""

    tool: str
    arguments: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return f"{self.tool} ( {' , '.join(f'{k} = {v}' for k, v in self.arguments)} )"


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a call: what `error_typed_reward` asks for, and whether it runs."""

    readable: bool
    right_tool: bool
    hallucinated: bool
    redundant: bool
    missing: bool
    right_values: bool
    runs: bool

    @property
    def right(self) -> bool:
        """Whether it is the right call."""
        wrong = self.hallucinated or self.redundant or self.missing
        return self.right_tool and self.right_values and not wrong


@lru_cache(maxsize=1 << 16)
def asked(text: str) -> Call:
    """The right call for a request.

    Raises:
        InputError: The text is no request.
    """
    words = text.split()
    modulus = words[-3:-2] == ["mod"]
    body = words[:-3] if modulus else words[:-1]
    numbers, signs = body[::2], set(body[1::2])
    formed = words[-1:] == [":"] and len(numbers) in COUNTS and len(body) % 2 == 1
    plain = all(w.isdigit() for w in (*numbers, *(words[-2:-1] if modulus else ())))
    if not (formed and plain and len(signs) == 1 and signs <= set(VERBS)):
        raise InputError(
            f"'{text[:60]}' is no request of world calculator; write one like '3 + 5 :'"
        )
    given = list(zip(PLACES, map(int, numbers), strict=False))
    if modulus:
        given.append((MODULUS, int(words[-2])))
    return Call(f"{VERBS[signs.pop()]} {COUNTS[len(numbers)]}", tuple(given))


def read(text: str) -> Call | None:
    """The call that a text is, or None."""
    words = text.split()
    if "(" not in words or words[-1] != ")":
        return None
    at = words.index("(")
    rest = [" ".join(part.split()) for part in " ".join(words[at + 1 : -1]).split(",")]
    arguments = []
    for part in rest:
        name, _, value = part.partition(" = ")
        if name not in (*PLACES, MODULUS) or not value.isdigit():
            return None
        arguments.append((name, int(value)))
    if at == 0 or len(dict(arguments)) != len(arguments):
        return None
    return Call(" ".join(words[:at]), tuple(arguments))


@lru_cache(maxsize=1 << 16)
def judge(request: str, text: str, ended: bool = True) -> Verdict:
    """What is wrong with a text as the call for a request.

    Args:
        request: The request.
        text: The completion.
        ended: Whether it ended; what was cut off cannot be read.
    """
    right, call = asked(request), read(text) if ended else None
    if call is None or call.tool not in TOOLS:
        return Verdict(False, False, False, False, False, False, False)
    given, wanted = dict(call.arguments), dict(right.arguments)
    declared = (*TOOLS[call.tool], MODULUS)
    strange = any(name not in declared for name in given)
    return Verdict(
        readable=True,
        right_tool=call.tool == right.tool,
        hallucinated=strange,
        redundant=any(name in declared and name not in wanted for name in given),
        missing=any(name not in given for name in wanted),
        right_values=given == wanted,
        runs=not strange and all(name in given for name in TOOLS[call.tool]),
    )


def pose(dice: Dice) -> str:
    """A random request."""
    n, sign = dice.one(tuple(COUNTS)), dice.one(tuple(VERBS))
    body = f" {sign} ".join(str(1 + dice.below(MOST)) for _ in range(n))
    return f"{body} mod {2 + dice.below(MOST - 1)} :" if dice.chance(0.5) else f"{body} :"


def write(request: str, dice: Dice, *, bad: float) -> str:
    """A call for a request, with a chance of `bad` for one error of a random kind.

    A quarter of the errors goes to each of: another tool of as many numbers, a wrong value, a
    modulus too much or too little, and one at which the call does not run.

    Args:
        request: The request.
        dice: The writer's choices.
        bad: Chance of an error.
    """
    right = asked(request)
    if not dice.chance(bad):
        return str(right)
    kind, arguments = dice.below(4), list(right.arguments)
    if kind == 0:
        verb, count = right.tool.split()
        other = dice.one([v for v in VERBS.values() if v != verb])
        return str(Call(f"{other} {count}", right.arguments))
    if kind == 1:
        at = dice.below(len(arguments))
        name, value = arguments[at]
        arguments[at] = (name, 1 + (value + dice.below(MOST - 1)) % MOST)
        return str(Call(right.tool, tuple(arguments)))
    if kind == 2:
        if arguments[-1][0] == MODULUS:
            return str(Call(right.tool, tuple(arguments[:-1])))
        return str(Call(right.tool, (*arguments, (MODULUS, 2 + dice.below(MOST - 1)))))
    return _broken(right, dice)


def _broken(right: Call, dice: Dice) -> str:
    """A call that does not run."""
    verb, count = right.tool.split()
    how, arguments = dice.below(4), list(right.arguments)
    if how == 0:
        return str(Call(f"{UNKNOWN} {count}", right.arguments))
    if how == 1:
        return str(right).replace(" (", "").replace(" )", "")
    if how == 2:  # one number too few
        del arguments[dice.below(len(TOOLS[right.tool]))]
        return str(Call(right.tool, tuple(arguments)))
    if len(TOOLS[right.tool]) == 2:  # one too many, or a tool that does not take so many
        arguments.insert(2, (PLACES[2], 1 + dice.below(MOST)))
        return str(Call(right.tool, tuple(arguments)))
    return str(Call(f"{verb} {COUNTS[2]}", right.arguments))
