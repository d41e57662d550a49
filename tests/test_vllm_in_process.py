"""vLLM's `LLM` in this process: what it generates, and weights and adapters that are replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from vllm_models import ASKS, folder, moved, needs_vllm, policy

from assay.core import InputError, Rng, Samples
from assay.core.samples import CLIPPED, IMPORTANCE, SAMPLER_LOGP
from assay.models.samplers import vllm as in_process
from assay.models.samplers.engine import Weights

pytestmark = [needs_vllm, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", params=["tied", "untied", "lora"])
def there(request: Any, tmp_path_factory: Any) -> Any:
    kind = request.param
    at = folder(tmp_path_factory.mktemp(kind) / "tiny", tied=kind != "untied")
    rank = 4 if kind == "lora" else 0
    engine = in_process.InProcess(str(at), dtype="float32", rank=rank, longest=128)
    yield at, engine, rank
    engine.close()


def drawn(of: Any, n: int = 4, key: int = 1) -> Samples:
    return of.sample(of.vocabulary.prompts(ASKS), n, Rng(key))


def apart(x: Samples) -> float:
    return float((x.logp - x.extra[SAMPLER_LOGP]).abs()[x.mask].max())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 1.4, "top_p": 0.7},
        {"top_k": 7, "min_tokens": 4},
        {"stop": ("e", " a"), "temperature": 0.8},
    ],
)
def test_its_log_probabilities_are_the_policy_s(there: Any, settings: dict[str, Any]) -> None:
    """Also at another temperature and under truncation, where the raw ones differ by nats."""
    at, engine, rank = there
    x = drawn(policy(at, engine, lora=rank, **settings).copy(), 6)
    assert x.present.all() and apart(x) < 1e-3
    assert torch.allclose(x.extra[IMPORTANCE][x.mask], torch.ones(()), atol=2e-2)
    assert not x.extra[CLIPPED].any()


def test_seeds_give_the_same_tokens_alone_and_in_a_batch(there: Any) -> None:
    at, engine, rank = there
    of = policy(at, engine, lora=rank).copy()
    x, y = drawn(of, 3, key=4), drawn(of, 3, key=5)
    again = of.sample(of.vocabulary.prompts(ASKS)[torch.tensor([2])], 3, Rng(4)[torch.tensor([2])])
    assert not torch.equal(x.action, y.action)
    T = again.mask.shape[2]
    assert torch.equal(x.action[2:3, :, :T][again.mask], again.action[again.mask])


def test_new_weights_are_generated_with_again_and_again(there: Any) -> None:
    """Each update changes the probabilities by far more than the two sides are apart."""
    at, engine, rank = there
    reference = policy(at, engine, lora=rank)
    of = reference.copy()
    before, sent = drawn(of), of.sync.updates
    for k in range(3):
        moved(of, 0.3 if rank else 0.05, seed=k)
        x = drawn(of)
        assert of.sync.updates == sent + k + 1 and apart(x) < 1e-3
        with torch.no_grad():
            changed = (of.logp(before) - before.logp).abs()[before.mask].mean()
        assert changed > 0.05, "a stale engine would be seen"
        drawn(of)
        assert of.sync.updates == sent + k + 1, "weights that it holds are not sent again"
    y = drawn(reference)
    assert apart(y) < 1e-3 and torch.allclose(reference.logp(y), y.logp, atol=1e-4)
    assert apart(drawn(of)) < 1e-3, "two policies share an engine"


def test_a_prefix_cache_that_is_not_reset_is_an_error(there: Any, monkeypatch: Any) -> None:
    at, engine, rank = there
    of = policy(at, engine, lora=rank).copy()
    drawn(of)
    moved(of)
    monkeypatch.setattr(engine.llm, "reset_prefix_cache", lambda: False)
    with pytest.raises(InputError, match="did not reset its prefix cache"):
        drawn(of)


def test_weights_that_did_not_arrive_are_an_error(there: Any, monkeypatch: Any) -> None:
    at, engine, rank = there
    of = policy(at, engine, lora=rank).copy()
    drawn(of)
    moved(of, 0.3 if rank else 0.05)
    monkeypatch.setattr(engine, "update", lambda weights: None)
    with pytest.raises(InputError, match=r"does not hold this policy's weights after update \d+: "):
        drawn(of)
    monkeypatch.undo()
    assert apart(drawn(of)) < 1e-3, "it is sent again, and the engine goes on"


def test_a_change_that_nothing_counted_is_an_error(there: Any) -> None:
    at, engine, rank = there
    of = policy(at, engine, lora=rank).copy()
    drawn(of)
    for p in of.parameters():
        p.data = p.data + 0.3
    with pytest.raises(InputError, match="does not hold this policy's weights in a batch: over"):
        drawn(of)


def test_a_folder_that_is_gone_is_one_sentence(there: Any) -> None:
    at, engine, rank = there
    engine.prepare()
    with pytest.raises(InputError, match="vLLM in this process could not"):
        engine.update(Weights("gone", Path("/nowhere"), bool(rank)))
    of = policy(at, engine, lora=rank).copy()
    assert apart(drawn(of)) < 1e-3, "the next weights arrive"
