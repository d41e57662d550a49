"""What can be said of a causal language model before it is trained: how passes are computed, and
what they take.
"""

from __future__ import annotations

from typing import Any

_TRAINED = 16  # bytes a float32 parameter, see `engine.passes.trained_bytes`
_PROCESSES = (1, 2, 4, 8)
_RANK, _SPAN = 16, 64  # of the adapters that are counted, and tokens of a pass, at most


def facts(name: str) -> dict[str, Any]:
    """Open a model on the CPU in float32 and say what it is and what training it takes.

    Args:
        name: A folder that `save_pretrained` wrote, or a model id.

    Returns:
        `name`, `family`, `parameters`, `adapted` (parameters of LoRA of rank 16 on all linear
        layers), `prompts` (how a prompt's completions are computed), `recomputed` (whether layers
        can be computed again, `--checkpointing`), `bytes`: of the weights, of training all of them,
        of training the adapters, and what a pass saves for each token; `divided`: bytes that each
        process needs at its peak where weights are divided over processes (`--fsdp`), by kind and
        number of processes.

    Raises:
        InputError: There is no such model, or it is no causal language model.
    """
    import torch
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from assay.engine.passes import saved_bytes
    from assay.models.backbones.layer_progress import layers_of
    from assay.models.backbones.pretrained import Pretrained
    from assay.worlds.device import open_model

    model = open_model(name, torch.float32, 0, torch.device("cpu"))
    backbone = Pretrained(model)
    parameters = sum(p.numel() for p in model.parameters())
    head = model.get_output_embeddings()  # peft's "all-linear" leaves it out
    inside = [m for m in model.modules() if isinstance(m, (nn.Linear, Conv1D)) and m is not head]
    adapted = sum(_RANK * sum(m.weight.shape) for m in inside)
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    span = min(_SPAN, positions or _SPAN)
    tokens = torch.arange(3, 3 + span)[None] % model.get_input_embeddings().num_embeddings
    whole = torch.ones_like(tokens, dtype=torch.bool)
    saved = saved_bytes(lambda: backbone.rows(tokens, whole), model.parameters()) // span
    why = backbone.plain_because
    return {
        "name": name,
        "family": str(model.config.model_type),
        "parameters": parameters,
        "adapted": adapted,
        "prompts": f"once for each completion: {why}" if why else "once for all their completions",
        "recomputed": bool(layers_of(model)),
        "bytes": {
            "weights": 4 * parameters,
            "training all weights": (4 + _TRAINED) * parameters,
            "training LoRA 16": 4 * parameters + _TRAINED * adapted,
            "a token of a training pass": saved,
        },
        "divided": _divided(backbone, parameters, adapted, saved),
    }


def _divided(backbone: Any, parameters: int, adapted: int, saved: int) -> dict[str, dict[str, int]]:
    """Peaks by kind of training and number of processes, in float32, layers recomputed."""
    from assay.models.backbones.layer_progress import layers_of
    from assay.models.memory_needs import KINDS, Plan, Shape, needs

    layers = layers_of(backbone.model)
    if not layers:
        return {}
    inside = sum(p.numel() for layer in layers for p in layer.parameters())
    shape = Shape(
        parameters=parameters,
        ends=parameters - inside,
        layers=len(layers),
        adapted=adapted,
        hidden=backbone.width,
        keys=backbone.key_bytes // 4,
        saved=(saved, saved),
        adapted_saved=(saved, saved),  # in float32 an adapter's pass saves no more
    )
    return {
        kind: {
            str(W): needs(shape, Plan(W, kind, recomputed=True, gathered=False)).peak
            for W in _PROCESSES
        }
        for kind in KINDS
    }
