"""Where answers share parameters, DPO moves what no pair contains: the test bed of RPO's paper,
made small.

200 answers, 12 features each; the pairs compare 20 of them. The likelihood of the chosen falls and
mass flows to answers that nobody compared; imitation of the chosen keeps it. In a table without
shared features neither happens.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from assay.core import Carry, Loop, Pairs, Policy, Prompts, Samples, Step, Task
from assay.core.rng import Rng
from assay.recipes import dpo, regularised_preference, reward_distillation

ANSWERS, SEEN, FEATURES, PAIRS = 200, 20, 12, 60


class Featured(nn.Module):
    """π(y) = softmax over answers of features · θ, one decision an answer."""

    kl_kind = "exact"

    def __init__(self, features: Tensor, weight: Tensor):
        super().__init__()
        self.features = features
        self.weight = nn.Parameter(weight.clone())

    def copy(self) -> Featured:
        return Featured(self.features, self.weight.detach())

    def log_probs(self) -> Tensor:
        return (self.features @ self.weight).log_softmax(0)

    def logp(self, samples: Samples) -> Tensor:
        return torch.where(samples.mask, self.log_probs()[samples.action], 0.0)

    def sample(self, prompts: Prompts, n: int, rng: Rng, start: Any = None) -> Samples:
        u = rng.uniform(torch.arange(len(prompts))[:, None], torch.arange(n)[None, :])
        action = torch.searchsorted(self.log_probs().exp().cumsum(0), u.double()).clamp(
            max=ANSWERS - 1
        )[:, :, None]
        mask = torch.ones_like(action, dtype=torch.bool)
        return Samples(
            prompts, action, mask, ~mask, self.log_probs().detach()[action], mask.any(-1)
        )

    def _not_asked(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("an offline recipe has no use for this")

    kl = walk = scorer = encode = _not_asked


def scene(seed: int, *, shared: bool = True) -> tuple[Task, Tensor]:
    """A task of noisy pairs among the first SEEN answers, and the gold of every answer: worth on
    the seen, low elsewhere.
    """
    rng = Rng(seed)
    a, f = torch.arange(ANSWERS), torch.arange(FEATURES)
    features = (
        rng("features").normal(a[:, None], f[None, :]).double()
        if shared
        else torch.eye(ANSWERS, dtype=torch.float64)
    )
    worth = torch.where(a < SEEN, rng("worth").normal(a).double(), -1.0)
    reference = Featured(
        features, torch.zeros(features.shape[1], dtype=torch.float64)
    ).requires_grad_(False)
    b = torch.arange(PAIRS)
    first = rng("first").integers(SEEN, b)
    second = (first + 1 + rng("second").integers(SEEN - 1, b)) % SEEN
    wins = rng("label").uniform(b).double() < torch.sigmoid(worth[first] - worth[second])
    action = torch.stack([torch.where(wins, first, second), torch.where(wins, second, first)], 1)[
        :, :, None
    ]
    mask = torch.ones_like(action, dtype=torch.bool)
    one = torch.ones(PAIRS, 1, dtype=torch.int64)
    prompts = Prompts(one, one.bool(), torch.zeros(PAIRS, dtype=torch.int64))
    pairs = Pairs(
        prompts,
        action,
        mask,
        ~mask,
        torch.zeros(PAIRS, 2, 1),
        mask.any(-1),
        p=torch.ones(PAIRS),
        margin=torch.zeros(PAIRS),
    )
    assert isinstance(reference, Policy)
    return Task(
        prompts=prompts, reference=reference, pairs=pairs, carry=Carry(), rng=Rng(seed)("run")
    ), worth


def trained(module: Any, task: Task, worth: Tensor, **arguments: Any) -> tuple[float, float, float]:
    """(mass on completions outside all pairs, mean log-prob of the chosen, gold) at the end."""
    loop = Loop(max_steps=60, batch_size=PAIRS, learning_rate=0.1)
    *_, last = module.recipe(task.replaced(carry=Carry()), **arguments, loop=loop)
    assert isinstance(last, Step)
    p = last.policy.log_probs().detach().exp()  # type: ignore[union-attr]
    seen = torch.unique(task.pairs.action)
    return 1 - float(p[seen].sum()), last.stats["logps/chosen"], float((p * worth).sum())


@pytest.mark.parametrize("seed", range(2))
def test_imitation_keeps_what_dpo_gives_away(seed: int) -> None:
    task, worth = scene(seed)
    start = float(task.reference.logp(task.pairs)[:, 0].mean())
    unseen, chosen, gold = trained(dpo, task, worth, beta=0.1)
    assert unseen > 0.7
    assert chosen < start, "the chosen answers' own likelihood falls while the margins grow"
    for eta in (0.5, 2.0, 10.0):  # a range of weights, not one that was looked for
        kept, risen, better = trained(regularised_preference, task, worth, beta=0.1, eta=eta)
        assert kept < unseen
        assert risen > chosen
        assert better > gold
    assert risen > start


def test_pessimism_holds_on_to_the_reference_instead() -> None:
    task, _ = scene(0)
    *_, last = reward_distillation.recipe(
        task,
        binary=True,
        beta=0.1,
        gamma=10.0,
        loop=Loop(max_steps=30, batch_size=PAIRS, learning_rate=0.1),
    )
    p = last.policy.log_probs().detach().exp()
    assert 1 - float(p[torch.unique(task.pairs.action)].sum()) == pytest.approx(
        1 - SEEN / ANSWERS, abs=0.1
    )


def test_without_shared_features_nothing_unseen_gains() -> None:
    """A pair's gradient on separate logits is e_w − e_l: other completions' logits never move."""
    task, worth = scene(0, shared=False)
    unseen, _, _ = trained(dpo, task, worth, beta=0.1)
    assert unseen < 1 - SEEN / ANSWERS
