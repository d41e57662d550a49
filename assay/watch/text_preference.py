"""Preference models of text: a labeler, asked in both orders, or a fitted folder.

What compares two texts may favour the one that is shown first. Each pair is asked twice, and half
of the difference is antisymmetric whatever the labeler answers; a judge behind an address asks both
orders by itself. Equal texts are not asked.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import PromptTexts, Samples
from assay.errors import InputError
from assay.registry.functions import function_in_file
from assay.registry.live import opened
from assay.rewards.fitted_preference import KIND, FittedPreference
from assay.rewards.folder import ABOUT, describe
from assay.watch.labelers.chat_judge import ChatJudge
from assay.watch.labelers.function import FunctionLabeler
from assay.watch.labelers.questions import Labeler, Question, trial_question

log = logging.getLogger("assay")
AT_ONCE = 256  # pairs in one call of a function
UNREAD = 0.2  # the largest share of a batch's pairs that may be left without a verdict


class TextPreference:
    """A PreferenceModel of texts.

    Args:
        labeler: Labels pairs: 1 where the first is better, 0 where the second is, or a chance.
        texts: The file's prompts, which `samples.prompts.row` points into.
        both_orders: The labeler asks both orders by itself, and may leave some pairs open: these
            are ties, with a warning that counts them.
    """

    def __init__(self, labeler: Labeler, texts: PromptTexts, *, both_orders: bool = False):
        self.labeler, self.texts, self.both_orders = labeler, texts, both_orders

    def __call__(self, a: Samples, b: Samples) -> Float[Tensor, "B Na Nb"]:
        """Compare the present completions; 0 elsewhere.

        Raises:
            InputError: A function has no answer for a pair, or a judge for more than a fifth.
        """
        first, second = a.to("cpu").text(), b.to("cpu").text()
        both = a.present[:, :, None] & b.present[:, None, :]
        rows = a.prompts.row.tolist()
        asked: list[tuple[tuple[int, int, int], float, Question]] = []
        for i, m, n in both.nonzero().tolist():
            x, y = first[i][m], second[i][n]
            if x == y or (a is b and n < m):
                continue
            orders = ((1.0, x, y), (-1.0, y, x))
            for sign, left, right in orders[: 1 if self.both_orders else 2]:
                asked.append(((i, m, n), sign, self._question(rows[i], (i, m, n), left, right)))
        found = torch.zeros(both.shape, dtype=a.logp.dtype)
        order, unread = {q.id: (place, sign) for place, sign, q in asked}, list[str]()
        for label in self.labeler([q for _, _, q in asked]):
            place, sign = order.pop(label.question.id)
            if label.value is None and self.both_orders:
                unread.append(label.why)
                continue
            if label.value is None:
                raise InputError(
                    f"--preference gave no answer for a pair of prompt {rows[place[0]]}: "
                    f"{label.why}"
                )
            found[place] += sign * (label.value - 0.5) / (1 if self.both_orders else 2)
        if order:
            raise InputError(f"--preference left {len(order)} of {len(asked)} questions open")
        self._say(unread, len(asked))
        found = found - found.mT if a is b else found
        return found.to(a.logp.device)

    @staticmethod
    def _say(unread: Sequence[str], asked: int) -> None:
        """Warn of pairs without a verdict, or refuse to go on where they are many."""
        if not unread:
            return
        said = f"{len(unread)} of {asked} pairs got no verdict (the last: {unread[-1]})"
        if len(unread) > UNREAD * asked:
            raise InputError(
                f"--preference: {said}; see whether the server answers, and whether its model "
                "ends with A, B or TIE"
            )
        log.warning("assay: --preference: %s; they count as ties", said)

    def _question(self, row: int, place: tuple[int, ...], first: str, second: str) -> Question:
        (columns,), (said,) = self.texts.columns_of([row]), self.texts.messages_of([row])
        prompt = self.texts.texts[row]
        return Question("preference", 0, place, prompt, first, second, columns, messages=said)


class FoldedPreference:
    """A general preference model of `assay fit` as a PreferenceModel.

    Each completion is embedded once, however many it is compared with.

    Args:
        model: The fitted model.
        texts: The file's prompts, which `samples.prompts.row` points into.
    """

    def __init__(self, model: FittedPreference, texts: PromptTexts):
        self.model, self.texts = model, texts

    def __call__(self, a: Samples, b: Samples) -> Float[Tensor, "B Na Nb"]:
        """Compare the present completions; 0 elsewhere."""
        left = self._embedded(a)
        right = left if a is b else self._embedded(b)
        found = self.model.chances(left[:, :, None], right[:, None])
        both = a.present[:, :, None] & b.present[:, None, :]
        found = found.to(a.logp)
        return torch.where(both, found, found.new_zeros(()))

    def _embedded(self, x: Samples) -> Float[Tensor, "B N M E"]:
        here, said, rows = x.present, x.to("cpu").text(), x.prompts.row.tolist()
        at = here.nonzero().tolist()
        own = x.prompts.decode
        read = own if isinstance(own, PromptTexts) else self.texts
        which = [rows[b] for b, _ in at]
        found = self.model.embedded(
            [read.texts[r] for r in which],
            [said[b][n] for b, n in at],
            [read.turns[r] for r in which],
            {k: [v[r] for r in which] for k, v in read.columns.items()},
        )
        out = found.new_zeros(*here.shape, *found.shape[1:])
        out[here.to("cpu")] = found
        return out.to(x.logp.device)


def open_preference(
    spec: str,
    model: str,
    prompts: Sequence[str],
    turns: Sequence[Any],
    columns: Mapping[str, Sequence[Any]],
) -> TextPreference | FoldedPreference:
    """Make the preference model that `--preference` names, and try a function once.

    Args:
        spec: FILE.py:name of a function `name(prompts, first, second, **columns)`, such a function
            itself under its name, the folder of a general preference model that `assay fit` wrote,
            or the address of an OpenAI-compatible endpoint.
        model: The model's name at that address.
        prompts: The file's prompts as text.
        turns: The conversation of each prompt, or None.
        columns: The file's other columns.

    Raises:
        InputError: There is no such function, it cannot be called so, it returns no label, the
            folder holds something else, or an address stands alone.
    """
    texts = PromptTexts(str, prompts, turns, columns)
    if spec.startswith(("http://", "https://")):
        if not model:
            raise InputError(
                f"--preference is {spec}, and --preference-model is not given: it is the name by "
                "which the server knows its model"
            )
        return TextPreference(ChatJudge(spec, model, flag="preference"), texts, both_orders=True)
    function = opened(spec)
    if function is None and Path(spec).is_dir():
        if (Path(spec) / ABOUT).is_file() and describe(spec)["kind"] != KIND:
            raise InputError(
                f"--preference is {spec}, which holds a reward; give it with --rewards, or fit a "
                "general preference model: assay fit PAIRS.jsonl --preference-dim 2 -o FOLDER"
            )
        return FoldedPreference(FittedPreference.load(spec), texts)
    if function is None and ".py" not in spec:
        raise InputError(
            f"--preference is '{spec}'; give FILE.py:name, a function name(prompts, first, second) "
            "that returns for each pair the probability that the first completion is better, a "
            "folder that assay fit --preference-dim wrote, or the address of an LLM judge with "
            "--preference-model"
        )
    function = function or function_in_file(spec, "preference")
    labeler = FunctionLabeler(function, spec, at_once=AT_ONCE)
    (own,), (said,) = texts.columns_of([0]), texts.messages_of([0])
    labeler.once(trial_question(texts.texts[0], own, said))
    return TextPreference(labeler, texts)
