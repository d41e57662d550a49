"""What a launcher asks of its processes, read from the environment that it sets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from assay.errors import InputError, ProcessLost

TIMEOUT = "ASSAY_PROCESS_TIMEOUT"
_SECONDS = 1800  # a process may wait while another's reward server is asked again and again
_OTHERS = {
    "ACCELERATE_USE_DEEPSPEED": (
        "DeepSpeed",
        "its engine owns the backward pass and the optimiser's step, which assay makes itself so "
        "that it can weigh micro-batches by the whole batch, skip steps that are not finite and "
        "resume bit for bit",
    ),
    "ACCELERATE_USE_MEGATRON_LM": (
        "Megatron-LM",
        "it computes with models of its own, and assay with those of transformers",
    ),
}
_FSDP = "ACCELERATE_USE_FSDP"
# set here and read by transformers, which would leave weights of all but one process unread
_FIRST_READS = "FSDP_CPU_RAM_EFFICIENT_LOADING"
# what accelerate may be told of FSDP and is not followed here: (variable, value, what to do)
_NOT_FOLLOWED = (
    ("FSDP_VERSION", "1", "divides by FSDP1; add --fsdp_version 2"),
    (
        "FSDP_OFFLOAD_PARAMS",
        "true",
        "keeps weights in the host's memory; leave --fsdp_offload_params out, or use --lora",
    ),
    (
        "FSDP_RESHARD_AFTER_FORWARD",
        "false",
        "keeps whole layers after the forward pass; leave --fsdp_reshard_after_forward out",
    ),
    (
        "FSDP_ACTIVATION_CHECKPOINTING",
        "true",
        "computes layers twice; leave --fsdp_activation_checkpointing out, and give assay "
        "--checkpointing",
    ),
)


def divides_weights() -> bool:
    """Whether the launcher asks for FSDP: weights divided over processes.

    Raises:
        InputError: It asks for another way to divide a model, or for a setting of FSDP that is not
            followed.
    """
    for variable, (name, why) in _OTHERS.items():
        if _on(variable):
            raise InputError(
                f"this was launched with {name}, and {why}; launch with --use_fsdp --fsdp_version "
                "2, which divides weights, gradients and optimiser state, or use --lora"
            )
    if not _on(_FSDP):
        return False
    for variable, value, what in _NOT_FOLLOWED:
        if os.environ.get(variable, "").lower() == value:
            raise InputError(f"this was launched with FSDP and {variable}={value}, which {what}")
    os.environ[_FIRST_READS] = "false"
    return True


def timeout() -> timedelta:
    """How long a process waits for the others.

    Raises:
        InputError: ASSAY_PROCESS_TIMEOUT is no number of seconds above 0.
    """
    said = os.environ.get(TIMEOUT, str(_SECONDS))
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e7:
        raise InputError(f"{TIMEOUT} is {said!r:.40}; give seconds, such as 1800")
    return timedelta(seconds=seconds)


@contextmanager
def losing_others() -> Iterator[None]:
    """Say in one sentence that another process has ended or does not answer.

    Raises:
        ProcessLost: A collective operation failed within the block.
    """
    try:
        yield
    except RuntimeError as why:
        said = " ".join(str(why).split())
        if not any(sign in said for sign in ("gloo", "NCCL", "Connection closed", "ProcessGroup")):
            raise
        raise ProcessLost(
            "another process of this launch has ended, or has not answered for "
            f"{timeout().total_seconds():g} seconds ({said[:120]}); its own last line says why; "
            "go on with --resume"
        ) from why


def _on(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() in ("true", "1")
