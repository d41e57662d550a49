"""Load a real model: its device, its dtype, its quantization and its adapters."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import torch

from assay.core import Rng
from assay.data import hub
from assay.data.opening import opening
from assay.engine import progress
from assay.engine.compiling import check_compiles
from assay.engine.parallel import agreed, rank
from assay.errors import InputError
from assay.models.backbones.lora import lora_config, peft_needed
from assay.models.backbones.pretrained import Pretrained
from assay.models.live import LiveModel, borrowed
from assay.models.weights_read import (
    all_there,
    check_finite,
    has_layers,
    same_shapes,
    say_left_over,
)
from assay.registry.extras import need
from assay.registry.live import opened

DTYPES = ("float32", "bfloat16", "float64")


def device_named(name: str) -> torch.device:
    """The device of a name.

    Args:
        name: auto (a GPU if there is one), cpu, cuda or cuda:1. A process of a launcher takes the
            GPU of its own number for auto and cuda.

    Raises:
        InputError: The name is another one, or there is no such GPU.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise InputError(f"--device is '{name}'; it is auto, cpu, cuda or cuda:0, cuda:1, …")
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not there):
        return torch.device("cpu")
    if not there:
        raise InputError(
            f"--device is '{name}', and this torch ({torch.__version__}) finds no GPU; give "
            "--device cpu, or install a torch built for your GPU and its driver"
        )
    which = int(name.partition(":")[2] or os.environ.get("LOCAL_RANK", "0"))
    if which >= there:
        raise InputError(
            f"--device is '{name}', and GPU {which} was requested of {there}, counted from 0; give "
            "a lower number, or start fewer processes"
        )
    return torch.device("cuda", which)


def dtype_named(name: str) -> tuple[torch.dtype, torch.dtype]:
    """The dtypes of a name.

    Args:
        name: float32, bfloat16 or float64.

    Returns:
        What the model computes in, and what log-probabilities, trained weights and optimiser state
        are: float32 at least.

    Raises:
        InputError: The name is another one.
    """
    if name not in DTYPES:
        raise InputError(f"--dtype is '{name}'; it is float32, bfloat16 or float64")
    own: torch.dtype = getattr(torch, name)
    return own, torch.float64 if own == torch.float64 else torch.float32


def open_model(
    name: str, dtype: torch.dtype, bits: int, device: torch.device, *, divided: bool = False
) -> Any:
    """Load a causal language model.

    Only safetensors are read. Code that comes with the model is run only within `trusting(True)`.

    Args:
        name: A Hugging Face model id, a local folder, or the `Live` name of a `LiveModel`.
        dtype: Of its weights.
        bits: 4 or 8 to quantize it with bitsandbytes; 0 for the weights as they are.
        device: Where it is loaded.
        divided: Its weights are going to be divided over processes: the first process reads them
            into the host's memory, and the others read none.

    Raises:
        InputError: There is no such model, or it is no causal language model with all its weights.
        Missing: bitsandbytes is needed and not installed.
    """
    if isinstance(live := opened(name), LiveModel):
        if divided:
            raise InputError(
                "--fsdp divides a model that is read from a folder or the hub, and this one is "
                "whole in memory already; give its folder"
            )
        return borrowed(live, dtype=dtype, device=device)
    from transformers import BitsAndBytesConfig

    more: dict[str, Any] = {}
    if bits not in (0, 4, 8):
        raise InputError(f"--bits is {bits}; it is 4 or 8, or 0 for the weights as they are")
    if bits:
        need("bitsandbytes", "quantization", f"--bits {bits}")
        more = {
            "quantization_config": BitsAndBytesConfig(
                load_in_4bit=bits == 4, load_in_8bit=bits == 8
            ),
            "device_map": {"": device},
        }
    if divided:
        if bits:
            raise InputError(
                f"--bits is {bits} with --fsdp, and quantized weights are not divided; give one of "
                "the two"
            )
        more = {"device_map": {"": "meta"}} if rank() else {}
        return agreed(lambda: _opened(name, dtype, more))
    made = _opened(name, dtype, more)
    return made if bits else made.to(device)


def _opened(name: str, dtype: torch.dtype, more: dict[str, Any]) -> Any:
    """The model of a name, its weights looked at where there are any."""
    from transformers import AutoModelForCausalLM

    with opening(name, f"--model is '{name}'") as how:
        try:
            with progress.stage(f"loading {name}"):
                both: Any = AutoModelForCausalLM.from_pretrained(
                    name,
                    use_safetensors=True,
                    dtype=dtype,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # `same_shapes` says which
                    **how,
                    **more,
                )
        except Exception as why:  # transformers and the hub raise many types for one thing
            what = f"--model is '{name}', which was to be a causal language model"
            raise hub.refused(name, what, why) from why
    made, info = both
    what = f"--model is '{name}', which was to be a causal language model"
    same_shapes(info, what)
    has_layers(made.config, what)
    all_there(info, what)
    say_left_over(info["unexpected_keys"], name)
    check_finite(made, what)
    return made


