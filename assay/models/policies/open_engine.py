"""Opens the engine behind a served policy, and checks that it holds the same weights."""

from __future__ import annotations

import logging
from dataclasses import replace

from assay.core import Prompts
from assay.errors import InputError
from assay.models.policies.served import Served
from assay.models.policies.stop_strings import Stops
from assay.models.samplers.engine import Engine, Request
from assay.models.samplers.openai import Server
from assay.models.samplers.vllm import InProcess

log = logging.getLogger("assay")
# Mean absolute difference in log-probability a token between an engine and this model, in nats:
# above it they do not hold the same weights.
MOST_DIFFERENCE = 0.5


def verified(policy: Served, prompts: Prompts) -> Served:
    """Return the policy, once its engine has answered the longest of some prompts.

    What is wrong is so found before a run begins. Where the engine returns log-probabilities, they
    are compared with this model's.

    Args:
        policy: A policy and its engine.
        prompts: The run's.

    Raises:
        InputError: The engine and this model do not hold the same weights.
    """
    one, engine = prompts[prompts.mask.sum(-1).argmax()[None]], policy.engine
    request = Request(tuple(one.tokens[0][one.mask[0]].tolist()), 1, 1)
    engine.generate([request], policy.sampling_params())
    plain = replace(
        policy.sampling_params(),
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        min_tokens=0,
        stop=(),
        barred=(),
        logprobs=True,
    )
    said = engine.generate([request], plain)[0][0]
    if (
        said.ids is None
        or said.logprobs is None
        or not said.ids
        or len(said.ids) != len(said.logprobs)
    ):
        log.warning(
            "%s returns no log-probabilities, so it is not checked that it holds the weights of "
            "--model",
            engine.name,
        )
        return policy
    apart = policy.logp_difference(one, said.ids, said.logprobs)
    if not apart <= MOST_DIFFERENCE:
        raise InputError(
            f"{engine.name} and --model are {apart:.2f} nats a token apart on one "
            "completion: they do not hold the same weights; serve the model that --model "
            "names"
        )
    log.info("%s and this process agree to %.4f nats a token", engine.name, apart)
    return policy


def open_engine(said: str, model: str, vocabulary: Stops, *, at_once: int) -> Engine:
    """Open the engine that --sampler names.

    Args:
        said: An address, or "vllm" for vLLM in this process.
        model: The served model's name, or the folder for vLLM.
        vocabulary: The policy's.
        at_once: Prompts in flight at a time.

    Raises:
        InputError: `at_once` is below 1.
    """
    if said == "vllm":
        return InProcess(model)
    if at_once < 1:
        raise InputError(
            f"--sampler-at-once is {at_once}; it is how many prompts are in flight at a "
            "time, 1 or more"
        )
    return Server(said, model, vocabulary, at_once=at_once)
