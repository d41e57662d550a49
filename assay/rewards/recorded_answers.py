"""What a language model answered to a list of questions, kept in a file.

A model's answers cost seconds each, and its weights have to be at hand. The file holds the
log-odds of yes for every question, under a digest of the question's text, so that a claim is judged
by a real model's errors where the model is not.

    {"model": "…", "log_odds": {"Did the agent …?": {"3f0c9a2b1d": -0.503, …}, …}}

A small model prefers one word whatever it is asked. So its answers to questions with the same last
line are compared with each other: the share `yes` with the highest log-odds are answered yes, half
by default. Which ones these are is what the model knows, and no label is used. SmolLM2's log-odds
on a question without content lie above all its answers about the grid, so that `ModelEvaluator`,
which subtracts those, hears no to everything.

Source: Zhou et al., "Batch Calibration: Rethinking Calibration for In-Context Learning and Prompt
    Engineering", arXiv:2309.17249, 2023, which subtracts the mean.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from assay.errors import InputError

# SmolLM2-135M-Instruct (Apache-2.0) on every question of --world table --world.testbed grid
SMOLLM2 = Path(__file__).with_name("smollm2_grid.json")
DIGITS = 10  # of a question's digest


def digest(question: str) -> str:
    """The name of a question in the file."""
    return hashlib.sha256(question.encode()).hexdigest()[:DIGITS]


def last(question: str) -> str:
    """The last line of a question: what kind of question it is."""
    return question.rstrip().rpartition("\n")[2]


class RecordedAnswers:
    """An evaluator that repeats what a model answered, see the module's docstring.

    Args:
        path: The file.
        yes: Share of each kind of question that is answered yes, between 0 and 1.

    Raises:
        InputError: It is no such file, or `yes` is no such share.
    """

    def __init__(self, path: Path, *, yes: float = 0.5):
        if not 0 < yes < 1:
            raise InputError(f"the share of answers that are yes is {yes}; it is between 0 and 1")
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            self.name = f"{kept['model']} in {path.name}"
            self.log_odds = {
                str(kind): {str(k): float(v) for k, v in each.items()}
                for kind, each in kept["log_odds"].items()
            }
            self.threshold = {k: _quantile(v.values(), 1 - yes) for k, v in self.log_odds.items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as why:
            raise InputError(
                f"{path} holds no recorded answers ({type(why).__name__}: {str(why)[:80]}); write "
                "it by assay.rewards.recorded_answers.write"
            ) from why

    def __call__(self, questions: Sequence[str]) -> list[float]:
        """P(yes) of each question, above ½ where it is answered yes.

        Raises:
            InputError: One of them was not asked.
        """
        out = []
        for q in questions:
            kind = last(q)
            known = self.log_odds.get(kind, {}).get(digest(q))
            if known is None:
                raise InputError(
                    f"{self.name} did not answer {kind!r} after these lines; it answers the "
                    "questions that it was asked, word for word"
                )
            out.append(1 / (1 + math.exp(self.threshold[kind] - known)))
        return out


def _quantile(values: Iterable[float], share: float) -> float:
    """The value that at least this share of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def write(path: Path, model: str, answers: Mapping[str, float]) -> None:
    """Keep what a model answered.

    Args:
        path: The file.
        model: The model's name.
        answers: Its log-odds on each question.

    Raises:
        InputError: Two questions have the same digest.
    """
    kinds: dict[str, dict[str, float]] = {}
    for q, x in answers.items():
        kinds.setdefault(last(q), {})[digest(q)] = round(x, 4)
    if sum(map(len, kinds.values())) < len(answers):
        raise InputError("two questions have the same digest; ask fewer")
    said = {"model": model, "log_odds": kinds}
    path.write_text(json.dumps(said, indent=0) + "\n", encoding="utf-8")
