"""SHRED (arXiv 2605.07482): distil the model into itself, with the memorised tokens taken out of its targets.

Per answer the `share` least probable tokens are to be forgotten. There the target is the frozen model's distribution
without the demoted tokens, elsewhere the distribution itself (the anchors). One forward KL, target first, over all of
them; no retain set.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from entropy_utils.lab.errors import ParameterError

from ..answer_tokens import answer_log_prob, answer_targets
from ..selection import How, select
from .base import Objective, Output, masked_mean

Variant = Literal["A", "B"]


class Shred(Objective):
    """SHRED, with its two variants of the demotion set and the ablations of its three choices.

    Variant A demotes the memorised token, B also the nucleus: the smallest set of top tokens whose mass reaches `nucleus`.
    `how` picks other positions instead (the controls), `anchors` False leaves the rest of the answer without loss.
    """

    name: ClassVar[str] = "shred"

    share: float = Field(0.25, gt=0, le=1, description="share of an answer's tokens to forget")
    top: int = Field(32, ge=2, le=1_000_000, description="stored tokens of the target (K)")
    variant: Variant = Field("A", description="A: demote the memorised token; B: the nucleus as well")
    nucleus: float = Field(0.9, gt=0, lt=1, description="mass of variant B's nucleus")
    how: How = Field("surprising", description="which tokens are forgotten")
    anchors: bool = Field(True, description="keep the other tokens of the answer at their distribution")

    @property
    def draws(self) -> bool:
        return self.how == "random"

    def check(self, vocabulary: int, layers: int = 0) -> None:
        if self.top > vocabulary:
            raise ParameterError.of("top", self.top, f"at most the {vocabulary} tokens of the vocabulary")

    def prepare(self, frozen: Output, labels: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """ids and log_q (..., B, L - 1, top): tokens of the target and their log-probabilities, -inf where demoted.

        Also `selected` and `mask` (..., B, L - 1): positions to forget and positions with a loss; `constant`, the sum of
        q log q. The stored tokens are the frozen model's most probable ones, over which the target sums to 1.
        """
        logits = frozen.logits
        self.check(logits.shape[-1])
        log_prob, mask = answer_log_prob(logits, labels)
        random = None
        if self.how == "random":
            random = torch.rand(mask.shape[-2:], generator=generator).to(mask.device).expand(mask.shape)
        selected = select(log_prob, mask, self.share, self.how, random)
        tokens = answer_targets(labels)[0].expand(mask.shape)
        wide = logits[..., :-1, :].to(torch.promote_types(logits.dtype, torch.float32))
        z, ids = wide.topk(self.top, -1)
        log_p = z - wide.logsumexp(-1, keepdim=True)
        log_q = _demoted(log_p, ids == tokens.unsqueeze(-1), selected, self.variant, self.nucleus)
        q = log_q.exp()
        counted = mask if self.anchors else selected
        constant = (q * log_q.masked_fill(q == 0, 0)).sum(-1)
        return {"ids": ids, "log_q": log_q, "selected": selected, "mask": counted, "constant": constant}

    def forget_loss(self, live: Output, labels: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """Mean KL(q || live) over the positions with a loss, (...), nats.

        q sums to 1, so KL = sum q log q - sum q z + log sum exp z: the vocabulary is read once, by the last term.
        """
        z = live.logits[..., :-1, :]
        expected = (targets["log_q"].exp() * z.gather(-1, targets["ids"].expand(*z.shape[:-1], -1))).sum(-1)
        return masked_mean(targets["constant"] - expected + z.logsumexp(-1), targets["mask"])


def demoted_target(
    log_p: Tensor,
    tokens: Tensor,
    selected: Tensor | None = None,
    variant: Variant = "A",
    nucleus: float = 0.9,
    top: int | None = None,
) -> Tensor:
    """log q (..., V): the target of distributions log_p (..., V) whose memorised tokens are `tokens` (...).

    selected (...): positions to forget, by default all; elsewhere q = p. top: stored tokens, outside which q is 0.
    """
    memorised = torch.zeros_like(log_p, dtype=torch.bool).scatter(-1, tokens.unsqueeze(-1), True)
    order = log_p.argsort(dim=-1, descending=True, stable=True)[..., :top]
    selected = torch.ones_like(tokens, dtype=torch.bool) if selected is None else selected
    ranked = _demoted(log_p.gather(-1, order), memorised.gather(-1, order), selected, variant, nucleus)
    return torch.full_like(log_p, -torch.inf).scatter(-1, order, ranked)


def _demoted(log_p: Tensor, memorised: Tensor, selected: Tensor, variant: Variant, nucleus: float) -> Tensor:
    """log q of stored tokens in falling order, log_p (..., K): -inf where demoted, normalised over the others.

    Where nothing would be left, variant B falls back to A.
    """
    demoted = memorised
    if variant == "B":
        p = log_p.exp()
        before = p.cumsum(-1) - p  # mass of the more probable ones: the token that crosses `nucleus` is in
        both = memorised | (before < nucleus)
        demoted = torch.where(both.all(-1, keepdim=True), memorised, both)
    return log_p.masked_fill(demoted & selected.unsqueeze(-1), -torch.inf).log_softmax(-1)
