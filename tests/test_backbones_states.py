"""Families whose layers keep a state beside keys and values, or in their place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed")
import transformers
from families import tokenizer

from assay.core import InputError, Rng
from assay.models.backbones.pretrained import Pretrained
from assay.models.policies.stop_strings import Stopping, Stops

ASKS = ["the old mill", "please tell me about the gate", "what?"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2}
HEADS = {**SMALL, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 24}
CONV = {**HEADS, "layer_types": ["conv", "full_attention"]}
BOTH = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1}
BOTH |= {**HEADS, "mamba_d_state": 8, "mamba_chunk_size": 8}


def policy(family: str, size: dict[str, Any]) -> Any:
    words = tokenizer()
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    config = getattr(transformers, f"{family}Config")(vocab_size=len(words), **ends, **size)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{family}ForCausalLM")(config)
    for p in model.parameters():  # else the past hardly matters
        p.data.mul_(3.0 if p.dim() > 1 else 1.0)
    return Stopping(Pretrained(model), Stops(words, size=len(words)), max_tokens=8).frozen()


@pytest.mark.parametrize(("family", "size"), [("Lfm2", CONV), ("FalconH1", BOTH)])
def test_what_is_drawn_is_what_is_scored(family: str, size: dict[str, Any]) -> None:
    """A prompt's states are those of each of its completions, as its keys are."""
    of = policy(family, size)
    x = of.sample(of.vocabulary.prompts(ASKS), 4, Rng(1))
    assert float((of.logp(x) - x.logp).abs()[x.mask].max()) < 1e-4
    begun = replace(x, mask=x.mask & (torch.arange(8) < 3), ended=torch.zeros_like(x.ended))
    with pytest.raises(InputError, match="does not go on from completions that are begun"):
        of.sample(x.prompts, 4, Rng(2), begun)


def test_a_family_with_a_cache_of_its_own_is_refused_as_it_opens() -> None:
    with pytest.raises(InputError, match="a mamba model does not keep what it has read"):
        policy("Mamba", {**SMALL, "state_size": 4})
