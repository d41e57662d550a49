"""An exported folder against the policy that it was written from: loaded by plain transformers, it
gives the same log-probabilities, or it is no export.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assay.core import Prompts, Rng, Samples
from assay.data.model_trust import trusting
from assay.data.opening import opening
from assay.engine.quiet import quiet_libraries
from assay.errors import InputError
from assay.models.backbones.backbone import like, read

_COMPLETIONS = 8
# The largest difference of one token's log-probability and of their mean, in nats: rounding, by
# what the exported model computes in. A wrong head was 0.37 a token, a wrong embedding 0.0014.
_NEAR = {torch.float64: (1e-6, 1e-6), torch.float32: (5e-4, 1e-4)}
_NEAR_ROUNDED = (1.0, 0.1)


@dataclass(frozen=True)
class Agreement:
    """How close an exported folder is to its policy.

    Attributes:
        worst: The largest difference of one token's log-probability, in nats.
        mean: The mean absolute difference of a token.
        tokens: Tokens that were compared.
        completions: Completions that they are from.
        source: "stored" in the record, or "sampled" for the comparison.
    """

    worst: float
    mean: float
    tokens: int
    completions: int
    source: str

    def __str__(self) -> str:
        return (
            f"loaded by plain transformers, the log-probabilities of {self.completions} "
            f"{self.source} completions ({self.tokens} tokens) differ from the policy's by at most "
            f"{self.worst:.2g} nats a token (mean {self.mean:.2g})"
        )


def agreement(
    policy: Any,
    folder: Path,
    prompts: Prompts,
    rows: Sequence[Mapping[str, Any]] = (),
    *,
    name: Path,
) -> Agreement:
    """Load a folder as anybody would, and compare its log-probabilities with the policy's.

    Args:
        policy: The policy that was written.
        folder: A model that transformers loads, or an adapter that peft loads on its base.
        prompts: Prompts of the run.
        rows: Lines of samples.jsonl, of completions of these prompts; without them completions are
            sampled.
        name: What messages call the folder.

    Returns:
        How close they are.

    Raises:
        InputError: The folder cannot be loaded, or computes something else than the policy.
    """
    x, source = _completions(policy, prompts, rows)
    try:
        with quiet_libraries(models=True):
            model = _loaded(policy, folder)
    except Exception as why:  # transformers and peft raise many types for one thing
        said = " ".join(str(why).split())[:200]
        raise InputError(
            f"{name} was not written: transformers could not load it back "
            f"({type(why).__name__}: {said})"
        ) from why
    apart = torch.cat(
        [(a - b).abs() for a, b in zip(_own(policy, x), _theirs(model, x), strict=True)]
    )
    worst, mean = float(apart.max()), float(apart.mean())
    out = Agreement(worst, mean, len(apart), int(x.present.sum()), source)
    dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())
    near = _NEAR.get(dtype, _NEAR_ROUNDED)
    if not (worst <= near[0] and mean <= near[1]):
        raise InputError(
            f"{name} was not written, because it would be another model than the policy: {out}, "
            f"and {near[0]:g} is the most that rounding in {str(dtype)[6:]} explains; train with "
            "another adapter configuration, or all weights, and report this"
        )
    return out


def _completions(
    policy: Any, prompts: Prompts, rows: Sequence[Mapping[str, Any]]
) -> tuple[Samples, str]:
    """A few completions: those of the record, else fresh ones."""
    stored: dict[int, str] = {}
    for row in rows:
        if row["place"] and row["completion"] is not None and row["place"][0] < len(prompts):
            stored.setdefault(int(row["place"][0]), str(row["completion"]))
    if not stored:
        few = prompts[torch.arange(min(_COMPLETIONS, len(prompts)))]
        with torch.no_grad():
            return policy.sample(few, 1, Rng(0)("export")), "sampled"
    some = list(stored.items())[:_COMPLETIONS]
    few = prompts[torch.tensor([place for place, _ in some])]
    texts = [[text] for _, text in some]
    made: Samples = policy.vocabulary.completions(few, texts, like(policy.backbone).dtype)
    return made, "stored"


def _loaded(policy: Any, folder: Path) -> Any:
    """The folder as a plain model, where the policy computes."""
    about = folder / "adapter_config.json"
    backbone = policy.backbone
    own: Any = getattr(getattr(backbone, "computes_with", backbone), "model", None)
    more: dict[str, Any] = {"dtype": "auto", "use_safetensors": True}
    base = str(folder)
    if about.exists():
        base = json.loads(about.read_text(encoding="utf-8"))["base_model_name_or_path"]
        more["dtype"] = next(own.parameters()).dtype
        if quantized := getattr(own.config, "quantization_config", None):
            del more["dtype"]
            more |= {"quantization_config": quantized, "device_map": {"": device_of(policy)}}
    # code that made the policy in this process is trusted already
    with trusting(runs_own_code(own)), opening(base, f"the model is '{base}'") as how:
        from transformers import AutoModelForCausalLM

        model: Any = AutoModelForCausalLM.from_pretrained(base, **more, **how)
        if not getattr(model, "is_quantized", False):
            model = model.to(device_of(policy))
        if about.exists():
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, str(folder))
    return model.eval()


def device_of(policy: Any) -> torch.device:
    """The device that a policy computes on."""
    return like(policy.backbone).device


def runs_own_code(model: Any) -> bool:
    """Whether a model in memory was made by code that came with it."""
    return type(model).__module__.startswith("transformers_modules.")


def _own(policy: Any, x: Samples) -> list[Tensor]:
    """The policy's log-probabilities of each completion's tokens, over the whole vocabulary."""
    with torch.no_grad():
        hidden, before = read(policy.backbone, x, x.mask | x.given)
        out = []
        for b, n in x.present.nonzero().tolist():
            at = before[b, n, :-1][x.mask[b, n]]
            logps = policy.backbone.logits(hidden[at]).double().log_softmax(-1)
            out.append(logps.gather(-1, x.action[b, n][x.mask[b, n]][:, None])[:, 0])
    return out


def _theirs(model: Any, x: Samples) -> list[Tensor]:
    """The same by the plain model: each completion by itself, without padding."""
    out = []
    for b, n in x.present.nonzero().tolist():
        ask = x.prompts.tokens[b][x.prompts.mask[b]]
        kept = x.mask[b, n] | x.given[b, n]
        ids = torch.cat([ask, x.action[b, n][kept]])[None].to(model.device)
        with torch.no_grad():
            logps = model(input_ids=ids).logits[0].double().log_softmax(-1)
        each = logps[len(ask) - 1 : -1].gather(-1, ids[0, len(ask) :, None])[:, 0]
        out.append(each[x.mask[b, n][kept]].to(x.action.device))
    return out
