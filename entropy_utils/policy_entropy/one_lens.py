"""Notebook 10's comparison: every method on the same tasks, seeds and budget, each with its own coefficient tuned alike.

Three sweeps. The first warms the policies up and measures the entropy H0 that they start from (targets are shares of
it). The second tries three values of every method's own coefficient on tuning seeds; the value with the best reward is
kept. The third runs the winners on other seeds, and only those are judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field
from scipy import stats

from .grpo import GRPO

BASE = "GRPO"
TASK_NAMES = {"noisy_lookup": "noisy lookup", "digit_sum": "digit sum"}


class Comparison(GRPO):
    """`GRPO` with the budget of notebook 10, the same for every method; `replicas` are the tuning seeds."""

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {
            "replicas": 2, "steps": 3, "prompts": 8, "keep": 4, "minibatches": 2, "warm_up": {"steps": 60},
            "evaluation_prompts": 16, "exam_samples": 4,
        },
        "laptop": {},
        "gpu": {"replicas": 4, "steps": 300, "prompts": 256, "keep": 128, "device": "auto", "evaluation_prompts": 1000,
                "warm_up": GRPO.profiles["gpu"]["warm_up"]},
        "hub": {},
    }  # fmt: skip

    replicas: int = Field(3, ge=2, le=64, description="tuning seeds, trained side by side")
    steps: int = Field(80, ge=2, le=100_000, description="rollouts", json_schema_extra={"unit": "rollouts"})
    prompts: int = Field(48, ge=1, le=65536, description="prompts sampled per rollout")
    keep: int = Field(24, ge=1, le=65536, description="prompts used per rollout, at most")
    minibatches: int = Field(3, ge=1, le=64, description="updates per rollout and inner epoch")
    lr: float = Field(6e-4, gt=0, le=10, description="learning rate", json_schema_extra={"scale": "log"})
    evaluate_every: int = Field(20, ge=1, le=100_000, description="rollouts between greedy evaluations")
    evaluation_prompts: int = Field(200, ge=1, le=100_000, description="fixed prompts of the evaluations")
    exam_samples: int = Field(16, ge=1, le=1024, description="responses sampled per evaluation prompt at the end")


@dataclass(frozen=True)
class Method:
    """A method and the one coefficient that is tuned: `settings` makes the changes to `GRPO` from it and from H0."""

    coefficient: str
    values: tuple[float, float, float]
    settings: Callable[[float, float], dict[str, Any]]


def _with(name: str, **fixed) -> Callable[[str], Callable[[float, float], dict[str, Any]]]:
    """Settings of an intervention whose tuned field is a number by itself."""
    return lambda field: lambda value, start: {"intervention": {"name": name, **fixed, field: value}}


def _annealed(variant: str) -> Callable[[float, float], dict[str, Any]]:
    """Entrocraft on a line from `value` * H0 down to a quarter of it, about the ratio of the paper's best schedule."""
    return lambda value, start: {
        "intervention": {"name": "entrocraft", "variant": variant, "target": f"linear:{value * start}:{value * start / 4}"}
    }


METHODS: dict[str, Method] = {
    BASE: Method(
        "clip range", (0.1, 0.2, 0.4), lambda v, start: {"intervention": {"name": "none", "clip_low": v, "clip_high": v}}
    ),
    "GRPO, rate": Method("learning rate", (3e-4, 6e-4, 1.2e-3), lambda v, start: {"intervention": "none", "lr": v}),
    "random mask": Method("share", (0.02, 0.06, 0.2), _with("random_mask")("share")),
    "entropy bonus": Method("coefficient", (0.01, 0.03, 0.1), _with("entropy_bonus")("coefficient")),
    "adaptive bonus": Method(
        "target / H0", (0.1, 0.25, 0.5),
        lambda v, start: {"intervention": {"name": "adaptive_bonus", "target": v * start, "delta": 0.02}},
    ),
    "KL to start": Method("coefficient", (0.01, 0.03, 0.1), _with("reference_kl")("coefficient")),
    "clip-higher": Method("upper range", (0.28, 0.5, 1.0), _with("clip_higher")("clip_high")),
    "top entropy": Method("share", (0.2, 0.5, 0.8), _with("top_entropy")("share")),
    "Clip-Cov": Method("share", (0.02, 0.06, 0.2), _with("clip_cov", low=0.5, high=20.0)("share")),
    "KL-Cov": Method("coefficient", (0.1, 0.5, 2.0), _with("kl_cov", share=0.2)("coefficient")),
    "Clip_B": Method("share", (0.02, 0.08, 0.3), _with("clip_b")("share")),
    "Clip_V": Method("share", (0.02, 0.08, 0.3), _with("clip_v")("share")),
    "STEER": Method("smallest weight", (0.3, 0.5, 0.7), _with("steer")("weakest")),
    "Entrocraft alg1": Method("height / H0", (0.25, 0.5, 0.75), _annealed("alg1")),
    "Entrocraft code": Method("height / H0", (0.25, 0.5, 0.75), _annealed("code")),
    "EntroPIC": Method(
        "target / H0", (0.1, 0.25, 0.5),
        lambda v, start: {"intervention": {"name": "entropic", "target": v * start}},
    ),
}  # fmt: skip
"""All methods of notebooks 05 to 08 and the baselines. The second row tunes the learning rate of plain GRPO instead: what
a method must beat to be worth more than a retuned rate. Shares suit minibatches of a few hundred tokens."""


