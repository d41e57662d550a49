"""assay serve as a process: how it begins, how it ends, and what a kill leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest
from serving import body, client

from assay.cli import main
from assay.errors import InputError
from assay.serve.server import RewardServer

JUDGE = """
import os, time, torch

def score(prompts, completions):
    if "die" in completions:
        os._exit(9)
    if "spin" in completions:
        x, began = torch.ones(500, 500), time.monotonic()
        while time.monotonic() - began < 20:
            x = torch.tanh(x @ x)
    if "wait" in completions:
        time.sleep(1.5)
    if "hang" in completions:
        time.sleep(1000)
    return [float(len(c)) for c in completions]
"""


@pytest.fixture
def judge(tmp_path: Path) -> str:
    (tmp_path / "judge.py").write_text(JUDGE)
    return f"{tmp_path / 'judge.py'}:score"


@contextlib.contextmanager
def process(*words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A server, and what it said when it was ready."""
    started = subprocess.Popen(
        [sys.executable, "-m", "assay", "serve", *words, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert started.stdout is not None
        line = started.stdout.readline()
        assert line, started.communicate()[1]
        yield started, json.loads(line)
    finally:
        started.kill()
        started.communicate()


def test_sigterm_ends_it_with_0_after_what_was_taken_is_answered(judge: str) -> None:
    with process(judge, "--port", "0") as (server, said), client(said["url"]) as c:
        assert said["try"].startswith(f"curl -s {said['url']}/v1/score ")
        assert c.post("/v1/score", json=body("ab")).json()["scores"] == [2.0]
        answers = list[float]()

        def ask() -> None:
            answers.extend(c.post("/v1/score", json=body("wait")).json()["scores"])

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.5)
        server.send_signal(signal.SIGTERM)
        thread.join()
        assert answers == [4.0]
        assert server.wait(20) == 0
        assert server.stderr is not None
        lines = [json.loads(x) for x in server.stderr.read().splitlines()]
        assert [x["status"] for x in lines if x["event"] == "request"] == [200, 200]


@pytest.mark.full  # each start of a process takes seconds
def test_a_log_that_nobody_reads_holds_no_request_up(judge: str) -> None:
    """A pipe holds 64 KiB, about 300 lines: the server then waited for ever, for SIGTERM too."""
    with process(judge, "--port", "0") as (server, said), client(said["url"]) as http:
        for _ in range(600):
            assert http.post("/v1/score", json=body("a")).status_code == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0


@pytest.mark.full
def test_after_a_kill_the_same_requests_get_the_same_answers(judge: str) -> None:
    with process(judge, "--port", "0") as (server, said), client(said["url"]) as c:
        first = c.post("/v1/score", json=body("ab", "c", ids=["x", "y"])).json()
        threading.Timer(0.3, server.kill).start()
        with pytest.raises(httpx2.TransportError):  # it gets no answer, and no wrong one
            c.post("/v1/score", json=body("wait"))
        port = said["url"].rpartition(":")[2]
    with process(judge, "--port", port) as (_, said), client(said["url"]) as c:
        assert c.post("/v1/score", json=body("ab", "c", ids=["x", "y"])).json() == first


@pytest.mark.full  # each start of a process takes seconds
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_request_that_outlasts_the_drain_is_told_and_makes_exit_code_1(
    judge: str, workers: str
) -> None:
    with process(judge, "--port", "0", "--drain", "0.1", "--workers", workers) as (server, ready):
        with client(ready["url"]) as c:
            thread = threading.Thread(target=lambda: _failing(c))
            thread.start()
            time.sleep(0.4)
            server.send_signal(signal.SIGINT)
            assert server.wait(20) == 1
            thread.join()
        assert server.stderr is not None
        said = server.stderr.read()
        assert "longer --drain" in said
        assert "terminate called" not in said and "Traceback" not in said


def _failing(c: httpx2.Client) -> None:
    with contextlib.suppress(httpx2.TransportError):
        c.post("/v1/score", json=body("spin", *["x"] * 9))


@pytest.mark.full
@pytest.mark.skipif(not hasattr(os, "fork"), reason="finds children by psutil on POSIX")
def test_a_scoring_process_that_dies_is_started_again(judge: str) -> None:
    with RewardServer(judge, workers=1, max_wait=0.0) as server, client(server.url) as c:
        assert c.post("/v1/score", json=body("abc")).json()["scores"] == [3.0]
        dead = c.post("/v1/score", json=body("die"))
        assert dead.status_code == 503 and int(dead.headers["Retry-After"]) > 0
        assert c.post("/v1/score", json=body("abcd")).json()["scores"] == [4.0]
        children = psutil.Process().children(recursive=True)
        assert children
    psutil.wait_procs(children, 5)
    assert not any("spawn_main" in " ".join(p.cmdline()) for p in children if p.is_running())


@pytest.mark.full
def test_a_scoring_process_that_hangs_is_started_again(judge: str) -> None:
    settings = {"workers": 1, "max_wait": 0.0, "timeout": 3.0}
    with RewardServer(judge, **settings) as server, client(server.url) as c:
        assert c.post("/v1/score", json=body("abc")).json()["scores"] == [3.0]
        assert c.post("/v1/score", json=body("hang")).status_code == 504
        until = time.monotonic() + 60
        while c.post("/v1/score", json=body("abcd")).status_code != 200:
            assert time.monotonic() < until


def test_what_cannot_be_served_is_one_sentence(
    judge: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ASSAY_TOKEN", raising=False)
    taken = socket.create_server(("127.0.0.1", 0))
    port = str(taken.getsockname()[1])
    (tmp_path / "short").write_text("abc")
    (tmp_path / "held").write_text("a-token-of-more-than-16")
    held = str(tmp_path / "held")
    for words, said in (
        ([judge, "--port", port], f"port {port} (Address already in use); give another --port"),
        ([judge, "--host", "192.0.2.1", "--token-file", held], "give an address of this machine"),
        ([judge, "--host", "0.0.0.0", "--port", "0"], "there is no token; write one into a file"),
        ([judge, "--port", "0", "--token-file", str(tmp_path / "short")], "of 3 characters"),
        (
            [judge, "--token-file", str(tmp_path / "no")],
            "cannot be read: No such file or directory\n",
        ),
        (["./nowhere", "--port", "0"], "does not exist here"),
        ([], "assay serve needs REWARD"),
        ([judge, "--max-batch", "0"], "--max-batch is 0"),
        ([judge, "--max-queue", "8"], "--max-items is 1024; give 1 to 8 (--max-queue)"),
        ([judge, "--aggregate", "best"], "--aggregate is 'best'"),
        ([judge, "--shape", "par"], "holds them with --references"),
        ([judge, "--port", "0", "--spread-limit", "1"], "one member, which has no spread"),
    ):
        assert main(["serve", *words]) == 2
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error, error
    taken.close()
    with pytest.raises(InputError, match="other processes cannot load"):
        RewardServer(len, workers=1)


def test_the_spread_limit_is_a_quantile_of_a_file(judge: str, tmp_path: Path) -> None:
    other = tmp_path / "other.py"
    other.write_text("def score(prompts, completions): return [0.0] * len(prompts)\n")
    rows = tmp_path / "rows.jsonl"
    lines = [{"prompt": "p", "completion": "x" * (2 * n)} for n in range(1, 12)]  # spreads 1 to 11
    rows.write_text("".join(json.dumps(x) + "\n" for x in lines))
    settings = {"calibrate": str(rows), "calibrate_quantile": 0.5}
    with RewardServer(judge, f"{other}:score", **settings) as server, client(server.url) as c:
        about = c.get("/v1/models").json()["data"][0]
        assert about["spread_limit"] == 6.0 and about["calibration"]["completions"] == 11
        found = c.post("/v1/score", json=body("x" * 12, "x" * 13)).json()["results"]
        assert [r["out_of_distribution"] for r in found] == [False, True]


def test_processes_of_a_server_that_cannot_start_are_ended(judge: str, tmp_path: Path) -> None:
    def scoring() -> list[psutil.Process]:
        every = psutil.Process().children()
        return [p for p in every if p.status() != "zombie" and "spawn_main" in str(p.cmdline())]

    (tmp_path / "other.py").write_text(JUDGE.replace("len(c)", "2 * len(c)"))
    two = (judge, f"{tmp_path / 'other.py'}:score")
    before = scoring()
    server = RewardServer(*two, workers=1, calibrate=str(tmp_path / "none"), log_requests=False)
    with pytest.raises(InputError, match="none"):
        server.start()
    assert scoring() == before
    assert server.url.startswith("http://127.0.0.1:")  # the address that it had


def test_a_server_that_is_stopped_while_it_loads_says_so_and_keeps_no_thread(
    tmp_path: Path,
) -> None:
    slow = "import time\ntime.sleep(1.5)\ndef score(prompts, completions):\n    return [1.0]\n"
    (tmp_path / "slow.py").write_text(slow)
    server = RewardServer(f"{tmp_path / 'slow.py'}:score", log_requests=False)
    before = threading.active_count()
    threading.Timer(0.5, server.stop).start()
    with pytest.raises(InputError, match="stopped before its rewards were loaded"):
        server.start()
    for _ in range(100):
        if threading.active_count() <= before:
            return
        time.sleep(0.05)
    raise AssertionError([t.name for t in threading.enumerate()])
