"""Comparisons of one model under its present weights and under those of earlier steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assay.core import Samples
from assay.core.prompt_texts import messages
from assay.core.rng import Rng
from assay.data.turns import written
from assay.engine import checkpoint
from assay.errors import InputError
from assay.interop.messages import turns_of
from assay.interop.model_state import base_model, set_weights, trained_weights, undisturbed
from assay.interop.trainer import end_tokens
from assay.models.backbones.pretrained import Pretrained
from assay.models.policies.causal import Causal
from assay.models.tokenizer import Tokens
from assay.watch.comparisons import Comparison
from assay.watch.labelers.questions import Question, trial_question

Prompt = str | list[dict[str, str]]
CPU = torch.device("cpu")


class ModelComparisons:
    """A `ComparisonSource` of the model that another trainer trains.

    The trained weights of each step that is kept lie in the folder, `kept-STEP.safetensors`. They
    are swapped into the model while it samples, and the present ones are put back.

    Args:
        prompts: Fresh prompts, or rows with a `prompt` and other columns; each is used once.
        folder: The run's folder.
        seed: Draws prompts and completions, by address.
        max_tokens: Tokens of a completion at most.
        temperature: Of sampling.
        batch_size: Completions that are sampled together.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt | Mapping[str, Any]],
        folder: Path,
        seed: int,
        max_tokens: int,
        temperature: float,
        batch_size: int,
    ):
        self.rows = [row_of(p, i) for i, p in enumerate(prompts)]
        self.folder, self.rng = folder, Rng(seed)
        self.order = self.rng("watch")("prompts").permutation(len(prompts)).tolist()
        self.max_tokens, self.temperature = max_tokens, temperature
        self.batch_size = batch_size
        self.model: Any = None
        self.tokenizer: Any = None
        self._seen: list[Samples] = []

    def prompts_left(self, used: int) -> int | None:
        """See `ComparisonSource`."""
        return len(self.rows) - used

    def sample(
        self, step: int, policy: int, other: int, at: int, n: int, used: int
    ) -> list[Comparison]:
        """See `ComparisonSource`."""
        rows = self.order[used : used + n]
        prompts = [self.rows[i]["prompt"] for i in rows]
        places, rng = torch.arange(at, at + n), self.rng("watch", step)
        texts, now = [], self.weights()
        try:
            for side, which in (("mine", policy), ("theirs", other)):
                if which != step:
                    set_weights(self.model, self.kept(which))
                texts.append(self._completions(prompts, rng(side)[places], current=which == step))
        finally:
            set_weights(self.model, now)
        return [
            Comparison(
                prompt_text(prompt),
                mine,
                theirs,
                columns=self._columns(i),
                messages=messages_of(prompt),
            )
            for i, prompt, mine, theirs in zip(rows, prompts, *texts, strict=True)
        ]

    def trial(self) -> Question:
        """A question on the first prompt with stand-in completions, to try a labeler with."""
        prompt = self.rows[0]["prompt"]
        return trial_question(prompt_text(prompt), self._columns(0), messages_of(prompt))

    def _columns(self, i: int) -> dict[str, Any]:
        """The other columns of a row, and its place."""
        return {"row": i, **{k: v for k, v in self.rows[i].items() if k != "prompt"}}

    def keep(self, step: int) -> None:
        """Write the present weights to disk."""
        checkpoint.save(self._path(step), self.weights())

    def kept(self, step: int) -> dict[str, Tensor]:
        """The weights of an earlier step.

        Raises:
            InputError: Their file is gone.
        """
        path = self._path(step)
        if not path.exists():
            raise InputError(
                f"{path} is gone, and the watch compares with the policy of step {step}: train on "
                "from a later checkpoint, or start again in another folder"
            )
        weights: dict[str, Tensor] = checkpoint.load(path)
        return weights

    def forget(self, but: Collection[int]) -> None:
        """Delete the weights of all steps but these; the reference's stay."""
        stay = {self._path(s) for s in (0, *but)}
        for path in set(self.folder.glob("kept-*.safetensors")) - stay:
            path.unlink()

    def weights(self) -> dict[str, Tensor]:
        """A copy of every trained parameter, on the CPU."""
        return trained_weights(self.model, device=CPU)

    def stats(self) -> dict[str, float]:
        """See `ComparisonSource`."""
        seen, self._seen = self._seen, []
        nats = sum(float(-x.logp[x.mask].sum()) for x in seen)
        n = sum(int(x.mask.sum()) for x in seen)
        return {"entropy": nats / n} if n else {}

    def _path(self, step: int) -> Path:
        return self.folder / f"kept-{step}.safetensors"

    @torch.no_grad()
    def _completions(self, prompts: Sequence[Prompt], rng: Rng, *, current: bool) -> list[str]:
        """One completion for each prompt; the model's mode is put back."""
        model, texts = base_model(self.model), []
        with undisturbed(model):
            size = model.get_output_embeddings().weight.shape[0]
            ends = end_tokens(model, self.tokenizer)
            vocabulary = Tokens(self.tokenizer, size=size, ends=ends)
            policy = Causal(
                Pretrained(model),
                vocabulary,
                temperature=self.temperature,
                max_tokens=self.max_tokens,
            )
            device = next(model.parameters()).device
            for begin in range(0, len(prompts), self.batch_size):
                some = prompts[begin : begin + self.batch_size]
                asked = vocabulary.prompts([turns_of(p) for p in some]).to(device)
                x = policy.sample(asked, 1, rng[torch.arange(begin, begin + len(some))])
                x = x.to("cpu")
                texts += [row[0] for row in x.text()]
                if current:
                    self._seen.append(x)
        return texts


def row_of(prompt: Prompt | Mapping[str, Any], place: int) -> dict[str, Any]:
    """A prompt as a row with a column `prompt`.

    Args:
        prompt: A text, messages, or such a row.
        place: Its place, for the message.

    Raises:
        InputError: A row has no prompt.

    Example:
        >>> row_of("2 + 2?", 0), row_of({"prompt": "2 + 2?", "answer": 4}, 1)
        ({'prompt': '2 + 2?'}, {'prompt': '2 + 2?', 'answer': 4})
    """
    if not isinstance(prompt, Mapping):
        return {"prompt": prompt}
    if "prompt" not in prompt:
        raise InputError(f"row {place} of the prompts has no prompt, but {', '.join(prompt)}")
    return dict(prompt)


def messages_of(prompt: Prompt) -> list[dict[str, str]]:
    """A prompt as messages; a text is one message of the user."""
    turns = turns_of(prompt)
    return messages(turns, None) if isinstance(turns, str) else messages("", turns)


def prompt_text(prompt: Prompt) -> str:
    """A prompt as a labeler reads it."""
    turns = turns_of(prompt)
    return turns if isinstance(turns, str) else written(turns)
