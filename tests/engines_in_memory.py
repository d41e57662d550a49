"""An engine in memory with weights of its own, which it loads from files: what the tests of
following an engine use where vLLM is not installed. It computes what it says; nothing is made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from assay.core import Rng
from assay.models.backbones.pretrained import Pretrained
from assay.models.policies.stop_strings import Stopping, Stops
from assay.models.samplers.engine import Completion, Request, SamplingParams, Weights


class InMemory:
    """A second model of the same folder.

    Args:
        at: The folder.
        words: Of the same tokens.
        noise: Standard deviation of an error on each logit, as other kernels make it; fixed for
            each token.
    """

    name = "the engine in memory"

    def __init__(self, at: Any, words: Stops, *, noise: float = 0.0):
        self.at, self.words, self.noise = at, words, noise
        self.model = self._opened(at)
        self.deaf, self.raw = False, False
        self._backbone: tuple[Any, Any] = (None, None)

    def _opened(self, at: Any) -> Any:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(at, dtype=torch.float32)

    def prepare(self) -> None:
        """See Updatable."""

    def update(self, weights: Weights) -> None:
        """See Updatable; a deaf engine goes on with the old ones."""
        if self.deaf:
            return
        if weights.adapter:
            from peft import PeftModel

            base = self._opened(self.at)
            self.model = (
                base
                if weights.folder is None
                else PeftModel.from_pretrained(base, weights.folder).merge_and_unload()
            )
        else:
            self.model = self._opened(weights.folder)

    @torch.no_grad()
    def generate(
        self, requests: Sequence[Request], params: SamplingParams
    ) -> list[list[Completion]]:
        """See Engine."""
        words = Stops(
            self.words.tokenizer, size=len(self.words), ends=params.ends, stop=params.stop
        )
        words.barred = params.barred
        if self._backbone[0] is not self.model:
            self._backbone = self.model, Pretrained(self.model)
        backbone = self._backbone[1]
        if self.noise:
            rng = torch.Generator().manual_seed(3)
            error = self.noise * torch.randn(len(self.words), generator=rng)
            plain = type(backbone).logits
            backbone.logits = lambda hidden: plain(backbone, hidden) + error
            backbone.token_logps = lambda *a, **k: None
        of = Stopping(
            backbone,
            words,
            temperature=params.temperature,
            top_k=params.top_k,
            top_p=params.top_p,
            max_tokens=params.max_tokens,
            min_tokens=params.min_tokens,
        )
        return [self._one(of, words, request, params) for request in requests]

    def _one(
        self, of: Stopping, words: Stops, request: Request, params: SamplingParams
    ) -> list[Completion]:
        from assay.models.padding import padded_prompts

        asked = padded_prompts([request.ids], pad=words.pad, decode=words.decode)
        x = of.sample(asked, request.n, Rng(request.seed))
        if self.raw:
            of.temperature = 1.0
            x = type(x)(**{**vars(x), "logp": of.logp(x)})
        out = []
        for n in range(request.n):
            ids = tuple(x.action[0, n][x.mask[0, n]].tolist())
            logps = tuple(x.logp[0, n][x.mask[0, n]].tolist()) if params.logprobs else None
            out.append(Completion("", ids, not bool(x.ended[0, n]), None, len(ids), logps))
        return out
