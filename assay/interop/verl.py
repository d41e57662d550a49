"""A reward behind `assay serve` as verl's custom reward function.

verl calls it once for each completion, many at a time, with no deadline of its own:

    reward.custom_reward_function.path=pkg://assay.interop.verl
    +reward.custom_reward_function.reward_kwargs.url=http://127.0.0.1:8000

Its result has the same keys for every completion, because verl makes columns of them.

Source: verl/trainer/ppo/reward.py and verl/experimental/reward_loop/reward_manager/naive.py, 0.9.1.
"""

from __future__ import annotations

import asyncio
import functools
import json
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from assay.errors import InputError
from assay.interop.reward_client import RewardClient, Unanswered

if TYPE_CHECKING:
    import httpx2

_pools: weakref.WeakKeyDictionary[Any, dict[str, httpx2.AsyncClient]] = weakref.WeakKeyDictionary()


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    url: str = "",
    timeout: float = 120.0,
    prompt_key: str = "prompt",
    **unread: Any,
) -> dict[str, float]:
    """Score one completion.

    Args:
        data_source: verl's name of the data set, sent as a column.
        solution_str: The completion.
        ground_truth: The answer, sent as a column.
        extra_info: The row's own fields. One of them is the prompt, and the others that JSON can
            hold are sent as the column extra_info.
        url: The server's address. A token is read from ASSAY_REWARD_KEY or ASSAY_TOKEN.
        timeout: Seconds that the call may take in all.
        prompt_key: The field of `extra_info` that holds the prompt, a text or a list of messages;
            empty for a reward that reads no prompt.
        unread: What else verl hands over.

    Returns:
        `score`, `spread` (of several members) and `out_of_distribution` (with a limit, 0 or 1).

    Raises:
        InputError: No address is given, the prompt is missing, or the server refuses the request.
        Unanswered: The completion has no score: no answer came in time, the server could not score
            it, or the reward does not apply. verl has no place for a missing reward.
    """
    if not url:
        raise InputError(
            "assay's reward for verl needs the server's address; set "
            "+reward.custom_reward_function.reward_kwargs.url=http://HOST:PORT"
        )
    info = dict(extra_info or {})
    prompt = _plain(info.pop(prompt_key, None)) if prompt_key else ""
    if not isinstance(prompt, (str, list)):
        raise InputError(
            f"extra_info has no '{prompt_key}', and verl hands over no prompt; write the prompt "
            "there when you prepare the data, or set reward_kwargs.prompt_key to its field "
            "(empty for a reward that reads no prompt)"
        )
    columns = {"data_source": data_source, "ground_truth": ground_truth, "extra_info": info}
    sent = {k: [_plain(v)] for k, v in columns.items()}
    client = _client(url, timeout)
    (answer,) = await client.ask([prompt], [solution_str], sent, _pool(client))
    if answer.score is None:
        why = answer.error or "the reward does not apply to it"
        raise Unanswered(f"{client.address} has no score for a completion: {why}")
    found = {"score": answer.score, "spread": answer.spread, "out_of_distribution": None}
    if answer.out_of_distribution is not None:
        found["out_of_distribution"] = float(answer.out_of_distribution)
    return {k: v for k, v in found.items() if v is not None}


@functools.cache
def _client(url: str, timeout: float) -> RewardClient:
    return RewardClient(url, timeout)


def _pool(client: RewardClient) -> httpx2.AsyncClient:
    """The connections of the running event loop, which are kept from call to call."""
    pools = _pools.setdefault(asyncio.get_running_loop(), {})
    if client.url not in pools:
        pools[client.url] = client.connect()
    return pools[client.url]


def _plain(value: Any) -> Any:
    """A value of verl's rows as JSON can hold it: NumPy's as Python's, what cannot be said left
    out.
    """
    if hasattr(value, "tolist"):  # an array, or one number of NumPy's
        value = value.tolist()
    if isinstance(value, Mapping):
        held = {str(k): _plain(v) for k, v in value.items()}
        return {k: v for k, v in held.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return None
    return value
