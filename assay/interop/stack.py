"""Several rewards as one reward function of TRL: f(prompts, completions, **columns).

TRL hands over (read in its source, 1.16, `_calculate_rewards`) all completions of a generation
batch in one flat list, those of one prompt one after another. With several processes, each gets its
own contiguous slice, which may begin and end in the middle of a prompt's completions. So a prompt's
completions are found by the prompt itself, and over all processes, each of which calls this at
once. A prompt that comes twice in a batch is one prompt with twice the completions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from assay.data.model_trust import trusting
from assay.data.turns import Turns, written
from assay.engine import parallel
from assay.errors import InputError
from assay.interop.messages import completion_text, turns_of
from assay.interop.shapes import PLAIN, WITH_REFERENCES, check_shape
from assay.loops.scoring import aggregator
from assay.rewards.load import entries, open_reward
from assay.rewards.text_scorer import TextReward

RewardSpec = str | Callable[..., Any] | TextReward  # a name, a function of TRL, or an open reward


def reward_function(
    *rewards: RewardSpec | Sequence[RewardSpec],
    aggregate: str = "mean",
    centre: bool = False,
    shape: str = "none",
    references: str = "",
    slope: float = 1.0,
    most: float = 3.0,
    late: float = 3.0,
    name: str = "",
    trust_remote_code: bool = False,
) -> Stack:
    """One reward function for TRL, made of any rewards.

    Args:
        rewards: What `--rewards` takes (folders, classifiers, FILE.py:name, addresses), or
            functions with TRL's signature, or open rewards; a list of them counts as its members.
        aggregate: mean, worst, uncertainty:0.5 (mean − 0.5·variance) or quantile:0.25.
        centre: First subtract from each reward its mean over the prompt's completions (over its
            references, where there is a column of them). A Bradley–Terry score is known up to a
            constant for each prompt.
        shape: none, sigmoid, tanh, polynomial, ceiling; or par, centre, log_sigmoid,
            slow_then_fast, which compare with references.
        references: A column with a list of the reference policy's completions (texts, or their
            scores), or "group" for the prompt's other completions.
        slope: A constant of sigmoid, tanh, par and slow_then_fast.
        most: The highest value of ceiling.
        late: A constant of slow_then_fast.
        name: The name that TRL logs; made from the arguments if empty.
        trust_remote_code: Run Python code that comes with the rewards' models (auto_map) and
            kernels that their settings name.

    Returns:
        A function of prompts, completions and columns. It returns None for a completion to which
        any of the rewards does not apply.

    Raises:
        InputError: There is no reward, one cannot be opened, or the shape does not fit the
            references.

    Example:
        >>> length = lambda completions, **_: [float(len(c)) for c in completions]
        >>> reward_function(length, shape="tanh", slope=0.1)(["p", "p"], ["", "four"])
        [0.0, 0.3799489622552249]
    """
    given = [one for some in rewards for one in entries(some, "a reward")]
    if not given:
        raise InputError("a reward function needs a reward; it was given none")
    check_shape(shape, references, centre)
    constants = {"slope": slope, "most": most, "late": late}
    with trusting(trust_remote_code):
        opened = [open_reward(one, "rewards") for one in given]
    return Stack(
        opened,
        aggregate,
        centre,
        shape,
        references,
        constants,
        name,
    )


class Stack:
    """The function that `reward_function` returns. It keeps only the references' scores.

    Args:
        rewards: Open rewards of text.
        aggregate: See `reward_function`, as the others.
        centre: Whether scores are centred.
        shape: The shape.
        references: Where references are.
        constants: The shapes' constants.
        name: The name that TRL logs.
    """

    def __init__(
        self,
        rewards: Sequence[TextReward],
        aggregate: str,
        centre: bool,
        shape: str,
        references: str,
        constants: Mapping[str, float],
        name: str,
    ):
        self.rewards, self.join, self.centre = list(rewards), aggregator(aggregate), centre
        self.shape, self.references, self.constants = shape, references, dict(constants)
        self.known: dict[str, Tensor] = {}
        self.names = tuple(n for r in rewards for n in r.names)
        made = [self.names[0] if len(self.names) == 1 else aggregate]
        made += [] if shape == "none" else [shape]
        self.__name__ = name or "_".join(made).replace(":", "_")

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
    ) -> list[float | None]:
        """Score R completions.

        Args:
            prompts: Their prompts, texts or lists of messages.
            completions: Texts or lists of messages.
            columns: What TRL hands over beside them.

        Returns:
            R numbers; None where a reward does not apply.
        """
        asks, texts = [turns_of(p) for p in prompts], [completion_text(c) for c in completions]
        rows = {
            k: v
            for k, v in columns.items()
            if isinstance(v, (list, tuple)) and len(v) == len(texts)
        }
        scores = self._scores(asks, texts, rows)  # [M,R]
        keys = [json.dumps(a) for a in asks]
        refs = self._references(asks, keys, rows)
        own = slice(0, len(keys))
        if self.references == "group" or (self.centre and not self.references):
            own, (keys, scores) = _from_all_processes(keys, scores)
        groups = _groups(keys)
        if self.centre:
            scores = _centred(scores, groups, refs)
        one = self.join(scores[:, None])[0]  # [R]
        if self.shape in PLAIN:
            shaped = PLAIN[self.shape](one[None], **self.constants)[0]
        else:
            shaped = torch.stack(
                [self._against(one, i, groups[key], refs.get(key)) for i, key in enumerate(keys)]
            )
        self._log(columns.get("log_metric"), one[own], scores[:, own])
        return [None if v != v else v for v in shaped[own].tolist()]

    def _scores(
        self, asks: Sequence[str | Turns], texts: Sequence[str], rows: Mapping[str, Sequence[Any]]
    ) -> Tensor:
        """Every member's score of every completion [M,R], NaN where it does not apply."""
        prompts = [a if isinstance(a, str) else written(a) for a in asks]
        turns = [None if isinstance(a, str) else a for a in asks]
        each = [r.scores(prompts, texts, turns, rows) for r in self.rewards]
        return torch.cat([x.detach().double().cpu() for x in each])

    def _references(
        self, asks: Sequence[str | Turns], keys: Sequence[str], rows: Mapping[str, Sequence[Any]]
    ) -> dict[str, Tensor]:
        """The members' scores of each prompt's references [M,K], computed once for each prompt."""
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
                    "completions, or of their scores"
                )
            if isinstance(given[0], (int, float)):
                scores = torch.tensor(given, dtype=torch.float64).expand(len(self.names), -1)
            else:
                texts = [completion_text(g) for g in given]
                same = {k: [v[i]] * len(given) for k, v in rows.items()}
                scores = self._scores([asks[i]] * len(given), texts, same)
            self.known[key] = scores
        return {key: self.known[key] for key in keys}

    def _against(self, one: Tensor, i: int, group: list[int], refs: Tensor | None) -> Tensor:
        """The shaped score of completion i, NaN where there is nothing to compare it with."""
        if refs is None:
            others = one[[j for j in group if j != i]]
        else:
            centred = refs - refs.nanmean(1, keepdim=True) if self.centre else refs
            others = self.join(centred[:, None])[0]
        others = others[~torch.isnan(others)]
        if not len(others) or torch.isnan(one[i]):
            return one.new_full((), torch.nan)
        shape = WITH_REFERENCES[self.shape]
        return shape(one[i].view(1, 1), refs=others[None], **self.constants)[0, 0]

    def _log(self, log: Any, one: Tensor, scores: Tensor) -> None:
        """Let TRL log the reward before its shape, and how far the rewards are apart."""
        here = ~torch.isnan(one)
        if callable(log) and bool(here.any()):
            log(f"{self.__name__}/raw", float(one[here].mean()))
            if len(self.names) > 1:
                log(f"{self.__name__}/spread", float(scores[:, here].std(0, correction=0).mean()))


