"""Other trainers' reward clients against a server: they get the scores that the reward gives
without one, and an error where there is no score.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import torch
import transformers
from reward_clients import experience, openrlhf, openrlhf_0_4, slime, verl
from tokenizers_small import CHATML, small

from assay.data.turns import Turn
from assay.rewards.encoder import ModelReward
from assay.rewards.encoding import Template
from assay.serve.server import RewardServer

ASK, SAID = "what is the weather like?", "it rains; we walk home"
TALK = [{"role": "user", "content": ASK}]


@pytest.fixture(scope="module")
def reward() -> ModelReward:
    """Two members of random weights that read a chat template."""
    torch.manual_seed(0)
    tokenizer = small("bytes", CHATML)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, num_labels=1, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    models = [transformers.LlamaForSequenceClassification(config).eval() for _ in range(2)]
    return ModelReward(models, tokenizer, Template("chat", 256, False), ("a", "b"))


@pytest.fixture(scope="module")
def offline(reward: ModelReward) -> torch.Tensor:
    """Every member's score of the completion, without a server."""
    return reward.scores([ASK], [SAID], [(Turn("user", ASK),)])[:, 0].double()


@pytest.fixture(scope="module")
def server(reward: ModelReward) -> Iterator[RewardServer]:
    with RewardServer(reward, log_requests=False, spread_limit=10.0, max_wait=1.0) as it:
        yield it


def picky(completions: list[str], label: list[Any], **columns: Any) -> list[float | None]:
    """1 for the label, None where there is no label; it fails on "bad"."""
    if "bad" in completions:
        raise ValueError("a secret of the server")
    return [
        None if known is None else float(said == known)
        for said, known in zip(completions, label, strict=True)
    ]


@pytest.fixture(scope="module")
def function() -> Iterator[RewardServer]:
    with RewardServer(picky, log_requests=False, max_wait=1.0) as it:
        yield it


def decoded(reward: ModelReward, *, pads: int = 0) -> tuple[str, str]:
    """(prompt, query) as OpenRLHF sends them: template, tokens, and decoded again."""
    t = reward.tokenizer
    prompt = t.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
    ids = t(prompt, add_special_tokens=False)["input_ids"]
    said = t(SAID, add_special_tokens=False)["input_ids"]
    end = t.convert_tokens_to_ids("<|im_end|>")
    whole = [t.pad_token_id] * pads + ids + said + [end]
    return prompt, t.decode(whole, skip_special_tokens=False)


def test_openrlhf_gets_the_offline_scores_of_templated_text(
    reward: ModelReward, server: RewardServer, offline: torch.Tensor
) -> None:
    prompt, query = decoded(reward)
    url = f"{server.url}/get_reward"
    answer = asyncio.run(openrlhf([url, url], [query], [prompt], [None]))
    found = experience(answer)
    assert found["reward"].shape == (1, 1)
    torch.testing.assert_close(found["reward"][0, 0], offline.mean().float())
    for m in range(2):
        torch.testing.assert_close(found[f"assay/member_{m}"][0, 0], offline[m].float())
    assert found["assay/out_of_distribution"].item() == 0.0


def test_openrlhf_gets_the_offline_scores_of_plain_text(
    server: RewardServer, offline: torch.Tensor
) -> None:
    answer = asyncio.run(
        openrlhf([f"{server.url}/get_reward"], [f"{ASK}{SAID}</s>"], [ASK], ["rain"])
    )
    assert answer["scores"] == answer["rewards"] == pytest.approx([float(offline.mean())])


def test_an_old_openrlhf_gets_one_reward_a_query_whatever_pads_it(
    reward: ModelReward, server: RewardServer, offline: torch.Tensor
) -> None:
    queries = [decoded(reward, pads=n)[1] for n in (0, 3)]
    found = openrlhf_0_4(f"{server.url}/get_reward", queries)
    torch.testing.assert_close(found, offline.mean().float().expand(2))


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_verl_s_reward_loop_gets_the_offline_score(
    reward: ModelReward, server: RewardServer, offline: torch.Tensor, engine: str
) -> None:
    talk = [*TALK, {"role": "assistant", "content": SAID}]
    text = reward.tokenizer.apply_chat_template(talk, tokenize=False)
    found = asyncio.run(verl(server.url.removeprefix("http://"), engine, text))
    assert found == pytest.approx(float(offline.mean()))


def test_vllm_s_messages_give_the_offline_score(
    server: RewardServer, offline: torch.Tensor
) -> None:
    talk = [*TALK, {"role": "assistant", "content": SAID}]
    reply = httpx2.post(f"{server.url}/classify", json={"messages": talk}).json()
    assert reply["data"][0]["probs"] == pytest.approx([float(offline.mean())])


def test_slime_gets_the_offline_score_of_text_and_of_messages(
    reward: ModelReward, server: RewardServer, offline: torch.Tensor
) -> None:
    prompt, _ = decoded(reward)
    for ask in (prompt, TALK):
        sample = {"prompt": ask, "response": f"{SAID}<|im_end|>", "label": None}
        found = asyncio.run(slime(f"{server.url}/slime", sample))
        assert found == pytest.approx(float(offline.mean()))


def test_labels_reach_a_reward_function_and_the_end_marker_does_not(function: RewardServer) -> None:
    url = f"{function.url}/get_reward"
    asked = openrlhf([url], ["2+2?4</s>", "2+2?5</s>"], ["2+2?"] * 2, ["4", "4"])
    assert asyncio.run(asked)["rewards"] == [1.0, 0.0]
    sample = {"prompt": "2+2?", "response": "4", "label": "4"}
    assert asyncio.run(slime(f"{function.url}/slime", sample)) == 1.0


def test_no_trainer_takes_a_failure_for_a_reward(function: RewardServer) -> None:
    url, good, bad = f"{function.url}/get_reward", "2+2?4", "2+2?bad"
    for queries, labels in (([good, bad], ["4", "4"]), ([good, good], ["4", None])):
        with pytest.raises(RuntimeError, match="no answer in 2 tries"):
            asyncio.run(openrlhf([url], queries, ["2+2?"] * 2, labels, tries=2, pause=0.01))
    for response, label, status in (("bad", "4", 500), ("4", None, 422)):
        sample = {"prompt": "2+2?", "response": response, "label": label}
        reply = httpx2.post(f"{function.url}/slime", json=sample)
        assert reply.status_code == status and "error" in reply.json()
        assert "secret" not in reply.text


def test_verl_hears_of_a_malformed_request_at_once(function: RewardServer) -> None:
    with pytest.raises(httpx2.HTTPStatusError, match="422"):
        asyncio.run(verl(function.url.removeprefix("http://"), "vllm", ""))
