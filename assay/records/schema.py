"""What stands in a record: the types of run.json, readings.jsonl and samples.jsonl.

pydantic checks a record when it is opened. Types are strict: what is text in the file is not taken
for a number.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    field_validator,
    with_config,
)

# pydantic reads typing's own TypedDict only from Python 3.12 on
from typing_extensions import TypedDict

from assay.records.parts import LoopEntries, NamedEntries, Numbers, PaperEntries, Values
from assay.records.result import Result, Text, Whole, from_earlier
from assay.records.run_warnings import RunWarning
from assay.records.verdicts import Verdict

SCHEMA = 2
State = Literal["running", "interrupted", "done", "failed", "waiting"]
Entries = InstanceOf[dict[str, Any]]
_STRICT = ConfigDict(strict=True, extra="allow")


@with_config(_STRICT)
class Cost(TypedDict):
    """What one completion costs.

    Attributes:
        generated: Completions generated for one completion: n for best-of-n.
        scored: Completions scored for one completion.
    """

    generated: Whole | float
    scored: Whole | float


@with_config(_STRICT)
class Reading(TypedDict):
    """One line of readings.jsonl. What was not measured is None.

    Attributes:
        step: The recipe's step; 0 is the reference.
        tag: Which of a step's policies; "reference" at step 0, "best" for the second look at the
            best checkpoint, else mostly "".
        kl: KL of the whole completion from the reference, in nats.
        kl_err: Its standard error.
        kl_kind: exact, sampled or upper.
        gold: Mean gold on held-out prompts.
        gold_err: Its standard error, clustered by prompt.
        golds: Means of all golds, the first of which is `gold`.
        rewards: Means of the reward models, in the order of the record's `rewards`; None of one
            that applies to no completion.
        rewards_err: Their standard errors.
        proxy: Mean of what the recipe optimises.
        proxy_err: Its standard error.
        n: Completions that were read.
        generated: Completions that the run has generated so far.
        scored: Completions that it has scored so far.
        compared: Pairs that it has compared so far.
        labels: Gold labels that it has bought so far.
        updates: Optimiser updates that it has made so far.
        cost: What one completion of this policy costs.
        seconds: Seconds that the recipe has run, without reading.
        stats: Other numbers by name. Of training, by TRL's names and as means over the steps since
            the last reading; what a recipe does not measure is not there. "loss", "grad_norm"
            (before clipping), "learning_rate", "skipped" (a sum: updates that were not finite);
            "reward", "reward_std" (of all completions of a step),
            "reward_std_within" and "reward_std_between" prompts, "frac_reward_zero_std" (prompts
            whose completions all have one reward), "frac_reward_missing" (completions that no
            reward model applies to; the other statistics of rewards leave them out); "entropy" of a
            decision and "kl" from the reference (k3) of a decision, in nats;
            "completions/mean_length", "…/min_length", "…/max_length", "…/mean_terminated_length",
            "…/clipped_ratio" (truncated);
            "clip_ratio/low_mean", "…/high_mean", "…/region_mean" (ratios that PPO's bounds clip);
            of pairs "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies",
            "logps/chosen", "logps/rejected"; and what the recipe adds. Of the reading itself:
            "compile/seconds" and "compile/graphs" (what torch.compile took since the last reading);
            "read/length", "read/truncated", "read/scored/NAME" (how many of the n completions a
            reward model applies to, if not to all: its mean is over these), "exact/…", and at the
            second look "fresh/…".
        watch: What the watch said.
    """

    step: Whole
    tag: Text | None
    kl: float | None
    kl_err: float | None
    kl_kind: Text | None
    gold: float | None
    gold_err: float | None
    golds: list[float | None] | None
    rewards: list[float | None] | None
    rewards_err: list[float | None] | None
    proxy: float | None
    proxy_err: float | None
    n: Whole | None
    generated: Whole | None
    scored: Whole | None
    compared: Whole | None
    labels: Whole | None
    updates: Whole | None
    cost: Cost | None
    seconds: float | None
    stats: Numbers | None
    watch: Verdict | None


@with_config(_STRICT)
class CompletionRow(TypedDict):
    """One line of samples.jsonl: a completion with its scores.

    Attributes:
        step: The step of the reading that it belongs to.
        tag: The tag of that reading.
        place: [prompt, completion]: its row among the held-out prompts, and which of the prompt's
            completions.
        prompt: The prompt's text.
        completion: The completion's text.
        gold: The first gold.
        golds: All golds.
        rewards: The reward models' scores.
        proxy: What the recipe optimises.
        logp: Log-probability of the completion under the policy that wrote it, in nats.
    """

    step: Whole
    tag: Text | None
    place: list[Whole] | None
    prompt: Text | None
    completion: Text | None
    gold: float | None
    golds: list[float | None] | None
    rewards: list[float | None] | None
    proxy: float | None
    logp: float | None


@with_config(_STRICT)
class QuestionRow(TypedDict):
    """One line of questions.jsonl: which of two completions is better?

    Attributes:
        id: A digest of the question; its label is found by it.
        who: Who asks.
        step: The step at which it asks.
        place: The place within the step.
        prompt: The prompt's text.
        first: The completion that is shown first.
        second: The completion that is shown second.
        columns: The prompt's other columns, where its file has some.
    """

    id: Text
    who: Text
    step: Whole
    place: list[Whole]
    prompt: Text
    first: Text
    second: Text
    columns: NotRequired[Entries]


@with_config(_STRICT)
class LabelRow(TypedDict):
    """One line of labels.jsonl: a label, or that one is taken back.

    Attributes:
        id: The question's, where two completions are compared.
        who: Who asked.
        step: The step at which it asked.
        place: The place within the step.
        label: 1 if the first completion is better, 0 if the second is, 0.5 for a tie, None without
            a usable answer; or the gold of one completion, where there is no question.
        by: The labeler.
        why: Why there is no label.
        cost: Calls and tokens, by name.
        undone: True where the label of this question is taken back.
    """

    id: NotRequired[Text]
    who: NotRequired[Text]
    step: NotRequired[Whole]
    place: NotRequired[list[Whole]]
    label: NotRequired[float | None]
    by: NotRequired[Text]
    why: NotRequired[Text]
    cost: NotRequired[Entries]
    undone: NotRequired[bool]


class RunRecord(BaseModel):
    """run.json: what was run, by what, and how it ended.

    Attributes:
        version: The schema's number; "schema" in the file.
        assay: The version of assay that wrote it.
        commit: The commit of the checkout that ran, "+changes" added where it was changed.
        versions: Versions of Python and of the packages that decide numbers.
        machine: System, processor, cores and memory.
        started: When, in UTC.
        finished: When, in UTC; None while it runs.
        state: running, interrupted (by Ctrl-C or SIGTERM), done, failed or waiting (for labels).
            A run that was killed says "running" and is not: see `records.best.state_of`.
        error: Why it failed.
        recipe: The recipe's name.
        verb: What kind of run: recipe, study, trl or bon.
        title: The paper's title.
        paper: Title, authors, year and url.
        path: The recipe's file, where it is not one of assay's own.
        arguments: The recipe's constants.
        loop: The Loop's fields.
        seed: The run's seed.
        world: The world's name and its arguments.
        fit: The paper that fitted the reward models anew, and its arguments.
        run: The settings of the run that change no policy.
        watch: The settings of the watch; None where nothing was watched.
        golds: Names of the golds; [] where the world has none.
        gold_kind: What kind of gold it is.
        rewards: Names of the reward models.
        replayable: False where the policy's completions are not a function of the seed.
        inputs: SHA-256 of every input file, by path; of a folder's files too. Files of more than
            1 GiB are read in parts.
        changed: Inputs that a run went on with though they had changed (--accept-changes): the
            digests that they had first, by path.
        best_step: The step with the highest gold, which is read again (tag "best"). The policy that
            a run comes to is in `result`.
        result: What a finished run comes to: its one best policy, and the last.
        world_digest: SHA-256 of the parts of the world that were trained for it; None where nothing
            was, as in world hub, whose models are among `inputs`.
        files: How many bytes of each file of lines a finished run has written, and their SHA-256.
        seal: SHA-256 of all the other entries: a record that was edited is known by it.
        warnings: Signs that training had died, and numbers that were not finite, in the order in
            which they were seen; see `records.run_warnings.RunWarning`.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, populate_by_name=True)

    version: int = Field(default=SCHEMA, alias="schema")
    assay: Text | None = None
    commit: Text | None = None
    versions: dict[Text, Text] = Field(default_factory=dict)
    machine: Entries = Field(default_factory=dict)
    started: Text | None = None
    finished: Text | None = None
    state: State = "running"
    error: Text | None = None
    recipe: Text | None = None
    verb: Text | None = None
    title: Text | None = None
    paper: PaperEntries | None = None
    path: Text | None = None
    arguments: Values = Field(default_factory=dict)
    loop: LoopEntries = Field(default_factory=dict)
    seed: Whole | None = None
    world: NamedEntries = Field(default_factory=dict)
    fit: NamedEntries | None = None
    run: Values = Field(default_factory=dict)
    watch: Values | None = None
    golds: list[Text] = Field(default_factory=list)
    gold_kind: Text | None = None
    rewards: list[Text] = Field(default_factory=list)
    replayable: bool = True
    inputs: dict[Text, Text | None] = Field(default_factory=dict)
    changed: dict[Text, Text | None] = Field(default_factory=dict)
    best_step: Whole | None = None
    result: Result | None = None
    world_digest: Text | None = None
    files: dict[Text, Entries | list[Any]] = Field(default_factory=dict)
    seal: Text | None = None
    warnings: list[RunWarning] = Field(default_factory=list)

    @field_validator("result", mode="before")
    @classmethod
    def _earlier(cls, value: Any) -> Any:
        return from_earlier(value)

    @property
    def unknown(self) -> list[str]:
        """The keys of run.json that this assay does not know."""
        return sorted(self.model_extra or {})

    def plain(self) -> dict[str, Any]:
        """The record as it stands in run.json."""
        return self.model_dump(by_alias=True)
