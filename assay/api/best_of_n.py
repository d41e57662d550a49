"""Best-of-n without training: sample, score, keep the best; and the curve over n."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay.api import execution, orders
from assay.api.arguments import by_flag, in_python
from assay.api.live import rows_named
from assay.api.notebook import table
from assay.api.progress import shown
from assay.core import Rng
from assay.engine.quiet import quiet_libraries
from assay.errors import InputError
from assay.registry import catalogue


@dataclass(frozen=True)
class BestOfN:
    """Completions with their scores, and the best of each prompt.

    Attributes:
        prompts: The prompts' texts, P of them.
        completions: n texts for each prompt.
        names: The rewards' names, M of them.
        scores: `[M,P,n]`, each reward's score of each completion; NaN where it does not apply.
        gold: `[P,n]`; None where no gold is given.
        best: For each prompt, the index of the completion with the highest `proxy`, of those that
            any reward applies to.
    """

    prompts: list[str]
    completions: list[list[str]]
    names: tuple[str, ...]
    scores: np.ndarray
    gold: np.ndarray | None
    best: list[int]

    @property
    def proxy(self) -> np.ndarray:
        """`[P,n]`, the mean of all rewards. As in training, a reward that does not apply to a
        completion counts as its mean over the prompt's others. Where it applies to none of them,
        the mean is that of the other rewards; 0 if there are none.
        """
        known = np.isfinite(self.scores)
        total = np.where(known, self.scores, 0.0).sum(-1, keepdims=True)
        mean = total / np.maximum(1, known.sum(-1, keepdims=True))
        some = known.any(-1, keepdims=True)  # [M,P,1]
        each = np.where(some, np.where(known, self.scores, mean), 0.0)
        return np.asarray(each.sum(0) / np.maximum(1, some.sum(0)))

    @property
    def texts(self) -> list[str]:
        """The best completion of each prompt."""
        return [c[i] for c, i in zip(self.completions, self.best, strict=True)]

    def __repr__(self) -> str:
        P, n = len(self.prompts), len(self.completions[0]) if self.completions else 0
        many = "prompts" if P != 1 else "prompt"
        return f"BestOfN({P} {many} × {n} completions, rewards {', '.join(self.names)})"

    def rows(self) -> Iterator[dict[str, Any]]:
        """One dict a completion: prompt, completion, each reward by name (None where it does not
        apply), proxy (their mean), gold where there is one, and best.
        """
        proxy = self.proxy
        for p, prompt in enumerate(self.prompts):
            for i, completion in enumerate(self.completions[p]):
                each = dict(zip(self.names, self.scores[:, p, i].tolist(), strict=True))
                scores = {k: None if math.isnan(v) else v for k, v in each.items()}
                gold = {} if self.gold is None else {"gold": float(self.gold[p, i])}
                yield {
                    "prompt": prompt,
                    "completion": completion,
                    **scores,
                    "proxy": float(proxy[p, i]),
                    **gold,
                    "best": i == self.best[p],
                }

    def to_pandas(self) -> Any:
        """The rows as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(list(self.rows()))


def sample_best_of_n(
    model: Any,
    prompts: Any,
    rewards: Any,
    *,
    n: int = 16,
    gold: Any = None,
    tokenizer: Any = None,
    seed: int = 0,
    batch_size: int = 4,
    **arguments: Any,
) -> BestOfN:
    """Sample n completions for each prompt, score them, and keep the best.

    Args:
        model: As in `train`.
        prompts: As in `train`.
        rewards: As in `train`. The completion with the highest mean of all is the best.
        n: Completions for each prompt.
        gold: As in `train`; it is measured, and chooses nothing.
        tokenizer: As in `train`.
        seed: Of the sampling.
        batch_size: Prompts at a time; it changes no number.
        arguments: Of the model and the sampling, as in `train`: max_tokens, temperature, dtype …

    Returns:
        The completions, their scores and the best of each prompt. `best_of_n_curve` takes it.

    Raises:
        InputError: As in `train`.

    Example:
        >>> import assay
        >>> def brevity(prompts, completions, **columns):
        ...     return [-len(text) for text in completions]
        >>> model = getfixture("tiny_model")  # a folder, a model id, or an open model
        >>> found = assay.sample_best_of_n(model, ["the old mill"], brevity, n=4, max_tokens=8)
        >>> found
        BestOfN(1 prompt × 4 completions, rewards brevity)
        >>> len(found.texts[0]) == min(len(text) for text in found.completions[0])
        True
    """
    if n < 1:
        raise InputError(f"n is {n}; give at least 1")
    if rewards is None or (isinstance(rewards, (list, tuple, dict)) and not rewards):
        raise InputError("rewards is empty; pass what completions are chosen by")
    with in_python(), quiet_libraries(models=True), shown(), torch.no_grad():
        entry = catalogue.find("best_of_n")
        given = by_flag(
            entry,
            {"held_out": -1, **arguments},
            model=model,
            tokenizer=tokenizer,
            prompts=prompts,
            rewards=rewards,
            gold=gold,
        )
        world = execution.Worlds()(orders.order(entry, given))
        task, rng = world.task, Rng(seed)("best of n")
        parts = []
        for rows in torch.arange(len(task.prompts)).split(batch_size):
            x = task.reference.sample(task.prompts[rows], n, rng[rows])
            golds = None if world.gold is None else world.gold(x)[0].cpu().numpy()
            parts.append((x.prompts.text(), x.text(), task.rewards(x).cpu().numpy(), golds))
        names = task.rewards.names
    scores = np.concatenate([p[2] for p in parts], 1)
    whole = None if world.gold is None else np.concatenate([p[3] for p in parts])
    found = BestOfN(
        prompts=[t for p in parts for t in p[0]],
        completions=[t for p in parts for t in p[1]],
        names=tuple(names),
        scores=scores,
        gold=whole,
        best=[],
    )
    applies = np.isfinite(scores).any(0)
    choice = np.where(applies | ~applies.any(1, keepdims=True), found.proxy, -np.inf)
    return replace(found, best=[int(i) for i in choice.argmax(1)])


