"""An adapter_config.json as peft's configuration, and the ones that are refused by name.

A run compares its policy with the model that it started from. So an adapter must begin as that
model, must leave its weights alone, and must be trained by the loss alone. What peft offers beyond
that is named here, each with the reason, because most of it fails without an error.
"""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

from torch import nn

from assay.errors import InputError

log = logging.getLogger("assay")
FILE = "adapter_config.json"
# Not taken over: the base is --model, and no other model or Python class that a file names.
_NAMES = ("runtime_config", "base_model_name_or_path", "revision", "auto_mapping")
_PLAIN = "leave it out, for plain LoRA"
_INITS = {
    "pissa": "writes new weights into the model",
    "olora": "writes new weights into the model",
    "corda": "writes new weights into the model, and needs data of its own",
    "lora_ga": "writes new weights into the model, and needs gradients of its own data",
    "loftq": "quantizes the model, which is then another model",
    "eva": "needs data of its own to compute first weights from",
}
_BASE = "the reference would not be your model"
# LoRA's options that are refused where they are given, and why
_OPTIONS = {
    "layer_replication": f"builds a deeper model, and {_BASE}",
    "target_parameters": "adapts weights that cannot be switched between two adapters",
    "alora_invocation_tokens": "switches the adapter by tokens of the prompt, and no plain model "
    "could hold the result",
    "use_qalora": "pools the inputs of quantized layers, and cannot be merged",
    "use_bdlora": "lays weights out for a server with several shards",
    "arrow_config": "routes between adapters that were trained before",
    "kasa_config": f"cuts singular values off the model, and {_BASE}",
    "monteclora_config": "draws weights at random in every pass",
    "velora_config": "computes approximate gradients",
    "ensure_weight_tying": "shares one weight between two adapters, and peft does not save both",
    "megatron_config": "is for models of Megatron",
    "eva_config": _INITS["eva"],
    "corda_config": _INITS["corda"],
    "lora_ga_config": _INITS["lora_ga"],
    "loftq_config": _INITS["loftq"],
}
_METHODS = {
    "ADALORA": "moves ranks between layers by a schedule of its own trainer",
    "PROMPT_TUNING": "puts trained tokens before the prompt",
    "MULTITASK_PROMPT_TUNING": "puts trained tokens before the prompt",
    "P_TUNING": "puts trained tokens before the prompt",
    "PREFIX_TUNING": "puts trained states before the prompt",
    "CPT": "puts trained tokens before the prompt",
    "CARTRIDGE": "puts trained states before the prompt",
    "ADAPTION_PROMPT": "puts trained states into attention",
    "XLORA": "mixes adapters that were trained before",
    "POLY": "needs the number of each row's task",
}
# each is run, exported and compared in tests/test_adapters_methods.py
SUPPORTED = (
    *("LORA", "IA3", "VERA", "LOHA", "LOKR", "OFT", "BOFT", "HRA", "LN_TUNING", "HIRA"),
    *("TRAINABLE_TOKENS", "DELORA", "GRALORA", "MISS", "RANDLORA", "FOURIERFT"),
)


def read(given: str) -> Any:
    """Read an adapter configuration.

    Args:
        given: Its file, or the folder that holds it.

    Returns:
        A configuration of peft.

    Raises:
        InputError: There is none, it is damaged, or it is one that is refused.
    """
    from peft import PeftConfig, PeftType
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    path = Path(given) / FILE if Path(given).is_dir() else Path(given)
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(said, dict):
            raise TypeError("it holds no JSON object")
    except FileNotFoundError as why:
        raise InputError(
            f"--peft is '{given}', and nothing is there; give an {FILE} or its folder"
        ) from why
    except (OSError, ValueError, TypeError, RecursionError) as why:
        raise InputError(
            f"--peft is '{given}', and there is no readable {FILE} ({str(why)[:99]})"
        ) from why
    if Path(given).is_dir():
        _no_weights(Path(given))
    kind = str(said.get("peft_type", "")).upper()
    _method(f"{path} has peft_type '{said.get('peft_type', '')}'", kind)
    known = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(kind)].__dataclass_fields__
    odd = [k for k, v in said.items() if v and k not in (*known, "peft_type", "runtime_config")]
    if odd:
        raise InputError(
            f"{path} has '{odd[0]}', which this peft does not know; remove it, or install the "
            f"peft that wrote the file ({said.get('peft_version') or 'version unknown'})"
        )
    saved = said.get("modules_to_save") or []
    if not isinstance(saved, list) or not all(isinstance(name, str) for name in saved):
        raise InputError(f"{path} has modules_to_save {saved!r:.60}; give a list of names, or null")
    refuse(said, str(path))
    for option in (k for k, v in said.items() if "dropout" in k and v):
        log.warning(
            f"{path} has {option} {said[option]}, which is not applied: dropout is off in "
            "training, because a ratio compares the policy with itself"
        )
    plain = {k: v for k, v in said.items() if k in known and k not in _NAMES}
    try:
        return PeftConfig.from_peft_type(**{**plain, "peft_type": kind})
    except Exception as why:  # peft raises many types for one thing
        text = " ".join(str(why).split())[:150]
        raise InputError(f"{path} is no configuration that peft takes ({text})") from why


