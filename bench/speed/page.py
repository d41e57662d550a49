"""docs/benchmarks.md, from bench/results/speed.json alone."""

from __future__ import annotations

from typing import Any

HEAD = """# Speed

Written by `make bench` from [bench/results/speed.json](../bench/results/speed.json): both sides
take turns (ours, the peer, ours, …) in processes of their own, one waiting while the other works.
Before a pair is timed its numbers are compared: the log-probabilities of the same completions
from the same weights, and for DPO and reward models the loss and the gradient's norm; a case
whose sides disagree is an error, not a ratio.
"""
GOALS = {
    "grpo varied 0.35M": 2.3,
    "grpo varied 25M": 1.9,
    "grpo full 0.35M": 1.6,
    "grpo full 25M": 1.35,
    "dpo 0.35M": 1.8,
    "dpo 25M": 1.4,
    "reward 0.35M": 1.8,
    "reward 25M": 1.3,
}


def page(found: dict[str, Any]) -> str:
    """The whole page, of the parts that there are."""
    parts = [
        ("machine", machine(found)),
        ("against", against(found["against"])),
        ("second", second(found.get("second", []))),
        ("curves", learning(found.get("curves", {}))),
        ("members", members(found)),
        ("log_probs", large(found.get("log_probs", []))),
        ("files", rest(found)),
        ("growth", growth(found.get("growth", {}))),
    ]
    return "\n".join([HEAD, *(text for key, text in parts if key in found)]) + "\n"


def machine(found: dict[str, Any]) -> str:
    """Where and with what."""
    m, v = found["machine"], found["against"][0]["peer_versions"]
    return (
        f"{m['processor']}, {m['cores']} cores, {m['threads']} threads, {m['memory_MiB'] // 1024} "
        f"GiB; torch {m['torch']}, Python {m['python']}; the peer is TRL {v['trl']} with "
        f"transformers {v['transformers']} and torch {v['torch']}, without gradient checkpointing "
        "and logging, with fused Adam, the batch in one piece. Both sides keep freed memory "
        "(`assay.engine.memory.keep()`, which the command line calls and a program of your own "
        "has to; the same settings in the peer's environment). LOG.md says what ours takes "
        "without.\n"
    )


def against(rows: list[dict[str, Any]]) -> str:
    """The table of the cases that have a peer."""
    out = [
        "## Steps, against TRL",
        "",
        "`ratio` is the peer's time over ours, median over rounds with least and most. `share`: "
        "operations of the weights' products on real tokens (10, 8 and 6 a weight and token for "
        "GRPO, DPO and reward models; attention and head left out) over the matrix rate measured "
        "just before. TRL also decodes text and keeps more metrics.",
        "",
        "| case | ours, s | TRL, s | ratio | goal | tokens/s | share | peak, ours / TRL, MiB |",
        "|---|" + "---|" * 7,
    ]
    for r in rows:
        o, p, ratio = r["ours"], r["peer"], r["ratio"]
        goal = GOALS.get(r["case"])
        met = (
            "" if goal is None else f"{goal} {'met' if ratio['median'] >= goal else '**not met**'}"
        )
        out.append(
            f"| {r['case']} | {o['seconds']:.3f} | {p['seconds']:.3f} | {ratio['median']:.2f} "
            f"[{ratio['low']:.2f}, {ratio['high']:.2f}] | {met} | "
            f"{r['tokens'] / o['seconds']:,.0f} | "
            f"{100 * r['operations'] / o['seconds'] / r['matrix_rate']:.0f} % | {peak(o)} / "
            f"{peak(p)} |"
        )
    rates = [r["matrix_rate"] / 1e9 for r in rows]
    worst = max((r["apart"]["logp"] for r in rows if "apart" in r), default=None)
    kept = f" The record of this table is {rows[0]['record']}." if "record" in rows[0] else ""
    said = (
        ""
        if worst is None
        else f" Log-probabilities of whole completions differ by at most {worst:.1e} nats."
    )
    rate = "" if kept else f"Matrix rate {min(rates):.0f} to {max(rates):.0f} GFLOP/s."
    return "\n".join([*out, "", f"{rate}{said}{kept}".strip(), ""])


def second(rows: list[dict[str, Any]]) -> str:
    """DPO beside the other library that has it."""
    if not rows:
        return ""
    v = rows[0]["peer_versions"]
    out = [
        f"## DPO, against torchtune {v['torchtune']}",
        "",
        "Its model, collation, log-probabilities and loss, in the order of its full DPO recipe, "
        "which itself asks for a process group (`bench/speed/second.py`). It trains no reward "
        "models.",
        "",
        "| case | ours, s | torchtune, s | ratio | peak, ours / torchtune, MiB |",
        "|---|" + "---|" * 4,
    ]
    for r in rows:
        o, p, ratio = r["ours"], r["peer"], r["ratio"]
        out.append(
            f"| {r['case']} | {o['seconds']:.3f} | {p['seconds']:.3f} | {ratio['median']:.2f} "
            f"[{ratio['low']:.2f}, {ratio['high']:.2f}] | {peak(o)} / {peak(p)} |"
        )
    return "\n".join([*out, ""])