def warm_ups(base: GRPO, seeds: int = 8) -> dict[str, GRPO]:
    """Two rollouts per task for the judged seeds and for the tuning seeds: warms the policies up and shows H0."""
    parts = {"judged": {"replicas": seeds}, "tuning": {"seed": base.seed + seeds}}
    short = {"steps": 2, "exam_samples": 1, "evaluation_prompts": 1}
    return {f"{task} {part}": base.replace(task=task, **short, **change)
            for task in TASK_NAMES for part, change in parts.items()}  # fmt: skip


def starts(histories: Mapping[str, Any]) -> dict[str, float]:
    """H0 of each task in nats: mean entropy of the first rollout of the tuning seeds."""
    return {task: float(histories[f"{task} tuning"].records.query("step == 0").entropy.mean()) for task in TASK_NAMES}


def tuning(base: GRPO, start: Mapping[str, float], seeds: int = 8, tries: int = 3) -> dict[tuple[str, str, float], GRPO]:
    """Every method with each of its first `tries` values on the tuning seeds; keys: task, method, value."""
    changes = {
        (task, name, value): method.settings(value, start[task])
        for task in TASK_NAMES
        for name, method in METHODS.items()
        for value in method.values[:tries]
    }
    return {key: base.replace(task=key[0], seed=base.seed + seeds, **change) for key, change in changes.items()}


def tuned(histories: Mapping[tuple[str, str, float], Any], by: str = "exam_pass_at_1") -> dict[tuple[str, str], float]:
    """The value of each method's coefficient with the best mean of a column at the end, per task and method."""
    scores = {key: end(history.records)[by].mean() for key, history in histories.items()}
    best: dict[tuple[str, str], float] = {}
    for (task, name, value), score in scores.items():
        if (task, name) not in best or score > scores[task, name, best[task, name]]:
            best[task, name] = value
    return best


def judged(
    base: GRPO, best: Mapping[tuple[str, str], float], start: Mapping[str, float], seeds: int = 8
) -> dict[tuple[str, str], GRPO]:
    """The tuned methods on the judged seeds; keys: task, method."""
    return {
        (task, name): base.replace(task=task, replicas=seeds, **METHODS[name].settings(value, start[task]))
        for (task, name), value in best.items()
    }


def end(records: pd.DataFrame, rollouts: int = 10) -> pd.DataFrame:
    """What a run ends with, one row per seed: entropy of the last rollouts (nats), mean entropy and reward over the whole
    run (areas under the curves per rollout), and the sampled exam."""
    last = records[records.step > records.step.max() - rollouts].groupby("seed")
    whole, final = records.groupby("seed"), records[records.step == records.step.max()].set_index("seed")
    exam = final.filter(like="exam_").astype(float)
    table = {"entropy": last.entropy.mean(), "entropy area": whole.entropy.mean(), "reward area": whole.reward.mean()}
    return pd.DataFrame(table).join(exam)


def summary(histories: Mapping[tuple[str, str], Any], task: str) -> pd.DataFrame:
    """`end` of every method of a task: rows (method, seed)."""
    return pd.concat({name: end(history.records) for (of, name), history in histories.items() if of == task})


def cost(histories: Mapping[tuple[str, str], Any]) -> pd.Series:
    """Wall time of each judged method over both tasks, relative to plain GRPO's (exam and evaluations included)."""
    seconds = pd.Series({key: history.wall_s for key, history in histories.items()}).groupby(level=1).sum()
    return seconds / seconds[BASE]


def against(table: pd.DataFrame, column: str, base: str = BASE) -> pd.DataFrame:
    """Paired differences to a base method over the seeds: mean, 95 % interval (Student), p, and p after Holm's correction.

    table: rows (method, seed), as from `summary`. A method whose differences are all equal has p = 1 if they are zero, else
    0. ValueError with fewer than two seeds.
    """
    wide = table[column].unstack(0)
    others = [name for name in table.index.unique(0) if name != base]
    differences = wide[others].sub(wide[base], axis=0)
    if len(differences) < 2:
        raise ValueError(f"seeds: got {len(differences)}, allowed: at least 2 to judge a difference")
    mean, error = differences.mean(), differences.sem()
    reach = stats.t.ppf(0.975, len(differences) - 1) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, mean / error, np.where(mean == 0, 0.0, np.inf))
    p = 2 * stats.t.sf(np.abs(t), len(differences) - 1)
    return pd.DataFrame(
        {"difference": mean, "low": mean - reach, "high": mean + reach, "p": p, "p Holm": holm(p)}, index=others
    )


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction of p-values: any one below 0.05 then holds with 5 % risk over all of them together."""
    order = np.argsort(p)
    stepped = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return corrected


def pareto(points: pd.DataFrame, x: str, y: str) -> list[str]:
    """Names of the rows that no other row beats in both columns (larger is better), by rising x."""
    ordered, best, front = points.sort_values([x, y], ascending=False), -np.inf, []
    for name, row in ordered.iterrows():
        if row[y] > best:
            best = row[y]
            front.append(name)
    return front[::-1]
