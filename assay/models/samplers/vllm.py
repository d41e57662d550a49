"""vLLM in this process, where it is installed, as an engine that draws answers. Written against
vLLM's documented interface (`LLM`, `SamplingParams`, `TokensPrompt`) and not tested here: there is
no machine for it.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

from assay.errors import InputError, Missing
from assay.models.samplers.openai import Ask, Law, Said

SHARE = 0.5  # of the accelerator's memory; the model that scores needs the rest


class InProcess:
    """vLLM over the same folder or name as the policy. Raises Missing where vLLM is not installed."""

    name = "vLLM in this process"

    def __init__(self, model: str):
        if importlib.util.find_spec("vllm") is None:
            raise Missing(
                "--world.sampler vllm needs vLLM: pip install vllm; or give the address of a server"
            )
        self.vllm: Any = importlib.import_module("vllm")
        try:
            self.llm = self.vllm.LLM(
                model=model,
                generation_config="vllm",
                gpu_memory_utilization=SHARE,
                trust_remote_code=False,
            )
        except Exception as why:  # an engine fails in many ways; to the user it is one thing
            raise InputError(
                f"--world.sampler is vllm, and it does not open {model} ({type(why).__name__}: "
                f"{' '.join(str(why).split())[:160]})"
            ) from why

    def draw(self, asks: Sequence[Ask], law: Law) -> list[list[Said]]:
        """See Engine; all prompts are one batch."""
        prompts = [self.vllm.TokensPrompt(prompt_token_ids=list(a.ids)) for a in asks]
        out = self.llm.generate(prompts, [self._settings(a, law) for a in asks], use_tqdm=False)
        return [[self._said(o) for o in one.outputs] for one in out]

    def _settings(self, ask: Ask, law: Law) -> Any:
        return self.vllm.SamplingParams(
            n=ask.n,
            seed=ask.seed,
            temperature=law.temperature,
            top_k=law.top_k or -1,
            top_p=law.top_p,
            min_tokens=law.min_tokens,
            max_tokens=law.max_tokens,
            stop=list(law.stop),
            stop_token_ids=list(law.ends),
            logit_bias=dict.fromkeys(law.barred, -100.0) or None,
            logprobs=0 if law.logprobs else None,
        )

    def _said(self, o: Any) -> Said:
        ids = tuple(int(i) for i in o.token_ids)
        worth = (
            None
            if not o.logprobs
            else tuple(float(at[i].logprob) for at, i in zip(o.logprobs, ids, strict=True))
        )
        by = o.stop_reason if isinstance(o.stop_reason, str) else None
        return Said(str(o.text), ids, o.finish_reason == "length", by, len(ids), worth)
