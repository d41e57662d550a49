"""The JSON client: what travels, what does not, and how much of a reply is read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from answering import servers

from assay.data.http import JsonClient
from assay.data.http_faults import Unavailable
from assay.errors import InputError

BODY = {"prompts": ["p"], "completions": ["a b"], "columns": {}}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    with servers("score_server.py", tmp_path / "log") as begin:
        yield begin


def client(url: str, **settings: Any) -> JsonClient:
    return JsonClient(url, "watch", **{"tries": 1, "pause": 0.01, **settings})


def test_loopback_bypasses_the_proxy_and_other_hosts_use_it(
    start: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start("plain")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert client(server).request(BODY, "a question") == {"scores": [2]}
    with pytest.raises(Unavailable, match="ConnectError"):
        client("http://judge.invalid/score").request(BODY, "a question")
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, server)
    assert client("http://judge.invalid/score").request(BODY, "a question") == {"scores": [2]}
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert lines[-1]["path"] == "http://judge.invalid/score", "as a proxy is asked"
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "judge.invalid")
    with pytest.raises(Unavailable, match="ConnectError"):
        client("http://judge.invalid/score").request(BODY, "a question")


def test_a_proxy_that_cannot_be_used_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "gopher://127.0.0.1:9")
    with pytest.raises(InputError, match="--watch: .* the proxy .* change HTTP_PROXY"):
        client("http://judge.invalid/score").request(BODY, "a question")


def test_a_reply_is_bounded(start: Callable[[str], str]) -> None:
    server = start("deep")
    with pytest.raises(Unavailable, match=r"a reply of more than 100 bytes: .\[\[\["):
        client(server, max_bytes=100).request(BODY, "a question")


def test_a_reply_that_comes_byte_by_byte_ends(start: Callable[[str], str]) -> None:
    server = start("drip")
    with pytest.raises(Unavailable, match=r"no whole reply in 0.1 seconds"):
        client(server, timeout=0.1).request(BODY, "a question")


@pytest.mark.parametrize("key", ["s3cret\n", "s3cr\u00e9t", "s3cret\r\nHost: evil"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_JUDGE_KEY", key)
    with pytest.raises(InputError, match="ASSAY_JUDGE_KEY holds a line break") as caught:
        client("http://127.0.0.1:9", keys=("ASSAY_JUDGE_KEY",))
    assert "s3cr" not in str(caught.value)


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(InputError, match="user name or a password for judge.example") as caught:
        client("https://me:s3cret@judge.example/v1", keys=("ASSAY_JUDGE_KEY",))
    assert "s3cret" not in str(caught.value) and "set ASSAY_JUDGE_KEY" in str(caught.value)


def test_an_address_that_is_none_is_one_sentence() -> None:
    for bad in ("http://", "ftp://host/x", "http://host:port/x", "judge"):
        with pytest.raises(InputError, match="an address such as"):
            client(bad)


def test_httpx2_is_imported_by_the_first_request_alone() -> None:
    code = (
        "import sys, assay.data.http as h\n"
        "c = h.JsonClient('http://127.0.0.1:9', 'watch', tries=1)\n"
        "assert 'httpx2' not in sys.modules\n"
        "try:\n    c.request(None, 'x')\nexcept h.Unavailable:\n    pass\n"
        "assert 'httpx2' in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
