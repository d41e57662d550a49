"""One reading: sample a policy on held-out prompts, and measure gold, proxy, reward models and KL,
with errors. It costs the run nothing.

Every mean is over prompts, of each prompt's weighted mean over its completions. Its error is
clustered by prompt, or over completions where there is one prompt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Missing, Rng, Samples, Step, World
from assay.engine import progress
from assay.engine.parallel import meter
from assay.errors import InputError, NotFinite
from assay.loops.missing import scores_and_missing, without_missing


def mean_and_error(
    values: Float[Tensor, "B N"], weight: Float[Tensor, "B N"]
) -> tuple[float | None, float | None]:
    """Return a weighted mean over prompts and its standard error.

    Rows count as independent prompts, also where a world holds the same context in several. With
    one row, weights count as fixed, which is too small an error for the ranks of a best-of-n pool.

    Args:
        values: `[B,N]`; NaN does not apply, and is left out.
        weight: `[B,N]`; 0 where a completion is absent.

    Returns:
        (mean, standard error). The mean of nothing is None; the error is None where one completion
        leaves nothing to estimate it from.
    """
    weight = torch.where(torch.isnan(values), weight.new_zeros(()), weight).double()
    values = torch.where(weight > 0, values, values.new_zeros(())).double()
    some = weight.sum(1) > 0
    if not bool(some.any()):
        return None, None
    values, weight = values[some], weight[some]
    each = (weight * values).sum(1) / weight.sum(1)  # [B]
    mean = float(each.mean())
    if len(each) > 1:
        return mean, float(each.std() / math.sqrt(len(each)))
    if int((weight > 0).sum()) < 2:
        return mean, None
    share = weight[0] / weight[0].sum()
    squares = share.square()
    return mean, math.sqrt(
        float((squares * (values[0] - mean).square()).sum() / (1 - squares.sum()))
    )


def described(world: World) -> dict[str, Any]:
    """Return what a record says of a world.

    Args:
        world: Any world.

    Returns:
        The entries golds, gold_kind, rewards and replayable of records.schema.RunRecord.
    """
    return {
        "golds": [] if world.gold is None else list(world.golds),
        "gold_kind": None if world.gold is None else world.gold_kind,
        "rewards": reward_names(world.task),
        "replayable": bool(getattr(world.task.reference, "replayable", True)),
    }


def reward_names(task: Any) -> list[str]:
    """Return the names of a task's reward models; [] where it has none."""
    try:
        return list(task.rewards.names)
    except Missing:
        return []


