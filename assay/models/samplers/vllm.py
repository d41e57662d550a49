"""vLLM in this process: its `LLM`, whose engine runs in a process of its own.

The engine reports log-probabilities of the distribution that it samples from
(`processed_logprobs`). New weights reach it through files, see `vllm_worker`; an adapter is read
from its folder, under a new number each time, since vLLM keeps what a number was first given.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

import psutil  # type: ignore[import-untyped]
import torch

from assay.data.opening import opening
from assay.engine import progress
from assay.errors import InputError
from assay.models.samplers.engine import Completion, Request, SamplingParams, Weights
from assay.registry.extras import need

T = TypeVar("T")
LOOK = 0.5  # seconds between two looks whether the engine lives
ZOMBIE = psutil.STATUS_ZOMBIE
SHARE = 0.5  # of the accelerator's memory; the model that learns needs the rest
# On a CPU vLLM asks for a share of all memory, and does not start where others use it. Its cache of
# keys and values gets an eighth of what is free.
CACHE_SHARE, CACHE_LEAST, CACHE_MOST = 8, 1 << 26, 1 << 32
LOGPROBS = "processed_logprobs"
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # of adapters, as vLLM takes them
EXTENSION = "assay.models.samplers.vllm_worker.Extension"
BACKEND = "assay-files"  # vllm_worker's, which only vLLM can import
OWNER = "ENGINE_OWNER_PID"  # vllm_worker's
QUIET = {"VLLM_LOGGING_LEVEL": "ERROR"}


class InProcess:
    """vLLM over the same folder or name as the policy; Missing where vLLM is not installed.

    Args:
        model: A folder or a model id.
        dtype: What it computes in, by torch's name.
        rank: Of the adapters that will be handed over; 0 for whole weights.
        longest: Tokens of a prompt and its completion, at most; 0 for what the model allows.
    """

    name = "vLLM in this process"

    def __init__(self, model: str, *, dtype: str = "auto", rank: int = 0, longest: int = 0):
        need("vllm", "vllm", "--sampler vllm", "or give the address of a server")
        self._adapter: Any = None
        self._many, self._prepared, self.rank = 0, False, rank
        before = set(psutil.Process().children(recursive=True))
        with opening(model, f"--sampler is vllm, with the model '{model}'") as how, _quiet():
            how.pop("local_files_only")  # the block keeps vLLM from the hub
            self.vllm: Any = importlib.import_module("vllm")
            try:
                self.llm: Any = self.vllm.LLM(
                    model=model,
                    load_format="safetensors",
                    generation_config="vllm",
                    logprobs_mode=LOGPROBS,
                    dtype="float32" if dtype == "float64" else dtype,
                    **({"max_model_len": longest} if longest else {}),
                    **_room(),
                    **self._updates(),
                    **how,
                )
            except Exception as why:  # an engine fails in many ways; to the user it is one thing
                raise InputError(
                    f"--sampler is vllm, and it does not open {model} ({_said(why)}); "
                    "VLLM_LOGGING_LEVEL=INFO shows what it says"
                ) from why

        found = set(psutil.Process().children(recursive=True)) - before
        self._processes = [p for p in found if "VLLM" in p.name()]

    def _updates(self) -> dict[str, Any]:
        """The arguments that prepare it for weights or for adapters."""
        if not self.rank:
            config = importlib.import_module("vllm.config").WeightTransferConfig(backend=BACKEND)
            return {"weight_transfer_config": config, "worker_extension_cls": EXTENSION}
        most = next((r for r in RANKS if r >= self.rank), 0)
        if not most:
            raise InputError(
                f"the adapters have rank {self.rank}, and vLLM takes at most {RANKS[-1]}; lower "
                "--lora"
            )
        how = {"enable_lora": True, "max_lora_rank": most, "max_loras": 1}
        return {**how, "worker_extension_cls": EXTENSION}

    def generate(
        self, requests: Sequence[Request], params: SamplingParams
    ) -> list[list[Completion]]:
        """See Engine; all prompts are one batch."""
        prompts = [self.vllm.TokensPrompt(prompt_token_ids=list(a.ids)) for a in requests]
        settings = [self._settings(a, params) for a in requests]
        how: Any = {"use_tqdm": False, "lora_request": self._adapter}
        with progress.stage(f"generating for {len(requests):,} prompts in vLLM"):
            out = self._asked("generate", lambda: self.llm.generate(prompts, settings, **how))
        return [[_completion(o) for o in one.outputs] for one in out]

    def close(self) -> None:
        """End the engine's processes, as the end of this process does."""
        self.llm.llm_engine.engine_core.shutdown()

    def prepare(self) -> None:
        """See Updatable."""
        if not self.rank and not self._prepared:
            begin = self.llm.init_weight_transfer_engine
            self._asked("take new weights", lambda: begin({"init_info": {}}))
        self._prepared = True

    def update(self, weights: Weights) -> None:
        """See Updatable."""
        if self.rank:
            self._many += 1
            self._adapter = self._request(weights)
            if self._adapter is not None:  # now: one that fails in a request ends the engine
                self._asked("take the adapter", self._load_adapter)
        else:
            self._asked("take new weights", lambda: self._load(weights))
        if self._asked("forget its prefixes", self.llm.reset_prefix_cache) is not True:
            raise InputError(
                f"{self.name} did not reset its prefix cache, so it would go on with what it "
                "computed by the old weights; start the run again with --resume"
            )

    def _load(self, weights: Weights) -> None:
        self.llm.start_weight_update()
        self.llm.update_weights({"update_info": {"folder": str(weights.folder)}})
        self.llm.finish_weight_update(weights.version)

    def _load_adapter(self) -> None:
        if not self.llm.llm_engine.add_lora(self._adapter):
            raise ValueError("it holds that adapter already")

    def _request(self, weights: Weights) -> Any:
        """vLLM's words for an adapter; None for none. The number is a new one each time."""
        if weights.folder is None:
            return None
        kind = importlib.import_module("vllm.lora.request").LoRARequest
        return kind(weights.version, self._many, str(weights.folder))

    def _asked(self, what: str, call: Callable[[], T]) -> T:
        """Call vLLM, and say in one sentence what it raises.

        In a thread, because vLLM waits for ever for an engine that was killed.
        """
        answer: Future[T] = Future()
        threading.Thread(target=_answered, args=(answer, call), daemon=True).start()
        while not (gone := self._dead()):
            try:
                return answer.result(LOOK)
            except TimeoutError:
                if answer.done():
                    break
            except Exception:
                break
        why = answer.exception() if answer.done() else None
        gone = gone or type(why).__name__ == "EngineDeadError"
        raise InputError(
            f"{self.name} "
            + ("has died" if gone else f"could not {what} ({_said(why)})")
            + "; the run goes on from its last save with --resume"
            + ("" if gone else ", or without --sampler")
        ) from why

    def _dead(self) -> bool:
        """Whether a process of the engine has ended."""
        try:
            return any(not p.is_running() or p.status() == ZOMBIE for p in self._processes)
        except psutil.NoSuchProcess:
            return True

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


