"""An engine that follows a policy in training: never stale in silence, and corrected for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engines_in_memory import InMemory
from vllm_models import ASKS, folder, moved, policy, words_of

from assay.core import InputError, Loop, Rng, Samples
from assay.core.samples import CLIPPED, IMPORTANCE, SAMPLER_LOGP, cat
from assay.formulas.surrogate import reinforce
from assay.loops import rollout_stats, update
from assay.loops.mismatch import corrected, mismatch_stats
from assay.models.policies.open_engine import verified
from assay.models.policies.stop_strings import Stopping
from assay.models.policies.weight_sync import SyncConfig, WeightSync
from assay.models.samplers.weight_files import rank_of


@pytest.fixture(scope="module")
def at(tmp_path_factory: Any) -> Path:
    return folder(tmp_path_factory.mktemp("engine") / "tiny", tied=True)


def served(at: Path, *, lora: int = 0, noise: float = 0.0, **how: Any) -> Any:
    engine = InMemory(at, words_of(at), noise=noise)
    fields = {k: how.pop(k) for k in list(how) if k in SyncConfig.__dataclass_fields__}
    return policy(at, engine, lora=lora, sync=WeightSync(engine, SyncConfig(**fields)), **how)


def drawn(of: Any, n: int = 3, key: int = 1) -> Samples:
    return of.sample(of.vocabulary.prompts(ASKS), n, Rng(key))


@pytest.mark.parametrize("lora", [0, pytest.param(4, marks=pytest.mark.full)])
def test_its_weights_follow_and_are_sent_once(at: Path, lora: int) -> None:
    if lora:
        pytest.importorskip("peft")
    reference = served(at, lora=lora, temperature=0.7, top_p=0.9)
    of = reference.copy()
    for k in range(3):
        moved(of, 0.1, seed=k)
        x = drawn(of)
        drawn(of, key=2)
        assert of.sync.updates == k + 1
        gap = (x.logp - x.extra[SAMPLER_LOGP]).abs()[x.mask].max()
        assert gap < 1e-4 and torch.allclose(of.logp(x), x.logp, atol=1e-4)
    y = drawn(reference)
    assert of.sync.updates == 4 and torch.allclose(reference.logp(y), y.logp, atol=1e-4)
    other = drawn(of.copy())
    assert of.sync.updates == 5 and other.present.all()


@pytest.mark.parametrize("lora", [0, pytest.param(4, marks=pytest.mark.full)])
def test_a_stale_engine_is_an_error_with_its_numbers(at: Path, lora: int) -> None:
    if lora:
        pytest.importorskip("peft")
    of = served(at, lora=lora).copy()
    drawn(of)
    of.engine.deaf = True
    moved(of, 0.2)
    with pytest.raises(InputError, match=r"after update 2: over 32 tokens .* nats apart on aver"):
        drawn(of)
    of.engine.deaf = False
    drawn(of)
    of.engine.model = of.engine._opened(at)  # as a server that was started again
    with pytest.raises(InputError, match="does not hold this policy's weights in a batch"):
        drawn(of)


@pytest.mark.full
def test_an_optimiser_s_step_is_a_change_and_so_is_a_state_that_is_loaded(at: Path) -> None:
    of = served(at).copy()
    drawn(of)
    opt = Loop(learning_rate=1e-2).optimiser(of)
    x = drawn(of)
    A = torch.randn(len(ASKS), 3, 1, generator=torch.Generator().manual_seed(0))
    update(opt, lambda rows, i: reinforce(of.logp(rows), A[i]), x, Loop(), Rng(0))
    drawn(of)
    assert of.sync.updates == 2
    of.load_state_dict({k: v.clone() for k, v in of.state_dict().items()})
    drawn(of)
    assert of.sync.updates == 3


@pytest.mark.full
def test_the_tolerance_is_said_and_can_be_raised(at: Path) -> None:
    with pytest.raises(InputError, match=r"and 0.001 at most is allowed"):
        drawn(served(at, noise=0.02).copy())
    x = drawn(served(at, noise=0.02, tolerance=0.5).copy())
    gap = (x.logp - x.extra[SAMPLER_LOGP]).abs()[x.mask]
    assert 1e-3 < gap.max() < 0.2
    with pytest.raises(InputError, match="is -1; give nats a token, at least 0"):
        SyncConfig(tolerance=-1.0)
    with pytest.raises(InputError, match="--sampler-correction is 'tis'; it is one of token_trunc"):
        SyncConfig(correction="tis")


@pytest.mark.full
def test_raw_log_probabilities_are_refused(at: Path) -> None:
    of = served(at, temperature=0.6).copy()
    of.engine.raw = True
    with pytest.raises(InputError, match="start it with --logprobs-mode processed_logprobs"):
        drawn(of)


@pytest.mark.parametrize(
    "mode", ["sequence_mask", pytest.param("token_truncate", marks=pytest.mark.full)]
)
def test_the_correction_moves_the_gradient_to_the_learner_s(at: Path, mode: str) -> None:
    """The mean gradient over many completions of an engine that errs, weighed and not, against that
    over the policy's own: the weighed one is nearer.
    """
    of = served(at, noise=0.8, tolerance=5.0, correction=mode, max_tokens=1).copy()
    plain = Stopping(of.backbone, of.vocabulary, max_tokens=1)
    n = 1500

    def gradient(x: Samples, correct: bool) -> torch.Tensor:
        reward = (x.action[..., 0] % 2).double()  # what is paid for: odd tokens
        A = (reward - reward.mean())[..., None]
        loss = lambda rows, i: reinforce(of.logp(rows), A)
        loss = corrected(loss, x) if correct else loss
        weights = [p for p in of.parameters() if p.requires_grad]
        value = (loss(x, None) * x.mask).sum() / x.mask.sum()
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, weights)])

    x, own = drawn(of, n), drawn(plain, n)
    truth = gradient(own, False)
    off, near = ((gradient(x, c) - truth).norm() for c in (False, True))
    assert near < 0.6 * off
    said = rollout_stats([(x, None)])
    assert 0.1 < said["sampling/sampling_logp_difference/mean"] < 1.5
    assert 0 < said["sampling/effective_sample_size"] < 0.99 and said["sampling/kl"] > 0.01
    assert 0 < said["sampling/frac_clipped"] < 0.3


def test_completions_of_the_policy_itself_are_left_alone(at: Path) -> None:
    of = served(at)
    plain = Stopping(of.backbone, of.vocabulary, max_tokens=6)
    x = drawn(plain)
    loss = lambda rows, i: rows.logp
    assert corrected(loss, x) is loss and mismatch_stats([x]) == {} and x.extra == {}
    assert not any(k.startswith("sampling/") for k in rollout_stats([(x, None)]))


def test_a_loss_of_pairs_is_left_alone_and_several_losses_are_each_weighed(at: Path) -> None:
    x = drawn(served(at).copy())
    x = replace(x, extra={**x.extra, IMPORTANCE: torch.full_like(x.logp, 0.5)})
    assert torch.equal(corrected(lambda rows, i: rows.logp, x)(x, None), 0.5 * x.logp)
    both = corrected(lambda rows, i: [lambda: rows.logp, lambda: rows.logp.sum(-1)], x)(x, None)
    assert torch.equal(both[0](), 0.5 * x.logp) and torch.equal(both[1](), x.logp.sum(-1))


def test_batches_of_different_lengths_are_joined(at: Path) -> None:
    of = served(at).copy()
    x = drawn(of)
    y = of.sample(of.vocabulary.prompts(ASKS[:1]), 3, Rng(9))
    y = replace(y, **{k: getattr(y, k)[..., :2] for k in ("action", "mask", "given", "logp")})
    y = replace(y, extra={k: v[..., :2] for k, v in y.extra.items()})
    both = cat([x, y])
    assert {both.extra[k].shape for k in (SAMPLER_LOGP, IMPORTANCE, CLIPPED)} == {both.mask.shape}
    assert torch.equal(both.extra[SAMPLER_LOGP][-1, :, :2], y.extra[SAMPLER_LOGP][0])


@pytest.mark.full
def test_completions_that_go_on_from_others_weigh_one(at: Path) -> None:
    of = served(at).copy()
    x = drawn(of, 2)
    start = replace(x, ended=torch.zeros_like(x.ended))
    y = of.sample(x.prompts, 2, Rng(3), start)
    assert torch.equal(y.extra[SAMPLER_LOGP], y.logp)
    assert torch.equal(y.extra[IMPORTANCE], torch.ones_like(y.logp))


def test_an_engine_that_a_killed_run_left_is_given_the_model_s_weights(
    at: Path, caplog: Any
) -> None:
    reference = served(at)
    other = served(at).copy()
    moved(other, 0.5)
    reference.engine.model = other.backbone.model
    verified(reference, reference.vocabulary.prompts(ASKS))
    assert "holds other weights than --model, and is given those" in caplog.text
    x = drawn(reference)
    assert (x.logp - x.extra[SAMPLER_LOGP]).abs()[x.mask].max() < 1e-4


@pytest.mark.full
def test_old_weights_are_removed_and_a_folder_may_be_named(at: Path, tmp_path: Path) -> None:
    of = served(at, folder=str(tmp_path)).copy()
    for k in range(3):
        moved(of, seed=k)
        drawn(of)
    homes = list(tmp_path.iterdir())
    assert len(homes) == 1 and len(list(homes[0].iterdir())) == 1
    with pytest.raises(InputError, match="there is no such folder"):
        drawn(served(at, folder=str(tmp_path / "none")).copy())


@pytest.mark.full
def test_adapters_that_vllm_does_not_take_are_refused(at: Path) -> None:
    pytest.importorskip("peft")
    assert rank_of(served(at, lora=4).backbone) == 4 and rank_of(served(at).backbone) == 0
    backbone = served(at, lora=4).backbone
    backbone.config.use_dora = True
    with pytest.raises(InputError, match="the adapter has use_dora, which vLLM does not take"):
        rank_of(backbone)
