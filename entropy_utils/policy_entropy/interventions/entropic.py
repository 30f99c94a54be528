"""EntroPIC (arXiv 2511.15248, as re-implemented with Entrocraft): weights on both signs set by a PI controller."""

from __future__ import annotations

import torch
from pydantic import Field

from ..schedule import Schedule, Target
from .base import Prepared, Sampled
from .none import NoIntervention


class EntroPIC(NoIntervention):
    """Positive advantages times 1 + alpha, negative ones times 1 - alpha, alpha = I + proportional * (H - target).

    Above the target the positive side weighs more, which lowers the entropy. The memory is the integral term I, to which
    every rollout adds integral * (H - target) after its use. alpha is kept in [-1, 1], so that no sign flips (our choice).
    """

    name = "entropic"
    target: Target = Field(Schedule(values=(0.5,)), description="target curve", json_schema_extra={"unit": "nats"})
    proportional: float = Field(1.0, ge=0, le=1000, description="gain on the present deviation, per nat")
    integral: float = Field(0.01, ge=0, le=1000, description="gain on the summed deviation, per nat and rollout")

    def check(self, vocabulary: int, steps: int) -> None:
        self.target.check(vocabulary, steps)

    def prepare(self, sampled: Sampled) -> Prepared:
        error = sampled.mean_entropy - self.target.value(sampled.step, sampled.steps)
        alpha = (sampled.memory + self.proportional * error).clamp(-1, 1)[..., None, None]
        weight = torch.where(sampled.advantages > 0, 1 + alpha, 1 - alpha)
        return Prepared(sampled.advantages * weight, sampled.mask, sampled.memory + self.integral * error)
