"""docs/benchmarks-gpu.md, from bench/results/gpu.json alone."""

from __future__ import annotations

from typing import Any

HOW = """
| | SmolLM2 | Qwen3 1.7B |
| --- | --- | --- |
| weights | the checkpoint that was given | random: 28 layers of width 2048, 16 query and 8 key heads of 128, an MLP of 6,144, 151,936 tokens |
| GRPO, a step | 16 prompts of 256 tokens, 8 completions of 256 to each | 8 prompts |
| DPO, a step | 16 pairs, prompts of 256 tokens, completions of 128 to 512 | 8 pairs |

LoRA of rank 16 on every linear layer, weights in bfloat16, adapters in float32, KL to the reference with β .04 (GRPO) and β .1
(DPO), fused Adam. TRL runs with scaled-dot-product attention, without gradient checkpointing, dropout and logging, its batch in as few
pieces as fit, and once more with vLLM in its process. *Sharded* is ours with every weight in `fully_shard` over one process: what sharding
itself costs. Each row is a process of its own with a time limit; a first step is not counted, and the others' median is shown.

- **tokens/s**: GRPO's generated tokens, DPO's tokens of prompts and completions, over the step's seconds.
- **of the rate**: operations a second that the step needs, as a share of what the card does in a bfloat16 product of two 8,192 × 8,192
  matrices (MFU against a measured rate). Operations are counted by the formula in [bench/gpu/operations.py](../bench/gpu/operations.py), a prompt once for all
  its completions, so both sides' numbers are of the same work.
- **peak**: the most that torch reserved on the card.
"""  # noqa: E501
HEAD = """# Speed on a GPU

`make gpu MODEL=FOLDER` writes this page from `bench/results/gpu.json`: one script of at most 8
minutes for one card. FOLDER is SmolLM2-135M-Instruct, or another small causal language model.
"""
NOT_RUN = """
**It has not run on a GPU yet**, so there are no numbers here. Where there is no GPU, `make gpu` is
a dry run at tiny sizes on the CPU: it shows that every process works, and writes nothing.
"""
COLUMNS = "| model | step | computed by | s a step | tokens/s | of the rate | peak, GiB |"


def page(found: dict[str, Any] | None) -> str:
    """The whole page; without results it says that nothing has run."""
    if found is None:
        return f"{HEAD}{NOT_RUN}\n## What it measures\n{HOW}"
    m = found["machine"]
    versions = sorted({c["trl"] for c in found["cases"] if "trl" in c})
    about = (
        f"\nOn {m['card']} ({m['memory_bytes'] / 2**30:.0f} GiB), torch {m['torch']}, TRL "
        f"{', '.join(versions) or 'not run'}: {m['rate'] / 1e12:.0f} TFLOP/s in a matrix product; "
        f"{found['seconds']:.0f} s in all.\n"
    )
    done = [c for c in found["cases"] if c["state"] == "measured"]
    rows = [COLUMNS, "| --- | --- | --- | --- | --- | --- | --- |"]
    rows += [_row(c, m["rate"]) for c in done]
    gaps = [f"{c['model']} {c['apart']:.4f}" for c in done if "apart" in c]
    said = (
        "\nMean difference of a token's log-probability from transformers' own pass, in nats, both "
        f"in bfloat16: {', '.join(gaps)}.\n"
        if gaps
        else ""
    )
    rest = [
        f"- {c['model']}, {c['kind']}, {c['side']}: {c['state']}, {c['reason']}"
        for c in found["cases"]
        if c["state"] != "measured"
    ]
    lacking = "\n".join(["\nNot measured:\n", *rest, ""]) if rest else ""
    table = "\n".join(rows)
    return f"{HEAD}{about}\n{table}\n{said}{lacking}\n## What it measures\n{HOW}"


def line(c: dict[str, Any], rate: float) -> str:
    """One process in one line."""
    name = f"{c['model']}, {c['kind']}, {c['side']}"
    if c["state"] != "measured":
        return f"{name}: {c['state']} ({c['reason']})"
    return (
        f"{name}: {c['median']:.3g} s, {c['tokens'] / c['median']:.0f} tokens/s, "
        f"{_share(c, rate):.1%} of the rate, {c['peak_bytes'] / 2**30:.1f} GiB"
    )


def _share(c: dict[str, Any], rate: float) -> float:
    return float(c["operations"] / c["median"] / rate)


def _row(c: dict[str, Any], rate: float) -> str:
    cells = (
        c["model"],
        "GRPO" if c["kind"] == "grpo" else "DPO",
        c["side"] + (f", in {c['pieces']} pieces" if c.get("pieces", 1) > 1 else ""),
        f"{c['median']:.2f}",
        f"{c['tokens'] / c['median']:,.0f}",
        f"{_share(c, rate):.1%}",
        f"{c['peak_bytes'] / 2**30:.1f}",
    )
    return f"| {' | '.join(cells)} |"
