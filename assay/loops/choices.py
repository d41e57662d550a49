"""Multiple-choice questions and the log-probabilities that language models give to the choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import InputError, Loop, Rng
from assay.data.faults import Faults
from assay.data.read import open_source
from assay.engine import progress
from assay.loops.language_models import Text, parameters, trained, untrained
from assay.models.backbones.pretrained import Pretrained
from assay.models.policies.causal import Causal
from assay.models.tokenizer import Tokens
from assay.rewards.encoding import open_model, open_tokenizer

_AT_ONCE = 32  # questions a pass


@dataclass(frozen=True)
class Family:
    """Models by scale, and what each says of the choices of each question.

    Attributes:
        scale: Log compute (or log parameters) of each model, ascending, `[S]`.
        logp: log p of each choice `[S, B, C]`, the right one first.
        updates: Updates that were made to train the models.
    """

    scale: Float[Tensor, "S"]
    logp: Float[Tensor, "S B C"]
    updates: int


def family_of_text(
    text: Text,
    rng: Rng,
    *,
    widths: Sequence[int],
    at: Sequence[int],
    questions: int,
    choices: int,
    ending: int,
    batch: int = 16,
    lr: float = 3e-3,
) -> Family:
    """Train models of several widths on a text, and ask each at several steps of its training.

    A question is the beginning of a row that no model is trained on; the right choice is how the
    row goes on, and the wrong ones are how other such rows end. Scale is log(6·N·D) with N
    parameters without embeddings and D characters seen.

    Args:
        text: Rows of equal length.
        rng: Address of weights, orders and choices.
        widths: Of the models.
        at: Steps at which a model is asked, ascending.
        questions: B.
        choices: C, the right one among them.
        ending: Characters of a choice.
        batch: Rows a step.
        lr: Learning rate.

    Raises:
        InputError: The text has fewer rows than twice the questions.
    """
    if len(text.rows) < 2 * questions:
        raise InputError(
            f"the text has {len(text.rows)} rows, and {questions} questions need twice as many"
        )
    asked, rest = text.rows[:questions], text.samples(text.rows[questions : questions + 8192])
    other = rng("wrong").uniform(torch.arange(questions)[:, None], torch.arange(questions))
    other = other.masked_fill(torch.eye(questions, dtype=torch.bool), 2.0).argsort(-1)
    own = torch.arange(questions)[:, None]
    ends = asked[torch.cat([own, other[:, : choices - 1]], 1)][..., -ending:]
    begun = asked[:, None, :-ending].expand(-1, choices, -1)
    rows = torch.cat([begun, ends], -1)  # [B,C,L]
    found: list[tuple[float, Tensor]] = []
    for width in widths:
        model = untrained(text, width, rng("model", width))
        loop = Loop(max_steps=max(at), batch_size=batch, learning_rate=lr, warmup_steps=10)
        for t in trained(model, rest, loop, rng("order", width), at):
            compute = 6.0 * parameters(model) * t * batch * text.rows.shape[1]
            said = torch.cat([_endings(model, text, r, ending) for r in rows.split(_AT_ONCE)])
            found.append((compute, said))
    found.sort(key=lambda x: x[0])
    scale = torch.tensor([c for c, _ in found], dtype=torch.float64).log()
    return Family(scale, torch.stack([x for _, x in found]), max(at) * len(widths))


@torch.no_grad()
def _endings(model: Causal, text: Text, rows: Tensor, ending: int) -> Float[Tensor, "B C"]:
    B, C, L = rows.shape
    x = text.samples(rows.reshape(B * C, L))
    return model.logp(x)[:, 0, -ending:].double().sum(-1).reshape(B, C)


def family_of_models(
    models: Sequence[str], questions: Path, compute: Sequence[float] = ()
) -> Family:
    """Ask causal language models of transformers the questions of a file.

    Args:
        models: Folders or ids.
        questions: JSON lines with question, choices and answer (the place of the right choice).
        compute: What training each model cost; its parameters where that is not known.

    Raises:
        InputError: A row is no question, or the questions do not have equally many choices.
    """
    asks, offered = questions_of(questions)
    found = []
    for i, name in enumerate(progress.over(list(models), "asking", "models")):
        model = open_model("AutoModelForCausalLM", name)
        size = model.get_output_embeddings().weight.shape[0]
        policy = Causal(Pretrained(model), Tokens(open_tokenizer(name), size=size)).eval()
        scale = float(compute[i]) if compute else float(sum(p.numel() for p in model.parameters()))
        found.append((scale, _asked(policy, asks, offered)))
    found.sort(key=lambda x: x[0])
    scales = torch.tensor([c for c, _ in found], dtype=torch.float64).log()
    return Family(scales, torch.stack([x for _, x in found]), 0)


@torch.no_grad()
def _asked(policy: Causal, asks: list[str], offered: list[list[str]]) -> Float[Tensor, "B C"]:
    """log p of each choice after its question, without the token that ends a completion."""
    out = []
    for i in range(0, len(asks), _AT_ONCE):
        x = policy.encode(asks[i : i + _AT_ONCE], offered[i : i + _AT_ONCE])
        last = x.mask & (x.mask.cumsum(-1) == x.mask.sum(-1, keepdim=True))
        out.append((policy.logp(x).double() * (x.mask & ~last)).sum(-1))
    return torch.cat(out)


def questions_of(path: Path) -> tuple[list[str], list[list[str]]]:
    """Read questions, and their choices with the right one first."""
    faults, asks, offered = Faults(str(path)), [], []
    for i, row in open_source(path).rows(faults):
        ask, choices, answer = (row.get(k) for k in ("question", "choices", "answer"))
        choices, answer = cast(Any, choices), cast(Any, answer)
        if not _is_question(ask, choices, answer):
            raise InputError(
                f"{path}, row {i}: a question, a list of two choices or more, and the place of "
                "the right one as answer were expected"
            )
        asks.append(str(ask))
        offered.append([choices[answer], *choices[:answer], *choices[answer + 1 :]])
    faults.stop()
    if len({len(c) for c in offered}) != 1:
        raise InputError(f"{path}: all questions must have equally many choices, and one is needed")
    return asks, offered


def _is_question(ask: Any, choices: Any, answer: Any) -> bool:
    return (
        isinstance(ask, str)
        and isinstance(choices, list)
        and len(choices) > 1
        and all(isinstance(c, str) and c for c in choices)
        and isinstance(answer, int)
        and 0 <= answer < len(choices)
    )