class Reader:
    """Reads policies on a world's held-out prompts.

    Args:
        world: Gives the prompts, gold and facts.
        task: Gives the reference and the reward models.
        eval_generations: Completions a prompt.
        log_completions: Prompts whose completions are returned.
    """

    def __init__(self, world: World, task: Any, *, eval_generations: int, log_completions: int):
        self.world, self.task = world, task
        self.eval_generations, self.log_completions = eval_generations, log_completions
        self._memo: tuple[Any, Any, Any] | None = None

    def _scores(self, x: Samples) -> tuple[Tensor | None, Tensor | None]:
        """Rewards [M,B,N] and golds [K,B,N]; a pool that is read at many n is scored once."""
        if self._memo is not None and self._memo[0] is x.action:
            return self._memo[1], self._memo[2]
        try:
            rewards = self.task.rewards(x)
        except Missing:
            rewards = None
        golds = None if self.world.gold is None else self.world.gold(x)
        bad = 0 if golds is None else int((~torch.isfinite(golds[:, x.present])).sum())
        if bad:
            # a user's function may return None: that is theirs to mend
            theirs = self.world.gold_kind == "function"
            raise (InputError if theirs else NotFinite)(
                f"gold of world {self.world.name} ({', '.join(self.world.golds)}) is no finite "
                f"number for {bad} of {int(x.present.sum())} completions, and a mean over the rest "
                "is another quantity; return a number for every completion, or leave such prompts "
                "out"
            )
        self._memo = (x.action, rewards, golds)
        return rewards, golds

    def __call__(self, step: Step, rng: Rng) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Read one policy.

        Args:
            step: The policy, and the proxy that it optimises.
            rng: The address of the completions.

        Returns:
            (line, rows): the measured part of a Reading, and CompletionRows without step and tag.

        Raises:
            InputError: The Step has no policy, or a gold function returns None.
            NotFinite: Gold is not finite, or a prompt got no completion.
        """
        sampler = step.policy
        if sampler is None:
            raise InputError("this Step has no policy, so it cannot be read")
        with progress.stage("reading"), meter.lifted(), torch.no_grad():
            x, kl, kl_kind = self._drawn(sampler, rng)
            if not bool(x.present.any(1).all()):
                raise NotFinite("the policy gave no completion for some held-out prompt")
            w = x.weight
            rewards, golds = self._scores(x)
            proxy = None if step.reward is None else self._proxy(step.reward, x)
            if rewards is not None and bool(torch.isnan(rewards[:, x.present]).all()):
                proxy = None  # a recipe's own constant is no measurement either
            facts = {} if self.world.facts is None else self.world.facts(sampler)
        line: dict[str, Any] = {
            "n": int(x.present.sum()),
            "kl_kind": kl_kind,
            "cost": getattr(sampler, "cost", {"generated": 1, "scored": 0}),
        }
        line["kl"], line["kl_err"] = (None, None) if kl is None else mean_and_error(kl, w)
        if kl_kind == "exact":
            line["kl_err"] = 0.0
        line["proxy"], line["proxy_err"] = (
            (None, None) if proxy is None else mean_and_error(proxy, w)
        )
        both = [] if rewards is None else [mean_and_error(r, w) for r in rewards]
        line["rewards"], line["rewards_err"] = (
            ([m for m, _ in both], [e for _, e in both]) if both else (None, None)
        )
        line["golds"] = None if golds is None else [mean_and_error(g, w)[0] for g in golds]
        line["gold"], line["gold_err"] = (
            (None, None) if golds is None else mean_and_error(golds[0], w)
        )
        length, _ = mean_and_error(x.lengths.to(w), w)
        truncated, _ = mean_and_error((~x.ended).to(w), w)
        line["stats"] = {
            "read/length": length,
            "read/truncated": truncated,
            **self._scored(rewards, x),
            **{f"exact/{k}": v for k, v in facts.items()},
        }
        return line, self._kept(x, w, rewards, golds, proxy)

    @staticmethod
    def _proxy(score: Callable[[Samples], Tensor], x: Samples) -> Tensor:
        """The proxy's scores, NaN where training fills them in because no reward applies."""
        return without_missing(*scores_and_missing(score, x))

    def _scored(self, rewards: Tensor | None, x: Samples) -> dict[str, int]:
        """How many completions a reward's mean is over, where it applies to some of them alone."""
        if rewards is None:
            return {}
        counts = (~torch.isnan(rewards) & x.present).sum((1, 2)).tolist()
        each = zip(self.task.rewards.names, counts, strict=True)
        return {f"read/scored/{name}": k for name, k in each if k < int(x.present.sum())}

    def _drawn(self, sampler: Any, rng: Rng) -> tuple[Samples, Tensor | None, str | None]:
        """Completions, their KL to the reference and its kind."""
        asked = self.world.held_out, self.eval_generations, rng
        if hasattr(sampler, "sample_and_kl"):
            return *sampler.sample_and_kl(self.task.reference, *asked), sampler.kl_kind
        x = sampler.sample(*asked)
        if not hasattr(sampler, "kl"):
            return x, None, None
        return x, sampler.kl(self.task.reference, x), sampler.kl_kind

    def _kept(
        self,
        x: Samples,
        w: Tensor,
        rewards: Tensor | None,
        golds: Tensor | None,
        proxy: Tensor | None,
    ) -> list[dict[str, Any]]:
        """One completion a prompt for the first prompts: the one with the largest weight, which is
        the first where all weigh alike.
        """
        try:
            few = x[: self.log_completions].pick(w[: self.log_completions].argmax(1, keepdim=True))
            prompts, texts = few.prompts.text(), few.text()
        except Missing:
            return []
        rows = []
        for b, (prompt, completion) in enumerate(zip(prompts, texts, strict=True)):
            n = int(w[b].argmax())

            def at(t: Tensor | None, b: int = b, n: int = n) -> list[float] | None:
                return None if t is None else [float(v) for v in t[..., b, n].reshape(-1)]

            gold, own = at(golds), at(proxy)
            rows.append(
                {
                    "place": [b, n],
                    "prompt": prompt,
                    "completion": completion[0],
                    "gold": gold and gold[0],
                    "golds": gold,
                    "rewards": at(rewards),
                    "proxy": own and own[0],
                    "logp": float(x.logp[b, n].sum()),
                }
            )
        return rows
