"""Every method of peft that is accepted keeps the laws: it begins as the base, the base stays, the
merged model is the policy, and its state comes back. What cannot keep them is refused by name.
"""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from families import model

from assay.core import Rng
from assay.errors import InputError

peft = pytest.importorskip("peft", reason="the lora extra is not installed")

from assay.models.backbones import adapter_check, adapter_config  # noqa: E402
from assay.models.backbones.adapters import Adapted, Base  # noqa: E402
from assay.models.backbones.pretrained import Pretrained  # noqa: E402

QV = ["q_proj", "v_proj"]
MORE: dict[str, dict[str, Any]] = {
    "IA3": {"target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]},
    "LN_TUNING": {"target_modules": ["norm", "input_layernorm"]},
    "TRAINABLE_TOKENS": {"target_modules": ["embed_tokens"], "token_indices": [3, 4]},
    "OFT": {"oft_block_size": 4, "r": 0},
    "BOFT": {"boft_block_size": 4},
    "MISS": {"r": 4},
    "FOURIERFT": {"n_frequency": 20, "init_weights": True},
}
EXACT = {torch.float64: (1e-10, 1e-10), torch.float32: (1e-5, 2e-5), torch.bfloat16: (0.05, 0.2)}


def written(folder: Path, **config: Any) -> str:
    said = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "target_modules": QV, **config}
    said = {k: v for k, v in said.items() if v is not None}
    (folder / "adapter_config.json").write_text(json.dumps(said), encoding="utf-8")
    return str(folder)


def opened(folder: Path, dtype: torch.dtype = torch.float64, **config: Any) -> Base:
    return Base(model("llama", dtype=dtype), adapter_config.read(written(folder, **config)), Rng(3))


def logps(base: Base, name: str | None) -> torch.Tensor:
    base.switch(name)
    return adapter_check.few_logps(base.plain)


def moved(policy: Adapted) -> None:
    with torch.no_grad():
        for i, p in enumerate(policy.parameters()):
            p.add_(0.1 * Rng(9)("move", i).normal(torch.arange(p.numel())).view_as(p).to(p))


def worst(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", adapter_config.SUPPORTED)
def test_an_accepted_method_keeps_the_laws(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    if kind == "LN_TUNING" and dtype == torch.bfloat16:
        with pytest.raises(InputError, match="does not compute in bfloat16.*--dtype float32"):
            opened(tmp_path, dtype, **{"peft_type": kind, "r": None, **MORE[kind]})
        return
    laws(opened(tmp_path, dtype, **{"peft_type": kind, "r": None, **MORE.get(kind, {})}), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "config",
    [
        {"modules_to_save": ["embed_tokens", "lm_head"]},
        {"modules_to_save": ["norm"]},
        {"modules_to_save": ["self_attn"], "target_modules": ["up_proj"]},
        {"target_modules": [*QV, "embed_tokens", "lm_head"]},
        {"use_dora": True},
        {"init_lora_weights": "orthogonal"},
        {"init_lora_weights": "gaussian", "use_rslora": True},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 3}, "lora_dropout": 0.5},
        {"trainable_token_indices": [3, 4]},
    ],
    ids=str,
)
def test_an_accepted_option_keeps_the_laws(
    config: dict[str, Any], dtype: torch.dtype, tmp_path: Path
) -> None:
    laws(opened(tmp_path, dtype, **config), dtype)


