"""A folder with a model is somebody's data: what would run code or leave the folder is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from families import checkpoint

from assay.data.model_trust import refusal, trusting
from assay.errors import InputError
from assay.rewards.encoding import open_model as open_base
from assay.rewards.encoding import open_tokenizer
from assay.worlds.device import check_adapter, open_model
from assay.worlds.row_tokens import open_vocabulary

Change = Callable[[Path], None]
CPU = torch.device("cpu")
RAN = "ran.txt"  # what hostile code writes


def entry(file: str, **more: Any) -> Change:
    """Add entries to a JSON file."""

    def act(folder: Path) -> None:
        path = folder / file
        said = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**said, **more}))

    return act


def link(name: str, end: str) -> Change:
    def act(folder: Path) -> None:
        (folder.parent / "outside.json").write_text("{}")
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(end)

    return act


def index(shard: str) -> Change:
    def act(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
        shutil.copy(folder.parent / "outside.safetensors", folder / "pytorch_model.bin")
        said = {"metadata": {}, "weight_map": {"lm_head.weight": shard}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(said))

    return act


KERNEL = "kernels-community/flash-attn2"
CODE: dict[str, tuple[Change, str]] = {
    "a kernel": (
        entry("config.json", attn_implementation=KERNEL),
        f"config.json asks for the attention '{KERNEL}' (attn_implementation), which may be down",
    ),
    "a kernel under its private name": (
        entry("config.json", _attn_implementation=f"paged|{KERNEL}@main:fn"),
        "(_attn_implementation), which may be downloaded and run as code",
    ),
    "a kernel of a part": (
        entry("config.json", text_config={"attn_implementation": {"": "me/kernel"}}),
        "config.json asks for the attention 'me/kernel'",
    ),
    "an attention that may be fetched": (
        entry("config.json", attn_implementation="flash_attention_2"),
        "'flash_attention_2' (attn_implementation), which may be downloaded",
    ),
    "experts": (
        entry("config.json", experts_implementation="deepgemm"),
        "asks for the experts 'deepgemm'",
    ),
    "code of the model": (
        entry("config.json", auto_map={"AutoModelForCausalLM": "evil.Evil"}),
        "config.json names Python code that comes with the model (auto_map: evil.Evil)",
    ),
    "code of another repository": (
        entry("config.json", auto_map={"AutoConfig": "me/other--evil.Evil"}),
        "(auto_map: me/other--evil.Evil)",
    ),
    "code of the tokenizer": (
        entry("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]}),
        "tokenizer_config.json names Python code",
    ),
    "code of a processor": (
        entry("processor_config.json", auto_map={"AutoProcessor": "evil.Evil"}),
        "processor_config.json names Python code",
    ),
    "a pipeline": (
        entry("config.json", custom_pipelines={"text": {"impl": "evil.Evil"}}),
        "(custom_pipelines: evil.Evil)",
    ),
    "a way to generate": (
        entry("generation_config.json", custom_generate="me/evil"),
        "generation_config.json names Python code that comes with the model (custom_generate",
    ),
    "a link out": (link("chat_template.jinja", "/etc/hostname"), "chat_template.jinja is a link t"),
    "a link to a file beside": (
        link("generation_config.json", "../outside.json"),
        "outside of the folder; copy the file",
    ),
}
ALWAYS: dict[str, tuple[Change, str]] = {
    "a shard outside": (
        index("../outside.safetensors"),
        "(../outside.safetensors is not there|names the weights '../outside.safetensors', which)",
    ),
    "a shard that is a pickle": (index("pytorch_model.bin"), "names the weights 'pytorch_model.b"),
    "weights by an own name": (
        entry("config.json", transformers_weights="adapter_model.bin"),
        r"config.json names the weights 'adapter_model.bin', which may be a pickle",
    ),
    "weights outside": (
        entry("config.json", transformers_weights="/tmp/model.safetensors"),
        r"config.json names the file '/tmp/model.safetensors' \(transformers_weights\), which is o",
    ),
    "settings outside": (
        entry("config.json", configuration_files=["../../config.4.0.0.json"]),
        r"names the file '../../config.4.0.0.json' \(configuration_files\)",
    ),
    "a tokenizer outside": (
        entry("tokenizer_config.json", fast_tokenizer_files=["..\\tokenizer.4.json"]),
        r"\(fast_tokenizer_files\), which is outside",
    ),
    "a GGUF file": (
        entry("tokenizer_config.json", gguf_file="x.gguf", name_or_path="me/other"),
        "names a GGUF file",
    ),
    "a class that is no tokenizer": (
        entry("tokenizer_config.json", tokenizer_class="RagRetriever"),
        "tokenizer_config.json has the tokenizer_class 'RagRetriever', which is no tokenizer",
    ),
    "an adapter of another repository": (
        entry("adapter_config.json", base_model_name_or_path="me/other", peft_type="LORA"),
        "adapter_config.json makes it an adapter of me/other and not a whole model",
    ),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("plain") / "model", "llama")


@pytest.fixture
def hostile(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the model, and no network: an attempt to reach one fails the test."""

    def reached(*where: object, **_: object) -> None:
        raise AssertionError(f"the network was asked: {where}")

    monkeypatch.setattr(socket, "getaddrinfo", reached)
    monkeypatch.setattr(socket.socket, "connect", reached)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    return Path(shutil.copytree(plain, tmp_path / "model"))


