"""World hub over a server: best-of-n from the flag to the report, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import served

from assay import cli
from assay.api import execution, orders
from assay.errors import InputError
from assay.models.policies.causal import Causal
from assay.records.runs import Run
from assay.worlds import hub


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("engine")
    rows = [
        {"prompt": f"the {a} {b}"} for a in ("old", "new") for b in ("mill", "gate", "pond", "day")
    ]
    (folder / "asks.jsonl").write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    (folder / "judge.py").write_text(
        "def e(prompts, completions): return [float(c.count('e')) for c in completions]\n"
        "def a(prompts, completions): return [float(c.count('a')) for c in completions]\n"
    )
    with served(folder) as found:
        yield {**found, "folder": folder}


def flags(there: dict[str, Any], **changed: str) -> list[str]:
    folder: Path = there["folder"]
    own = {
        "world": "hub",
        "world.policy": there["model"],
        "world.prompts": str(folder / "asks.jsonl"),
        "world.held-out": "3",
        "world.rewards": f"{folder / 'judge.py'}:e",
        "world.gold": f"{folder / 'judge.py'}:a",
        "world.max-tokens": "12",
        "world.sampler": there["url"],
        "world.sampler-model": "tiny",
    }
    return [
        w
        for k, v in {**own, **{k.replace("_", "-"): v for k, v in changed.items()}}.items()
        for w in (f"--{k}", v)
    ]


def test_best_of_n_is_drawn_there_and_scored_here(there: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert cli.main(["run", "best_of_n", "--most", "8", *flags(there), "--out", str(out)]) == 0
    run = Run.open(out)
    readings = run.readings()
    assert run.about["replayable"] is False and run.about["world"]["sampler"] == there["url"]
    proxy = [r["proxy"] for r in readings if r["tag"].startswith("n=")]
    assert len(proxy) == 4 and proxy == sorted(proxy) and proxy[-1] > proxy[0] + 0.5
    assert cli.main(["report", str(out), "--out", str(tmp_path / "report.html")]) == 0
    assert "cannot be replayed" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_recipe_that_trains_is_refused_before_it_begins(
    there: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for recipe in ("leave_one_out", "kl_in_loss"):
        assert cli.main(["run", recipe, *flags(there), "--out", str(tmp_path / "no")]) == 2
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert (
            last.startswith("assay: ")
            and "this recipe trains" in last
            and not (tmp_path / "no").exists()
        )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"world.sampler_model": "tiny-other"}, "do not hold the same weights"),
        ({"world.sampler_model": "mini"}, "does not know the model 'mini'"),
        ({"world.sampler": "vllms"}, "an address such as"),
        ({"world.sampler_at_once": "0"}, "--sampler-at-once is 0"),
    ],
)
def test_what_is_wrong_is_said_when_the_world_is_opened(
    there: dict[str, Any],
    tmp_path: Path,
    changed: dict[str, str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        cli.main(["run", "best_of_n", *flags(there, **changed), "--out", str(tmp_path / "no")]) == 2
    )
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("assay: ") and said in last and not (tmp_path / "no").exists()


def test_stop_strings_go_to_the_server_and_judges_read_what_comes_before(
    there: dict[str, Any],
) -> None:
    folder: Path = there["folder"]
    made = hub.world(
        policy=there["model"],
        prompts=str(folder / "asks.jsonl"),
        held_out=2,
        max_tokens=16,
        stop=("e",),
        rewards=(f"{folder / 'judge.py'}:e",),
        sampler=there["url"],
        sampler_model="tiny",
    )
    x = made.task.reference.sample(made.task.prompts, 8, made.task.rng("look"))
    assert (
        x.ended.any()
        and (made.task.rewards(x) == 0).all()
        and torch.allclose(made.task.reference.logp(x), x.logp, atol=1e-4)
    )


URL = "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"sampler": "vLLM"},
            "--sampler is 'vLLM'; it is vllm, for vLLM in this process, or an ad",
        ),
        ({"sampler_correction": "none"}, "--sampler-correction is about what --sampler names"),
        ({"sampler_folder": "x"}, "add --sampler vllm or --sampler http://host:port/v1, or leave"),
        ({"sampler": URL, "sampler_at_once": 0}, "--sampler-at-once is 0; give how many prompts"),
        ({"sampler": URL, "sampler_clip_min": 2.0}, "--sampler-clip-min is 2; give a ratio of 0"),
        ({"sampler": URL, "sampler_clip_max": 0.5}, "--sampler-clip-max is 0.5; give a ratio of"),
        ({"sampler": URL, "sampler_tolerance": -1.0}, "--sampler-tolerance is -1; give nats a to"),
        ({"sampler": URL, "sampler_correction": "token"}, "--sampler-correction is 'token'; it is"),
    ],
)
def test_a_wrong_flag_is_said_before_a_model_or_a_file_is_opened(
    given: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as why:
        hub.world(policy="no/folder", prompts="none.jsonl", **given)
    assert said in str(why.value)


def test_a_policy_is_opened_without_the_server_that_generated_for_it(
    there: dict[str, Any], tmp_path: Path
) -> None:
    """As `assay export` and `assay.open_run` do; the server may be gone by then."""
    words = flags(there, **{"world.sampler": "", "world.sampler_model": ""})
    more = ["--max-steps", "1", "--batch-size", "2", "--out", str(tmp_path / "run")]
    assert cli.main(["run", "leave_one_out", *words, *more]) == 0
    about = dict(Run.open(tmp_path / "run").about)
    gone = {"sampler": "http://127.0.0.1:9/v1", "sampler_model": "a", "sampler_clip_max": 2.0}
    about["world"] = {**about["world"], **gone}
    made = execution.Worlds()(orders.of_policy(about, "run"))
    assert type(made.task.reference) is Causal
