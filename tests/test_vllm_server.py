"""A real vLLM server: OpenAI's dialect with token ids, and its control plane."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from vllm_models import ASKS, folder, moved, needs_vllm, policy, server, words_of

from assay.core import InputError, Rng, Samples
from assay.core.samples import SAMPLER_LOGP
from assay.models.policies.open_engine import open_engine, verified

pytestmark = [needs_vllm, pytest.mark.filterwarnings("ignore")]
FOLLOWS = (
    *("--worker-extension-cls", "assay.models.samplers.vllm_worker.Extension"),
    *("--weight-transfer-config", '{"backend":"assay-files"}'),
)
LORA = ("--enable-lora", "--max-lora-rank", "8")


@pytest.fixture(scope="module", params=[0, 4])
def there(request: Any, tmp_path_factory: Any) -> Iterator[tuple[Path, str, int]]:
    at = folder(tmp_path_factory.mktemp("server") / "tiny", tied=True)
    with server(at, *(LORA if request.param else FOLLOWS)) as url:
        yield at, url, request.param


def of_server(there: Any, **settings: Any) -> Any:
    at, url, rank = there
    engine = open_engine(url, "tiny", words_of(at, settings.get("stop", ())), at_once=4, rank=rank)
    return policy(at, engine, lora=rank, **settings)


def drawn(of: Any, n: int = 4, key: int = 1) -> Samples:
    return of.sample(of.vocabulary.prompts(ASKS), n, Rng(key))


def apart(x: Samples) -> float:
    return float((x.logp - x.extra[SAMPLER_LOGP]).abs()[x.mask].max())


def post(url: str, path: str, **body: Any) -> Any:
    root, said = url.removesuffix("/v1"), json.dumps(body).encode()
    asked = urllib.request.Request(f"{root}{path}", said, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=60) as reply:
        return json.loads(reply.read())


def test_ids_go_in_and_come_out_seeded_and_ended_by_stop_strings(there: Any) -> None:
    of = verified(
        of_server(there, stop=("e", " a"), min_tokens=1), words_of(there[0]).prompts(ASKS)
    )
    x, y, z = drawn(of, 6), drawn(of, 6), drawn(of, 6, key=2)
    assert torch.equal(x.action, y.action) and not torch.equal(x.action, z.action)
    assert torch.allclose(of.logp(x), x.logp, atol=1e-4) and x.present.all()
    hits = 0
    for b in range(len(ASKS)):
        for n in range(6):
            said = x.action[b, n][x.mask[b, n]].tolist()
            hit = of.vocabulary.stopped(said)
            hits += hit
            assert bool(x.ended[b, n]) == (hit or said[-1] == of.vocabulary.eos)
    assert hits > 2


@pytest.mark.parametrize(
    "settings", [{"temperature": 0.5}, {"temperature": 1.3, "top_p": 0.8}, {"top_k": 6}]
)
def test_its_log_probabilities_are_the_policy_s(there: Any, settings: dict[str, Any]) -> None:
    assert apart(drawn(of_server(there, **settings).copy())) < 1e-3


def test_its_weights_follow_twice_and_back(there: Any) -> None:
    reference = of_server(there)
    of = reference.copy()
    for k in range(2):
        moved(of, 0.3 if there[2] else 0.05, seed=k)
        assert apart(drawn(of)) < 1e-3
    assert apart(drawn(reference)) < 1e-3 and apart(drawn(of)) < 1e-3
    assert of.sync.updates == 4


@pytest.mark.parametrize("sent", [False, True])
def test_a_run_that_was_killed_in_an_update_leaves_a_server_that_goes_on(
    there: Any, sent: bool
) -> None:
    """Paused, and in the middle of an update, as after a SIGKILL of the run."""
    if there[2]:
        pytest.skip("adapters need neither a pause nor an update")
    of_server(there).copy()  # so that the server has been prepared
    post(there[1], "/pause?mode=wait")
    post(there[1], "/start_weight_update")
    if sent:
        post(there[1], "/update_weights", update_info={"folder": str(there[0])})
    of = of_server(there).copy()
    moved(of)
    assert apart(drawn(of)) < 1e-3


def test_a_server_that_another_run_updated_is_an_error(there: Any) -> None:
    of, other = of_server(there).copy(), of_server(there).copy()
    drawn(of)
    moved(other, 0.3)
    drawn(other)
    if there[2]:  # adapters have names: two runs share a server
        assert apart(drawn(of)) < 1e-3
        return
    with pytest.raises(InputError, match="is stale|was given the weights"):
        drawn(of)


def test_a_server_that_takes_no_weights_is_refused_before_training(there: Any) -> None:
    if there[2]:
        of = of_server((there[0], there[1], 0))
        with pytest.raises(InputError, match="init_weight_transfer_engine.*failed.*HTTP 500"):
            of.copy()
        return
    of = of_server((there[0], there[1], 4)).copy()
    moved(of)
    with pytest.raises(InputError, match="load_lora_adapter"):
        drawn(of)
