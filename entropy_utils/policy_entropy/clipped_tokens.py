"""Which tokens does the PPO clip hold back? Their probabilities, in the first rollouts of a language model under GRPO."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field

from entropy_utils.lab.experiment import Record

from .grpo import GRPO, policy_logits, sample_rollout, token_logp_and_entropy
from .interventions import NoIntervention
from .tasks import TASKS


class ClippedTokens(GRPO):
    """GRPO that looks back after every update: whose ratio has left [1 - clip_low, 1 + clip_high] on the clipped side?

    These are the tokens whose gradient is zero by the end of the update.
    """

    intervention: NoIntervention = Field(NoIntervention(), description="the range of the ratio")
    steps: int = Field(10, ge=1, le=100_000, description="rollouts")

    def length(self) -> int:
        return 2 * super().length()

    def run(self) -> Iterator[Record]:
        """Records per step, seed and side ("upper": good tokens that grew, "lower": bad ones that shrank).

        share: of all trained tokens; largest, high (99th percentile), mean: of the probabilities that the clipped
        tokens were sampled with, None where there are none.
        """
        task, policy, method = TASKS[self.task](), self.policies(), self.intervention
        generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[self.optimizer]
        optimizer = kind(policy.parameters(), lr=self.lr, weight_decay=0.0)
        for step in range(self.steps):
            sampled = sample_rollout(policy, task, self.prompts, self.responses, generators)
            prepared = method.prepare(sampled.sampled(self.scale_rewards))
            kept = sampled.chosen(prepared, self.keep, generators, self.minibatches)
            self.update(policy, None, optimizer, kept, generators)
            logp, _ = token_logp_and_entropy(policy_logits(policy, kept), kept.responses)
            ratio, advantages = (logp - kept.old_logp).exp(), kept.token_advantages
            sides = {
                "upper": (advantages > 0) & (ratio > 1 + method.clip_high),
                "lower": (advantages < 0) & (ratio < 1 - method.clip_low),
            }
            for side, clipped in sides.items():
                for replica, seed in enumerate(self.seeds):
                    p = kept.old_logp[replica][clipped[replica] & kept.mask[replica]].exp()
                    found = (p.max().item(), p.quantile(0.99).item(), p.mean().item()) if len(p) else (None,) * 3
                    numbers = dict(zip(("largest", "high", "mean"), found, strict=True))
                    share = len(p) / max(1, kept.mask[replica].sum().item())
                    yield {"step": step, "seed": seed, "side": side, "share": share} | numbers