def _groups(keys: Sequence[str]) -> dict[str, list[int]]:
    """The completions of each prompt."""
    found: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        found.setdefault(key, []).append(i)
    return found


def _centred(scores: Tensor, groups: Mapping[str, list[int]], refs: Mapping[str, Tensor]) -> Tensor:
    """Scores less their mean over the prompt's completions, or over its references."""
    out = scores.clone()
    for key, rows in groups.items():
        out[:, rows] -= (refs[key] if key in refs else scores[:, rows]).nanmean(1, keepdim=True)
    return out


def _from_all_processes(keys: list[str], scores: Tensor) -> tuple[slice, tuple[list[str], Tensor]]:
    """All processes' prompts (as digests) and scores by rank, and which rows are this one's."""
    if parallel.world_size() == 1:
        return slice(0, len(keys)), (keys, scores)
    where = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    digests = [blake2b(k.encode(), digest_size=8).digest() for k in keys]
    short = torch.tensor([int.from_bytes(d, "big", signed=True) for d in digests])
    counts = parallel.gather(torch.tensor([len(keys)], device=where)).tolist()
    begin = sum(counts[: parallel.rank()])
    every = [str(k) for k in parallel.gather(short.to(where)).tolist()]
    return slice(begin, begin + len(keys)), (every, parallel.gather(scores.to(where), 1).cpu())
