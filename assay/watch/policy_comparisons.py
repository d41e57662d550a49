"""Comparisons of a run's policies, sampled on fresh prompts.

Kept policies lie in the run's folder, one file `kept-STEP.safetensors` each, so that a resumed run
finds those that its state names. Files that no state names are deleted after the next save.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from assay.core import Missing, Prompts, PromptTexts, Rng, Samples, Task
from assay.engine import progress
from assay.engine.parallel import barrier, meter, rank
from assay.engine.shards import gathered
from assay.models.backbones.copies import copied, state_to_keep
from assay.records.states import load_state, save_state
from assay.watch.ahead import Draw
from assay.watch.comparisons import Comparison
from assay.watch.completions import free_stats, one_completion, side_by_side, texts_of

_AT_ONCE = 64  # comparisons that are sampled ahead in one batch


class PolicyComparisons:
    """A `ComparisonSource` of the policies of one run; it `SamplesAhead`.

    Args:
        task: The run's task: its reference and its rewards.
        prompts: The prompts to sample from.
        again: True if these are all prompts there are: each comparison draws one, evenly and
            independently. False if each prompt is used once, in a random order.
        rng: Draws prompts and completions, by address.
        folder: The run's folder; None keeps policies in memory.
        own: True if policies are kept and deleted here; False to read those that the run has kept
            with --policies.
        scored: Whether the reward models score both completions.
    """

    def __init__(
        self,
        task: Task,
        prompts: Prompts,
        *,
        again: bool,
        rng: Rng,
        folder: Path | None,
        own: bool = True,
        scored: bool = True,
    ):
        self.task, self.prompts, self.again = task, prompts, again
        self.rng, self.folder, self.own, self.scored = rng, folder, own, scored
        self.order = rng("watch")("prompts").permutation(len(prompts))
        self.policy: Any = None
        self._kept: dict[int, dict[str, Any]] = {}  # in memory where there is no folder
        self._loaded: dict[int, Any] = {}
        self._seen: list[Samples] = []
        self._ahead: dict[Draw, tuple[Comparison, Samples]] = {}

    def begin(self, policy: Any) -> None:
        """Begin a look.

        Args:
            policy: The current policy.
        """
        self.policy, self._seen, self._ahead = policy, [], {}

    def prompts_left(self, used: int) -> int | None:
        """See `ComparisonSource`."""
        return None if self.again else len(self.prompts) - used

    def sample(
        self, step: int, policy: int, other: int, at: int, n: int, used: int
    ) -> list[Comparison]:
        """See `ComparisonSource`. A completion depends on its address alone, not on n."""
        wanted = [Draw(other, at + i, used + i) for i in range(n)]
        if policy == step and all(d in self._ahead for d in wanted):
            found = [self._ahead.pop(d) for d in wanted]
        else:
            found = self._sampled(step, policy, wanted)
        if policy == step:
            self._seen += [first for _, first in found]
        return [comparison for comparison, _ in found]

    def sample_ahead(self, step: int, draws: Sequence[Draw]) -> None:
        """See `SamplesAhead`. Each of the other policies is loaded once."""
        groups: dict[int, list[Draw]] = defaultdict(list)
        for d in draws:
            groups[d.other].append(d)
        self._ahead = {}
        for own in groups.values():
            for start in range(0, len(own), _AT_ONCE):
                some = own[start : start + _AT_ONCE]
                self._ahead |= zip(some, self._sampled(step, step, some), strict=True)

    def _sampled(
        self, step: int, policy: int, draws: Sequence[Draw]
    ) -> list[tuple[Comparison, Samples]]:
        """Sample comparisons with one other policy; beside each, the first policy's completion."""
        rng, other = self.rng("watch", step), draws[0].other
        places = torch.tensor([d.at for d in draws])
        prompts = self.prompts[self._rows(rng, places, torch.tensor([d.used for d in draws]))]
        sides = (("mine", policy), ("theirs", other))
        with (
            meter.lifted(),
            torch.no_grad(),
            progress.stage(f"sampling {len(draws)} comparisons"),
        ):
            first, second = (
                one_completion(
                    self._policy(which, step).sample(prompts, 1, rng(side)[places]),
                    rng(f"{side} of many")[places],
                )
                for side, which in sides
            )
            scores = self._scores(first, second) if self.scored else []
        both = side_by_side(first, second)
        asked, texts = texts_of(both)
        columns, messages = _beside(prompts)
        return [
            (
                Comparison(
                    prompt=asked[b],
                    completion=texts[b][0],
                    other=texts[b][1],
                    scores=scores[b] if scores else None,
                    columns=columns[b],
                    messages=messages[b],
                    samples=both[b : b + 1].pick(torch.tensor([[0, 1]])),
                    swapped=both[b : b + 1].pick(torch.tensor([[1, 0]])),
                ),
                first[b : b + 1],
            )
            for b in range(len(draws))
        ]

    def _rows(self, rng: Rng, places: Int[Tensor, "n"], used: Int[Tensor, "n"]) -> Tensor:
        """The rows of the prompts."""
        if self.again:
            return rng("prompt").integers(len(self.prompts), places)
        return self.order[used]

    def keep(self, step: int) -> None:
        """Copy the current policy, to disk before anything names it."""
        if not self.own:
            return
        state = state_to_keep(self.policy)
        if self.folder is None:
            self._kept[step] = copied(state)
        else:
            state = gathered(state, first=rank() == 0)
            if rank() == 0:
                save_state(self.folder, self._path(step), state, step)
        barrier()

    def forget(self, but: Collection[int]) -> None:
        """Delete the kept policies of all steps but these."""
        self._kept = {k: v for k, v in self._kept.items() if k in but}
        if self.folder is not None and self.own and rank() == 0:
            stay = {self._path(step) for step in but}
            for path in set(self.folder.glob("kept-*.safetensors")) - stay:
                path.unlink()

    def kept(self, step: int) -> Any:
        """The policy that was kept at a step; the reference at 0."""
        return self._policy(step, -1)

    def stats(self) -> dict[str, float]:
        """See `ComparisonSource`."""
        return free_stats(self._seen)

    def _path(self, step: int) -> Path:
        assert self.folder is not None
        name = f"kept-{step}.safetensors" if self.own else f"policies/{step}.safetensors"
        return self.folder / name

    def _policy(self, step: int, now: int) -> Any:
        """The policy of a step: the current one, the reference, or a kept one.

        The last two that were loaded stay in memory.
        """
        if step in (0, now):
            return self.policy if step else self.task.reference
        if step not in self._loaded:
            kept = (
                self._kept[step]
                if self.folder is None
                else load_state(self.folder, self._path(step), step=step)
            )
            policy = self.policy.copy()
            policy.load_state_dict(kept)
            self._loaded = {**dict(list(self._loaded.items())[-1:]), step: policy}
        return self._loaded[step]

    def _scores(self, first: Samples, second: Samples) -> list[tuple[list[float], list[float]]]:
        """The reward models' scores of either side; [] without reward models."""
        try:
            a, b = self.task.rewards(first)[:, :, 0], self.task.rewards(second)[:, :, 0]  # [M,B]
        except Missing:
            return []
        both = torch.isfinite(a) & torch.isfinite(b)  # leaves out a reward that does not apply
        return [(a[both[:, i], i].tolist(), b[both[:, i], i].tolist()) for i in range(a.shape[1])]


def _beside(prompts: Prompts) -> tuple[list[dict[str, Any]], list[list[dict[str, str]] | None]]:
    """Columns and messages of each prompt; a prompt of a world without a file has its row alone."""
    rows = prompts.row.tolist()
    if not isinstance(prompts.decode, PromptTexts):
        return [{"row": row} for row in rows], [None] * len(rows)
    read = prompts.decode
    columns = [
        {"row": row, **cells} for row, cells in zip(rows, read.columns_of(rows), strict=True)
    ]
    return columns, list(read.messages_of(rows))
