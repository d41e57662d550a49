"""HTTP connections that end where a request's head is late or too long.

uvicorn closes connections that are idle between requests; one that sends its head byte by byte, or
nothing at all, it keeps for ever; one whose head never ends fills the memory.
"""

from __future__ import annotations

import asyncio
from typing import Any

LONGEST = 1 << 18  # bytes of a request's head


def patient(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol with limits on the time and the size of a request's head.

    Args:
        seconds: The most time, from when the connection opens or the head begins.
    """
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    class Patient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        timer: asyncio.TimerHandle | None = None
        last: Any = None  # the request before the one whose head is read
        size = 0  # bytes of that head until now

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._begin()

        def data_received(self, data: bytes) -> None:
            if self.timer is None and (self.cycle is None or self.cycle.response_complete):
                self._begin()
            super().data_received(data)
            if self.timer is not None and self.cycle is not self.last:
                self.timer.cancel()
                self.timer = None
            elif self.timer is not None:
                self.size += len(data)
                if self.size > LONGEST:
                    self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            if self.timer is not None:
                self.timer.cancel()
            super().connection_lost(exc)

        def _begin(self) -> None:
            self.last, self.size = self.cycle, 0
            self.timer = self.loop.call_later(seconds, self.transport.close)

    return Patient
