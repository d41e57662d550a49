"""What training takes of memory: the tables of docs/how-to/memory.md, and peaks that are measured.

python docs/tools/memory.py                   # write the tables into the page
python docs/tools/memory.py --measure FOLDER  # peaks of DPO steps of a model, against the sums
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from assay.models.memory_needs import KINDS, Needs, Plan, Shape, llama, needs

PAGE = Path(__file__).parent.parent / "how-to" / "memory.md"
SHAPES = {
    "1 B": llama(
        hidden=2048,
        intermediate=8192,
        layers=16,
        heads=32,
        kv_heads=8,
        head=64,
        vocabulary=128256,
        tied=True,
    ),
    "8 B": llama(
        hidden=4096,
        intermediate=14336,
        layers=32,
        heads=32,
        kv_heads=8,
        head=128,
        vocabulary=128256,
        tied=False,
    ),
    "70 B": llama(
        hidden=8192,
        intermediate=28672,
        layers=80,
        heads=64,
        kv_heads=8,
        head=128,
        vocabulary=128256,
        tied=False,
    ),
}
PROCESSES = (1, 2, 4, 8)
SIZES = (
    "num_attention_heads",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "vocab_size",
)


def gib(n: float) -> str:
    """Bytes in GiB, of three digits."""
    found = n / 2**30
    return f"{found:.0f}" if found >= 100 else f"{found:.1f}" if found >= 1 else f"{found:.2f}"


def rows(header: list[str], body: list[list[str]]) -> str:
    """A table in Markdown."""
    rule = ["---"] * 2 + ["---:"] * (len(header) - 2)
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *body))


def tables() -> dict[str, str]:
    """The page's tables, by the names of their places."""

    def of(name: str, kind: str, half: bool, W: int) -> Needs:
        plan = Plan(W, kind, half, recomputed=True, gathered=False)
        return needs(SHAPES[name], plan)

    ways = [(kind, half) for kind in KINDS for half in (False, True)]
    peaks, parts, tokens = [], [], []
    for name, shape in SHAPES.items():
        for kind, half in ways:
            what = [name, f"{kind}, {'bfloat16' if half else 'float32'}"]
            each = [of(name, kind, half, W) for W in PROCESSES]
            whole = shape.parameters * (2 if half else 4)
            peaks.append([*what, *(gib(n.peak) for n in each), gib(whole)])
            one, eight = each[0], each[-1]
            for W, n in ((1, one), (8, eight)):
                sums = n.weights, n.gradients, n.moments, n.gathered
                parts.append([*what, str(W), *map(gib, sums)])
        for kind, half in ways:
            plans = [Plan(1, kind, half, again, learned=1024) for again in (False, True)]
            chunk = needs(shape, Plan(learned=0)).activations
            saved = [needs(shape, p).activations - chunk for p in plans]
            keys = needs(shape, Plan(half=half, generated=1024)).keys
            what = [name, f"{kind}, {'bfloat16' if half else 'float32'}"]
            tokens.append([*what, *map(gib, saved), gib(keys)])
    return {
        "peaks": rows(
            ["model", "trained, computed in", *(f"{W}" for W in PROCESSES), "whole model"], peaks
        ),
        "parts": rows(
            ["model", "trained, computed in", "processes", "weights", "gradients", "Adam",
             "gathered"],
            parts,
        ),
        "tokens": rows(
            ["model", "trained, computed in", "activations", "with `--checkpointing`",
             "keys and values"],
            tokens,
        ),
    }  # fmt: skip


def written(page: str) -> str:
    """A page with the tables in their places."""
    for name, table in tables().items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, rest = page.split(begin)
        page = f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"
    return page


def shape_of(folder: Path) -> Shape:
    """The shape of a model of Llama's family, by its config.json."""
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if lacks := [name for name in SIZES if name not in said]:
        raise SystemExit(
            f"{folder}/config.json has no {lacks[0]}; give a model of Llama's family, such as "
            "SmolLM2-135M-Instruct: the sums are of that architecture"
        )
    heads = said["num_attention_heads"]
    return llama(
        hidden=said["hidden_size"],
        intermediate=said["intermediate_size"],
        layers=said["num_hidden_layers"],
        heads=heads,
        kv_heads=said.get("num_key_value_heads", heads),
        head=said.get("head_dim") or said["hidden_size"] // heads,
        vocabulary=said["vocab_size"],
        tied=bool(said.get("tie_word_embeddings")),
        rank=16,
    )


