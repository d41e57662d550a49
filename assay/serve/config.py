"""How a reward is served: what is computed, where, and within which limits."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, fields

from assay.errors import InputError
from assay.interop.shapes import WITH_REFERENCES, check_shape
from assay.loops.scoring import aggregator
from assay.serve.core import Stacking


@dataclass(frozen=True)
class ServeConfig:
    """How a reward is served.

    Attributes:
        aggregate: How several members become one number: mean, worst, uncertainty:0.5
            (mean − 0.5·variance) or quantile:0.25.
        shape: none, sigmoid, tanh, polynomial, ceiling; or par, centre, log_sigmoid,
            slow_then_fast, which compare with references.
        references: The column of an item that holds the reference policy's completions (texts, or
            their scores), for the shapes that compare with them.
        slope: A constant of sigmoid, tanh, par and slow_then_fast.
        most: The highest value of ceiling.
        late: A constant of slow_then_fast.
        spread_limit: The spread of the members above which an item counts as out of distribution.
        calibrate: A file of prompts and completions like those that the reward was fitted to; the
            spread limit becomes a quantile of the spreads on it.
        calibrate_quantile: Which quantile of the spreads becomes the limit.
        host: The address to listen on; any but loopback needs a token.
        port: The port; 0 for a free one.
        token_file: A file that holds the token which requests must carry; the environment variable
            ASSAY_TOKEN is read where none is named.
        name: What /v1/models calls the reward; made from the rewards' names if empty.
        workers: Processes that score; 0 to score in a thread of the server's own process.
        max_batch: The most items that are scored at once.
        max_wait: Milliseconds that an item waits for others to be scored with.
        max_queue: The most items that wait; a request beyond it gets HTTP 429.
        max_items: The most items of one request.
        max_body: The longest body of a request, in MiB.
        timeout: Seconds that a request may take in all; after it the client gets HTTP 504.
        drain: Seconds that requests may take to end after SIGTERM.
        log_requests: Write one JSON line to stderr for each request.
        trust_remote_code: Run Python code that comes with the rewards' models (auto_map) and
            kernels that their settings name.
    """

    aggregate: str = "mean"
    shape: str = "none"
    references: str = ""
    slope: float = 1.0
    most: float = 3.0
    late: float = 3.0
    spread_limit: float | None = None
    calibrate: str = ""
    calibrate_quantile: float = 0.99
    host: str = "127.0.0.1"
    port: int = 8000
    token_file: str = ""
    name: str = ""
    workers: int = 0
    max_batch: int = 64
    max_wait: float = 5.0
    max_queue: int = 4096
    max_items: int = 1024
    max_body: float = 16.0
    timeout: float = 60.0
    drain: float = 30.0
    log_requests: bool = True
    trust_remote_code: bool = False

    @property
    def stacking(self) -> Stacking:
        """How members' scores become one number."""
        return Stacking(**{f.name: getattr(self, f.name) for f in fields(Stacking)})

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    def check(self) -> None:
        """Check the settings before anything is loaded.

        Raises:
            InputError: One is out of range, or two do not go together.
        """
        aggregator(self.aggregate)
        if self.shape in WITH_REFERENCES and not self.references:
            raise InputError(
                f"--shape {self.shape} compares with references: name the column of the items that "
                "holds them with --references"
            )
        check_shape(self.shape, self.references, False)
        if self.spread_limit is not None and self.calibrate:
            raise InputError("--spread-limit and --calibrate both set the limit; give one of them")
        if not 0 < self.calibrate_quantile < 1:
            raise InputError(
                f"--calibrate-quantile is {self.calibrate_quantile}; give a number between 0 and 1"
            )
        least: dict[str, tuple[float, float]] = {
            "workers": (0, 256),
            "max_batch": (1, 1 << 16),
            "max_wait": (0, 60_000),
            "max_queue": (1, 1 << 24),
            "max_items": (1, self.max_queue),
            "max_body": (0.001, 1024),
            "timeout": (0.001, 86_400),
            "drain": (0, 86_400),
            "port": (0, 65_535),
            "spread_limit": (0, math.inf),
        }
        for name, (low, high) in least.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                why = " (--max-queue)" if name == "max_items" and value > high else ""
                raise InputError(
                    f"--{name.replace('_', '-')} is {value}; give {low:g} to {high:g}{why}"
                )


def is_loopback(host: str) -> bool:
    """Whether an address stands for this machine alone.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, and only one name is certain
        return host == "localhost"
