"""One reading: draw from a policy on held-out prompts, look at gold, proxy, judges and KL, with
errors. Counts nothing.

Every mean is over prompts, of each prompt's weighted mean over its answers; its error is clustered
by prompt, or over answers where there is but one prompt.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Missing, Rng, Sampler, Samples, Step, World
from assay.engine.parallel import meter
from assay.errors import InputError, NotFinite


def mean_and_error(
    values: Float[Tensor, "B N"], weight: Float[Tensor, "B N"]
) -> tuple[float | None, float | None]:
    """Weighted mean over prompts and its standard error; None where one answer leaves nothing to
    estimate it from. What is NaN does not apply: it and prompts that have nothing else are left
    out, and the mean of nothing is None.

    Rows count as independent prompts, also where a world holds the same context in several; with
    one row, weights count as fixed, which is too small an error for the ranks of a best-of-n pool.
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


class Reader:
    """Reads policies on a world's held-out prompts, always at the same addresses unless told
    otherwise.
    """

    def __init__(self, world: World, task: Any, *, answers: int, keep: int):
        self.world, self.task, self.answers, self.keep = world, task, answers, keep
        self._memo: tuple[Any, Any, Any] | None = None

    def _scores(self, x: Samples) -> tuple[Tensor | None, Tensor | None]:
        """Judges [M,B,N] and golds [K,B,N]; a pool that is read at many n is scored once."""
        if self._memo is not None and self._memo[0] is x.action:
            return self._memo[1], self._memo[2]
        try:
            judges = self.task.rewards(x)
        except Missing:
            judges = None
        golds = None if self.world.gold is None else self.world.gold(x)
        bad = 0 if golds is None else int((~torch.isfinite(golds[:, x.present])).sum())
        if bad:
            theirs = (
                self.world.gold_kind == "function"
            )  # which may say None, where a reward of theirs may
            raise (InputError if theirs else NotFinite)(
                f"gold of world {self.world.name} ({', '.join(self.world.golds)}) is no finite "
                f"number for {bad} of {int(x.present.sum())} answers, and a mean over the rest "
                "would be another quantity; return one for every answer, or leave such prompts "
                "out"
            )
        self._memo = (x.action, judges, golds)
        return judges, golds

    def __call__(self, step: Step, rng: Rng) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The measured part of a reading line, and the answers to keep beside it."""
        sampler = step.policy
        if sampler is None:
            raise InputError("a Step without a policy has nothing to read")
        with meter.lifted(), torch.no_grad():
            x = sampler.sample(self.world.held_out, self.answers, rng)
            if not bool(x.present.any(1).all()):
                raise NotFinite("the policy gave no answer at all to some held-out prompt")
            w = x.weight
            judges, golds = self._scores(x)
            proxy = None if step.reward is None else step.reward(x)
            kl, kl_kind = self._kl(sampler, x)
            facts = {} if self.world.facts is None else self.world.facts(sampler)
        line: dict[str, Any] = {
            "n": int(x.present.sum()),
            "kl_kind": kl_kind,
            "cost": getattr(sampler, "cost", {"generated": 1, "scored": 0}),
        }
        line["kl"], line["kl_err"] = (None, None) if kl is None else mean_and_error(kl, w)
        if kl_kind in ("exact", "upper"):
            line["kl_err"] = 0.0
        line["proxy"], line["proxy_err"] = (
            (None, None) if proxy is None else mean_and_error(proxy, w)
        )
        both = [] if judges is None else [mean_and_error(j, w) for j in judges]
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
            **{f"exact/{k}": v for k, v in facts.items()},
        }
        return line, self._kept(x, w, judges, golds, proxy)

    def _kl(self, sampler: Sampler, x: Samples) -> tuple[Tensor | None, str | None]:
        if not hasattr(sampler, "kl"):
            return None, None
        return sampler.kl(self.task.reference, x), sampler.kl_kind  # type: ignore[attr-defined]

    def _kept(
        self,
        x: Samples,
        w: Tensor,
        judges: Tensor | None,
        golds: Tensor | None,
        proxy: Tensor | None,
    ) -> list[dict[str, Any]]:
        """One answer a prompt for the first `keep` prompts: the heaviest, which is the first where
        all weigh alike.
        """
        try:
            few = x[: self.keep].pick(w[: self.keep].argmax(1, keepdim=True))
            prompts, texts = few.prompts.text(), few.text()
        except Missing:
            return []
        rows = []
        for b, (prompt, answer) in enumerate(zip(prompts, texts, strict=True)):
            n = int(w[b].argmax())

            def at(t: Tensor | None, b: int = b, n: int = n) -> list[float] | None:
                return None if t is None else [float(v) for v in t[..., b, n].reshape(-1)]

            gold, told = at(golds), at(proxy)
            rows.append(
                {
                    "place": [b, n],
                    "prompt": prompt,
                    "completion": answer[0],
                    "gold": gold and gold[0],
                    "golds": gold,
                    "rewards": at(judges),
                    "proxy": told and told[0],
                    "logp": float(x.logp[b, n].sum()),
                }
            )
        return rows