def peaks(words: list[str], processes: int, home: Path) -> list[int]:
    """The largest resident size of each process of a run, in bytes."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    base = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": str(processes),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "ASSAY_CACHE": str(home),
        # each block mapped by itself: what is freed is no longer resident
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
    }
    command = [sys.executable, "-m", "assay", "run", *words]
    more = ["--fsdp"] if processes > 1 else []
    out = ["--out", str(home / f"run-{processes}-{port}")]
    notes = [home / f"stderr-{port}-{r}" for r in range(processes)]
    started = []
    for r, note in enumerate(notes):
        with note.open("wb") as stderr:
            env = {**base, "RANK": str(r), "LOCAL_RANK": str(r)}
            started.append(
                subprocess.Popen(
                    [*command, *more, *out], env=env, stdout=subprocess.DEVNULL, stderr=stderr
                )
            )
    found, faults = [], []
    for r, (one, note) in enumerate(zip(started, notes, strict=True)):
        _, status, usage = os.wait4(one.pid, 0)  # one that fails ends the others
        one.returncode = os.waitstatus_to_exitcode(status)
        found.append(usage.ru_maxrss * 1024)
        if one.returncode:
            faults.append(f"process {r} of {processes} {ended(one.returncode, note)}")
    if faults:
        raise SystemExit("\n".join(["assay run " + " ".join([*words, *more]), *faults]))
    return found


def ended(code: int, stderr: Path) -> str:
    """How a process failed, and the last line that it wrote."""
    full = " (memory may be full)" if -code == signal.SIGKILL else ""
    how = f"was ended by {signal.Signals(-code).name}{full}" if code < 0 else f"ended with {code}"
    said = stderr.read_text(encoding="utf-8", errors="replace").split("\n")
    lines = [line.strip() for line in said if line.strip()]
    return f"{how}: {lines[-1] if lines else 'it wrote nothing'}"


def measured(folder: Path, most: int) -> str:
    """A table of peaks: DPO on four short pairs, computed and measured, less a tiny model's run."""
    body = []
    with tempfile.TemporaryDirectory() as place:
        home, shape = Path(place), shape_of(folder)
        pairs = [{"prompt": f"Say {i}.", "chosen": "One two three.", "rejected": "No."}
                 for i in range(6)]  # fmt: skip
        (home / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
        common = f"dpo --pairs {home / 'pairs.jsonl'} --held-out 2 --max-steps 2 --batch-size 4"
        common += " --max-tokens 16 --micro-batch-size 2"
        tiny = _tiny(folder, home / "tiny")
        for W in (w for w in PROCESSES if w <= most):
            ground = max(peaks([*common.split(), "--model", str(tiny)], W, home))
            for kind, flags in (("all weights", []), ("LoRA", ["--lora", "16"])):
                words = [*common.split(), "--model", str(folder), *flags]
                each = sorted(p - ground for p in peaks(words, W, home))
                plan = Plan(W, kind, learned=64, generated=0, gathered=False)
                said = needs(shape, plan)
                body.append([kind, str(W), gib(said.learning), gib(each[-1]), gib(each[0])])
                print(body[-1], file=sys.stderr)
    return rows(["trained", "processes", "computed", "measured, most", "measured, least"], body)


def _tiny(folder: Path, out: Path) -> Path:
    """A model of the same tokenizer and next to no weights."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.from_pretrained(folder)
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = 8, 8, 1
    config.num_attention_heads = config.num_key_value_heads = 1
    config.head_dim = 8
    AutoModelForCausalLM.from_config(config).save_pretrained(out)
    AutoTokenizer.from_pretrained(folder).save_pretrained(out)
    return out


if __name__ == "__main__":
    asked = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    asked.add_argument("--measure", type=Path, metavar="FOLDER", help="a model of Llama's family")
    asked.add_argument(
        "--processes", type=int, choices=PROCESSES, default=2, help="the most processes of a run"
    )
    given = asked.parse_args()
    if given.measure:
        if not (given.measure / "config.json").is_file():
            asked.error(f"--measure is {given.measure}, and no config.json is there; give a folder")
        print(measured(given.measure, given.processes))
    else:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
