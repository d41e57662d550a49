"""docs/benchmarks-real.md, from bench/results/real.json alone."""

from __future__ import annotations

from typing import Any

from bench.real.cases import CASES

HEAD = """# Speed on a real checkpoint

Written by `make bench-real MODEL=FOLDER` from
[bench/results/real.json](../bench/results/real.json): {model} in float32 on {processor}, {cores}
cores, beside TRL {trl} (transformers {transformers}, torch {torch}). Both sides take turns, each
in a process of its own. Before a case is timed both sides' numbers are compared: log-probabilities
of the same completions, and for DPO and reward models the loss and the gradient's norm. TRL is run
with fused Adam, without gradient checkpointing and logging, its batch in as few pieces as 24 GiB
allow (*pieces*). Under torch.compile both sides compile. Completions of GRPO and generation have 32
tokens unless the case says otherwise, 8 to each of 8 prompts; 8 pairs have prompts of 128 tokens
and completions of 96 to 384. Adapters are LoRA of rank 16.

Seconds are of a step, or of one batch of completions. *Ratio* is TRL's time over ours, the median
of the rounds with least and most; *goal* is the ratio aimed at. GiB is the most a process ever
held. *First* is the first step of ours and of TRL, in which they compile if the case says so; it is
counted nowhere else. A dash: only ours was run.

| case | ours, s | TRL, s | ratio | goal | ours, GiB | TRL, GiB | pieces | first, s |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


def page(found: dict[str, Any]) -> str:
    """The whole page."""
    m, first = found["machine"], found["cases"][0]["peer_versions"]
    head = HEAD.format(
        model=found["model"],
        processor=m["processor"],
        cores=m["cores"],
        trl=first["trl"],
        transformers=first["transformers"],
        torch=first["torch"],
    )
    done = {r["case"] for r in found["cases"]}
    missing = [c.name for c in CASES if c.name not in done]
    end = f"\nNot run on this machine yet: {'; '.join(missing)}.\n" if missing else ""
    return head + "\n".join(map(_row, found["cases"])) + "\n" + end


def _row(r: dict[str, Any]) -> str:
    gib = 2**30
    if "peer" not in r:
        mine = r["ours"]
        own, first = f"{mine['seconds']:.1f}", f"{r['first']['ours']:.0f}"
        memory = f"{mine['peak_bytes'] / gib:.1f}"
        return f"| {r['case']} | {own} | – | – | | {memory} | – | | {first} |"
    ratio = r["ratio"]
    goal = f"{r['goal']:g}" if r["goal"] else ""
    cells = (
        r["case"],
        f"{r['ours']['seconds']:.1f}",
        f"{r['peer']['seconds']:.1f}",
        f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]",
        goal,
        f"{r['ours']['peak_bytes'] / gib:.1f}",
        f"{r['peer']['peak_bytes'] / gib:.1f}",
        str(r["peer_passes"]),
        f"{r['first']['ours']:.0f}, {r['first']['peer']:.0f}",
    )
    return f"| {' | '.join(cells)} |"
