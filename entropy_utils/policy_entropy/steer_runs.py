"""The runs of notebook 07: one budget, one set of seeds, one difference each."""

from __future__ import annotations

from typing import Any

QUADRANTS: dict[str, tuple[str, int]] = {
    "right, probable": ("++", -1),
    "right, improbable": ("+-", 1),
    "wrong, probable": ("-+", 1),
    "wrong, improbable": ("--", -1),
}
"""The four kinds of token: signs of the advantage and of log pi + H, and which way they are said to push the entropy."""

TOY: dict[str, Any] = {
    **{name: {"name": "quadrants", "keep": signs} for name, (signs, _) in QUADRANTS.items()},
    "GRPO": "clip_higher",
    "STEER 0.7": "steer",
    "theorem 0.7": "steer form=theorem",
    "STEER 0.3": "steer weakest=0.3",
    "theorem 0.3": "steer form=theorem weakest=0.3",
    "mean weight 0.3": "steer weakest=0.3 control=mean",
    "theorem mean 0.3": "steer form=theorem weakest=0.3 control=mean",
    "asymmetric 0.3": "steer mode=asymmetric weakest=0.3",
    "linear 0.8-1.2": "steer map=linear weakest=0.8 strongest=1.2",
}
"""Interventions on the shared-features policy. "STEER" is the released form; GRPO has its clip, 0.2 and 0.28."""

UNCLIPPED = {"clip_low": 0.99, "clip_high": 5.0}  # the paper's extreme test

MODEL: dict[str, Any] = {
    **{name: TOY[name] for name in ("GRPO", "STEER 0.7", "theorem 0.7", "STEER 0.3", "theorem 0.3")},
    "asymmetric 0.02": "steer mode=asymmetric form=theorem weakest=0.02",
    "unclipped GRPO": {"name": "none", **UNCLIPPED},
    "unclipped STEER 0.7": {"name": "steer", **UNCLIPPED},
}
"""Interventions on the language model; the asymmetric one nearly stops what lowers the entropy."""

EARLIER_CONTEST: dict[int, dict[str, float]] = {
    0: {"full step": 1.0, "own logit": 0.743, "squared": 0.726, "released": 0.621, "covariance": 0.451},
    128: {"full step": 0.62, "own logit": 0.42, "squared": 0.39, "released": 0.34, "covariance": 0.25},
    32: {"full step": 0.41, "own logit": 0.28, "squared": 0.26, "released": 0.22, "covariance": 0.18},
    8: {"full step": 0.16, "own logit": 0.11, "squared": 0.10, "released": 0.09, "covariance": 0.07},
}
"""Pearson correlations of an earlier study of the same set-up (3 seeds), by the number of shared features (0: none)."""
