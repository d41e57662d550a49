"""What a row saves for the backward pass, where adapters alone are trained."""

from __future__ import annotations

import pytest
import torch
from families import model

from assay.core import Rng
from assay.engine import passes
from assay.models.policies.causal import Causal
from assay.models.policies.saved import _blank
from assay.models.vocabulary import Vocabulary

WORDS = Vocabulary(["a", "b", "c", "d", "e"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_base_of_adapters_says_what_its_trained_copy_saves(dtype: torch.dtype) -> None:
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    from assay.models.backbones.adapters import Adapted, Base

    def reference() -> Causal:
        lora = peft.LoraConfig(r=2, target_modules="all-linear")
        base = Base(model("llama", vocabulary=8, dtype=dtype), lora, Rng(0))
        return Causal(Adapted(base), WORDS, max_tokens=6)

    measured, fresh = reference(), reference().copy()
    said = measured.saved_bytes(40)
    trained = measured.copy()
    one, two = (
        passes.saved_bytes(
            lambda n=n: trained.logp(_blank(trained, n, 40)),  # type: ignore[misc]
            trained.parameters(),
            trained.backbone.computes_with.parameters(),
        )
        for n in (1, 2)
    )
    assert said == two - one == trained.saved_bytes(40)
    every = list(measured.backbone.computes_with.parameters())
    one, two = (
        passes.saved_bytes(lambda n=n: measured.logp(_blank(measured, n, 40)), every)  # type: ignore[misc]
        for n in (1, 2)
    )
    assert dtype == torch.bfloat16 or said < 0.9 * (two - one), "the frozen base saves less"
    for name, t in fresh.state_dict().items():  # a policy begins as if nothing was measured
        assert torch.equal(t, trained.state_dict()[name]), name
