"""Which estimator foresees the entropy change of a real model's step? The estimators of three papers on a language model.

In the tabular policy every state owns its logits. A network's states share all weights, so that each token's update moves
every other token's state too; no estimator sees that part.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field

from entropy_utils.lab.experiment import Experiment, Record
from entropy_utils.language_model import token_statistics

from .covariance import entropy_change_from_logits
from .estimators import agreement, estimates
from .grpo import GRPO, policy_logits, sample_rollout
from .masked_step import logits_after_step
from .tasks import TASKS
from .warm_up import WarmUp


class OneStepContest(Experiment):
    """One SGD step of the plain policy gradient on each of several batches, always from the warmed-up policy."""

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {"batches": 2, "replicas": 2, "warm_up": {"steps": 60}},
        "laptop": {},
        "gpu": {"replicas": 8, "device": "auto", "warm_up": GRPO.profiles["gpu"]["warm_up"]},
        "hub": {},
    }

    task: Literal["noisy_lookup", "digit_sum"] = Field("noisy_lookup", description="what is asked and how it is checked")
    replicas: int = Field(8, ge=1, le=64, description="seeds side by side")
    batches: int = Field(8, ge=1, le=10_000, description="batches, one step on each")
    prompts: int = Field(64, ge=1, le=65536, description="prompts per batch")
    responses: int = Field(8, ge=2, le=1024, description="responses per prompt")
    lr: float = Field(0.002, gt=0, le=10, description="learning rate of the SGD step")
    warm_up: WarmUp = Field(WarmUp(), description="size of the model and its supervised warm-up")
    device: Literal["auto", "cpu", "cuda"] = Field("cpu", description="where to compute; auto takes a GPU if there is one")

    def length(self) -> int:
        return self.batches * self.replicas * 6

    def run(self) -> Iterator[Record]:
        """Records: seed, batch, estimator, and its agreement with the measured change over the tokens of the batch.

        The tokens are those of the groups with right and wrong responses; a token's truth is the entropy change of the
        state that it was drawn in. A batch with fewer than three such tokens of a seed gives it no record.
        """
        same = {name: getattr(self, name) for name in ("task", "seed", "replicas", "warm_up", "device")}
        task, start = TASKS[self.task](), GRPO(**same)
        policy = start.policies()
        generators = [torch.Generator().manual_seed(seed) for seed in start.seeds]
        for batch in range(self.batches):
            rollout = sample_rollout(policy, task, self.prompts, self.responses, generators)
            kept = rollout.chosen(rollout.sampled(), self.prompts, generators)
            before = policy_logits(policy, kept)
            measured, _ = entropy_change_from_logits(before, logits_after_step(policy, kept, self.lr))
            statistics = token_statistics(kept.responses, before)
            for replica, seed in enumerate(start.seeds):
                mask = kept.mask[replica]
                if mask.sum() < 3:
                    continue
                parts = (statistics.log_prob, statistics.entropy, kept.token_advantages)
                parts += (statistics.sum_p2, statistics.sum_p2_log_p)
                truth = measured[replica][mask].double()
                estimated = estimates(*(part[replica][mask].double() for part in parts))
                for name, values in estimated.items():
                    yield {"seed": seed, "batch": batch, "estimator": name} | agreement(values, truth)
