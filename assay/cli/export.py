"""export: a run's policy for plain transformers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from assay.engine.os_errors import writing_to
from assay.engine.progress import stage
from assay.records.runs import Run
from assay.safe_text import json_text


def export_(
    run: str,
    *,
    out: Path,
    step: int | None = None,
    last: bool = False,
    adapter: bool = False,
    trust_remote_code: bool = False,
    json_: bool = False,
) -> int:
    """Export a run's best policy as a folder that transformers loads.

    Writes config.json, model.safetensors, the generation settings, the tokenizer, and a model card
    with the measured curve. Adapters are merged into the base. Before it says done, it loads the
    folder by plain transformers and compares log-probabilities of stored completions with the
    policy's: what differs is not written. Which policy is the best, and why,
    stands in the run's record and is printed.

    Args:
        run: The folder of one run.
        out: The folder to write.
        step: The policy of this step in place of the best; a run with --policies keeps all that
            were read.
        last: The last policy in place of the best.
        adapter: The adapter alone, for peft, in place of the whole model.
        trust_remote_code: Run Python code that comes with the run's model (auto_map) and kernels
            that its settings name.

    Example:
        assay export runs/grpo --out model
        assay export runs/grpo --last --out model-last
    """
    from assay.api import execution, inputs, orders
    from assay.records import export

    found = Run.open(run)
    inputs.same_policy(found.about, run)
    # before the world is built, so that a refusal comes at once
    export.must_be_free(out)
    policy = export.find_policy(found, step=step, end=last)
    order = orders.of_policy(found.about, run, trust=trust_remote_code)
    world = execution.Worlds()(order)
    with stage(f"writing {out}"), writing_to(out):
        done = export.export(found, world, out, policy, adapter=adapter)
    folder = done.folder
    if json_:
        said = {"folder": str(folder), "run": run, "step": policy.step, "tag": policy.tag}
        chosen = {"chosen_by": policy.chosen_by, "reason": policy.reason, "adapter": adapter}
        close = {"agreement": asdict(done.agreement)}
        print(json_text({**said, **chosen, **close}))
        return 0
    what = "the adapter of " if adapter else ""
    print(f"{folder}: {what}{policy.name} of {run}: {policy.reason}")
    print(f"checked: {done.agreement}")
    base = order.world_arguments.get("policy", "the base model")
    how = (
        f'PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), "{folder}")'
        if adapter
        else f'AutoModelForCausalLM.from_pretrained("{folder}")'
    )
    print(f"load it: {how}")
    return 0
