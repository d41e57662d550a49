"""200 clients, each with one connection and one request under way, in one cheap process.

python -m bench.serve.load PORT ROWS CLIENTS OUT      until SIGTERM

HTTP/1.1 by hand over asyncio streams, because a client library takes as long as the server. Every
request asks for one completion and has an id of its own. A client tries again until it has the
answer, however often the server is gone or busy; and reads its connection to the end afterwards,
where a second answer would be found.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Load:
    """The clients and what they saw."""

    def __init__(self, port: int, rows: list[dict[str, str]]):
        self.port, self.ids, self.over, self.asked_for = port, itertools.count(), False, 0
        self.parts = [
            (json.dumps([r["prompt"]]).encode(), json.dumps([r["completion"]]).encode())
            for r in rows
        ]
        self.answers: list[tuple[int, float, float, float]] = []  # id, began, ended, score
        self.tries: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def client(self) -> None:
        """One client: ask until the time is over, then look for what nobody asked for."""
        streams: Streams | None = None
        while not self.over:
            i, began = next(self.ids), time.time()
            self.asked_for += 1
            score, streams = await self.asked(i, streams)
            self.answers.append((i, began, time.time(), score))
        if streams is not None:
            reader, writer = streams
            writer.write_eof()
            with contextlib.suppress(OSError, TimeoutError):
                more = await asyncio.wait_for(reader.read(), 5)
                if more:
                    self.wrong.append(f"a second answer: {more[:120]!r}")
            writer.close()

    async def asked(self, i: int, streams: Streams | None) -> tuple[float, Streams | None]:
        """The answer to one request, however many tries it takes."""
        prompt, completion = self.parts[i % len(self.parts)]
        body = b'{"prompts":%b,"completions":%b,"ids":[%d]}' % (prompt, completion, i)
        head = (
            b"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n"
        )
        sent = head % (self.port, len(body)) + body
        while True:
            pause = 0.5
            try:
                if streams is None:
                    streams = await asyncio.open_connection("127.0.0.1", self.port)
                reader, writer = streams
                writer.write(sent)
                code, closes, pause, raw = await reply(reader)
                if closes:
                    writer.close()
                    streams = None
                self.tries[f"HTTP {code}"] += 1
                if code == 200:
                    return self.read(i, json.loads(raw)), streams
                if code < 500 and code != 429:
                    self.wrong.append(f"HTTP {code}: {raw[:200]!r}")
            except (OSError, EOFError, ValueError) as why:
                self.tries[type(why).__name__] += 1
                if streams is not None:
                    streams[1].close()
                streams = None
            await asyncio.sleep(pause * (0.5 + random.random()))

    def read(self, i: int, found: Any) -> float:
        """The score of an answer, which has to be to this request."""
        (result,) = found["results"]
        if result["id"] != i:
            self.wrong.append(f"request {i} was answered with the score of {result['id']}")
        return float(result["score"])

    def end(self) -> None:
        """Ask nothing new."""
        self.over = True


async def reply(reader: asyncio.StreamReader) -> tuple[int, bool, float, bytes]:
    """One reply: its status, whether the connection ends, Retry-After or 0.2, its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    body = await reader.readexactly(int(fields[b"content-length"]))
    pause = float(fields.get(b"retry-after", 0.2))
    return int(head[9:12]), fields.get(b"connection") == b"close", pause, body


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of them lies."""
    found = sorted(values)
    return found[min(len(found) - 1, int(share * len(found)))]


async def main(port: int, path: str, clients: int, out: str) -> None:
    """Ask, and write what was answered."""
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    load = Load(port, rows)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, load.end)
    used = time.process_time()
    await asyncio.gather(*(load.client() for _ in range(clients)))
    told = {
        "asked": load.asked_for,
        "answers": load.answers,
        "tries": dict(load.tries),
        "wrong": load.wrong,
        "cpu_seconds": time.process_time() - used,
    }
    Path(out).write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    given = sys.argv[1:]
    asyncio.run(main(int(given[0]), given[1], int(given[2]), given[3]))
