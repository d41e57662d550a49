"""Two policies' answers to prompts that nobody was asked about before: the watch's door to a run
that `measure` drives.

Kept policies lie in the run's folder, `kept-STEP.safetensors`, one file each, so that a resumed run
finds the one its state speaks of; those that no state speaks of any more are deleted after the next
save.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assay.core import Missing, Prompts, Rng, Samples, Task
from assay.engine import checkpoint as disk
from assay.engine.parallel import barrier, meter, rank
from assay.errors import InputError
from assay.watch.labelers.choose import labeler
from assay.watch.ledger import Ledger
from assay.watch.session import Drawn, Watch, Watching


class Contest:
    """`pool`: the prompts. `again`: they are all the prompts there are, so each is drawn afresh
    every time, evenly and independently; else each is used once, in an order of its own, and they
    may run out. `own`: policies are kept here and deleted here; else those that the run has kept of
    itself (--policies) are read.
    """

    def __init__(
        self,
        task: Task,
        pool: Prompts,
        *,
        again: bool,
        rng: Rng,
        folder: Path | None,
        own: bool = True,
    ):
        self.task, self.pool, self.again, self.rng, self.folder, self.own = (
            task,
            pool,
            again,
            rng,
            folder,
            own,
        )
        self.order = rng("watch")("prompts").permutation(len(pool))
        self.policy: Any = None
        self._kept: dict[int, dict[str, Any]] = {}  # in memory where there is no folder
        self._loaded: dict[int, Any] = {}
        self._seen: list[Samples] = []

    def at(self, policy: Any) -> None:
        """The policy of this look."""
        self.policy, self._seen = policy, []

    def left(self, used: int) -> int | None:
        """Prompts that nobody was asked about; None where they never run out."""
        return None if self.again else len(self.pool) - used

    def draw(self, step: int, mine: int, theirs: int, at: int, n: int, used: int) -> list[Drawn]:
        """n comparisons at places at … at+n of this step's; an answer is a function of its address,
        however many are drawn.
        """
        places, rng = torch.arange(at, at + n), self.rng("watch", step)
        rows = (
            rng("prompt").integers(len(self.pool), places)
            if self.again
            else self.order[used : used + n]
        )
        asked = self.pool[rows]
        with meter.lifted(), torch.no_grad():
            one, other = (
                _one(policy.sample(asked, 1, rng(side)[places]), rng(f"{side} of many")[places])
                for side, policy in (
                    ("mine", self._of(mine, step)),
                    ("theirs", self._of(theirs, step)),
                )
            )
            scores = self._scores(one, other)
        if mine == step:
            self._seen.append(one)
        both = _beside(one, other)
        prompts, texts = _texts(both)
        return [
            Drawn(
                prompts[b],
                texts[b][0],
                texts[b][1],
                scores[b] if scores else None,
                {"row": int(rows[b])},
                both[b : b + 1].pick(torch.tensor([[0, 1]])),
                both[b : b + 1].pick(torch.tensor([[1, 0]])),
            )
            for b in range(n)
        ]

    def keep(self, step: int) -> None:
        """A copy of this look's policy, on disk before anything speaks of it."""
        if not self.own:
            return
        state = {
            k: v.detach().clone() if isinstance(v, Tensor) else v
            for k, v in self.policy.state_dict().items()
        }
        if self.folder is None:
            self._kept[step] = state
        elif rank() == 0:
            disk.save(self._place(step), state)
        barrier()

    def forget(self, but: Collection[int]) -> None:
        """Delete the kept policies of other steps than these."""
        self._kept = {k: v for k, v in self._kept.items() if k in but}
        if self.folder is not None and self.own and rank() == 0:
            for path in set(self.folder.glob("kept-*.safetensors")) - {
                self._place(step) for step in but
            }:
                path.unlink()

    def kept(self, step: int) -> Any:
        """The policy kept at a step; the reference at 0."""
        return self._of(step, -1)

    def _place(self, step: int) -> Path:
        assert self.folder is not None
        return self.folder / (
            f"kept-{step}.safetensors" if self.own else f"policies/{step}.safetensors"
        )

    def stats(self) -> dict[str, float]:
        """Of the current policy's answers at this look: nats a decision (−log π of what it chose),
        and the share of decisions that repeat one of the same answer's own.
        """
        seen = [x for x in self._seen if bool(x.mask.any())]
        if not seen:
            return {}
        nats = sum(float(-x.logp[x.mask].sum()) for x in seen) / sum(
            int(x.mask.sum()) for x in seen
        )
        again = [
            1 - len(set(a[k].tolist())) / int(k.sum())
            for x in seen
            if x.action.dim() == 3
            for a, k in zip(x.action[:, 0], x.mask[:, 0])
            if bool(k.any())
        ]
        return {
            **({"entropy": nats} if nats == nats else {}),
            **({"repetition": sum(again) / len(again)} if again else {}),
        }

    def _of(self, step: int, now: int) -> Any:
        """The policy of a step: the current one, the reference, or a kept one; the last two that
        were loaded are at hand.
        """
        if step in (0, now):
            return self.policy if step else self.task.reference
        if step not in self._loaded:
            state = self._kept[step] if self.folder is None else disk.load(self._place(step))
            policy = self.policy.copy()
            policy.load_state_dict(state)
            self._loaded = {**dict(list(self._loaded.items())[-1:]), step: policy}
        return self._loaded[step]

    def _scores(self, mine: Samples, theirs: Samples) -> list[tuple[list[float], list[float]]]:
        try:
            a, b = self.task.rewards(mine)[:, :, 0], self.task.rewards(theirs)[:, :, 0]  # [M,B]
        except Missing:
            return []
        both = torch.isfinite(a) & torch.isfinite(b)  # a judge that does not apply has no say
        return [(a[both[:, i], i].tolist(), b[both[:, i], i].tolist()) for i in range(a.shape[1])]


