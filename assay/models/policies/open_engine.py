"""Opens the engine behind a served policy, and checks that it holds the same weights."""

from __future__ import annotations

import logging
from typing import Any

from assay.core import Prompts
from assay.errors import InputError
from assay.models.policies.served import Served
from assay.models.policies.stop_strings import Stops
from assay.models.samplers.engine import Engine, Request, Updatable
from assay.models.samplers.vllm import InProcess
from assay.models.samplers.vllm_server import VllmServer

log = logging.getLogger("assay")
# Mean absolute difference in log-probability a token between an engine and this model, in nats:
# above it they do not hold the same weights.
MOST_DIFFERENCE = 0.5


def verified(policy: Served, prompts: Prompts) -> Served:
    """Return the policy, once its engine has answered the longest of some prompts.

    What is wrong is so found before a run begins. Where the engine returns log-probabilities, they
    are compared with this model's. An engine that holds other weights is given these where it takes
    them: a run that was killed may have left its own.

    Args:
        policy: A policy and its engine.
        prompts: The run's.

    Raises:
        InputError: The engine and this model do not hold the same weights.
    """
    one, engine = prompts[prompts.mask.sum(-1).argmax()[None]], policy.engine
    request = Request(tuple(one.tokens[0][one.mask[0]].tolist()), 1, 1)
    engine.generate([request], policy.sampling_params())
    apart = policy.differences(one)
    if not len(apart):
        log.warning(
            "%s returns no log-probabilities, so it is not checked that it holds the weights of "
            "--model",
            engine.name,
        )
        return policy
    mean = float(apart.mean())
    if not mean <= MOST_DIFFERENCE and _takes(engine):
        log.warning("%s holds other weights than --model, and is given those", engine.name)
        policy.sync.admit(policy.backbone)
        policy.sync.bring(policy, prompts)
        return policy
    if not mean <= MOST_DIFFERENCE:
        raise InputError(
            f"{engine.name} and --model are {mean:.2f} nats a token apart on one "
            "completion: they do not hold the same weights; serve the model that --model "
            "names"
        )
    log.info("%s and this process agree to %.4f nats a token", engine.name, mean)
    return policy


def _takes(engine: Any) -> bool:
    """Whether an engine takes whole weights."""
    if not isinstance(engine, Updatable) or getattr(engine, "adapter", False):
        return False
    try:
        engine.prepare()
    except InputError:
        return False
    return True


def open_engine(
    said: str,
    model: str,
    vocabulary: Stops,
    *,
    at_once: int,
    dtype: str = "auto",
    rank: int = 0,
    longest: int = 0,
) -> Engine:
    """Open the engine that --sampler names.

    Args:
        said: An address, or "vllm" for vLLM in this process.
        model: The served model's name, or the folder for vLLM.
        vocabulary: The policy's.
        at_once: Prompts in flight at a time.
        dtype: What vLLM in this process computes in.
        rank: Of the policy's adapters; 0 where whole weights are trained.
        longest: Tokens of a prompt and its completion, at most; 0 for what the model allows.

    Raises:
        InputError: `at_once` is below 1, or vLLM does not open the model.
        Missing: vLLM is not installed.
    """
    if said == "vllm":
        return InProcess(model, dtype=dtype, rank=rank, longest=longest)
    if at_once < 1:
        raise InputError(
            f"--sampler-at-once is {at_once}; it is how many prompts are in flight at a "
            "time, 1 or more"
        )
    return VllmServer(said, model, vocabulary, adapter=rank > 0, at_once=at_once)
