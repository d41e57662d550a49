"""The loops that recipes build on: online rollouts, stored completions, preference pairs."""

from __future__ import annotations

from assay.loops.critic import Critic, Gae, at_the_end, reference_kl, with_critic
from assay.loops.group_relative import group_relative, standardised
from assay.loops.missing import scores_and_missing
from assay.loops.offline import imitated, offline
from assay.loops.online import (
    Rollouts,
    leave_one_out_advantage,
    online,
    policy_gradient,
    require_group,
)
from assay.loops.pairs import Margins, log_ratios, paired, with_reference_completion
from assay.loops.reference import reference_known, reference_logp, with_reference_logp
from assay.loops.scoring import aggregator, fill_missing, member_scores, proxy_score
from assay.loops.statistics import (
    clipped_surrogate,
    completion_stats,
    mean_stats,
    record_kl,
    rollout_stats,
)
from assay.loops.updates import update

__all__ = [
    "Critic",
    "Gae",
    "Margins",
    "Rollouts",
    "aggregator",
    "at_the_end",
    "clipped_surrogate",
    "completion_stats",
    "fill_missing",
    "group_relative",
    "imitated",
    "leave_one_out_advantage",
    "log_ratios",
    "mean_stats",
    "member_scores",
    "offline",
    "online",
    "paired",
    "policy_gradient",
    "proxy_score",
    "record_kl",
    "reference_kl",
    "reference_known",
    "reference_logp",
    "require_group",
    "rollout_stats",
    "scores_and_missing",
    "standardised",
    "update",
    "with_critic",
    "with_reference_completion",
    "with_reference_logp",
]
