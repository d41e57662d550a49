"""A labeler as a preference model: P(a beats b) of two texts, asked in both orders.

Whoever compares two texts may favour the one that is shown first. Each pair is asked twice, and
half of the difference is antisymmetric whatever the labeler answers. Equal texts are not asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import PromptTexts, Samples
from assay.errors import InputError
from assay.registry.functions import function_in_file
from assay.watch.labelers.function import FunctionLabeler
from assay.watch.labelers.questions import Labeler, Question, trial_question

AT_ONCE = 256  # pairs in one call of a function


class TextPreference:
    """A PreferenceModel of texts.

    Args:
        labeler: Labels pairs: 1 where the first is better, 0 where the second is, or a chance.
        texts: The file's prompts, which `samples.prompts.row` points into.
    """

    def __init__(self, labeler: Labeler, texts: PromptTexts):
        self.labeler, self.texts = labeler, texts

    def __call__(self, a: Samples, b: Samples) -> Float[Tensor, "B Na Nb"]:
        """Compare the present completions; 0 elsewhere.

        Raises:
            InputError: The labeler has no answer for a pair.
        """
        first, second = a.to("cpu").text(), b.to("cpu").text()
        both = a.present[:, :, None] & b.present[:, None, :]
        rows = a.prompts.row.tolist()
        asked: list[tuple[tuple[int, int, int], float, Question]] = []
        for i, m, n in both.nonzero().tolist():
            x, y = first[i][m], second[i][n]
            if x == y or (a is b and n < m):
                continue
            for sign, left, right in ((1.0, x, y), (-1.0, y, x)):
                asked.append(((i, m, n), sign, self._question(rows[i], (i, m, n), left, right)))
        found = torch.zeros(both.shape, dtype=a.logp.dtype)
        order = {q.id: (place, sign) for place, sign, q in asked}
        for label in self.labeler([q for _, _, q in asked]):
            place, sign = order.pop(label.question.id)
            if label.value is None:
                raise InputError(
                    f"--preference gave no answer for a pair of prompt {rows[place[0]]}: "
                    f"{label.why}"
                )
            found[place] += sign * (label.value - 0.5) / 2
        if order:
            raise InputError(f"--preference left {len(order)} of {len(asked)} questions open")
        found = found - found.mT if a is b else found
        return found.to(a.logp.device)

    def _question(self, row: int, place: tuple[int, ...], first: str, second: str) -> Question:
        (columns,), (said,) = self.texts.columns_of([row]), self.texts.messages_of([row])
        prompt = self.texts.texts[row]
        return Question("preference", 0, place, prompt, first, second, columns, messages=said)


def preference_in_file(
    spec: str,
    prompts: Sequence[str],
    turns: Sequence[Any],
    columns: Mapping[str, Sequence[Any]],
) -> TextPreference:
    """Make the preference model that `--preference FILE.py:name` names, and try it once.

    Args:
        spec: FILE.py:name of a function `name(prompts, first, second, **columns)`.
        prompts: The file's prompts as text.
        turns: The conversation of each prompt, or None.
        columns: The file's other columns.

    Raises:
        InputError: There is no such function, it cannot be called so, or it returns no label.
    """
    if ".py" not in spec:
        raise InputError(
            f"--preference is '{spec}'; give FILE.py:name, a function name(prompts, first, second) "
            "that returns for each pair the probability that the first completion is better"
        )
    labeler = FunctionLabeler(function_in_file(spec, "preference"), spec, at_once=AT_ONCE)
    texts = PromptTexts(str, prompts, turns, columns)
    (own,), (said,) = texts.columns_of([0]), texts.messages_of([0])
    labeler.once(trial_question(texts.texts[0], own, said))
    return TextPreference(labeler, texts)
