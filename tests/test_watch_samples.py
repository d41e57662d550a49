"""What the watch compares: prompts once each, and one completion of a weighted pool."""

from __future__ import annotations

from dataclasses import replace

import torch


def test_prompts_that_say_the_same_are_one_prompt() -> None:
    from assay.watch.prompts import unique_prompts
    from assay.worlds.arithmetic import VOCABULARY

    said = VOCABULARY.prompts(["3 + 5 :", "2 + 2 :", "3 + 5 :", "9 + 1 :"])
    assert unique_prompts(said).text() == ["3 + 5 :", "2 + 2 :", "9 + 1 :"]
    assert len(unique_prompts(replace(said, decode=None))) == 4, (
        "without words nothing can be said twice"
    )


def test_a_weighted_pool_is_drawn_from_by_its_weights() -> None:
    """The watch compares one completion of best-of-n, which is the best of n with the right
    chance.
    """
    from assay.core import Rng
    from assay.models.policies.table import TablePolicy
    from assay.models.samplers.best_of_n import BestOfN, Pool
    from assay.watch.completions import one_completion

    policy = TablePolicy(torch.zeros(1, 4))
    best = BestOfN(Pool(policy, lambda x: x.action[..., 0].float(), 16), 4)
    asked = policy.prompts(torch.zeros(4000, dtype=torch.long))
    got = one_completion(best.sample(asked, 1, Rng(1)), Rng(2))
    share = (got.action == 3).float().mean()
    assert got.mask.shape[1] == 1 and abs(float(share) - (1 - 0.75**4)) < 0.03
