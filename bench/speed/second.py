"""A second peer for DPO: torchtune's model, collation, log-probabilities and loss, in the order of
its full DPO recipe (which itself asks for a process group and a configuration file). Runs in an
environment of its own.

Fused AdamW, the gradient clipped, no logging, batches collated beforehand. torchtune has no trainer
of reward models.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torchtune import rlhf
from torchtune.data import padded_collate_dpo
from torchtune.models.convert_weights import hf_to_tune
from torchtune.models.llama3_2._component_builders import llama3_2
from torchtune.rlhf.loss import DPOLoss

from bench.speed import cases
from bench.speed.cases import Case

LR = 1e-3


def model(c: Case, folder: Path) -> Any:
    """The model of this folder; a rotary scale of 1 is none."""
    s = c.size
    out = llama3_2(
        s.vocabulary,
        s.layers,
        s.heads,
        s.heads,
        s.width,
        512,
        rope_base=10000,
        intermediate_dim=s.inner,
        norm_eps=1e-5,
        scale_factor=1,
    )
    held = hf_to_tune(load_file(str(folder / "model.safetensors")), s.heads, s.heads, s.width)
    out.load_state_dict({k: v for k, v in held.items() if not k.startswith("output.")})
    return out


def batch(c: Case, rows: list[tuple[str, str, str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs as its recipe reads them: chosen answers, then rejected ones, labels where an answer
    is.
    """
    ids = {w: i + 3 for i, w in enumerate(cases.words(c.size))}
    out = []
    for prompt, *both in rows:
        ask = [1, *(ids[w] for w in prompt.split())]
        row: dict[str, list[int]] = {}
        for name, text in zip(("chosen", "rejected"), both, strict=True):
            say = [*(ids[w] for w in text.split()), 2]
            row |= {f"{name}_input_ids": ask + say, f"{name}_labels": [-100] * len(ask) + say}
        out.append(row)
    return padded_collate_dpo(out)


def logps(m: Any, tokens: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of chosen and rejected answers, from one forward pass of both."""
    logits, half = m(tokens), len(tokens) // 2
    return (
        rlhf.get_batch_log_probs(logits[:half], labels[:half]),
        rlhf.get_batch_log_probs(logits[half:], labels[half:]),
    )


def loss_of(
    policy: Any, reference: Any, tokens: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Its loss, a mean over pairs, with the reference read in the same step."""
    mine = logps(policy, tokens, labels)
    with torch.no_grad():
        theirs = logps(reference, tokens, labels)
    losses, _, _ = DPOLoss(beta=0.1)(*mine, *theirs)
    return losses.mean()


def serve(
    c: Case,
    folder: Path,
    *,
    steps: int,
    asked: Callable[[], bool],
    said: Callable[[dict[str, float]], None],
) -> None:
    """Train, a step whenever one is asked for."""
    policy, reference = model(c, folder), model(c, folder).eval().requires_grad_(False)
    n = min(steps, 16)
    rows = cases.pairs(c, c.prompts * n)
    batches = [batch(c, rows[i * c.prompts : (i + 1) * c.prompts]) for i in range(n)]
    opt = torch.optim.AdamW(policy.parameters(), lr=LR, weight_decay=0.0, fused=True)
    t = 0
    while asked():
        began, busy = time.perf_counter(), time.process_time()
        loss = loss_of(policy, reference, *batches[t % n])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        said(
            {
                "seconds": time.perf_counter() - began,
                "cpu": time.process_time() - busy,
                "loss": float(loss.detach()),
            }
        )
        t += 1


def equality(c: Case, folder: Path) -> dict[str, Any]:
    """The same numbers as ours.equality."""
    q, reference = model(c, folder), model(c, folder)
    tokens, labels = batch(c, cases.pairs(c, 8, seed=5))
    with torch.no_grad():
        logp = torch.stack(logps(reference, tokens, labels), 1).flatten().tolist()
        for w in q.parameters():
            w.mul_(1.01)
    loss = loss_of(q, reference, tokens, labels)
    loss.backward()
    norm = torch.nn.utils.get_total_norm([w.grad for w in q.parameters() if w.grad is not None])
    return {"logp": logp, "loss": float(loss.detach()), "grad": float(norm)}
