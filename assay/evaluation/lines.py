"""A reading as lines of text for a terminal or a notebook."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from assay.stats.training import statistics


def reading_line(reading: Mapping[str, Any]) -> str:
    """One evaluation: gold beside proxy, with their errors."""
    kl = reading["kl"]
    root = "  –  " if kl is None else f"{math.sqrt(max(0.0, kl)):5.2f}"
    return (
        f"step {reading['step']:>4}  √KL {root}  gold "
        f"{number(reading['gold'], reading['gold_err'])}  "
        f"proxy {number(reading['proxy'], reading['proxy_err'])}  {reading['tag']}"
    ).rstrip() + f"{trained_line(reading)}{watched_line(reading)}"


# what a line says of training: its word, the statistic, how it is written
TRAINED = (
    ("loss", "loss", "{:.3g}"),
    ("grad", "grad_norm", "{:.2g}"),
    ("reward", "reward", "{:.3g}"),
    ("±", "reward_std", "{:.2g}"),
    ("margin", "rewards/margins", "{:.3g}"),
    ("accuracy", "rewards/accuracies", "{:.0%}"),
    ("entropy", "entropy", "{:.2g}"),
    ("length", "completions/mean_length", "{:.0f}"),
    ("truncated", "completions/clipped_ratio", "{:.0%}"),
    ("clipped", "clip_ratio/region_mean", "{:.0%}"),
    ("engine ±", "sampling/sampling_logp_difference/mean", "{:.1g}"),
    ("effective", "sampling/effective_sample_size", "{:.0%}"),
    ("same reward", "frac_reward_zero_std", "{:.0%}"),
    ("no reward", "frac_reward_missing", "{:.0%}"),
    ("skipped", "skipped", "{:.0f}"),
)
AT_REST = ("clipped", "same reward", "no reward", "skipped")  # said only where they are above 0


def trained_line(reading: Mapping[str, Any]) -> str:
    """Means of the training statistics since the last reading, on a line of their own; "" where
    nothing was trained.
    """
    stats = statistics(reading)
    said = [
        f"{word} {form.format(stats[key])}".replace("± ", "±").replace("%", " %")
        for word, key, form in TRAINED
        if key in stats and (stats[key] or word not in AT_REST)
    ]
    return "\n           " + "  ".join(said).replace("  ±", " ±") if said else ""


def watched_line(reading: Mapping[str, Any]) -> str:
    """The watch's verdict, on a line of its own; "" where nothing is watched. A hint is shown once,
    when it begins.
    """
    watch = reading.get("watch")
    if not watch:
        return ""
    hints = "".join(
        f"\n           {h['label']}: {h['why']}"
        for h in watch["hints"]
        if h["since"] == reading["step"]
    )
    return f"\n           watch: {watch['says']}{hints}"


def number(value: float | None, error: float | None) -> str:
    """A mean with its error; a dash where nothing was measured."""
    if value is None:
        return f"{'–':>14}"
    return f"{value:7.3f} ±{error:.3f}" if error is not None else f"{value:7.3f}       "
