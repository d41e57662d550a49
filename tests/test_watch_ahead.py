"""A look that is sampled at once compares what a look in parts compares, and buys no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from assay.core import Rng
from assay.watch.ahead import SamplesAhead, draws_of, others_of
from assay.watch.policy_comparisons import PolicyComparisons
from assay.worlds import table


def _source(folder: Path) -> tuple[PolicyComparisons, Any]:
    world = table.world(seed=1)
    task = world.task
    made = PolicyComparisons(task, task.prompts, again=True, rng=Rng(3), folder=folder)
    policy = task.reference.copy()
    for step in (4, 8, 12):
        with torch.no_grad():
            for w in policy.parameters():
                w += 0.1 * step * torch.arange(w.numel()).view_as(w).sin()
        made.begin(policy)
        made.keep(step)
    return made, policy


@pytest.mark.parametrize("group", [1, 3])
def test_parts_of_a_look_are_the_same_whether_sampled_ahead_or_not(
    group: int, tmp_path: Path
) -> None:
    source, policy = _source(tmp_path)
    assert isinstance(source, SamplesAhead)
    rng, stretch, n, part = Rng(5), [0, 4, 8], 18, 4
    draws = draws_of(stretch, rng, n, part=part, group=group, used=7)
    assert len(draws) == n * group and {d.other for d in draws} == set(stretch)

    def look(*, ahead: bool) -> tuple[list[Any], dict[str, float], int]:
        source.begin(policy)
        if ahead:
            source.sample_ahead(12, draws)
        found, passes, used, own = [], 0, 7, source._sampled

        def counted(*a: Any) -> Any:
            nonlocal passes
            passes += 1
            return own(*a)

        source._sampled = counted  # type: ignore[method-assign]
        for at in range(0, n, part):
            others = others_of(stretch, rng, at, min(part, n - at))
            for i, other in enumerate(sorted(set(others))):
                before = sum(others.count(o) for o in sorted(set(others))[:i])
                m = others.count(other) * group
                place = (at + before) * group
                found += source.sample(12, 12, other, place, m, used + place)
        source._sampled = own  # type: ignore[method-assign]
        said = [(c.prompt, c.completion, c.other, c.scores, c.columns) for c in found]
        return said, source.stats(), passes

    in_parts, stats, passes = look(ahead=False)
    at_once, same, none = look(ahead=True)
    assert at_once == in_parts and len(in_parts) == n * group
    assert same == pytest.approx(stats)
    assert passes > 5 and none == 0


def test_what_is_sampled_ahead_and_not_asked_for_says_nothing(tmp_path: Path) -> None:
    source, policy = _source(tmp_path)
    source.begin(policy)
    source.sample_ahead(12, draws_of([0, 4], Rng(5), 8, part=4, group=1, used=0))
    assert source.stats() == {}
    source.begin(policy)  # the next look does not see it
    assert source._ahead == {}
