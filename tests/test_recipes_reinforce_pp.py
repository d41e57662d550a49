"""REINFORCE++: the normalisation takes a constant out of the reward, its control does not."""

from __future__ import annotations

from typing import Any

import pytest
from small import small_world
from test_contract import drive

from assay.recipes import reinforce_pp


@pytest.mark.parametrize("whitened", [True, False])
def test_a_constant_in_the_reward_counts_without_normalisation(
    whitened: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"whitened": whitened, "beta": 0.0}
    plain = [r["kl"] for r in drive(reinforce_pp, small_world(reinforce_pp), arguments)]
    bare = reinforce_pp.proxy_score

    def raised(*given: Any) -> Any:
        score = bare(*given)
        return lambda x: score(x) + 3.0

    monkeypatch.setattr(reinforce_pp, "proxy_score", raised)
    more = [r["kl"] for r in drive(reinforce_pp, small_world(reinforce_pp), arguments)]
    assert max(plain) > 0 and (more == pytest.approx(plain, abs=1e-9)) is whitened
