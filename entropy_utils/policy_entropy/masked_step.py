"""Which tokens drive the collapse? One policy-gradient step from a warmed-up policy, with chosen tokens left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from entropy_utils.lab.experiment import Experiment, Record
from entropy_utils.language_model.stacked import StackedLlama

from .covariance import entropy_change_from_logits, masked_mean, select_largest, token_covariance
from .grpo import GRPO, Kept, policy_logits, sample_rollout, token_logp_and_entropy, uniform
from .tasks import TASKS
from .warm_up import WarmUp

SELECTIONS: tuple[tuple[str, float], ...] = (
    ("none", 0.0), ("random", 0.10), ("bottom", 0.10), ("top", 0.02), ("top", 0.05), ("top", 0.10), ("top", 0.20),
)  # fmt: skip
"""Which tokens are left out, and what share of them; top and bottom go by the token covariance (eq. 10)."""


class MaskedStep(Experiment):
    """One SGD step on each of several batches, repeated for every entry of `SELECTIONS`; always from the same policy."""

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {"batches": 2, "replicas": 2, "warm_up": {"steps": 60}},
        "laptop": {},
        "gpu": {"replicas": 8, "device": "auto", "warm_up": GRPO.profiles["gpu"]["warm_up"]},
    }

    replicas: int = Field(5, ge=1, le=64, description="seeds side by side")
    batches: int = Field(12, ge=1, le=10_000, description="batches, one step on each")
    prompts: int = Field(64, ge=1, le=65536, description="prompts per batch")
    responses: int = Field(8, ge=2, le=1024, description="responses per prompt")
    lr: float = Field(0.002, gt=0, le=10, description="learning rate of the SGD step")
    warm_up: WarmUp = Field(WarmUp(), description="size of the model and its supervised warm-up")
    device: Literal["auto", "cpu", "cuda"] = Field("cpu", description="where to compute; auto takes a GPU if there is one")

    def length(self) -> int:
        return self.batches * len(SELECTIONS) * self.replicas

    def run(self) -> Iterator[Record]:
        """Records: seed, batch, left_out, share, entropy_change (nats, mean over the states of the kept groups)."""
        same = {name: getattr(self, name) for name in ("seed", "replicas", "warm_up", "device")}
        task, start = TASKS["noisy_lookup"](), GRPO(task="noisy_lookup", **same)
        policy, seeds = start.policies(), start.seeds
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        for batch in range(self.batches):
            rollout = sample_rollout(policy, task, self.prompts, self.responses, generators)
            kept = rollout.chosen(rollout.sampled(), self.prompts, generators)
            before = policy_logits(policy, kept)
            numbers = uniform(generators, rollout.mask.shape[1:])  # for all groups: independent of the other seeds
            random = numbers[:, : kept.mask.shape[1]].flatten(1, 2).to(kept.mask.device)
            for which, share in SELECTIONS:
                left_out = self._left_out(kept, random, which, share)
                after = logits_after_step(policy, kept, self.lr, left_out)
                measured, _ = entropy_change_from_logits(before, after)
                change = masked_mean(measured.flatten(1, 2), kept.mask.flatten(1, 2)).flatten()
                for seed, value in zip(seeds, change.tolist(), strict=True):
                    yield {"seed": seed, "batch": batch, "left_out": which, "share": share, "entropy_change": value}

    @staticmethod
    def _left_out(kept: Kept, random: Tensor, which: str, share: float) -> Tensor:
        mask = kept.mask.flatten(1, 2)
        score = token_covariance(kept.old_logp.flatten(1, 2), kept.token_advantages.flatten(1, 2), mask)
        order = {"none": random, "random": random, "top": score, "bottom": -score}[which]
        return select_largest(order.masked_fill(~mask, -torch.inf), (share * mask.sum((-2, -1))).long())


def logits_after_step(policy: StackedLlama, kept: Kept, lr: float, left_out: Tensor | None = None) -> Tensor:
    """Logits after one SGD step of the plain policy gradient without the tokens left out (they stay in the denominator).

    The policy is put back, up to rounding.
    """
    logp, _ = token_logp_and_entropy(policy.response_logits(kept.prompts, kept.responses), kept.responses)
    loss = -(kept.token_advantages * logp).flatten(1, 2)
    if left_out is not None:
        loss = loss.masked_fill(left_out, 0.0)
    parameters = list(policy.parameters())
    gradients = torch.autograd.grad(masked_mean(loss, kept.mask.flatten(1, 2)).sum(), parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.sub_(lr * gradient)
        after = policy_logits(policy, kept)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.add_(lr * gradient)
    return after
