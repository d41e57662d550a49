"""What is timed on one GPU: two models, GRPO and DPO with adapters, and who computes them. Standard
library only: the peer's side runs in an environment of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bench.real.cases import Case

GRPO = Case("grpo", "grpo", 16, 16, 8, 256, 256, 256, rounds=2)
DPO = Case("dpo", "dpo", 16, 16, 2, 256, 128, 512, rounds=2)
QWEN3 = {  # Qwen3-1.7B's shape, weights random
    "num_hidden_layers": 28,
    "hidden_size": 2048,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 6144,
    "vocab_size": 151936,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
TINY = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 64,
    "vocab_size": 3000,
}
MODELS = ("SmolLM2", "Qwen3 1.7B")
SIDES = {  # what computes a step, and the seconds that it may take, start included
    "ours": 90,
    "TRL": 120,
    "TRL with vLLM": 150,
    "ours, sharded": 90,
}


@dataclass(frozen=True)
class Measured:
    """One process of the benchmark.

    Attributes:
        model: Of MODELS.
        side: Of SIDES.
        case: What a step is.
    """

    model: str
    side: str
    case: Case

    @property
    def name(self) -> str:
        """What it is called on its command line."""
        return f"{self.model}/{self.case.kind}/{self.side}"


def plan(dry: bool) -> list[Measured]:
    """Every process in the order in which they run: what matters most comes before the time is up.

    Args:
        dry: Whether sizes are tiny, for a machine without a GPU.
    """
    order = [
        *((m, s, c) for c in (GRPO, DPO) for m in reversed(MODELS) for s in ("ours", "TRL")),
        *((m, "TRL with vLLM", GRPO) for m in reversed(MODELS)),
        *((MODELS[1], "ours, sharded", c) for c in (GRPO, DPO)),
    ]
    return [Measured(m, s, tiny(c) if dry else sized(c, m)) for m, s, c in order]


def sized(c: Case, model: str) -> Case:
    """A case at the size for one model."""
    return replace(c, prompts=8) if model == MODELS[1] else c


def tiny(c: Case) -> Case:
    """A case at the size of a dry run."""
    return replace(
        c, prompts=2, completions=2, prompt=8, least=8 if c.kind == "grpo" else 4, most=8, rounds=1
    )


def named(name: str, dry: bool) -> Measured:
    """The process of that name."""
    return next(m for m in plan(dry) if m.name == name)


def words(size: int) -> list[str]:
    """Tokens of the random model's tokenizer: a space and five to eight letters each."""
    made: list[str] = []
    for i in range(size):
        text, rest = "", i
        for _ in range(5):
            rest, letter = divmod(rest, 26)
            text = chr(97 + letter) + text
        made.append(f"Ġ{text}")
    return made


def shape_of(config: dict[str, Any]) -> dict[str, int]:
    """The sizes of a config.json that operations are counted from."""
    heads = config["num_attention_heads"]
    return {
        "layers": config["num_hidden_layers"],
        "width": config["hidden_size"],
        "heads": heads,
        "kv_heads": config.get("num_key_value_heads") or heads,
        "head": config.get("head_dim") or config["hidden_size"] // heads,
        "inner": config["intermediate_size"],
        "vocabulary": config["vocab_size"],
    }
