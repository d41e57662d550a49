"""A stack of judges as one reward function of TRL: members, what joins them, a shape; f(prompts,
completions, **columns).

What TRL hands over was read in its source (1.16, `_calculate_rewards`): all answers of a generation
batch in one flat list, those of one prompt one after another, and with several processes each one's
own contiguous slice, which may begin and end in the middle of a prompt's answers. So whatever needs
the answers of one prompt together finds them by the prompt itself, and where there are several
processes over all of them: each calls this at once. A prompt that the data hold twice, and that
comes twice in a batch, is one prompt with twice the answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from assay.data.turns import written
from assay.engine import parallel
from assay.errors import InputError
from assay.formulas import shaping
from assay.loops.online import joined
from assay.rewards.function import FunctionReward
from assay.rewards.linear_text import KIND
from assay.rewards.load import open_reward

Turns = tuple[tuple[str, str], ...]
PLAIN: dict[str, Callable[..., Tensor]] = {
    "none": lambda r, **_: r,
    "sigmoid": lambda r, slope, **_: shaping.sigmoid(r, slope=slope),
    "tanh": lambda r, slope, **_: shaping.tanh(r, slope=slope),
    "polynomial": lambda r, **_: shaping.polynomial(r),
    "ceiling": lambda r, most, **_: shaping.clip(r, high=most),
}
CENTRED: dict[str, Callable[..., Tensor]] = {
    "par": lambda r, refs, slope, **_: shaping.preference(slope * r, slope * refs),
    "centre": lambda r, refs, **_: shaping.centre(r, refs),
    "log_sigmoid": lambda r, refs, **_: shaping.log_sigmoid(r, shaping.normal_quantile(refs)),
    "slow_then_fast": lambda r, refs, slope, late, **_: shaping.slow_then_fast(
        r, refs, late=late, slope=slope
    ),
}


def reward_function(
    *judges: str | Callable[..., Any],
    aggregate: str = "mean",
    centre: bool = False,
    shape: str = "none",
    references: str = "",
    slope: float = 1.0,
    most: float = 3.0,
    late: float = 3.0,
    name: str = "",
) -> Stack:
    """One reward function of any judges: what `--world.rewards` takes (folders, classifiers,
    FILE.py:name, addresses), or functions of TRL's signature. An answer of which any judge says
    None has None.

    aggregate: mean, worst, uncertainty:0.5 (mean − 0.5·variance) or quantile:0.25. centre: first
    take from each judge its mean over the prompt's answers (over its references, where a column has
    them): a Bradley–Terry score is known up to a constant a prompt. shape: none, sigmoid, tanh,
    polynomial, ceiling; or par, centre, log_sigmoid, slow_then_fast, which compare with references:
    the name of a column with a list of answers of the reference policy (texts, or their scores), or
    "group" for the prompt's other answers themselves. slope, most, late: the shapes' constants.
    name: what TRL logs it by, made from these where none is given.
    """
    if not judges:
        raise InputError("a reward function needs a judge; it was given none")
    opened = [
        FunctionReward(j, getattr(j, "__name__", type(j).__name__))
        if callable(j)
        else open_reward(j, "rewards")
        for j in judges
    ]
    if shape not in PLAIN and shape not in CENTRED:
        raise InputError(f"shape is '{shape}'; it is one of {', '.join((*PLAIN, *CENTRED))}")
    if (shape in CENTRED) != bool(references) and not (references and centre):
        raise InputError(
            f"shape '{shape}' "
            + (
                'compares with references: give references=COLUMN, or references="group"'
                if shape in CENTRED
                else "compares with nothing, and references were given"
            )
        )
    return Stack(
        opened,
        aggregate,
        centre,
        shape,
        references,
        {"slope": slope, "most": most, "late": late},
        name,
    )


class Stack:
    """See `reward_function`. It keeps the references' scores, and nothing else, from call to call."""

    def __init__(
        self,
        judges: Sequence[Any],
        aggregate: str,
        centre: bool,
        shape: str,
        references: str,
        constants: Mapping[str, float],
        name: str,
    ):
        self.judges, self.join, self.centre = list(judges), joined(aggregate), centre
        self.shape, self.references, self.constants = shape, references, dict(constants)
        self.known: dict[str, Tensor] = {}
        self.names = tuple(n for j in judges for n in j.names)
        made = [
            self.names[0] if len(self.names) == 1 else aggregate,
            *([] if shape == "none" else [shape]),
        ]
        self.__name__ = name or "_".join(made).replace(":", "_")

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
    ) -> list[float | None]:
        """A number an answer, None where a judge says that it does not apply."""
        asks, said = [turned(p) for p in prompts], [spoken(c) for c in completions]
        rows = {
            k: v for k, v in columns.items() if isinstance(v, (list, tuple)) and len(v) == len(said)
        }
        scores = self._scores(asks, said, rows)  # [M,R]
        keys = [json.dumps(a) for a in asks]
        refs = self._anchors(asks, keys, rows)
        own = slice(0, len(keys))
        if self.references == "group" or (self.centre and not self.references):
            own, (keys, scores) = _together(keys, scores)
        groups = _groups(keys)
        if self.centre:
            scores = _centred(scores, keys, groups, refs)
        one = self.join(scores[:, None])[0]  # [R]
        if self.shape in PLAIN:
            shaped = PLAIN[self.shape](one[None], **self.constants)[0]
        else:
            shaped = torch.stack(
                [self._against(one, i, groups[key], refs.get(key)) for i, key in enumerate(keys)]
            )
        self._report(columns.get("log_metric"), one[own], scores[:, own])
        return [None if v != v else v for v in shaped[own].tolist()]

    def _scores(
        self, asks: Sequence[str | Turns], said: Sequence[str], rows: Mapping[str, Sequence[Any]]
    ) -> Tensor:
        """Every member's score of every answer [M,R], NaN where it does not apply."""
        texts = [a if isinstance(a, str) else written(a) for a in asks]
        turns = [None if isinstance(a, str) else a for a in asks]
        out = []
        for judge in self.judges:
            if isinstance(judge, FunctionReward):
                out.append(judge.scores(texts, said, turns, rows))
            elif getattr(judge, "kind", "") == KIND:
                out.append(judge.scores(texts, said))
            else:
                out.append(judge.scores(texts, said, turns))
        return torch.cat([x.detach().double().cpu() for x in out])

    def _anchors(
        self, asks: Sequence[str | Turns], keys: Sequence[str], rows: Mapping[str, Sequence[Any]]
    ) -> dict[str, Tensor]:
        """The members' scores of each prompt's references [M,K], by prompt; scored when a prompt is
        first seen.
        """
        if not self.references or self.references == "group":
            return {}
        if self.references not in rows:
            raise InputError(
                f"the references are in the column '{self.references}', and the data have "
                f"{', '.join(rows) or 'none'}: add it to the dataset, and set "
                "remove_unused_columns=False"
            )
        for i, key in enumerate(keys):
            given = rows[self.references][i]
            if key in self.known:
                continue
            if not isinstance(given, (list, tuple)) or not given:
                raise InputError(
                    f"the column '{self.references}' holds {given!r:.60}; it must be a list of "
                    "answers, or of their scores"
                )
            if isinstance(given[0], (int, float)):
                self.known[key] = torch.tensor(given, dtype=torch.float64).expand(
                    len(self.names), -1
                )
            else:
                same = {k: [v[i]] * len(given) for k, v in rows.items()}
                self.known[key] = self._scores(
                    [asks[i]] * len(given), [spoken(g) for g in given], same
                )
        return {key: self.known[key] for key in keys}

    def _against(self, one: Tensor, i: int, group: list[int], refs: Tensor | None) -> Tensor:
        """The shaped score of answer i, NaN where there is nothing that it could be compared with."""
        if refs is None:
            others = one[[j for j in group if j != i]]
        else:
            others = self.join(
                (refs - refs.nanmean(1, keepdim=True) if self.centre else refs)[:, None]
            )[0]
        others = others[~torch.isnan(others)]
        if not len(others) or torch.isnan(one[i]):
            return one.new_full((), torch.nan)
        return CENTRED[self.shape](one[i].view(1, 1), refs=others[None], **self.constants)[0, 0]

    def _report(self, log: Any, one: Tensor, scores: Tensor) -> None:
        """Beside the reward TRL logs what it was before its shape, and how far the judges are
        apart.
        """
        here = ~torch.isnan(one)
        if callable(log) and bool(here.any()):
            log(f"{self.__name__}/raw", float(one[here].mean()))
            if len(self.names) > 1:
                log(f"{self.__name__}/spread", float(scores[:, here].std(0, correction=0).mean()))