def divisible(config: Any) -> None:
    """Check that an adapter works on a base whose weights are divided over processes.

    Args:
        config: A configuration of peft.

    Raises:
        InputError: It reads or copies the base's weights.
    """
    kind = getattr(config.peft_type, "value", config.peft_type)
    what = next(
        (
            name
            for name, given in (
                (f"peft_type {kind}", kind != "LORA"),
                ("use_dora", getattr(config, "use_dora", False)),
                ("modules_to_save", getattr(config, "modules_to_save", None)),
                ("trainable_token_indices", getattr(config, "trainable_token_indices", None)),
            )
            if given
        ),
        None,
    )
    if what:
        raise InputError(
            f"the adapter configuration has {what}, which reads or copies weights of the base, and "
            "--fsdp divides them over processes; use plain LoRA (--lora 16), or leave out --fsdp"
        )


def _no_weights(folder: Path) -> None:
    """Raise InputError where a folder holds a trained adapter: only its configuration is read."""
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        if (folder / name).exists():
            raise InputError(
                f"--peft is '{folder}', which holds a trained adapter ({name}), and a run begins "
                f"with a new one; give '{folder / FILE}' for its configuration alone, or merge "
                "the adapter into the model first"
            )


def _method(what: str, kind: str) -> None:
    if kind in SUPPORTED:
        return
    why = _METHODS.get(kind, "is no adapter that assay has been tested with")
    raise InputError(
        f"{what}, which {why}; use LORA (with use_dora or use_rslora), or one of "
        f"{', '.join(k for k in SUPPORTED if k != 'LORA')}"
    )


def refuse(said: dict[str, Any], path: str) -> None:
    """Raise InputError for settings that would make the reference or the export another model.

    Args:
        said: The configuration, as JSON has it.
        path: Its file, for the message.
    """
    if said.get("task_type") not in (None, "CAUSAL_LM"):
        raise InputError(
            f"{path} has task_type '{said['task_type']}', and a policy is a causal language "
            "model; use CAUSAL_LM"
        )
    bias = said.get("bias", "none")
    if bias != "none":
        raise InputError(
            f"{path} has bias '{bias}', which trains biases of the model itself, and {_BASE}; "
            "use 'none', or lora_bias for biases of the adapter"
        )
    init = said.get("init_lora_weights", True)
    if init is False:
        raise InputError(
            f"{path} has init_lora_weights false, and the policy would begin at random instead of "
            "as your model; use true"
        )
    if init not in (True, "gaussian", "orthogonal"):
        why = next((w for k, w in _INITS.items() if str(init).startswith(k)), "is not known here")
        raise InputError(
            f"{path} has init_lora_weights '{init}', which {why}, and {_BASE}; use true, "
            "or 'gaussian'"
        )
    for option, why in _OPTIONS.items():
        if said.get(option):
            raise InputError(f"{path} has {option}, which {why}; {_PLAIN}")


def fits(config: Any, model: nn.Module) -> None:
    """Check that the modules to save are modules of the model.

    peft passes over those that are not, and trains less than was asked for.

    Args:
        config: A configuration of peft.
        model: The model.

    Raises:
        InputError: The model has no module of a name.
    """
    names = [n for n, _ in model.named_modules() if n]
    wanted = getattr(config, "modules_to_save", None) or ()
    for name in wanted:
        if not any(n == name or n.endswith(f".{name}") for n in names):
            last = sorted({n.rpartition(".")[2] for n in names if not n[-1].isdigit()})
            raise InputError(
                f"{FILE} has modules_to_save '{name}', and this model has no module of that "
                f"name; it has {', '.join(last[:30])}"
            )
    saved = [n for n in names if any(n.endswith(s) for s in wanted)]
    for outer in saved:
        if inner := next((n for n in saved if n.startswith(f"{outer}.")), None):
            raise InputError(
                f"{FILE} has modules_to_save that name '{outer}' and '{inner}' within it; give "
                "names of which none ends the name of a module inside another"
            )


def trainable(config: Any) -> Any:
    """Return a configuration for training: a saved adapter's says that it is for inference."""
    own = copy.deepcopy(config)
    own.inference_mode = False
    return own


def drawn_anew(config: Any) -> bool:
    """Whether an adapter's matrices may be drawn again, each by its address.

    Only LoRA's two matrices are random and nothing else: others start at values that belong
    together, or that are the model's own.
    """
    kind = getattr(config.peft_type, "value", config.peft_type)
    return kind == "LORA" and config.init_lora_weights in (True, "gaussian")
