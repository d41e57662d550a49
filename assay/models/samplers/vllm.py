"""vLLM in this process, where it is installed.

Written against vLLM's documented interface (`LLM`, `SamplingParams`, `TokensPrompt`) and not tested
here: there is no machine for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from assay.data.opening import opening
from assay.engine import progress
from assay.errors import InputError
from assay.models.samplers.engine import Completion, Request, SamplingParams
from assay.registry.extras import need

SHARE = 0.5  # of the accelerator's memory; the model that scores needs the rest


class InProcess:
    """vLLM over the same folder or name as the policy; Missing where vLLM is not installed."""

    name = "vLLM in this process"

    def __init__(self, model: str):
        need("vllm", "vllm", "--sampler vllm", "or give the address of a server")
        self.vllm: Any = importlib.import_module("vllm")
        with opening(model, f"--sampler is vllm, with the model '{model}'") as how:
            how.pop("local_files_only")  # the block keeps vLLM from the hub
            try:
                self.llm = self.vllm.LLM(
                    model=model,
                    load_format="safetensors",
                    generation_config="vllm",
                    gpu_memory_utilization=SHARE,
                    **how,
                )
            except Exception as why:  # an engine fails in many ways; to the user it is one thing
                raise InputError(
                    f"--sampler is vllm, and it does not open {model} ({type(why).__name__}: "
                    f"{' '.join(str(why).split())[:160]})"
                ) from why

    def generate(
        self, requests: Sequence[Request], params: SamplingParams
    ) -> list[list[Completion]]:
        """See Engine; all prompts are one batch."""
        prompts = [self.vllm.TokensPrompt(prompt_token_ids=list(a.ids)) for a in requests]
        settings = [self._settings(a, params) for a in requests]
        with progress.stage(f"generating for {len(requests):,} prompts in vLLM"):
            out = self.llm.generate(prompts, settings, use_tqdm=False)
        return [[self._said(o) for o in one.outputs] for one in out]

    def _settings(self, request: Request, params: SamplingParams) -> Any:
        return self.vllm.SamplingParams(
            n=request.n,
            seed=request.seed,
            temperature=params.temperature,
            top_k=params.top_k or -1,
            top_p=params.top_p,
            min_tokens=params.min_tokens,
            max_tokens=params.max_tokens,
            stop=list(params.stop),
            stop_token_ids=list(params.ends),
            logit_bias=dict.fromkeys(params.barred, -100.0) or None,
            logprobs=0 if params.logprobs else None,
        )

    def _said(self, o: Any) -> Completion:
        ids = tuple(int(i) for i in o.token_ids)
        worth = (
            None
            if not o.logprobs
            else tuple(float(at[i].logprob) for at, i in zip(o.logprobs, ids, strict=True))
        )
        by = o.stop_reason if isinstance(o.stop_reason, str) else None
        return Completion(str(o.text), ids, o.finish_reason == "length", by, len(ids), worth)
