"""What is served: an ensemble of small transformers, fitted here to texts made here."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = "harbour garden letter engine river market window winter teacher bridge island kitchen"
KINDS = "quiet broken early distant careful narrow golden heavy second familiar open cold"
VERBS = "opens follows carries repairs describes crosses keeps measures remembers answers"
GOOD = "clearly patiently exactly kindly"
BAD = "vaguely rudely loudly anyhow"


@dataclass(frozen=True)
class Size:
    """A Llama's sizes."""

    name: str
    width: int
    layers: int
    heads: int
    inner: int


SIZES = {
    s.name: s for s in (Size("0.35M", 96, 3, 4, 256), Size("5M", 256, 6, 8, 704))
}  # weights of the matrices of one member


def row(i: int) -> dict[str, str]:
    """Prompt i with a better and a worse completion of 1 to 12 sentences."""
    draw = random.Random(i)

    def pick(words: str) -> str:
        return draw.choice(words.split())

    def text(manner: str) -> str:
        said = [
            f"The {pick(KINDS)} {pick(NAMES)} {pick(VERBS)} the {pick(NAMES)} {pick(manner)}."
            for _ in range(draw.randint(1, 12))
        ]
        return " ".join(said)

    prompt = f"Describe the {pick(KINDS)} {pick(NAMES)} and the {pick(NAMES)} beside it, no. {i}."
    return {"prompt": prompt, "chosen": text(GOOD), "rejected": text(BAD)}


def fit(folder: Path, size: Size, members: int, pairs: int = 64) -> Path:
    """Make a base, fit members to it, and return the reward's folder."""
    import torch
    import transformers
    from tokenizers import ByteLevelBPETokenizer

    from assay.api.rewards import fit_reward

    base, reward = folder / f"base-{size.name}", folder / f"reward-{size.name}"
    rows = [row(i) for i in range(pairs)]
    bytes_ = ByteLevelBPETokenizer()
    bytes_.train_from_iterator(
        [t for r in rows for t in r.values()], vocab_size=512, special_tokens=["<s>", "</s>"],
        show_progress=False,
    )  # fmt: skip
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=bytes_._tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    ).save_pretrained(base)
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads,
        "intermediate_size": size.inner,
        "vocab_size": 512,
        "max_position_embeddings": 1024,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape)).save_pretrained(base)
    fit_reward(
        rows, base=str(base), out=str(reward), members=members, learning_rate=3e-4, max_length=512
    )
    return reward