def peak(side: dict[str, Any]) -> str:
    """MiB, or a dash where a record does not hold it."""
    return str(side["peak_bytes"] >> 20) if side.get("peak_bytes") else "–"


def learning(curves: dict[str, list[float]]) -> str:
    """Both sides learn, and what."""
    at = (0, 5, 10, 20, 40, 59)
    out = [
        "## Both sides learn",
        "",
        "From the same first weights, other draws: GRPO's reward (the share of one word; ours "
        "after a step, TRL's of the completions that the step learns from) and DPO's loss.",
        "",
        "| | " + " | ".join(f"step {i + 1}" for i in at) + " |",
        "|---|" + "---|" * len(at),
    ]
    out += [
        f"| {name} | " + " | ".join(f"{c[i]:.3f}" for i in at) + " |" for name, c in curves.items()
    ]
    return "\n".join([*out, ""])


def members(found: dict[str, Any]) -> str:
    """Ensembles against one member."""
    out = [
        "## Ensembles",
        "",
        "Seconds over those of one member: fitted together with backbones of their own, scored, "
        "and five heads on one backbone. Goals: five backbones 4.6 at 0.35M and 4.8 at 25M; five "
        "heads 1.3 and 1.1.",
        "",
        "| size | fitted: 2, 5, 10 | scored: 2, 5, 10 | five heads |",
        "|---|---|---|---|",
    ]
    for size, m in found.get("members", {}).items():

        def times(what: str, m: dict[str, float] = m) -> str:
            return ", ".join(
                f"{m[f'{what} {k}'] / m[f'{what} 1']:.2f}" for k in (2, 5, 10) if f"{what} {k}" in m
            )

        heads = found["heads"][size]
        out.append(
            f"| {size} | {times('fit')} | {times('score')} | "
            f"{heads['5 heads'] / heads['1 heads']:.2f} |"
        )
    return "\n".join([*out, ""])


def large(rows: list[dict[str, Any]]) -> str:
    """Log-probabilities at large vocabularies."""
    out = [
        "## Log-probabilities of given tokens, forward and backward",
        "",
        "Plain: `log_softmax(h @ wᵀ).gather`. Bytes are those of tensors alive at the peak. A "
        "head that is trained has a gradient as large as itself in both forms; it is what "
        "remains at width 512. Goal at 131,072: memory at most 1/8, time at most 1.1.",
        "",
        "| vocabulary | decisions | width | head | memory, ours / plain | MiB | processor time, "
        "ours / plain |",
        "|---|" + "---|" * 6,
    ]
    out += [
        f"| {r['vocabulary']:,} | {r['decisions']:,} | {r['width']} | "
        f"{'frozen' if r['frozen'] else 'trained'} | {r['memory']:.3f} | {r['bytes'][1] >> 20} / "
        f"{r['bytes'][0] >> 20} | {r['time']:.2f} |"
        for r in rows
    ]
    return "\n".join([*out, ""])


def rest(found: dict[str, Any]) -> str:
    """Everything else in one table."""
    f, i = found["files"], found["imports"]
    rows = [
        ("best-of-n curve, 10⁶ scores, 20 values of n, 1,000 draws", f["curve"]["seconds"], "2"),
        ("`assay bon`, a file of 10⁶ rows", f["bon"], ""),
        ("`assay check`, 10⁶ pairs", f["check"], ""),
        ("`assay report`, 100 runs of 40 readings", f["report"], ""),
        ("`import assay`", i["import assay"], "0.3"),
        ("`assay list`", i["assay list"], "0.6"),
    ]
    return "\n".join(
        [
            "## The rest",
            "",
            "| | s | goal |",
            "|---|---|---|",
            *(f"| {n} | {s:.2f} | {g} |" for n, s, g in rows),
            "",
            f"An interpreter by itself takes {i['python']:.2f} s.",
            "",
        ]
    )


def growth(found: dict[str, dict[str, Any]]) -> str:
    """Exponents."""
    out = [
        "## How cost grows",
        "",
        "Exponent of seconds: 1 is linear. Attention is quadratic in tokens, and shows at the long "
        "end.",
        "",
        "| | at | seconds | exponent |",
        "|---|---|---|---|",
    ]
    out += [
        f"| {k} | {', '.join(f'{v:g}' for v in g['at'])} | "
        f"{', '.join(f'{v:.3f}' for v in g['seconds'])} | {g['exponent']:.2f} ± {g['error']:.2f} |"
        for k, g in found.items()
    ]
    return "\n".join([*out, ""])