@dataclass(frozen=True)
class BestOfNCurve:
    """What best-of-n by a proxy does to gold, for each n.

    Attributes:
        result: Everything, as JSON values: `assay bon --json` prints the same.
    """

    result: Mapping[str, Any]

    def __str__(self) -> str:
        from assay.evaluation.best_of_n_curve import says

        return "\n".join(says(self.result))

    __repr__ = __str__

    def to_pandas(self) -> Any:
        """A row for each proxy and n: kl (nats, an upper bound), gold, low, high, proxy's own."""
        import pandas

        return pandas.DataFrame(list(self.rows()))

    def rows(self) -> Iterator[dict[str, Any]]:
        """One dict for each proxy and n."""
        for name, curve in self.result["curves"].items():
            for k, n in enumerate(self.result["ns"]):
                ends = {key: curve[key][k] for key in ("gold", "low", "high")}
                yield {"proxy": name, "n": n, "kl": self.result["kl"][k], **ends}

    def report(self, path: str | Path) -> Path:
        """Write the curve as one HTML page.

        Args:
            path: The file. It is never overwritten.
        """
        from assay.report import best_of_n_page

        best_of_n_page.page(self.result, path)
        return Path(path)

    def _repr_html_(self) -> str:
        rows = [
            [r["proxy"], r["n"], f"{r['kl']:.3f}", f"{r['gold']:.3f}", f"{r['low']:.3f}",
             f"{r['high']:.3f}"]
            for r in self.rows()
        ]  # fmt: skip
        return table(["proxy", "n", "KL ≤", "gold", "low", "high"], rows)


def best_of_n_curve(
    scored: Any,
    *,
    gold: str = "gold",
    proxy: str | Sequence[str] = (),
    ns: Sequence[int] = (),
    columns: Mapping[str, str] | None = None,
    draws: int = 2000,
    drop: bool = False,
    seed: int = 0,
) -> BestOfNCurve:
    """Measure what choosing the best of n by a proxy does to gold, for each n.

    The estimate is unbiased over all subsets of n; intervals resample prompts. KL is
    log n − (n−1)/n in nats, an upper bound where completions repeat.

    Args:
        scored: What `sample_best_of_n` returned, or rows (a list, a DataFrame, a Dataset, a file)
            with a prompt, gold and one or several proxies, a row a completion.
        gold: The column of gold.
        proxy: Columns to choose by; "proxy" if none is named. "length" is the completion's length.
        ns: Which n; the powers of two and the largest n if none is given.
        columns: Other names of the columns, e.g. {"prompt": "question"}.
        draws: Resamples of the intervals.
        drop: Leave out rows that cannot be used, instead of refusing them all.
        seed: Of the resampling.

    Returns:
        The curve.

    Raises:
        InputError: A column is missing, or rows cannot be used.

    Example:
        >>> import assay
        >>> rows = [{"prompt": p, "completion": str(i), "proxy": i, "gold": -abs(i - 2)}
        ...         for p in "abc" for i in range(4)]
        >>> curve = assay.best_of_n_curve(rows, draws=100)
        >>> [round(r["gold"], 2) for r in curve.rows()]
        [-1.0, -0.67, -1.0]
    """
    from assay.evaluation.best_of_n_curve import bon

    if isinstance(scored, BestOfN):
        if scored.gold is None and gold == "gold":
            raise InputError("these completions have no gold; pass gold to sample_best_of_n")
        scored = list(scored.rows())
    with in_python():
        return BestOfNCurve(
            bon(
                rows_named(scored, "scored"),
                gold=gold,
                proxy=(proxy,) if isinstance(proxy, str) else tuple(proxy),
                ns=tuple(ns),
                columns=columns,
                draws=draws,
                drop=drop,
                seed=seed,
            )
        )
