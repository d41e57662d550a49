"""`assay bon`: what best-of-n by a proxy does to gold, for any scored file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay import data
from assay.core.rng import Rng
from assay.data.kinds import missing
from assay.data.pairs import DROPPABLE, finite
from assay.data.scored import text_of
from assay.errors import InputError
from assay.formulas.curves import best_of_n, bootstrap_mean
from assay.formulas.divergence import best_of_n_bound
from assay.records import runs
from assay.report import best_of_n_page


@dataclass
class Table:
    """A scored file, grouped: numbers `[B,N]` a column, absent answers False."""

    columns: dict[str, Float[Tensor, "B N"]]
    present: Bool[Tensor, "B N"]
    repeated: int  # answers whose text stands more than once among its prompt's
    faults: data.Faults
    rows: int


def bon(
    scores: str | Path,
    *,
    gold: str,
    proxy: Sequence[str] = (),
    ns: Sequence[int] = (),
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    draws: int = 2000,
    drop: bool = False,
    seed: int = 0,
    out: str | Path | None = None,
    page: str | Path | None = None,
) -> dict[str, Any]:
    """The best-of-n curve of a scored file: rows grouped by prompt, gold of the answer that a proxy
    likes best among n.

    Unbiased over all subsets of n (ties shared); intervals by resampling prompts; KL log n −
    (n−1)/n in nats, which is an upper bound where answers repeat. proxy: columns to choose by
    ("proxy" if none is named); "length" is the answer's length. ns: which n (powers of two and the
    most by default). Writes JSON to `out` and an HTML page with the figure to `page` where they are
    given, never over a file.
    """
    for path, flag in ((out, "-o"), (page, "--page")):
        if path is not None and Path(path).exists():
            raise InputError(
                f"{path} exists and is never overwritten; give another file with {flag}"
            )
    if draws < 1:
        raise InputError(f"--draws is {draws}; an interval needs at least 1")
    table = _read(scores, gold, tuple(proxy) or ("proxy",), columns, split, drop)
    count = table.present.sum(1)
    most = int(count.max())
    if most < 2:
        raise InputError(
            f"{scores} has one answer a prompt ({len(count):,} prompts); best-of-n chooses among "
            "several rows with the same prompt"
        )
    wanted = sorted(set(ns)) or sorted({*(2**k for k in range(most.bit_length())), most})
    if wanted[0] < 1 or wanted[-1] > most:
        raise InputError(
            f"--ns asks for n = {wanted[0] if wanted[0] < 1 else wanted[-1]}, and a prompt here "
            f"has 1 to {most} answers"
        )
    index = torch.randint(
        len(count), (draws, len(count)), generator=Rng(seed)("bootstrap").generator()
    )
    truth = table.columns[gold]
    curves = {
        name: _curve(x, truth, wanted, table.present, index)
        for name, x in table.columns.items()
        if name != gold
    }
    oracle = _curve(truth, truth, wanted, table.present, index)
    result = {
        "file": str(scores),
        "gold": gold,
        "proxies": list(curves),
        "rows": table.rows,
        "prompts": len(count),
        "answers": {
            "least": int(count.min()),
            "most": most,
            "ragged": bool((count != most).any()),
            "sizes": {str(int(n)): int((count == n).sum()) for n in torch.unique(count)},
        },
        "repeated_answers": table.repeated,
        "ns": wanted,
        "kl": [float(best_of_n_bound(n)) for n in wanted],
        "kl_kind": "upper",
        "kl_note": "log n − (n−1)/n: exact where no two answers are equal, else too high",
        "curves": curves,
        "oracle": oracle,
        "warnings": dict(table.faults.warnings),
        "faults": [str(f) for f in table.faults.warned],
        "draws": draws,
        "seed": seed,
        "input": {"sha256": runs.digest(scores) if Path(scores).exists() else None},
    }
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        with open(out, "x", encoding="utf-8") as f:
            f.write(
                json.dumps(
                    runs.plain({**runs.provenance(), **result}), indent=1, ensure_ascii=False
                )
                + "\n"
            )
    if page is not None:
        best_of_n_page.page(result, page)
    return result


def _curve(
    proxy: Tensor, gold: Tensor, ns: list[int], present: Tensor, index: Tensor
) -> dict[str, Any]:
    """Gold and proxy of the best of n, the place of the peak, and what was gained or lost after it."""
    each = best_of_n(proxy, gold, ns, present)
    e = bootstrap_mean(each, index=index)
    own = torch.nanmean(best_of_n(proxy, proxy, ns, present), 0)
    peak = int(torch.nan_to_num(e.mean, nan=-torch.inf).argmax())
    after = bootstrap_mean(each[:, -1] - each[:, peak], index=index)
    ties = _ties(proxy, present)
    counts = present.sum(1)
    fullest = [
        best_of_n(proxy[counts == n], gold[counts == n], [int(n)], present[counts == n])
        for n in torch.unique(counts)
    ]
    best = bootstrap_mean(torch.cat(fullest)[:, 0], index=index)
    return {
        "gold": e.mean.tolist(),
        "err": e.err.tolist(),
        "low": e.low.tolist(),
        "high": e.high.tolist(),
        "proxy": own.tolist(),
        "proxy_sd": float(proxy[present].std()),
        "tied_at_the_top": ties,
        "prompts": (~torch.isnan(each)).sum(0).tolist(),
        "peak": {"n": ns[peak], "gold": float(e.mean[peak])},
        "after_peak": {
            "gold": float(after.mean),
            "low": float(after.low),
            "high": float(after.high),
        },
        "best_of_all": {
            "gold": float(best.mean),
            "err": float(best.err),
            "low": float(best.low),
            "high": float(best.high),
        },
    }


def _ties(proxy: Tensor, present: Tensor) -> float:
    """The share of prompts of which two answers share the highest proxy: there chance decides."""
    top = torch.where(present, proxy, -torch.inf).amax(1, keepdim=True)
    return float((((proxy == top) & present).sum(1) > 1).double().mean())


def _read(
    path: str | Path,
    gold: str,
    proxies: tuple[str, ...],
    columns: Mapping[str, str] | None,
    split: str | None,
    drop: bool,
) -> Table:
    """Group a scored file by prompt; every fault of the columns that are asked for is told."""
    source = data.open_source(path, split=split)
    faults = data.Faults(source.name, source.line)
    asked: str | None = None
    needs_text = "length" in proxies
    answer: str | None = None
    groups: dict[str, list[tuple[str, list[float]]]] = {}
    rows = 0
    for i, row in source.rows(faults):
        rows += 1
        if asked is None:
            found = data.layout([row], source.name, columns=columns)
            if "prompt" not in found.parts:
                raise missing("prompt", row, source.name)
            asked, answer = found.parts["prompt"], found.parts.get("response")
            for name in (gold, *proxies):
                if name not in row and not (name == "length" and answer):
                    raise missing(name, row, source.name)
        prompt = text_of(i, row, asked, faults)
        text = text_of(i, row, answer, faults) if answer else ("", None)
        numbers = [
            float(len(text[0]))
            if n == "length" and "length" not in row and text
            else finite(i, row.get(n), n, faults)
            for n in (gold, *proxies)
        ]
        if prompt is None or text is None or any(x is None for x in numbers):
            continue
        groups.setdefault(prompt[0], []).append(
            (text[0], [float(x) for x in numbers if x is not None])
        )
    if drop:
        faults.forgiven(DROPPABLE)
    faults.stop()
    if not groups:
        raise InputError(
            f"{source.name} holds no row that can be used; give a file with a prompt, '{gold}' and "
            f"{', '.join(proxies)}"
        )
    sizes = {len(g) for g in groups.values()}
    if len(sizes) > 1:
        few = sum(len(g) < max(sizes) for g in groups.values())
        faults.warn(
            "ragged groups",
            None,
            None,
            f"{few:,} of {len(groups):,} prompts have fewer than {max(sizes)} answers "
            f"(least {min(sizes)})",
            "an n that a prompt does not reach is a mean over the other prompts; best_of_all is "
            "over every prompt",
            times=few,
        )
    wide = torch.zeros(1 + len(proxies), len(groups), max(sizes), dtype=torch.float64)
    present = torch.zeros(len(groups), max(sizes), dtype=torch.bool)
    for b, group in enumerate(groups.values()):
        wide[:, b, : len(group)] = torch.tensor([x for _, x in group], dtype=torch.float64).T
        present[b, : len(group)] = True
    repeated = (
        0 if answer is None else sum(len(g) - len({t for t, _ in g}) for g in groups.values())
    )
    if needs_text and answer is None and "length" not in proxies:
        raise missing("response", (), source.name)
    return Table(dict(zip((gold, *proxies), wide, strict=True)), present, repeated, faults, rows)


def says(result: Mapping[str, Any]) -> list[str]:
    """The curves as a table for a person."""
    names, ns, ends = result["proxies"], result["ns"], result["curves"]
    lines = [
        f"{result['file']}: {result['rows']:,} rows, {result['prompts']:,} prompts, gold = "
        f"{result['gold']}",
        "   n    KL ≤  prompts  " + "  ".join(f"{n[:24]:>24}" for n in names) + "    oracle",
    ]
    for k, n in enumerate(ns):
        cells = "  ".join(
            f"{c['gold'][k]:8.3f} [{c['low'][k]:.3f}, {c['high'][k]:.3f}]"
            for c in (ends[x] for x in names)
        )
        lines.append(
            f"{n:>4}  {result['kl'][k]:6.3f}  {ends[names[0]]['prompts'][k]:>7}  {cells}  "
            f"{result['oracle']['gold'][k]:8.3f}"
        )
    cells = "  ".join(
        f"{c['gold']:8.3f} [{c['low']:.3f}, {c['high']:.3f}]"
        for c in (ends[x]["best_of_all"] for x in names)
    )
    lines.append(
        f" all           {result['prompts']:>7}  {cells}  "
        f"{result['oracle']['best_of_all']['gold']:8.3f}"
    )
    for x in names:
        peak, after = ends[x]["peak"], ends[x]["after_peak"]
        tied = ends[x]["tied_at_the_top"]
        turned = (
            f"; at the end {after['gold']:+.3f} [{after['low']:+.3f}, {after['high']:+.3f}] of it"
        )
        ties = f"; in {tied:.1%} of the prompts several answers share the top" if tied else ""
        turned = turned if peak["n"] != ns[-1] else ""
        lines.append(f"{x}: highest at n = {peak['n']}{turned}{ties}")
    if result["repeated_answers"]:
        lines.append(
            f"{result['repeated_answers']:,} answers repeat another of their prompt: the KL shown "
            "is then too high"
        )
    return [*lines, *(f"note: {f}" for f in result["faults"])]
