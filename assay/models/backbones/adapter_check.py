"""What every accepted adapter configuration must keep, tried on a few tokens when a base opens.

A new adapter is the base; a moved adapter changes neither the base nor another adapter. A peft
configuration may break each of these: it starts elsewhere, it writes into the base's weights, it
shares weights between adapters, or it trains weights of the base.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from assay.errors import InputError
from assay.models.backbones.adapter_merge import mergeable

_USE = "use plain LoRA (--lora 16)"
# Nats between log-probabilities that are the same but for the order of sums. DoRA divides by a norm
# and multiplies by it again, which bfloat16 rounds.
_NEAR = {torch.float64: 1e-9, torch.float32: 1e-4}
_NEAR_ROUNDED = 0.5


def few_logps(plain: Any) -> Tensor:
    """Return all log-probabilities after each of five tokens, in float64.

    Args:
        plain: A Pretrained, with whichever adapter is on.
    """
    embedding = plain.model.get_input_embeddings()
    count, device = embedding.weight.shape[0], plain.like.device
    tokens = torch.arange(3, 8, device=device) % count
    kept = torch.ones_like(tokens, dtype=torch.bool)
    with torch.no_grad():
        hidden, _ = plain.hidden_states(
            tokens[None, :1], kept[None, :1], tokens[None, None, 1:], kept[None, None, 1:]
        )
        out: Tensor = plain.logits(hidden).double().log_softmax(-1)
    return out


def check(base: Any, before: Tensor) -> None:
    """Make two adapters, move one, and compare what must not have changed.

    Args:
        base: A Base; the two adapters are removed again.
        before: `few_logps` of the model before anything was injected.

    Raises:
        InputError: One of these does not hold; the sentence says which.
    """
    kind = getattr(base.config.peft_type, "value", base.config.peft_type)
    dtype = next(base.plain.parameters()).dtype

    def held(name: str | None, what: str) -> None:
        base.switch(name)
        try:
            worst = float((few_logps(base.plain) - before).abs().max())
        except RuntimeError as why:
            said = " ".join(str(why).split())[:120]
            raise InputError(
                f"the adapter configuration {kind} does not compute in {str(dtype)[6:]} "
                f"({said}); use --dtype float32, or plain LoRA (--lora 16)"
            ) from why
        if not worst <= _NEAR.get(dtype, _NEAR_ROUNDED):
            raise InputError(
                f"the adapter configuration {kind} {what}: log-probabilities differ by "
                f"{worst:.3g} nats; {_USE}"
            )

    held(None, "changes the base's weights, and the reference would not be your model")
    made = []
    try:
        (first, weights), (second, _) = base.fresh(), base.fresh()
        made = [first, second]
        if not weights:
            raise InputError(f"the adapter configuration {kind} trains no weight; {_USE}")
        if base.plain.division is None:  # else it is plain LoRA, which merges
            mergeable(base, first)
        held(first, "does not begin as the base")
        with torch.no_grad():
            for p in weights.values():
                p.add_(torch.linspace(-0.05, 0.05, p.numel(), device=p.device).view_as(p).to(p))
        held(None, "trains weights of the base, and the reference would move")
        held(second, "shares weights between adapters, and every copy would move")
    finally:
        base.drop(made)
        base.switch(None)