def check_adapter(peft: str) -> None:
    """Refuse an adapter configuration before a model is loaded.

    Args:
        peft: See `backbone`; "" for none.

    Raises:
        InputError: It is missing, damaged or refused.
        Missing: peft is needed and not installed.
    """
    if peft:
        peft_needed("--peft")
        from assay.models.backbones import adapter_config

        adapter_config.read(peft)


def check_torch_compile(wanted: bool, bits: int, device: torch.device, *, divided: bool) -> None:
    """Check, before a model is loaded, that torch.compile works here.

    Args:
        wanted: Whether it is asked for.
        bits: As for `open_model`.
        device: Where the run computes.
        divided: Whether weights are divided over processes.

    Raises:
        InputError: The weights are divided or quantized.
        Missing: torch.compile does not work here.
    """
    if not wanted:
        return
    with_what = "--fsdp" if divided else "--bits" if bits else ""
    if with_what:
        raise InputError(
            f"--torch-compile and {with_what} were never tried together; leave one of them out"
        )
    check_compiles(device)


def backbone(
    model: Any,
    *,
    lora: int,
    peft: str,
    bits: int,
    checkpointing: bool,
    rng: Rng,
    compiled: bool = False,
    divide: Callable[[Any], Pretrained] | None = None,
) -> torch.nn.Module:
    """The model as a backbone, with or without adapters.

    Args:
        model: From `open_model`.
        lora: Rank of LoRA adapters; 0 for none.
        peft: A file or folder with an adapter_config.json; "" for none. Its `modules_to_save` begin
            as the model's own weights, and are switched with the adapter.
        bits: As for `open_model`; quantized weights need adapters.
        checkpointing: Compute each layer a second time in the backward pass.
        rng: Address of the adapters' first weights.
        compiled: Compute layers by torch.compile.
        divide: Divides the model over processes; adapters stay whole in each of them.

    Raises:
        InputError: The arguments do not fit together, there is no adapter configuration, or it is
            one that `adapter_config` or `adapter_check` refuse.
        Missing: peft is needed and not installed.
    """
    if not lora and not peft:
        if bits:
            raise InputError(
                f"--bits is {bits}, and quantized weights cannot be trained; add "
                "--lora 16, or leave --bits out"
            )
        if divide is not None:
            return divide(model)
        return Pretrained(model, checkpointing=checkpointing, compiled=compiled)
    if lora and peft:
        raise InputError(
            f"--lora is {lora} and --peft is '{peft}', which both configure adapters; "
            "give one of them"
        )
    peft_needed("--peft" if peft else "--lora")
    from assay.models.backbones import adapter_config
    from assay.models.backbones.adapters import Adapted, Base

    config = adapter_config.read(peft) if peft else lora_config(model, lora)
    if divide is not None:
        adapter_config.divisible(config)
        model = divide(model)
    return Adapted(Base(model, config, rng, checkpointing=checkpointing, compiled=compiled))


def check_positions(name: str, model: Any, longest: int, completion: int) -> None:
    """Check that a model has positions for the longest prompt and completion.

    With `longrope` a pass whose longest row is beyond a limit turns the positions of all its rows
    by other factors: a completion's log-probability would depend on what is computed beside it.

    Args:
        name: The model's, for the message.
        model: The model.
        longest: Tokens of the longest prompt.
        completion: Tokens of a completion, at most.

    Raises:
        InputError: It has too few, or some that depend on the longest row of a pass.
    """
    config = model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    needed = longest + completion
    asked = f"prompts of up to {longest} tokens with completions of up to {completion} need"
    if positions and needed > positions:
        raise InputError(
            f"{name} has {positions} positions, and {asked} {needed}; lower "
            "--max-tokens or --max-prompt"
        )
    fixed = _positions_that_stay(config)
    if fixed and needed > fixed:
        raise InputError(
            f"{name} has positions for {fixed} tokens, and {asked} {needed}: beyond {fixed} a "
            "longer row changes the positions of all rows beside it (longrope), so that no "
            "log-probability would be a completion's own; lower --max-tokens or --max-prompt"
        )


def _positions_that_stay(config: Any) -> int | None:
    """Up to how many tokens a row's positions do not depend on the other rows of a pass; None where
    they never do.
    """
    turns = getattr(config, "rope_parameters", None) or {}
    each = [turns, *(t for t in turns.values() if isinstance(t, dict))]  # one for a kind of layer
    limits = [
        int(t["original_max_position_embeddings"]) for t in each if t.get("rope_type") == "longrope"
    ]
    return min(limits, default=None)
