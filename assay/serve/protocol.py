"""HTTP connections that end where a request's head does not come whole in time.

uvicorn closes connections that are idle between requests; one that sends its head byte by byte, or
nothing at all, it keeps for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any


def patient(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol with a limit on the time that a request's head may take.

    Args:
        seconds: The limit, from when the connection opens or the head begins.
    """
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    class Patient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._begin()

        def data_received(self, data: bytes) -> None:
            if self.timer is None and (self.cycle is None or self.cycle.response_complete):
                self._begin()
            super().data_received(data)

        def connection_lost(self, exc: Exception | None) -> None:
            if self.timer is not None:
                self.timer.cancel()
            super().connection_lost(exc)

        def _begin(self) -> None:
            self.timer = self.loop.call_later(seconds, self._end, self.cycle)

        def _end(self, last: Any) -> None:
            self.timer = None
            if self.cycle is last:  # no other request has begun since
                self.transport.close()

    return Patient
