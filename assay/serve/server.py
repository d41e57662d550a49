"""A reward server in a thread: start it, use it, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import errno
import functools
import logging
import socket
import threading
from collections.abc import Mapping
from typing import Any

from assay.errors import InputError
from assay.rewards.load import entries
from assay.rewards.text_scorer import TextReward
from assay.serve.app import Service, application
from assay.serve.config import ServeConfig
from assay.serve.formats import FORMATS
from assay.serve.lanes import Child, Lanes, threads_each
from assay.serve.limits import token_of
from assay.serve.opening import calibrated, opened
from assay.serve.own_format import ScoreFormat
from assay.serve.protocol import patient

KEEP_ALIVE = 75  # seconds that an idle connection stays open: trainers pause between their steps
HEAD = 30.0  # seconds in which a request's head has to come
BACKLOG = 2048
log = logging.getLogger("assay.serve")


class RewardServer:
    """Serves rewards over HTTP, by uvicorn in a thread of its own.

    Args:
        rewards: What `--rewards` takes (folders, classifiers, FILE.py:name, addresses), functions
            with TRL's signature, or what `fit_reward` and `load_reward` return; several are
            stacked.
        settings: The flags of `assay serve` (see `ServeConfig`), such as `aggregate="worst"` or
            `port=8000`; the port is a free one by default.

    Attributes:
        url: The server's address.
        about: What /v1/models tells, once the server is ready.

    Raises:
        InputError: A setting is wrong, the port cannot be used, or a token is needed.

    Example:
        >>> import httpx2
        >>> length = lambda prompts, completions: [float(len(c)) for c in completions]
        >>> with RewardServer(length, log_requests=False) as server:
        ...     body = {"prompts": ["2 + 2?"], "completions": ["four"]}
        ...     httpx2.post(server.url + "/v1/score", json=body).json()["scores"]
        [4.0]
    """

    def __init__(self, *rewards: Any, **settings: Any):
        _check_names(settings)
        self.config = ServeConfig(**{"port": 0, **settings})
        self.config.check()
        self.rewards = [_alone(one) for some in rewards for one in entries(some, "a reward")]
        if self.config.workers and not all(isinstance(r, str) for r in self.rewards):
            raise InputError(
                "a reward is an object of this program, which other processes cannot load; leave "
                "out workers, or give a folder or FILE.py:name"
            )
        self.token = token_of(self.config)
        self.about: dict[str, Any] = {}
        self.service = Service(self.config, [ScoreFormat(lambda: self.service.about), *FORMATS])
        self.lanes: Lanes | None = None
        self.socket = _listen(self.config.host, self.config.port)
        self._bound = self.socket.getsockname()[:2]  # the socket is closed when the server ends
        self.thread: threading.Thread | None = None
        self.clean = True  # every request was answered before the server ended

    @property
    def url(self) -> str:
        """The server's address, by a name that this machine can use."""
        host, port = self._bound
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def __repr__(self) -> str:
        if self.thread is None:
            return f"<RewardServer {'ended' if self.socket.fileno() < 0 else 'not started'}>"
        members = ", ".join(self.about.get("members", ())) or "loading"
        return f"<RewardServer {self.url} {self.service.phase}: {members}>"

    def start(self) -> str:
        """Listen, load the rewards, and return when the server is ready.

        Until the rewards are loaded, requests for scores get HTTP 503. A second call does nothing.

        Returns:
            The server's address.

        Raises:
            InputError: A reward cannot be opened, or the server was stopped or has ended.
        """
        if self.thread is not None:
            return self.url
        if self.socket.fileno() < 0:
            raise InputError("this server has ended, and does not start again; make a new one")
        self._listen_in_thread()
        try:
            self.lanes, self.about = self._lanes()
        except BaseException:
            self.stop()
            raise
        done = threading.Event()

        def open_() -> None:
            assert self.lanes is not None
            self.service.open(self.lanes, self.about)
            done.set()

        with contextlib.suppress(RuntimeError):  # the loop has ended
            self.loop.call_soon_threadsafe(open_)
        while not done.wait(0.2):
            if self.thread is None or not self.thread.is_alive():  # another thread stopped it
                self.stop()
                raise InputError("the reward server was stopped before its rewards were loaded")
        return self.url

    def stop(self) -> bool:
        """Take no new requests, answer those under way, and end. A second call does nothing.

        Returns:
            Whether every request was answered.
        """
        self.ask_to_stop()
        return self.wait()

    def ask_to_stop(self) -> None:
        """Begin to stop, and return at once."""
        self.service.phase = "draining"
        if self.thread is not None:
            self.server.should_exit = True

    def wait(self) -> bool:
        """Wait until the server has ended.

        Returns:
            Whether every request was answered.
        """
        if self.thread is not None:
            while self.thread.is_alive():
                self.thread.join(0.2)  # a signal is handled between two of these
            self.thread = None
        if self.lanes is not None:
            self.lanes.close()
            self.lanes = None
        self.socket.close()
        return self.clean

    def __enter__(self) -> RewardServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _lanes(self) -> tuple[Lanes, dict[str, Any]]:
        """Load the rewards, once or once a process."""
        config, how, n = self.config, None, self.config.workers
        if n == 0:
            score, about = opened(self.rewards, config)
            if config.calibrate:
                config, how = calibrated(score, config)
                score, about = opened(self.rewards, config)
            return Lanes([score]), {**about, "calibration": how}
        child = functools.partial(Child, opened, threads=threads_each(n))
        most = 2 * config.timeout  # nobody waits any more
        if config.calibrate:
            first = child(arguments=(self.rewards, config))
            try:
                config, how = calibrated(first, config)
            finally:
                first.close()
        lanes = list[Child]()
        try:
            while len(lanes) < n:
                lanes.append(child(arguments=(self.rewards, config), limit=most))
        except BaseException:  # those that have loaded the reward would keep its memory
            for one in lanes:
                one.close()
            raise
        return Lanes(lanes), {**lanes[0].about, "calibration": how}

    def _listen_in_thread(self) -> None:
        """Run uvicorn in a thread, and return when it accepts connections."""
        import uvicorn

        app = application(self.service, local=self.config.local, token=self.token)
        self.server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=patient(HEAD),
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                lifespan="on",
                ws="none",
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE,
            )
        )
        ready = threading.Event()

        async def serve() -> None:
            self.loop = asyncio.get_running_loop()
            ending = asyncio.create_task(self.server.serve([self.socket]))
            while not (self.server.started or ending.done()):
                await asyncio.sleep(0.005)
            ready.set()
            while not (self.server.should_exit or ending.done()):
                await asyncio.sleep(0.1)
            await asyncio.wait([ending], timeout=self.config.drain + 1)
            if not ending.done():
                self.clean = False
                self.service.abandon()
                await asyncio.wait([ending], timeout=1)
            if not ending.done():  # a request whose body has not come whole
                self.server.force_exit = True
                ending.cancel()
                await asyncio.wait([ending], timeout=1)

        self.thread = threading.Thread(
            target=lambda: asyncio.run(serve()), name="reward server", daemon=True
        )
        self.thread.start()
        ready.wait()


def _alone(reward: Any) -> Any:
    """A reward without what wraps it for people, such as a `RewardEnsemble`."""
    return getattr(reward, "reward", reward) if isinstance(reward, TextReward) else reward


def _check_names(settings: Mapping[str, Any]) -> None:
    """Check what Python gives in place of flags, before a dataclass says it in Python's words.

    Raises:
        InputError: There is no such setting, or a text stands where a number does.
    """
    known = list(ServeConfig.__dataclass_fields__)
    for name, value in settings.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise InputError(
                f"RewardServer has no argument '{name}'; "
                + (f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}")
            )
        if isinstance(getattr(ServeConfig, name), (int, float)) and isinstance(value, str):
            raise InputError(f"{name} is {value!r}, a text; give a number")


def _listen(host: str, port: int) -> socket.socket:
    """A socket that is bound to an address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as why:
        said = (why.strerror or str(why)).partition(" (while")[0]  # create_server adds the address
        cure = (
            "give another --port, or 0 for a free one"
            if why.errno in (errno.EADDRINUSE, errno.EACCES)
            else "give an address of this machine with --host, such as 127.0.0.1 or 0.0.0.0"
        )
        raise InputError(f"nothing can listen on {host}, port {port} ({said}); {cure}") from why