def laws(base: Base, dtype: torch.dtype) -> None:
    near, merge = EXACT[dtype]
    before = logps(base, None)
    policy, other = Adapted(base, adapter=True), Adapted(base, adapter=True)
    assert worst(logps(base, policy.name), before) <= near
    moved(policy)
    mine = logps(base, policy.name)
    assert worst(mine, before) > 0.02
    assert worst(logps(base, None), before) == 0
    assert worst(logps(base, other.name), before) <= near, "an adapter of its own"
    assert all(p.dtype != torch.bfloat16 for p in policy.parameters()), "a step is not rounded"
    assert worst(adapter_check.few_logps(Pretrained(policy.merged())), mine) <= merge
    assert worst(adapter_check.few_logps(Pretrained(Adapted(base).merged())), before) == 0
    again = Adapted(Base(model("llama", dtype=dtype), base.config, Rng(3)), adapter=True)
    again.load_state_dict(copy.deepcopy(policy.state_dict()))
    assert worst(logps(again._base[0], again.name), mine) == 0, "the state is all that was trained"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"init_lora_weights": "pissa"}, "'pissa', which writes new weights into the model"),
        ({"init_lora_weights": "pissa_niter_4"}, "'pissa_niter_4', which writes new weights"),
        ({"init_lora_weights": "olora"}, "'olora', which writes new weights"),
        ({"init_lora_weights": "loftq"}, "'loftq', which quantizes the model"),
        ({"init_lora_weights": "eva"}, "'eva', which needs data"),
        ({"init_lora_weights": "corda"}, "'corda', which writes new weights"),
        ({"init_lora_weights": False}, "init_lora_weights false, and the policy would begin at"),
        ({"bias": "all"}, "bias 'all', which trains biases of the model itself"),
        ({"bias": "lora_only"}, "bias 'lora_only'"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication, which builds a deeper"),
        ({"target_parameters": ["x"]}, "target_parameters, which"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens, which"),
        ({"ensure_weight_tying": True}, "ensure_weight_tying, which shares one weight"),
        ({"loftq_config": {"loftq_bits": 4}}, "loftq_config, which quantizes"),
        ({"task_type": "SEQ_CLS"}, "task_type 'SEQ_CLS', and a policy is a causal"),
        ({"peft_type": "ADALORA"}, "'ADALORA', which moves ranks"),
        ({"peft_type": "PREFIX_TUNING"}, "'PREFIX_TUNING', which puts trained states before"),
        ({"peft_type": "PROMPT_TUNING"}, "'PROMPT_TUNING', which puts trained tokens before"),
        ({"peft_type": "LILY"}, "'LILY', which is no adapter that assay has been tested with"),
        ({"peft_type": "NEW"}, "'NEW', which is no adapter"),
        ({"shiny": 1, "peft_version": "9.0"}, "'shiny', which this peft does not know.*9.0"),
        ({"modules_to_save": ["score"]}, "modules_to_save 'score', and this model has no module"),
        ({"target_modules": ["qkv"]}, "Target modules {'qkv'} not found"),
        ({"lora_bias": True}, "cannot add this kind of adapter to the model's weights"),
        ({"peft_type": "FOURIERFT", "r": None, "n_frequency": 9}, "does not begin as the base"),
    ],
    ids=str,
)
def test_what_cannot_keep_them_is_refused_by_name(
    config: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        opened(tmp_path, **config)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_configuration_that_writes_into_the_base_is_found_without_its_name() -> None:
    """From Python a configuration passes no file: the law is tried on the model itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = peft.LoraConfig(r=4, target_modules=QV, init_lora_weights="pissa")
        with pytest.raises(InputError, match="changes the base's weights"):
            Base(model("llama"), config, Rng(3))


def test_a_folder_with_a_trained_adapter_is_not_read_as_a_new_one(tmp_path: Path) -> None:
    folder = Path(written(tmp_path))
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="holds a trained adapter"):
        adapter_config.read(str(folder))
    assert adapter_config.read(str(folder / "adapter_config.json")).r == 4


def test_a_configuration_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    from assay.worlds import hub

    (tmp_path / "asks.jsonl").write_text('{"prompt": "the old mill"}\n')
    peft_folder = written(tmp_path, init_lora_weights="olora")
    with pytest.raises(InputError, match="'olora', which writes new weights"):
        hub.world(policy="./no/model", prompts=str(tmp_path / "asks.jsonl"), peft=peft_folder)


def test_adapters_of_policies_that_are_gone_are_removed(tmp_path: Path) -> None:
    base = opened(tmp_path, modules_to_save=["lm_head"])
    kept = Adapted(base, adapter=True)
    mine = logps(base, kept.name)
    for _ in range(5):
        Adapted(base, adapter=True)
    assert len(base.peft.peft_config) <= 3, "one that nobody uses, this one and the last"
    assert worst(logps(base, kept.name), mine) == 0


def test_a_second_adapter_leaves_the_first_one_s_gradient_on(tmp_path: Path) -> None:
    base = opened(tmp_path, modules_to_save=["lm_head"])
    first = Adapted(base, adapter=True).requires_grad_(True)
    Adapted(base, adapter=True)
    assert all(p.requires_grad for p in first.parameters())


def test_a_tied_model_with_an_adapted_embedding_in_memory_is_taken_as_it_computes() -> None:
    """Merged in place, a change of the embedding changed the head as well."""
    import transformers

    from assay.models.live import LiveModel, borrowed

    with torch.random.fork_rng():
        torch.manual_seed(0)
        size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 4, "vocab_size": 60, "tie_word_embeddings": True}
        plain = transformers.LlamaForCausalLM(transformers.LlamaConfig(**size, **heads)).eval()
        config = peft.LoraConfig(r=4, target_modules=[*QV, "embed_tokens"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            live = peft.get_peft_model(plain, config).eval()
        for p in live.parameters():
            p.data += 0.1 * torch.randn_like(p)
    tokens = torch.arange(3, 9)[None]
    with torch.no_grad():
        mine = live(tokens).logits
        own: Any = borrowed(LiveModel(live), dtype=torch.float32, device=torch.device("cpu"))
        assert worst(own(tokens).logits, mine) < 1e-5
        assert worst(live(tokens).logits, mine) == 0
    assert not own.config.tie_word_embeddings


def test_a_policy_of_other_shapes_is_one_sentence(tmp_path: Path) -> None:
    from test_adapters_configurations import LLAMA, files, ran

    from assay.core import World
    from assay.records.export import find_policy, load_policy
    from assay.records.runs import Run
    from assay.worlds import hub

    given = files(tmp_path, "llama", LLAMA, tied=True)
    run = Run.open(ran(given, tmp_path / "run"))
    (tmp_path / "peft" / "adapter_config.json").write_text(json.dumps({**LLAMA, "r": 2}))
    world: World = hub.world(
        policy=given["model"], prompts=given["prompts"], peft=given["peft"], held_out=3
    )
    with pytest.raises(InputError, match="does not fit the policy of world hub .*put it back"):
        load_policy(run, world, find_policy(run, end=True))
