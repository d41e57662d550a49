"""Tiny models of the families people use, random weights, and a tokenizer trained on the spot:
nothing is fetched.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch

FAMILIES = ("llama", "qwen2", "gpt2", "gemma2")
# with those whose attention differs in what matters to packed groups: norms on queries and keys,
# windows in all layers or in some, positions of two bases, partial rotation, parallel layers
MORE = ("qwen3", "gemma3_text", "mistral", "phi3", "olmo2", "cohere2", "gpt_neox", "smollm3")
CHAT = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
KINDS = ["sliding_attention", "full_attention"]
TEXTS = [
    "the old mill by the river is closed today",
    "please tell me about the gate and the pond",
    "what is the weather like?",
    "it rains, and then it does not; we walk home",
    "a question, an answer, a longer answer with more words",
] * 20


@functools.cache
def tokenizer(*, chat: bool = True, pad: bool = True) -> Any:
    """A byte-level BPE of 300 tokens with BOS, EOS and, if wanted, padding and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer, inner.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    special = ["<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(TEXTS, trainer)
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>" if pad else None,
    )
    made.chat_template = CHAT if chat else None
    return made


def exact(family: str) -> tuple[torch.dtype, float]:
    """The dtype in which a family's laws are tested, and how closely they must hold. Gemma 2's
    soft-capped attention takes its softmax in float32, whatever the weights are.
    """
    return (torch.float32, 3e-5) if family == "gemma2" else (torch.float64, 1e-9)


def never_rounded(monkeypatch: Any) -> None:
    """Let a float64 model compute in float64 throughout: the families round to float32 in norms and
    in some softmaxes.
    """
    softmax, to = torch.nn.functional.softmax, torch.Tensor.to

    def kept(t: torch.Tensor, *given: Any, **named: Any) -> torch.Tensor:
        if t.dtype == torch.float64 and torch.float32 in given:
            return t
        return to(t, *given, **named)

    def whole(t: torch.Tensor, dim: int, dtype: Any = None, **named: Any) -> torch.Tensor:
        return softmax(t, dim=dim, dtype=t.dtype if t.dtype == torch.float64 else dtype)

    monkeypatch.setattr(torch.Tensor, "to", kept)
    monkeypatch.setattr(torch.nn.functional, "softmax", whole)
    monkeypatch.setattr(torch.Tensor, "float", lambda t: kept(t, torch.float32))


def model(
    family: str,
    *,
    seed: int = 0,
    vocabulary: int = 307,
    dtype: torch.dtype = torch.float32,
    layers: int = 2,
) -> Any:
    """A small model of a family. Gemma 2 has soft caps, a sliding window and scaled embeddings;
    GPT-2 learnt positions.
    """
    import transformers

    size: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 128,
    }
    name, more = {
        "llama": ("Llama", {}),
        "qwen2": ("Qwen2", {}),
        "gpt2": ("GPT2", {}),
        "gemma2": ("Gemma2", {"head_dim": 8, "sliding_window": 12, "query_pre_attn_scalar": 8}),
        "qwen3": ("Qwen3", {"head_dim": 8}),
        "gemma3_text": (
            "Gemma3Text",
            {"head_dim": 8, "sliding_window": 5, "query_pre_attn_scalar": 8, "layer_types": KINDS},
        ),
        "mistral": ("Mistral", {"sliding_window": 5}),
        "phi3": ("Phi3", {}),
        "olmo2": ("Olmo2", {}),
        "cohere2": ("Cohere2", {"sliding_window": 5, "layer_types": KINDS}),
        "gpt_neox": ("GPTNeoX", {}),
        "smollm3": ("SmolLM3", {}),
        # whose prompts cannot be shared
        "gpt_oss": ("GptOss", {"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1}),
        "lfm2": ("Lfm2", {"layer_types": ["conv", "full_attention"]}),
    }[family]
    if family == "gpt2":
        size = {
            "vocab_size": vocabulary,
            "n_embd": 32,
            "n_layer": layers,
            "n_head": 4,
            "n_positions": 128,
        }
    config = getattr(transformers, f"{name}Config")(
        **size,
        **more,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        attn_implementation="eager" if family in ("gemma2", "gpt_oss") else "sdpa",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = transformers.AutoModelForCausalLM.from_config(config)
        for (
            p
        ) in made.parameters():  # larger than the families' own start, so that a wrong mask is seen
            p.data += 0.1 * torch.randn_like(p)
    return made.to(dtype).eval()


def checkpoint(folder: Path, family: str, **how: Any) -> Path:
    """The model and the tokenizer as `save_pretrained` writes them."""
    tokens = tokenizer()
    model(family, vocabulary=len(tokens) + 7, **how).save_pretrained(
        folder
    )  # some families' tokenizers add tokens of their own
    tokens.save_pretrained(folder)
    return folder
