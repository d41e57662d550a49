"""The server as an object of a notebook: what it says of itself, and cells that are run twice."""

from __future__ import annotations

import threading
import time

import pytest
from serving import length

from assay.errors import InputError
from assay.serve.server import RewardServer


def threads() -> int:
    """Threads of a server: the one that listens and the one that scores."""
    names = [t.name for t in threading.enumerate()]
    return names.count("reward server") + sum(n.startswith("scoring") for n in names)


def test_a_server_says_in_a_notebook_what_it_is() -> None:
    server = RewardServer(length, log_requests=False)
    assert repr(server) == "<RewardServer not started>"
    with server:
        assert repr(server) == f"<RewardServer {server.url} ready: length>"
        assert server.start() == server.url and threads() == 2
    assert repr(server) == "<RewardServer ended>"
    until = time.monotonic() + 20
    while threads():  # the one that scores is not waited for
        assert time.monotonic() < until
        time.sleep(0.01)
    with pytest.raises(InputError, match="has ended, and does not start again"):
        server.start()
    for wrong, said in (
        ({"prot": 8000}, "no argument 'prot'; did you mean port"),
        ({"port": "8000"}, "port is '8000', a text; give a number"),
    ):
        with pytest.raises(InputError, match=said):
            RewardServer(length, **wrong)
