"""What a real model computes on and in: its device, its numbers' width, its adapters, and what is
computed twice to save room.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import Any

import torch

from assay.core import Missing, Rng
from assay.errors import InputError
from assay.models.backbones.pretrained import Pretrained
from assay.rewards.encoding import all_there

DTYPES = ("float32", "bfloat16", "float64")


def device_named(name: str) -> torch.device:
    """`auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:1`. A process that a launcher
    started takes the GPU of its own number. Raises InputError for any other, and for a GPU that is
    not there.
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
            f"--device is '{name}', and the GPU asked for is number {which} of {there}, counted "
            "from 0; give a lower number or start fewer processes"
        )
    return torch.device("cuda", which)


def dtype_named(name: str) -> tuple[torch.dtype, torch.dtype]:
    """(what the model computes in, what is kept of it): log-probabilities, masters and optimiser
    state are float32 at least.
    """
    if name not in DTYPES:
        raise InputError(f"--dtype is '{name}'; it is float32, bfloat16 or float64")
    own: torch.dtype = getattr(torch, name)
    return own, torch.float64 if own == torch.float64 else torch.float32


def opened(name: str, dtype: torch.dtype, bits: int, device: torch.device) -> Any:
    """A causal language model, from safetensors only, on its device. Code from the folder or the
    hub is never run.
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    more: dict[str, Any] = {}
    if bits not in (0, 4, 8):
        raise InputError(f"--world.bits is {bits}; it is 4 or 8, or 0 for the weights as they are")
    if bits:
        if importlib.util.find_spec("bitsandbytes") is None:
            raise Missing(f"--world.bits {bits} needs bitsandbytes: pip install bitsandbytes")
        more = {
            "quantization_config": BitsAndBytesConfig(
                load_in_4bit=bits == 4, load_in_8bit=bits == 8
            ),
            "device_map": {"": device},
        }
    try:
        both: Any = AutoModelForCausalLM.from_pretrained(
            name,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype,
            output_loading_info=True,
            **more,
        )
    except (
        Exception
    ) as why:  # transformers and the hub raise whatever they like; to the user it is one thing
        raise InputError(
            f"--world.policy is '{name}', and it gives no causal language model "
            f"({type(why).__name__}: {' '.join(str(why).split())[:120]}); give a folder that "
            "save_pretrained wrote, or a name on the hub"
        ) from why
    made, info = both
    all_there(info, f"--world.policy is '{name}', which was to be a causal language model")
    return made if bits else made.to(device)


def backbone(
    model: Any, *, lora: int, peft: str, bits: int, checkpointing: bool, rng: Rng
) -> torch.nn.Module:
    """The model as a backbone, with adapters where they are asked for."""
    if not lora and not peft:
        if bits:
            raise InputError(
                f"--world.bits {bits} holds weights that cannot be trained; add --world.lora 16, "
                "or leave it out"
            )
        return Pretrained(model, checkpointing=checkpointing)
    if lora and peft:
        raise InputError(
            "--world.lora and --world.peft are two ways to say which adapters: give one of them"
        )
    if importlib.util.find_spec("peft") is None:
        raise Missing("adapters need peft: pip install 'assay[lora]'")
    from peft import LoraConfig, PeftConfig

    from assay.models.backbones.adapters import Adapted, Base

    if peft:
        path = Path(peft)
        if not path.exists():
            raise InputError(
                f"--world.peft is '{peft}', and nothing is there; give an adapter_config.json or "
                "its folder"
            )
        try:
            config = PeftConfig.from_pretrained(str(path if path.is_dir() else path.parent))
        except (OSError, ValueError, TypeError, KeyError) as why:
            raise InputError(
                f"--world.peft is '{peft}', and there is no readable adapter_config.json "
                f"({str(why)[:99]})"
            ) from why
    else:
        conv = any(
            type(m).__name__ == "Conv1D" for m in model.modules()
        )  # GPT-2 keeps its weights the other way round
        config = LoraConfig(
            r=lora, lora_alpha=2 * lora, target_modules="all-linear", fan_in_fan_out=conv
        )
    return Adapted(Base(model, config, rng, checkpointing=checkpointing))