def watched(
    asked: Watching,
    task: Task,
    *,
    population: Prompts | None,
    held_out: Prompts,
    gold: Callable[..., Tensor] | None,
    ledger: Ledger,
    seed: int,
    looks: int,
    folder: Path | None,
    again: str,
    own: bool = True,
) -> tuple[Watch, Contest]:
    """A run's watch and its door. `again`: the command that goes on with the run; `own`: see
    Contest.
    """
    rng = Rng(seed)
    pool = (
        _given(asked.prompts, task)
        if asked.prompts
        else _once(held_out)
        if population is None
        else population
    )
    contest = Contest(
        task,
        pool,
        again=population is not None and not asked.prompts,
        rng=rng,
        folder=folder,
        own=own,
    )
    by = labeler(
        asked.by,
        gold=gold,
        folder=folder,
        again=again,
        model=asked.model,
        rate=asked.rate,
        timeout=asked.timeout,
        tries=asked.tries,
        at_once=asked.at_once,
    )
    return Watch(contest, ledger, by, rng, asked, looks), contest


def _once(prompts: Prompts) -> Prompts:
    """Without those that say what an earlier one says: two labels of one prompt are not two
    prompts.
    """
    try:
        texts = prompts.text()
    except Missing:
        return prompts
    first = {text: i for i, text in reversed(list(enumerate(texts)))}
    return prompts if len(first) == len(texts) else prompts[torch.tensor(sorted(first.values()))]


def _given(file: str, task: Task) -> Prompts:
    """Prompts of a text file, one a line. Raises InputError where there is none."""
    path = Path(file)
    if not path.is_file():
        raise InputError(
            f"there is no file {file}; --watch.prompts is a text file of fresh prompts, one a line"
        )
    try:
        lines = [
            line.strip()
            for line in path.read_text(encoding="utf-8-sig").splitlines()
            if line.strip()
        ]
    except UnicodeDecodeError as why:
        raise InputError(
            f"{file} is not UTF-8 text (byte {why.start}); save it as UTF-8, one prompt a line"
        ) from why
    if not lines:
        raise InputError(
            f"{file} holds no prompt; --watch.prompts is a text file of fresh prompts, one a line"
        )
    if len(set(lines)) < len(lines):
        twice = next(line for i, line in enumerate(lines) if line in lines[:i])
        raise InputError(
            f"{file} holds '{twice[:60]}' twice, and a prompt is used once; leave one of the two "
            "out"
        )
    return replace(
        task.reference.encode(lines, [[""] for _ in lines]).prompts, row=torch.arange(len(lines))
    )


def can_be_watched(policy: Any, flag: str = "--watch") -> None:
    """Raises InputError for a policy that cannot be kept and set against another: a sampler without
    parameters.
    """
    if not all(hasattr(policy, name) for name in ("state_dict", "load_state_dict", "copy")):
        raise InputError(
            f"{flag} keeps policies, and a {type(policy).__name__} has no parameters to keep; "
            "it is for recipes that train one policy"
        )


def _one(x: Samples, rng: Rng) -> Samples:
    """One answer a prompt: the only one, or of a weighted pool (best-of-n, particles) one by its
    weight.
    """
    if x.mask.shape[1] == 1 and "weight" not in x.extra:
        return x
    weight = x.weight.double().cumsum(1)
    u = rng.uniform(torch.arange(len(x)), dtype=torch.float64)[:, None] * weight[:, -1:]
    return x.pick((weight <= u).sum(1, keepdim=True).clamp(max=weight.shape[1] - 1))


def _beside(mine: Samples, theirs: Samples) -> Samples:
    """Samples with N = 2, mine first."""
    T = max(mine.mask.shape[2], theirs.mask.shape[2])
    mine, theirs = mine.widened(T), theirs.widened(T)

    def two(name: str) -> Tensor:
        return torch.cat([getattr(mine, name), getattr(theirs, name)], 1)

    shared = {
        k: torch.cat([v, theirs.extra[k]], 1)
        for k, v in mine.extra.items()
        if k in theirs.extra and k != "weight"
    }
    return Samples(
        mine.prompts, two("action"), two("mask"), two("given"), two("logp"), two("ended"), shared
    )


def _texts(both: Samples) -> tuple[list[str], list[list[str]]]:
    """Prompts and answers as text; where the world has no words, the numbers that were drawn."""
    try:
        return both.prompts.text(), both.text()
    except Missing:
        return (
            [f"prompt {r}" for r in both.prompts.row.tolist()],
            [
                [str(a[k].tolist()) for a, k in zip(ab, kb)]
                for ab, kb in zip(both.action, both.mask)
            ],
        )
