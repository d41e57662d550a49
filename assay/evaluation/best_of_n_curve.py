"""`assay bon`: what best-of-n by a proxy does to gold, for any scored file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assay.core.rng import Rng
from assay.engine import progress
from assay.engine.atomic import creating, is_free
from assay.engine.reserved import Reserved, reserving
from assay.errors import InputError
from assay.evaluation.scored_table import read_table
from assay.formulas.curves import best_of_n, bootstrap_mean
from assay.formulas.divergence import best_of_n_bound
from assay.records.lines import digest, encode
from assay.records.provenance import provenance
from assay.report import best_of_n_page


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
    """Measure the best-of-n curve of a scored file: gold of what a proxy scores highest among n.

    The estimate is unbiased, over all subsets of n (ties shared). Its intervals resample prompts.
    KL is log n − (n−1)/n in nats, which is an upper bound where completions repeat.

    Args:
        scores: A file with a row a completion: its prompt, gold and proxies.
        gold: The column of gold.
        proxy: Columns to choose by; "proxy" if none is named. "length" is the completion's length.
        ns: Which n; the powers of two and the largest n if none is given.
        columns: Other names of the columns, e.g. `{"prompt": "question"}`.
        split: Of a folder with several.
        draws: Resamples of the intervals.
        drop: Leave out rows that cannot be used, instead of refusing the file.
        seed: Of the resampling.
        out: A JSON file to write. Never overwritten.
        page: An HTML page with the figure to write. Never overwritten.

    Returns:
        The curves by proxy, the oracle's (gold chooses), and what they were made of.

    Raises:
        InputError: The file cannot be used, or `out` or `page` exists.
    """
    with _reserving(out, page):
        for path, flag in ((out, "-o"), (page, "--page")):
            if path is not None and not is_free(Path(path)):
                raise InputError(
                    f"{path} exists and is never overwritten; give another file with {flag}"
                )
    if draws < 1:
        raise InputError(f"--draws is {draws}; an interval needs at least 1")
    with progress.stage(f"reading {scores}"):
        table = read_table(
            scores, gold, tuple(proxy) or ("proxy",), columns=columns, split=split, drop=drop
        )
    count = table.present.sum(1)
    most = int(count.max())
    if most < 2:
        raise InputError(
            f"{scores} has one completion a prompt ({len(count):,} prompts); best-of-n chooses "
            "among several rows with the same prompt"
        )
    wanted = sorted(set(ns)) or sorted({*(2**k for k in range(most.bit_length())), most})
    if wanted[0] < 1 or wanted[-1] > most:
        raise InputError(
            f"--ns asks for n = {wanted[0] if wanted[0] < 1 else wanted[-1]}, and a prompt here "
            f"has 1 to {most} completions"
        )
    index = torch.randint(
        len(count), (draws, len(count)), generator=Rng(seed)("bootstrap").generator()
    )
    truth = table.columns[gold]
    proxies = [name for name in table.columns if name != gold]
    curves = {
        name: _curve(table.columns[name], truth, wanted, table.present, index)
        for name in progress.over(proxies, "best-of-n curves", "proxies")
    }
    oracle = _curve(truth, truth, wanted, table.present, index)
    result = {
        "file": str(scores),
        "gold": gold,
        "proxies": list(curves),
        "rows": table.rows,
        "prompts": len(count),
        "completions": {
            "least": int(count.min()),
            "most": most,
            "ragged": bool((count != most).any()),
            "sizes": {str(int(n)): int((count == n).sum()) for n in torch.unique(count)},
        },
        "repeated_completions": table.repeated,
        "ns": wanted,
        "kl": [float(best_of_n_bound(n)) for n in wanted],
        "kl_kind": "upper",
        "kl_note": "log n − (n−1)/n: exact where no two completions are equal, else too high",
        "curves": curves,
        "oracle": oracle,
        "warnings": dict(table.faults.warnings),
        "faults": [str(f) for f in table.faults.warned],
        "draws": draws,
        "seed": seed,
        "input": {"sha256": digest(scores) if Path(scores).exists() else None},
    }
    with _reserving(out, page) as mine:
        if out is not None:
            data = encode({**provenance(), **result}, indent=1)
            with creating(Path(out), len(data)) as fresh:
                fresh.write_bytes(data)
                if mine is not None:
                    mine.making(Path(out), fresh)
        if page is not None:
            best_of_n_page.page(result, page)
    return result


def _reserving(
    out: str | Path | None, page: str | Path | None
) -> AbstractContextManager[Reserved | None]:
    """No other process writes the outputs meanwhile; the page, which is written last, makes them
    whole.
    """
    outputs = [Path(path) for path in (page, out) if path is not None]
    return reserving(*outputs) if outputs else nullcontext()


def _curve(
    proxy: Tensor, gold: Tensor, ns: list[int], present: Tensor, index: Tensor
) -> dict[str, Any]:
    """Gold and proxy of the best of n, the peak, and what is gained or lost after it."""
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
    """The share of prompts in which two completions share the highest proxy: chance decides."""
    top = torch.where(present, proxy, -torch.inf).amax(1, keepdim=True)
    return float((((proxy == top) & present).sum(1) > 1).double().mean())


def says(result: Mapping[str, Any]) -> list[str]:
    """Return the curves as lines of text.

    Args:
        result: What `bon` returned.
    """
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
        ties = f"; in {tied:.1%} of the prompts several completions share the top" if tied else ""
        turned = turned if peak["n"] != ns[-1] else ""
        lines.append(f"{x}: highest at n = {peak['n']}{turned}{ties}")
    if result["repeated_completions"]:
        lines.append(
            f"{result['repeated_completions']:,} completions repeat another of their prompt: the "
            "KL shown is then too high"
        )
    return [*lines, *(f"note: {f}" for f in result["faults"])]
