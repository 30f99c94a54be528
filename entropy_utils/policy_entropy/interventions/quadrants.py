"""Train on some of the four kinds of token only: sign of the advantage x sign of the discriminator (Wang et al. 2026)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ..covariance import masked_mean
from ..estimators import baseline, discriminator
from .base import Prepared, Sampled
from .none import NoIntervention


class Quadrants(NoIntervention):
    """Only tokens of the quadrants in `keep` stay in the loss and its denominator; those of advantage 0 stay too.

    A quadrant is two signs: of the advantage, and of S (probable: p > e^-H) or of D = S - E_p[S]; a score of exactly 0
    counts as "-". To first order "+-" and "-+" raise the entropy, "++" and "--" lower it. The memory is the share of all
    tokens taken out of this rollout.
    """

    name = "quadrants"
    uses: ClassVar[frozenset[str]] = frozenset({"moments"})
    keep: str = Field(
        "++,+-,-+,--", pattern=r"^[+-]{2}(,[+-]{2})*$", description="quadrants to train on, such as ++ or +-,-+"
    )
    score: Literal["S", "D"] = Field("S", description="whose sign is the second one")

    def prepare(self, sampled: Sampled) -> Prepared:
        score = discriminator(sampled.logp, sampled.entropy)
        if self.score == "D":
            score = score - baseline(sampled.entropy, sampled.sum_p2, sampled.sum_p2_log_p)
        sign = sampled.advantages.sign().unsqueeze(-1)
        kept = (sign == 0).expand_as(score)
        for advantage, side in self.keep.split(","):
            kept = kept | ((sign == (1 if advantage == "+" else -1)) & ((score > 0) == (side == "+")))
        dropped = (sampled.mask & ~kept).flatten(-3, -2)
        memory = masked_mean(dropped.to(sampled.memory.dtype), sampled.mask.flatten(-3, -2))[..., 0, 0]
        return Prepared(sampled.advantages, sampled.mask & kept, memory)
