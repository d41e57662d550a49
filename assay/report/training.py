"""Training in small charts: what the steps between two readings measured, by step."""

from __future__ import annotations

import numpy as np

from assay.data.escape import number
from assay.records.methods import Ground, Method, Reading, Track
from assay.report.chart import Chart, chart
from assay.report.curves import Curve
from assay.report.lines import Line, Value, line
from assay.report.panels import Multiples
from assay.report.table import named
from assay.stats.training import statistics

# in the order of the page: the statistic, and what it is
SHOWN = {
    "loss": "loss",
    "grad_norm": "gradient norm, before clipping",
    "learning_rate": "learning rate",
    "reward": "reward",
    "reward_std_within": "reward: deviation within a prompt",
    "frac_reward_zero_std": "share of prompts with equal rewards",
    "frac_reward_missing": "share of completions without a reward",
    "rewards/margins": "margin of implicit rewards",
    "rewards/accuracies": "share of pairs in the right order",
    "rewards/chosen": "implicit reward, chosen",
    "rewards/rejected": "implicit reward, rejected",
    "logps/chosen": "log-probability, chosen",
    "logps/rejected": "log-probability, rejected",
    "entropy": "entropy of a decision (nats)",
    "kl": "KL of a decision (nats)",
    "completions/mean_length": "length of completions",
    "completions/clipped_ratio": "share truncated",
    "clip_ratio/region_mean": "share of ratios clipped",
    "sampling/sampling_logp_difference/mean": "engine: difference in log-probability (nats)",
    "sampling/effective_sample_size": "engine: effective sample size (share)",
    "sampling/frac_clipped": "engine: share of importance ratios clipped",
    "value_loss": "critic’s loss",
    "explained_variance": "variance of returns that the critic explains (share)",
    "skipped": "updates skipped",
}


def training(ground: Ground, ident: str) -> Multiples | None:
    """One small chart for each training statistic that changes, every method in it.

    Args:
        ground: The world.
        ident: The beginning of the charts' ids.

    Returns:
        The row; None where no run says anything of its training.
    """
    charts: list[Chart] = []
    still: list[str] = []
    shown: dict[str, Method] = {}
    for name, what in SHOWN.items():
        found = [(m, p) for m in ground.methods if (p := line(m, _value(name), "step"))]
        heights = np.concatenate([p.y for _, p in found]) if found else np.zeros(0)
        if not len(heights):
            continue
        shown |= {m.label: m for m, _ in found}
        if np.ptp(heights) == 0:
            still.append(f"{what} {float(heights[0]):.3g}")
            continue
        charts.append(_chart(found, f"{ident}{len(charts)}", name, what))
    if not charts:
        return None
    said = (
        "Means over the steps since the last reading, by the names that readings and trackers have."
    )
    if still:
        said += f" The same throughout: {', '.join(still)}."
    legend = [named(m) for m in shown.values()]
    return Multiples("Training", said, legend, charts)


def _value(name: str) -> Value:
    def value(track: Track, r: Reading) -> tuple[float, float | None] | None:
        got = statistics(r).get(name)
        return None if got is None else (got, None)

    return value


def _chart(found: list[tuple[Method, Line]], ident: str, name: str, what: str) -> Chart:
    curves = [Curve(p.x, p.y, m.place, "gold", method=m.label, value=name) for m, p in found]
    ends = "; ".join(f"{m.label} ends at {number(float(p.y[-1]))}" for m, p in found)
    return chart(
        curves,
        ident=ident,
        title=f"{what} ({name}) by step",
        description=ends,
        x_label="step",
        y_label=what,
        width=250,
        height=120,
    )
