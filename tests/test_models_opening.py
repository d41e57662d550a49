"""Every loader examines a model's files first, and fetches what was named and nothing else."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from answering import servers
from families import checkpoint
from source_tree import PACKAGE, ROOT, files, tree

HUB = PACKAGE / "data" / "opening.py"
# Calls that open a model or fetch its files.
OPENS = {"from_pretrained", "LLM", "pipeline", "SentenceTransformer", "load_adapter"}
FETCHES = {"hf_hub_download", "snapshot_download", "cached_file"}
OURS = {"Llama"}  # its from_pretrained reads JSON and safetensors alone


def past_opening(source: ast.Module) -> list[int]:
    """Lines that open a model outside of a block of `opening`, or without its arguments."""
    wrong: list[int] = []

    def visit(node: ast.AST, how: str) -> None:
        if isinstance(node, ast.With):
            for item in node.items:
                made = item.context_expr
                if isinstance(made, ast.Call) and _name(made.func) == "opening":
                    how = getattr(item.optional_vars, "id", "")
        if isinstance(node, (ast.Attribute, ast.Name)) and _name(node) in OPENS and not how:
            owner = getattr(getattr(node, "value", None), "id", "")
            wrong.extend([node.lineno] * (owner not in OURS))
        if isinstance(node, ast.Call) and _name(node.func) in OPENS and how:
            owner = getattr(getattr(node.func, "value", None), "id", "")
            given = {getattr(k.value, "id", "") for k in node.keywords if k.arg is None}
            wrong.extend([node.lineno] * (how not in given and owner != "PeftModel"))
        for child in ast.iter_child_nodes(node):
            visit(child, how)

    visit(source, "")
    return wrong


def _name(node: ast.AST) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def calls(names: set[str]) -> dict[Path, list[ast.Call]]:
    """The calls by one of these names, by file."""
    some = [p for p in files() if any(n in p.read_text(encoding="utf-8") for n in names)]
    found = {
        p: [n for n in ast.walk(tree(p)) if isinstance(n, ast.Call) and _name(n.func) in names]
        for p in some
    }
    return {p: each for p, each in found.items() if each}


def test_no_loader_passes_the_examination_by() -> None:
    found = calls(OPENS)
    wrong = {p.relative_to(ROOT).as_posix(): past_opening(tree(p)) for p in found}
    assert {name: lines for name, lines in wrong.items() if lines} == {}
    assert sum(map(len, found.values())) >= 8, "the search still finds the loaders"


@pytest.mark.parametrize(
    "text",
    [
        "AutoModel.from_pretrained(name)",
        "load = AutoModel.from_pretrained",
        "with opening(n, s) as how:\n    AutoModel.from_pretrained(n, trust_remote_code=True)",
        "with open(name) as how:\n    pipeline('x', **how)",
        "self.vllm.LLM(model=name)",
    ],
)
def test_a_loader_that_passes_it_by_is_found(text: str) -> None:
    assert past_opening(ast.parse(text))
    fine = "with opening(name, s) as how:\n    AutoModel.from_pretrained(name, **how)"
    assert not past_opening(ast.parse(fine))


def test_files_of_the_hub_are_fetched_in_one_place() -> None:
    assert set(calls(FETCHES)) == {HUB}


OWN = "from transformers import LlamaForCausalLM\n\n\nclass Own(LlamaForCausalLM):\n    pass\n"


def changed(folder: Path, file: str, **more: object) -> None:
    path = folder / file
    said = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**said, **more}))


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    """Repositories of one small model, each with something of its own."""
    home = tmp_path / "hub"
    plain = checkpoint(home / "me" / "plain", "llama")
    names = ("kernel", "adapter", "pickle", "code", "sharded", "other")
    at = {name: Path(shutil.copytree(plain, home / "me" / name)) for name in names}
    changed(at["kernel"], "config.json", attn_implementation="me/other")
    (at["adapter"] / "config.json").unlink()
    changed(at["adapter"], "adapter_config.json", base_model_name_or_path="me/other")
    (at["pickle"] / "model.safetensors").rename(at["pickle"] / "pytorch_model.bin")
    (at["code"] / "own.py").write_text(OWN)
    changed(at["code"], "config.json", auto_map={"AutoModelForCausalLM": "own.Own"})
    shard = "model-00001-of-00001.safetensors"
    (at["sharded"] / "model.safetensors").rename(at["sharded"] / shard)
    where = {"weight_map": {"lm_head.weight": shard}, "metadata": {}}
    (at["sharded"] / "model.safetensors.index.json").write_text(json.dumps(where))
    (at["sharded"] / "huge.bin").write_bytes(b"not needed")
    return home


def test_from_a_hub_what_was_named_is_fetched_and_nothing_else(
    repositories: Path, tmp_path: Path
) -> None:
    names = ["kernel", "adapter", "pickle", "code", "plain", "sharded", "code+trust"]
    log = tmp_path / "log"
    with servers("hub_server.py", log) as start:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
        env["HF_ENDPOINT"] = start(str(repositories))
        env |= {"HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
        words = [str(ROOT / "tests" / "open_from_hub.py"), *(f"me/{n}" for n in names)]
        done = subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True)
    assert list((tmp_path / "home").rglob("models--me--plain/refs/main")), "for a day without a hub"
    assert done.returncode == 0, done.stderr[-2000:]
    said: dict[str, str] = {}
    for line in done.stdout.splitlines():
        said |= json.loads(line) if line.startswith("{") else {}
    for name, pattern in {
        "me/kernel": "config.json asks for the attention 'me/other'",
        "me/adapter": "an adapter of another model and not a whole one",
        "me/pickle": "holds no weights as safetensors, and pytorch_model.bin is a pickle",
        "me/code": "config.json names Python code .*own.Own",
        "me/plain": "LlamaForCausalLM with 300 tokens, named me/plain",
        "me/sharded": "LlamaForCausalLM|lack",
        "me/code+trust": "Own with 300 tokens, named me/code",
    }.items():
        assert re.search(pattern, said[name]), (name, said[name])
    requests = log.read_text()
    assert "me/other" not in requests, "what a file names is not fetched"
    assert ".bin" not in requests, "a pickle is not even fetched"
    of_kernel = re.findall(r"me/kernel/resolve/\w+/(\S+)", requests)
    assert "config.json" in of_kernel and "model.safetensors" not in of_kernel, "it was refused"
    before = requests[: requests.index("own.py")]
    assert "me/sharded" in before, "code is fetched where it is trusted, at the end"
