"""docs/serve-bench.md, from bench/results/serve.json alone."""

from __future__ import annotations

from typing import Any

GOAL = 0.8  # of the offline rate

HEAD = """# A served reward under load

Written by `make bench-serve` from [bench/results/serve.json](../bench/results/serve.json). An
ensemble of small Llama models is fitted to texts made for it. It is scored without a server, then
served to many clients, then scored without a server again, on the same cores. Each client has one
connection and asks for one completion at a time, as OpenRLHF and verl do; each request has an id.
After a third of the time the server is ended by SIGTERM and started again, after two thirds by
SIGKILL; clients try again until they have an answer. The clients run on the server's cores and are
written by hand to be cheap; what they take is told below. By default scores are computed in a
thread of the server's process, which shares Python's lock with its connections; `--workers 2`
computes them in two processes.

`share` is the rate under load over the mean of the two offline rates. The rate leaves out the
seconds in which there was no server, three after the start and two after each restart; p50 and
p99 are of all requests answered in that time, those that waited for a restart included. Offline
scoring sorts all completions by length and has both cores to itself.
"""


def page(found: dict[str, Any]) -> str:
    """The whole page."""
    m = found["machine"]
    where = (
        f"{m['processor']}, {m['cores']} cores, {m['memory_MiB'] // 1024} GiB; torch "
        f"{m['torch']}, Python {m['python']}; load average before the start: "
        f"{m['load_before']:.1f}.\n"
    )
    return "\n".join([HEAD, where, tables(found)])


def tables(found: dict[str, Any]) -> str:
    """The tables, which are printed too."""
    return "\n".join([speed(found["cases"]), whole(found["cases"]), cost(found["cases"])])


def named(c: dict[str, Any]) -> str:
    """A case's first two cells."""
    flags = f"`{c['flags']}`" if c["flags"] else "none"
    return f"| {c['members']} × {c['size']} | {flags}"


def speed(cases: list[dict[str, Any]]) -> str:
    """How fast."""
    out = [
        "## Speed",
        "",
        f"Completions a second. The goal is {GOAL:.0%} of the offline rate.",
        "",
        "| members | flags | clients | offline | served | share | goal | p50, ms | p99, ms |",
        "|---|" + "---|" * 8,
    ]
    for c in cases:
        before, after = (o["rate"] for o in c["offline"])
        met = "met" if c["share"] >= GOAL else "**not met**"
        out.append(
            f"{named(c)} | {c['clients']} | {before:.1f}, {after:.1f} | "
            f"{c['rate']:.1f} | {c['share']:.0%} | {met} | {c['p50_ms']:.0f} | {c['p99_ms']:.0f} |"
        )
    return "\n".join([*out, ""])


def whole(cases: list[dict[str, Any]]) -> str:
    """Whether anything was lost."""
    out = [
        "## Nothing lost, nothing twice",
        "",
        "`sent` counts the answers in the server's log: more than the clients got where a server "
        "was killed before it had sent what it took, fewer where it was killed before it wrote "
        "the line. `largest difference` is between a "
        "client's score and the offline one. `wrong` counts answers to another request, second "
        "answers on a connection, and refusals.",
        "",
        "| members | flags | requests | answered | lost | twice | sent | wrong | "
        "largest difference | seconds away | longest wait, s |",
        "|---|" + "---|" * 10,
    ]
    for c in cases:
        out.append(
            f"{named(c)} | {c['asked']:,} | {c['answered']:,} | {c['lost']} | "
            f"{c['twice']} | {c['sent_by_the_server']:,} | {len(c['wrong'])} | "
            f"{c['largest_difference']:.1e} | {max(c['away_seconds']):.1f} | "
            f"{c['longest_ms'] / 1000:.1f} |"
        )
    return "\n".join([*out, ""])


def cost(cases: list[dict[str, Any]]) -> str:
    """What it takes."""
    out = [
        "## Processor and memory",
        "",
        "Processor time in milliseconds a completion, of all cores together; the peak of the "
        "memory of the server and its processes at each of its three ends, and of offline scoring.",
        "",
        "| members | flags | offline | server | clients | server, MiB | offline, MiB |",
        "|---|" + "---|" * 6,
    ]
    for c in cases:
        cpu, peaks = c["cpu"], ", ".join(f"{e['peak_MiB']:.0f}" for e in c["ends"])
        alone = max(o["peak_MiB"] for o in c["offline"])
        out.append(
            f"{named(c)} | {cpu['offline_ms_an_item']:.2f} | "
            f"{cpu['server_ms_an_item']:.2f} | {cpu['clients_ms_an_item']:.2f} | "
            f"{peaks} | {alone:.0f} |"
        )
    return "\n".join([*out, ""])