def turned(prompt: Any) -> str | Turns:
    """A prompt as TRL hands it: a text, or messages as turns."""
    return prompt if isinstance(prompt, str) else tuple((str(m["role"]), _said(m)) for m in prompt)


def spoken(completion: Any) -> str:
    """A completion's text: as it is, or what the assistant says in its messages (a tool's part is
    not the assistant's).
    """
    if isinstance(completion, str):
        return completion
    return "\n\n".join(said for m in completion if m["role"] == "assistant" and (said := _said(m)))


def _said(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(
        str(part.get("text", "")) for part in content if part.get("type", "text") == "text"
    )


def _groups(keys: Sequence[str]) -> dict[str, list[int]]:
    out: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        out.setdefault(key, []).append(i)
    return out


def _centred(
    scores: Tensor, keys: Sequence[str], groups: Mapping[str, list[int]], refs: Mapping[str, Tensor]
) -> Tensor:
    """Each member's scores less its mean over the prompt's answers, or over the prompt's references
    where there are such.
    """
    out = scores.clone()
    for key, rows in groups.items():
        out[:, rows] -= (refs[key] if key in refs else scores[:, rows]).nanmean(1, keepdim=True)
    return out


def _together(keys: list[str], scores: Tensor) -> tuple[slice, tuple[list[str], Tensor]]:
    """All processes' prompts (as digests) and scores in the order of ranks, and which rows are this
    one's.
    """
    if parallel.world_size() == 1:
        return slice(0, len(keys)), (keys, scores)
    where = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    short = torch.tensor(
        [
            int.from_bytes(blake2b(k.encode(), digest_size=8).digest(), "big", signed=True)
            for k in keys
        ]
    )
    counts = parallel.gather(torch.tensor([len(keys)], device=where)).tolist()
    begin = sum(counts[: parallel.rank()])
    every = [str(k) for k in parallel.gather(short.to(where)).tolist()]
    return slice(begin, begin + len(keys)), (every, parallel.gather(scores.to(where), 1).cpu())
