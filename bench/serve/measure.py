"""One case: scored offline, served under load through two restarts, and offline again."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter
from itertools import pairwise
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Any

import psutil

from bench.serve import fitted
from bench.serve.load import percentile

ROWS = 768  # different completions
WARM, SETTLE = 3.0, 2.0  # seconds that do not count: after the start, after a restart
ENDS = (SIGTERM, SIGKILL)  # of the first server, of the second; the third ends with the load


class Server:
    """`assay serve` as a process of its own.

    Args:
        reward: The reward's folder.
        port: The port.
        log: The file that gets its log, a JSON line for each request.
        flags: Further flags.
    """

    def __init__(self, reward: Path, port: int, log: Path, flags: list[str]):
        with log.open("ab") as errors:
            command = [sys.executable, "-m", "assay", "serve", str(reward)]
            self.process = subprocess.Popen(
                [*command, "--port", str(port), *flags], stdout=subprocess.PIPE, stderr=errors
            )
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise RuntimeError(f"assay serve ended; see {log}")
        self.ready, self.seen = time.time(), psutil.Process(self.process.pid)
        self.begun = self.cpu()

    def cpu(self) -> float:
        """Processor seconds of it and its children so far."""
        all_ = [self.seen, *self.seen.children(recursive=True)]
        return sum(sum(p.cpu_times()[:2]) for p in all_)

    def peak(self) -> float:
        """The peaks of its memory and its children's, in MiB."""
        found = 0
        for one in (self.seen, *self.seen.children(recursive=True)):
            status = Path(f"/proc/{one.pid}/status").read_text(encoding="utf-8")
            held = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            found += int(held.split()[1])
        return found / 1024

    def end(self, signal: Signals = SIGTERM) -> dict[str, float]:
        """End it as an operator does, or as a crash does, and say what it took."""
        told = {"cpu_seconds": self.cpu() - self.begun, "peak_MiB": self.peak()}
        began = time.time()
        self.process.send_signal(signal)
        code = self.process.wait(60)
        return {**told, "exit_code": code, "drain_seconds": time.time() - began}


def case(size: fitted.Size, flags: str, args: Namespace) -> dict[str, Any]:
    """Measure one size, served with some flags."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(args.folder or made)
        folder.mkdir(parents=True, exist_ok=True)
        reward = folder / f"reward-{size.name}"
        if not reward.exists():
            print(f"fitting {args.members} members of {size.name}", flush=True)
            fitted.fit(folder, size, args.members)
        rows = folder / "rows.jsonl"
        rows.write_text("".join(json.dumps(r) + "\n" for r in completions()), encoding="utf-8")
        share = max(5.0, args.seconds / 4)
        before = offline(reward, rows, share, folder / "offline.json")
        log = folder / "serve.log"
        log.write_bytes(b"")
        load = served(reward, rows, flags.split(), args, folder, log)
        after = offline(reward, rows, share, folder / "offline.json")
        found = {
            "size": size.name,
            "members": args.members,
            "flags": flags,
            "clients": args.clients,
            "seconds": args.seconds,
            "offline": [{k: v for k, v in o.items() if k != "scores"} for o in (before, after)],
            **checked(load, before["scores"], log),
        }
    rate = statistics.mean(o["rate"] for o in found["offline"])
    found["share"] = found["rate"] / rate
    own = statistics.mean(o["cpu_seconds_an_item"] for o in found["offline"])
    found["cpu"]["offline_ms_an_item"] = 1000 * own
    return found


def completions() -> list[dict[str, str]]:
    """Rows that the fit has not seen."""
    rows = [fitted.row(10_000 + i) for i in range(ROWS // 2)]
    return [
        {"prompt": r["prompt"], "completion": r[part]}
        for r in rows
        for part in ("chosen", "rejected")
    ]


def offline(reward: Path, rows: Path, seconds: float, out: Path) -> dict[str, Any]:
    """Score without a server."""
    command = [sys.executable, "-m", "bench.serve.offline", str(reward), str(rows)]
    subprocess.run([*command, str(seconds), str(out)], check=True)
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    print(f"offline: {found['rate']:.1f} completions a second", flush=True)
    return found


def served(
    reward: Path, rows: Path, flags: list[str], args: Namespace, folder: Path, log: Path
) -> dict[str, Any]:
    """The load, and the server's two restarts: after a third of the time, and after two."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    out = folder / "load.json"
    servers = [Server(reward, port, log, flags)]
    clients = [sys.executable, "-m", "bench.serve.load", str(port), str(rows)]
    load = subprocess.Popen([*clients, str(args.clients), str(out)])
    windows, began, ends = list[tuple[float, float]](), time.time() + WARM, list[Any]()
    try:
        for signal in (*ENDS, None):
            time.sleep(args.seconds / (len(ENDS) + 1))
            windows.append((began, time.time()))
            if signal is not None:
                ends.append(servers[-1].end(signal))
                servers.append(Server(reward, port, log, flags))
                began = servers[-1].ready + SETTLE
        load.terminate()
        code = load.wait()
        ends.append(servers[-1].end())
    finally:  # nothing goes on where something failed
        for process in (load, *(s.process for s in servers)):
            process.kill()
    if code:
        raise RuntimeError(f"the load ended with {code}")
    told: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return {**told, "windows": windows, "ends": ends}


def checked(load: dict[str, Any], scores: list[float], log: Path) -> dict[str, Any]:
    """What the clients saw: nothing lost, nothing twice, every score right; and how fast."""
    answers, ids = load["answers"], Counter(a[0] for a in load["answers"])
    off = max(abs(score - scores[i % len(scores)]) for i, _, _, score in answers)
    lines = [json.loads(x) for x in log.read_text(encoding="utf-8").splitlines() if x[:1] == "{"]
    sent = sum(x.get("status") == 200 and x.get("path") == "/v1/score" for x in lines)
    windows = load["windows"]
    inside = [[a for a in answers if low <= a[2] < high] for low, high in windows]
    times = [1000 * (a[2] - a[1]) for some in inside for a in some]
    counted = sum(high - low for low, high in windows)
    spent = {
        "server_ms_an_item": 1000 * sum(e["cpu_seconds"] for e in load["ends"]) / max(sent, 1),
        "clients_ms_an_item": 1000 * load["cpu_seconds"] / len(answers),
    }
    return {
        "rate": sum(map(len, inside)) / counted,
        "rates": [len(a) / (high - low) for a, (low, high) in zip(inside, windows, strict=True)],
        "p50_ms": percentile(times, 0.5),
        "p99_ms": percentile(times, 0.99),
        "away_seconds": [new - SETTLE - old for (_, old), (new, _) in pairwise(windows)],
        "longest_ms": max(1000 * (a[2] - a[1]) for a in answers),
        "asked": load["asked"],
        "answered": len(answers),
        "lost": load["asked"] - len(ids),
        "twice": len(answers) - len(ids),
        "sent_by_the_server": sent,
        "wrong": load["wrong"],
        "tries": load["tries"],
        "largest_difference": off,
        "cpu": spent,
        "ends": load["ends"],
    }