LOADERS: dict[str, Callable[[str], Any]] = {
    "the policy": lambda name: open_model(name, torch.float32, 0, CPU),
    "a reward": lambda name: open_base("AutoModelForSequenceClassification", name, num_labels=1),
    "a tokenizer": open_tokenizer,
    "rows shown": lambda name: open_vocabulary(name, chat=False),
}


@pytest.mark.parametrize("what", [*CODE, *ALWAYS])
def test_a_hostile_folder_is_refused_in_one_sentence(what: str, hostile: Path) -> None:
    change, said = {**CODE, **ALWAYS}[what]
    change(hostile)
    pattern = re.escape(said) if what in CODE else said
    for name, load in LOADERS.items():
        with pytest.raises(InputError, match=pattern) as caught:
            load(str(hostile))
        assert "\n" not in str(caught.value), name


@pytest.mark.parametrize("what", CODE)
def test_trust_opens_what_is_code_alone(what: str, hostile: Path) -> None:
    CODE[what][0](hostile)
    assert refusal(hostile, trust=False) and not refusal(hostile, trust=True)


@pytest.mark.parametrize("what", [w for w in ALWAYS if w != "an adapter of another repository"])
def test_trust_does_not_open_pickles_and_files_elsewhere(what: str, hostile: Path) -> None:
    ALWAYS[what][0](hostile)
    assert refusal(hostile, trust=True)


@pytest.mark.parametrize("kind", LOADERS)
def test_a_plain_folder_opens_without_asking_any_host(kind: str, hostile: Path) -> None:
    LOADERS[kind](str(hostile))
    assert "HF_HUB_OFFLINE" not in os.environ, "the block has put the setting back"


def test_the_links_of_a_hub_cache_are_its_own(plain: Path, tmp_path: Path) -> None:
    home = tmp_path / "models--me--model"
    snapshot, blobs = home / "snapshots" / "abc", home / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for i, file in enumerate(sorted(plain.iterdir())):
        shutil.copy(file, blobs / str(i))
        (snapshot / file.name).symlink_to(f"../../blobs/{i}")
    assert refusal(snapshot, trust=False) == ""


def test_settings_of_gigabytes_are_not_read(plain: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "model"))
    with open(folder / "preprocessor_config.json", "wb") as f:
        f.truncate(1 << 32)
    assert "preprocessor_config.json has 4,294,967,296 bytes" in refusal(folder, trust=False)


def test_deep_settings_are_one_clause(plain: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "model"))
    (folder / "processor_config.json").write_text('{"a":' * 100_000)
    assert "processor_config.json is not JSON" in refusal(folder, trust=False)


def test_an_adapter_configuration_keeps_nothing_that_names_a_model(
    hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft")
    from assay.models.backbones import adapter_config

    path = hostile.parent / "adapter_config.json"
    said = {"peft_type": "LORA", "r": 2, "base_model_name_or_path": "me/other", "revision": "evil"}
    auto = {"base_model_class": "Evil", "parent_library": "evil"}
    path.write_text(json.dumps({**said, "auto_mapping": auto}))
    check_adapter(str(path))
    found = adapter_config.read(str(path))
    assert (found.base_model_name_or_path, found.revision, found.auto_mapping) == (None,) * 3


OWN = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification
Path({ran!r}).write_text("ran")


class OwnConfig(LlamaConfig):
    model_type = "own-llama"


class Own(LlamaForCausalLM):
    config_class = OwnConfig


class OwnScores(LlamaForSequenceClassification):
    config_class = OwnConfig
"""


def with_code(folder: Path) -> Path:
    """Make it a model whose class comes with it; importing the class writes a file."""
    ran = folder.parent / RAN
    (folder / "own.py").write_text(OWN.format(ran=str(ran)))
    autos = {
        "AutoConfig": "own.OwnConfig",
        "AutoModelForCausalLM": "own.Own",
        "AutoModelForSequenceClassification": "own.OwnScores",
    }
    entry("config.json", model_type="own-llama", architectures=["Own"], auto_map=autos)(folder)
    return ran


def test_code_runs_where_it_is_trusted_and_nowhere_else(
    hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = with_code(hostile)
    for load in LOADERS.values():
        with pytest.raises(InputError, match="names Python code .* say --trust-remote-code to run"):
            load(str(hostile))
    assert not ran.exists()
    with trusting(True):
        model = LOADERS["the policy"](str(hostile))
    assert type(model).__name__ == "Own" and ran.exists()


def test_an_environment_and_a_record_do_not_trust(hostile: Path) -> None:
    from assay.api import orders
    from assay.registry import catalogue

    entry_ = catalogue.find("leave_one_out")
    world = {"name": "hub", "policy": str(hostile), "trust_remote_code": True}
    about = {"arguments": {}, "loop": {}, "run": {}, "fit": None, "watch": None, "world": world}
    assert "world.trust_remote_code" not in orders.recorded(about, entry_, "run")
    again = orders.of_policy(about, "run")
    assert again.world_arguments["trust_remote_code"] is False
    assert orders.of_policy(about, "run", trust=True).world_arguments["trust_remote_code"] is True
