"""Log-probabilities of chosen tokens: blocks (assay.formulas.token_logps) beside
log_softmax(...).gather, forward and backward.

    python bench/speed/logprobs.py [--decisions 512] [--vocabulary 131072] [--width 96] [--frozen]
    [--rounds 5]

Prints one JSON line: the greatest difference of the results, bytes of tensors alive at the peak of
both, and the median processor seconds of both, taken in turn. Equality comes first: a difference
above 1e-4 of the values' size is an error.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from assay.core.rng import Rng
from assay.formulas.token_logps import token_logps

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests"))
from peak import peak  # type: ignore[import-not-found]  # tests are no package


def plain(hidden: Tensor, weight: Tensor, taken: Tensor) -> Tensor:
    return (
        torch.nn.functional.linear(hidden, weight).log_softmax(-1).gather(1, taken[:, None])[:, 0]
    )


def main() -> None:
    asked = argparse.ArgumentParser()
    for name, default in (("decisions", 512), ("vocabulary", 131072), ("width", 96), ("rounds", 5)):
        asked.add_argument(f"--{name}", type=int, default=default)
    asked.add_argument(
        "--frozen", action="store_true", help="the head is not trained, as under LoRA"
    )
    given = asked.parse_args()
    n, V, W, i, rng = given.decisions, given.vocabulary, given.width, torch.arange, Rng(0)
    hidden, weight = (
        rng("h").normal(i(n)[:, None], i(W)),
        0.1 * rng("w").normal(i(V)[:, None], i(W)),
    )
    taken, up = rng("t").integers(V, i(n)), rng("u").normal(i(n))

    def step(form: Callable[..., Tensor]) -> list[Tensor]:
        h, w = hidden.clone().requires_grad_(), weight.detach().requires_grad_(not given.frozen)
        w.grad = None
        out = form(h, w, taken)
        (out * up).sum().backward()  # type: ignore[no-untyped-call]
        return [t for t in (out.detach(), h.grad, w.grad) if t is not None]

    a, b = step(plain), step(token_logps)
    worst = max(float((x - y).abs().max() / x.abs().max()) for x, y in zip(a, b, strict=True))
    if not worst < 1e-4:
        raise SystemExit(f"the two differ by {worst:g} of their size")
    del a, b
    room = [peak(lambda form=form: step(form)) for form in (plain, token_logps)]
    spent: list[list[float]] = [[], []]
    for _ in range(given.rounds):
        for k, form in enumerate((plain, token_logps)):
            began = time.process_time()
            step(form)
            spent[k].append(time.process_time() - began)
    medians = [statistics.median(s) for s in spent]
    print(
        json.dumps(
            {
                **vars(given),
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
                "difference": worst,
                "bytes": room,
                "memory": room[1] / room[0],
                "seconds": medians,
                "time": medians[1] / medians[0],
            }
        )
    )


if __name__ == "__main__":
    main()
