"""The reward clients of other trainers, as far as a server can tell them apart: what they send,
what they read of the answer, and when they try again. Each is written from what the version that
it names does; none is that trainer's code.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2


async def openrlhf(
    urls: list[str],
    queries: list[str],
    prompts: list[str],
    labels: list[Any],
    *,
    tries: int = 5,
    pause: float = 1.0,
) -> Any:
    """OpenRLHF 0.11.0: the queries in parts of ceil(n/k) for k addresses, the last ones empty.

    Every failure, a refusal too, is tried again after a second, five times in all; each try has 180
    seconds. Only the first address's answer counts.
    """
    size = -(-len(queries) // len(urls))

    async def post(url: str, body: Any) -> Any:
        for _ in range(tries):
            try:
                async with httpx2.AsyncClient(timeout=180) as http:
                    reply = await http.post(url, json=body)
                    reply.raise_for_status()
                    return reply.json()
            except httpx2.HTTPError:
                await asyncio.sleep(pause)
        raise RuntimeError(f"no answer in {tries} tries")

    parts = [slice(i * size, (i + 1) * size) for i in range(len(urls))]
    bodies = [{"query": queries[p], "prompts": prompts[p], "labels": labels[p]} for p in parts]
    answers = await asyncio.gather(*map(post, urls, bodies))
    return answers[0]


def experience(answer: Any) -> dict[str, Any]:
    """What OpenRLHF 0.11 makes of an answer: a tensor of the reward, the score and every log."""
    import torch

    info = {k: torch.tensor([v]) for k, v in (answer.get("extra_logs") or {}).items()}
    score = answer["scores"] if answer.get("scores") is not None else answer["rewards"]
    return {"reward": torch.tensor([answer["rewards"]]), "score": torch.tensor([score]), **info}


def openrlhf_0_4(url: str, queries: list[str]) -> Any:
    """OpenRLHF 0.4.6: a batch of queries, decoded with their padding; only `rewards` counts."""
    import torch

    reply = httpx2.post(url, json={"query": queries}, timeout=180)
    reply.raise_for_status()
    return torch.tensor(reply.json()["rewards"])


async def verl(address: str, engine: str, text: str, *, tries: int = 16) -> float:
    """verl 0.9.1's reward loop, of a discriminative reward model on vLLM or SGLang.

    A refusal is raised at once; other failures are tried again after 1, 2, 4, … seconds, 30 at
    most, 16 times in all, each without an end.
    """
    body: dict[str, Any] = {"model": "reward-model", "input": text}
    path, read = "v1/embeddings", lambda a: a["data"][-1]["embedding"][-1]
    if engine == "vllm":
        body["use_activation"] = False
        path, read = "classify", lambda a: a["data"][-1]["probs"][-1]
    for attempt in range(tries):
        try:
            async with httpx2.AsyncClient(timeout=None) as http:
                reply = await http.post(f"http://{address}/{path}", json=body)
                reply.raise_for_status()
                return float(read(reply.json()))
        except httpx2.HTTPError as why:
            refused = isinstance(why, httpx2.HTTPStatusError) and why.response.status_code < 500
            if refused or attempt + 1 == tries:
                raise
            await asyncio.sleep(min(2**attempt, 30))
    raise AssertionError("unreachable: there is at least one try")


async def slime(url: str, sample: dict[str, Any], *, tries: int = 10) -> Any:
    """slime at 0b420f1e: one sample; what JSON says is the reward, as it is."""
    for attempt in range(tries):
        try:
            async with httpx2.AsyncClient(timeout=120) as http:
                reply = await http.post(url, json=sample)
                reply.raise_for_status()
                return reply.json()
        except httpx2.HTTPError:
            if attempt + 1 == tries:
                raise
            await asyncio.sleep(min(2**attempt, 30))
    raise AssertionError("unreachable: there is at least one try")
