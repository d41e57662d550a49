"""Request formats of other trainers: bodies as items, scores as answers, faults as sentences."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.serve.formats import FORMATS
from assay.serve.item import BadRequest, Format, Score, Unscored

OF = {f.path: f for f in FORMATS}
RM, CLASSIFY, EMBED, SLIME = (
    OF[p] for p in ("/get_reward", "/classify", "/v1/embeddings", "/slime")
)
GOOD = Score(1.5, (1.0, 2.0), 0.5, False)
ALONE = Score(1.5, (1.5,), None, None)
ABSENT = Score(None, (None,), None, None)
FAILED = Score(None, (None,), None, None, "it holds a lone surrogate")
BODIES: dict[str, Any] = {
    "/get_reward": {"query": ["ab"], "prompts": ["a"], "labels": [None]},
    "/classify": {"input": "ab"},
    "/v1/embeddings": {"input": "ab"},
    "/slime": {"prompt": "a", "response": "b", "label": None},
}


def test_openrlhf_s_prompt_is_cut_from_its_query_and_the_end_marker_from_the_completion() -> None:
    body = {"query": ["2+2?four</s>"], "prompts": ["2+2?"], "labels": ["4"]}
    (item,) = RM.read(body)
    assert (item.prompt, item.completion, item.columns) == ("2+2?", "four", {"label": "4"})
    assert item.text == "" and item.decoded == "2+2?four"


@pytest.mark.parametrize(
    "body",
    [
        {"query": "</s></s>2+2?four</s>"},  # before 0.5: no prompts, padded on the left
        {"query": ["2+2?four"], "prompts": None},
        {"query": ["2+2?four"], "prompts": ["a prompt whose beginning was cut: 2+2?"]},
    ],
)
def test_a_query_whose_prompt_is_unknown_is_a_whole_text(body: Any) -> None:
    (item,) = RM.read(body)
    assert (item.prompt, item.completion, item.text) == ("", "", "2+2?four")


def test_openrlhf_s_second_address_gets_empty_lists_for_empty_lists() -> None:
    body: Any = {"query": [], "prompts": [], "labels": []}
    assert RM.read(body) == []
    assert RM.write([], body) == {"rewards": [], "scores": [], "extra_logs": {}}


def test_openrlhf_s_logs_hold_every_member_and_never_null() -> None:
    found = RM.write([GOOD, GOOD], {})
    assert found["rewards"] == found["scores"] == [1.5, 1.5]
    assert found["extra_logs"] == {
        "assay/member_0": [1.0, 1.0],
        "assay/member_1": [2.0, 2.0],
        "assay/spread": [0.5, 0.5],
        "assay/out_of_distribution": [0.0, 0.0],
    }
    assert RM.write([ALONE], {})["extra_logs"] == {"assay/member_0": [1.5]}


def test_whole_texts_are_answered_in_vllm_s_and_sglang_s_shapes() -> None:
    body = {"model": "m", "input": ["a b", "c d"], "use_activation": False}
    assert [i.text for i in CLASSIFY.read(body)] == ["a b", "c d"]
    found = CLASSIFY.write([GOOD, ALONE], body)
    assert [d["probs"] for d in found["data"]] == [[1.5], [1.5]]
    assert found["data"][1]["index"] == 1 and found["model"] == "m" and found["object"] == "list"
    found = EMBED.write([GOOD], {"input": "a b"})
    assert found["data"] == [{"object": "embedding", "index": 0, "embedding": [1.5]}]


def test_a_dialogue_s_prompt_ends_with_the_user_s_last_turn() -> None:
    says = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    messages = [{"role": role, "content": said} for role, said in says]
    (item,) = CLASSIFY.read({"messages": messages})
    assert item.prompt == messages[:4] and item.completion == messages[4:]


def test_slime_s_sample_is_answered_by_a_bare_number() -> None:
    (item,) = SLIME.read({"prompt": "a", "response": "b<|im_end|>", "label": "4"})
    assert (item.prompt, item.completion, item.columns) == ("a", "b", {"label": "4"})
    talk = [{"role": "user", "content": "a"}]
    assert SLIME.read({"prompt": talk, "response": "b", "label": None})[0].prompt == talk
    assert json.dumps(SLIME.write([GOOD], {})) == "1.5"


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.path)
def test_a_bare_answer_never_holds_null_or_a_number_for_what_failed(format: Format) -> None:
    body = BODIES[format.path]
    assert len(format.read(body)) == 1
    assert "1.5" in json.dumps(format.write([ALONE], body), allow_nan=False)
    for score, status in ((FAILED, 500), (ABSENT, 422), (Score(float("nan"), (), None, None), 500)):
        with pytest.raises(Unscored, match="completion 0") as why:
            format.write([score], body)
        assert why.value.status == status


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("/get_reward", [], "the body is a list; send"),
        ("/get_reward", {"queries": ["a"]}, r"no 'query' \(it has queries\)"),
        ("/get_reward", {"query": ["a", 3]}, "'query', entry 1, is a number"),
        ("/get_reward", {"query": ["a"], "prompts": []}, "'prompts' has 0 entries for 1"),
        ("/get_reward", {"query": ["a"], "labels": ["x", "y"]}, "'labels' has 2 entries for 1"),
        ("/get_reward", {"query": ["</s>"]}, "holds no text"),
        ("/classify", {"input": [1, 2]}, "holds token ids, .* send the text"),
        ("/classify", {"input": [[1], [2]]}, "holds token ids"),
        ("/v1/embeddings", {"input": [[1]]}, "holds token ids"),
        ("/classify", {"input": ""}, "'input', entry 0, is empty"),
        ("/classify", {}, "either 'input' or 'messages'"),
        ("/classify", {"input": "a", "use_activation": True}, "'use_activation' is true"),
        ("/classify", {"input": "a", "truncate_prompt_tokens": 8}, "'truncate_prompt_tokens'"),
        ("/classify", {"messages": [{"role": "user", "content": "a"}]}, "the assistant's after it"),
        ("/classify", {"messages": [{"role": "user"}, 3]}, "entry 1, is no message"),
        ("/classify", {"input": "a", "model": 3}, "'model' is a number"),
        ("/slime", {"prompt": "a"}, "'response' is null"),
        ("/slime", {"prompt": [], "response": "b"}, "'prompt' is a list"),
    ],
)
def test_a_malformed_body_is_refused_by_one_sentence(path: str, body: Any, sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence) as why:
        OF[path].read(body)
    assert "\n" not in str(why.value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
_KEYS = ("query", "prompts", "labels", "input", "messages", "model", "prompt", "response")
_BODIES = _JSON | st.dictionaries(st.sampled_from(_KEYS), _JSON, min_size=1)


@settings(max_examples=300, deadline=None)
@given(body=_BODIES, format=st.sampled_from(FORMATS))
def test_any_json_is_read_or_refused_and_what_is_read_can_be_answered(
    body: Any, format: Format
) -> None:
    try:
        items = format.read(body)
    except BadRequest:
        return
    json.dumps(format.write([ALONE] * len(items), body), allow_nan=False)
