"""A cluster of Ray, and what a trial asks of one of its nodes."""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from assay.engine.signals import Terminated, sigterm_interrupts
from assay.errors import InputError
from assay.registry.extras import need

LOCAL = "local"
_STORE = 100 * 2**20  # bytes: trials leave nothing in the object store, and Ray asks for 75 MiB
_PATIENCE = 10.0  # seconds in which a cluster's head answers
_GIB = 2**30


@dataclass(frozen=True)
class Resources:
    """What each trial is given, in Ray's words.

    Attributes:
        num_cpus: CPU cores. A trial computes with as many threads.
        num_gpus: GPUs; a part of one is allowed. None is one where the cluster has GPUs and the
            trial's model can use one.
        memory: GiB of memory; 0 reserves none.
        max_retries: How often a trial whose worker or node died is tried again.

    Example:
        >>> Resources(num_cpus=4).threads, Resources(num_cpus=0.5).threads
        (4, 1)
    """

    num_cpus: float = 1.0
    num_gpus: float | None = None
    memory: float = 0.0
    max_retries: int = 3

    def __post_init__(self) -> None:
        for name, least in (("num_cpus", 0), ("num_gpus", 0), ("memory", 0), ("max_retries", 0)):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= least):
                raise InputError(
                    f"--{name.replace('_', '-')} is {value}; give a number of at least {least}"
                )
        if (self.num_gpus or 0) > 1 and self.num_gpus != int(self.num_gpus or 0):
            raise InputError(
                f"--num-gpus is {self.num_gpus:g}; Ray gives out whole GPUs, or a part of one"
            )

    @property
    def threads(self) -> int:
        """With how many threads a trial computes."""
        return max(1, int(self.num_cpus))

    def asked(self, gpu: bool) -> dict[str, float]:
        """What a trial asks of a node, by Ray's names.

        Args:
            gpu: Whether it is given a GPU where --num-gpus leaves it open.
        """
        gpus = float(gpu) if self.num_gpus is None else self.num_gpus
        return {"CPU": self.num_cpus, "GPU": gpus, "memory": float(int(self.memory * _GIB))}


def resources_of(address: str, given: Mapping[str, Any]) -> Resources | None:
    """What each trial is given; None for a sweep without Ray.

    Args:
        address: The cluster; "" for none.
        given: Fields of `Resources`; None for those that were not given.

    Raises:
        InputError: Something was given, and no cluster.
    """
    named = {k: v for k, v in given.items() if v is not None}
    if address:
        return Resources(**named)
    if named:
        flag = f"--{next(iter(named)).replace('_', '-')}"
        raise InputError(
            f"{flag} is what a task of Ray is given, and this sweep runs here, one run after "
            f"another: add --ray {LOCAL} or --ray HOST:PORT, or leave {flag} out"
        )
    return None


@contextmanager
def cluster(address: str, retries: int) -> Iterator[Any]:
    """Connect to a cluster, or start one on this machine, while the block runs.

    A connection that the program has already is used, and stays.

    Args:
        address: "local" starts a cluster; else HOST:PORT, or "auto" for the one of this node.
        retries: See `Resources.max_retries`; also where a worker was killed for memory.

    Yields:
        The module `ray`.

    Raises:
        InputError: Ray is not installed, or no cluster answers.
    """
    need("ray", "ray", "--ray")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "--ray starts a process for each run by itself, and this was started several times: "
            "leave out torchrun or accelerate launch"
        )
    if "://" in address:
        raise InputError(
            f"--ray is {address}; give HOST:PORT of the cluster's head and start the sweep on one "
            "of its nodes, which sees the runs' folders"
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a sweep tells nobody that it ran
    # without it a trial that never fits is tried for ever
    os.environ.setdefault("RAY_task_oom_retries", str(retries))
    import ray

    if ray.is_initialized():
        yield ray
        return
    _answers(address)
    quietly: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        quietly |= {"include_dashboard": False, "object_store_memory": _STORE}
    try:
        ray.init(address=address, **quietly)
    except Exception as why:  # a node that does not start in time raises a bare one
        ray.shutdown()
        first = (str(why).strip().splitlines() or [type(why).__name__])[0].rstrip(".")
        cure = (
            "give the command again when the machine is less busy, or leave --ray out"
            if address == LOCAL
            else f"start a cluster by ray start --head, or give --ray {LOCAL}"
        )
        raise InputError(f"--ray is {address}, and Ray cannot start ({first}): {cure}") from why
    try:
        with _terminated():
            yield ray
    finally:
        ray.shutdown()


@contextmanager
def _terminated() -> Iterator[None]:
    """Treat SIGTERM as an interrupt while the block runs, as runs do: Ray's own handler, which is
    set as it connects, ends the program without a word.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with sigterm_interrupts():
        try:
            yield
        except KeyboardInterrupt as why:
            # Ray's wait raises a plain one in place of what the handler raised
            came = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
            raise (Terminated() if came else why) from why.__cause__


def _answers(address: str) -> None:
    """Knock at the head's port: Ray itself waits for minutes where nobody answers.

    Raises:
        InputError: Nobody answers, or the address is none.
    """
    if address in (LOCAL, "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(
            f"--ray is '{address}'; give HOST:PORT of a cluster's head, such as 10.0.0.1:6379, "
            f"auto for the cluster of this node, or {LOCAL}"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except OSError as why:
        raise InputError(
            f"--ray is {address}, and no cluster answers there ({why}): start one by ray start "
            f"--head --port {port}, or give --ray {LOCAL}"
        ) from why


def nodes(ray: Any) -> list[Mapping[str, float]]:
    """The resources of each node that lives."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def fits(asked: Mapping[str, float], has: Sequence[Mapping[str, float]]) -> bool:
    """Whether one node can hold a trial, once nothing else runs there.

    Args:
        asked: What a trial asks for.
        has: The nodes' resources.

    Example:
        >>> fits({"CPU": 4, "GPU": 0}, [{"CPU": 2}, {"CPU": 2}])
        False
    """
    return any(all(node.get(k, 0.0) >= v for k, v in asked.items()) for node in has)


def must_fit(asked: Mapping[str, float], has: Sequence[Mapping[str, float]]) -> None:
    """Check that a node can hold a trial: Ray would wait for such a node for ever.

    Args:
        asked: What a trial asks for.
        has: The nodes' resources.

    Raises:
        InputError: None can.
    """
    if not fits(asked, has):
        raise InputError(
            f"a run asks for {_told(asked)}, and no node of the cluster has that; the nodes have "
            f"{'; '.join(sorted({_told(node) for node in has})) or 'nothing'}: ask for less by "
            "--num-cpus, --num-gpus or --memory, or add a node"
        )


def _told(of: Mapping[str, float]) -> str:
    parts = [f"{of.get('CPU', 0.0):g} CPU", f"{of.get('GPU', 0.0):g} GPU"]
    return ", ".join([*parts, f"{of.get('memory', 0.0) / _GIB:.1f} GiB"])