def _completion(o: Any) -> Completion:
    ids = tuple(int(i) for i in o.token_ids)
    worth = (
        None
        if not o.logprobs
        else tuple(float(at[i].logprob) for at, i in zip(o.logprobs, ids, strict=True))
    )
    by = o.stop_reason if isinstance(o.stop_reason, str) else None
    return Completion(str(o.text), ids, o.finish_reason == "length", by, len(ids), worth)


def _room() -> dict[str, Any]:
    """How much memory vLLM may take. On a CPU its layers run as they are: to compile them takes
    longer than short runs last.
    """
    if torch.cuda.is_available():
        return {"gpu_memory_utilization": SHARE}
    free = psutil.virtual_memory().available // CACHE_SHARE
    cache = min(CACHE_MOST, max(CACHE_LEAST, free))
    return {"kv_cache_memory_bytes": cache, "enforce_eager": True}


def _answered(answer: Future[T], call: Callable[[], T]) -> None:
    try:
        answer.set_result(call())
    except BaseException as why:  # an engine fails in many ways; the caller raises it
        answer.set_exception(why)


def _said(why: BaseException | None) -> str:
    return f"{type(why).__name__}: {' '.join(str(why).split())[:160]}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Let vLLM's processes print errors alone, unless the environment says otherwise, and tell them
    whose they are.
    """
    before = {k: os.environ.get(k) for k in (*QUIET, OWNER)}
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    os.environ[OWNER] = str(os.getpid())
    try:
        yield
    finally:
        for name, was in before.items():
            if was is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = was
