"""STEER (Hao et al. 2025, arXiv 2510.10150): the loss of a token shrinks with the entropy change expected from it."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from ..covariance import masked_mean
from .base import Tokens
from .none import NoIntervention

TINY = 1e-8  # probabilities are kept this far from 0 and 1, as in the released code


class Steer(NoIntervention):
    """The clipped loss times a weight in [weakest, 1] that falls with |Omega|, the estimated entropy change of the token.

    Form "theorem" is Theorem 1, Omega = -I r A pi (1 - pi) (log pi + H), I = 0 where the clip takes the gradient away;
    "released" is what the authors' code computes: without I and without the factor pi, so rare tokens weigh more. pi is
    the current policy, H the entropy under the policy that sampled. Maps of the score |Omega|:

    - exponential: weakest ** (score / max(largest score, floor)), eq. 9 and the floor of the released code;
    - linear: from `strongest` at the smallest score to `weakest` at the largest, the mean of both if all are equal;
    - rank (ours): weakest ** (share of the other tokens with a smaller score).

    Mode "asymmetric" (a later official commit) keeps the sign, score = -Omega: only tokens that lower the entropy are
    slowed down; tokens that raise it may get weights up to `strongest`. The smallest and largest score are those of the
    minibatch that `token_loss` sees (in the released code: of the 8 sequences of one GPU), so its size matters.
    The paper's `weakest` is 0.7; the released scripts have 0.8, and 1.2 for `strongest` in the linear one.

    Weights carry no gradient. The token mean divides by the number of tokens, not by the sum of the weights. For a
    negative advantage the loss is at most dual_clip * |A|. An estimate that is not finite counts as no change.
    Touched are the tokens whose weight lies more than 1 % below the largest.
    """

    name = "steer"
    form: Literal["released", "theorem"] = Field("released", description="estimate of the entropy change")
    map: Literal["exponential", "linear", "rank"] = Field("exponential", description="from the estimate to a weight")
    mode: Literal["symmetric", "asymmetric"] = Field("symmetric", description="slow both directions, or falls only")
    weakest: float = Field(0.7, gt=0, le=1, description="weight of the token with the largest estimate (lambda_min)")
    strongest: float = Field(1.0, ge=1, le=10, description="largest weight of the linear map and of mode asymmetric")
    floor: float = Field(
        0.02, gt=0, le=100, description="smallest scale of the estimates", json_schema_extra={"unit": "nats"}
    )
    control: Literal["none", "mean", "shuffled"] = Field(
        "none", description="give every token the mean weight, or the weights to random tokens"
    )
    dual_clip: float = Field(10.0, gt=1, le=1e6, description="largest loss of a token with A < 0, in |A|")
    clip_high: float = Field(0.28, gt=0, le=10, description="how far the ratio may rise above 1")

    def token_loss(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        loss, _ = super().token_loss(tokens)
        loss = torch.where(tokens.advantages < 0, loss.minimum(-self.dual_clip * tokens.advantages), loss)
        weights = self.weights(tokens)
        return weights * loss, tokens.mask & ~_pinned(weights, tokens.mask)

    @torch.no_grad()
    def weights(self, tokens: Tokens) -> Tensor:
        """The weight of every token, (..., N, T), 0 outside the mask."""
        change = self.estimate(tokens)
        score = change.abs() if self.mode == "symmetric" else -change
        low, high = -_largest(-score, tokens.mask), _largest(score, tokens.mask)
        if self.map == "linear":
            place = ((score - low) / (high - low)).where(high > low, 0.5)
            weights = self.strongest - place * (self.strongest - self.weakest)
        elif self.map == "rank":
            weights = self.weakest ** _rank(score, tokens.mask)
        else:
            scale = _largest(change.abs(), tokens.mask).clamp(min=self.floor)
            weights = self.weakest ** (score / scale)
        top = 1.0 if self.mode == "symmetric" and self.map == "exponential" else self.strongest
        weights = weights.clamp(self.weakest, top)
        if self.control == "mean":
            weights = masked_mean(weights, tokens.mask).expand_as(weights)
        elif self.control == "shuffled":
            weights = _shuffled(weights, tokens.random, tokens.mask)
        return weights * tokens.mask

    @torch.no_grad()
    def estimate(self, tokens: Tokens) -> Tensor:
        """Omega of every token, (..., N, T), without the factor eta / L: positive where the entropy is expected to rise."""
        if tokens.old_entropy is None:
            raise ValueError("old_entropy: missing, allowed: entropies (nats) of the policy that sampled")
        pi, old = tokens.logp.exp().clamp(TINY, 1 - TINY), tokens.old_logp.exp().clamp(TINY, 1)
        change = -tokens.advantages / old * pi * (1 - pi) * (pi.log() + tokens.old_entropy)
        if self.form == "theorem":
            ratio = tokens.log_ratio.exp()
            up, down = tokens.advantages > 0, tokens.advantages < 0
            clipped = (up & (ratio > 1 + self.clip_high)) | (down & (ratio < 1 - self.clip_low))
            change = (change * pi).masked_fill(clipped, 0.0)
        return change.nan_to_num(0.0, 0.0, 0.0)


class Concentration(NamedTuple):
    """How much a set of weights differs from token to token; each (...,) over the valid tokens."""

    mean: Tensor
    sd: Tensor
    pinned: Tensor  # share of the tokens within 1 % of the largest weight
    probability: Tensor  # pi of the token with the largest |Omega|, which sets the scale of all others


@torch.no_grad()
def concentration(method: Steer, tokens: Tokens) -> Concentration:
    """The weights that `method` gives to a minibatch, summarised; zeros where no token is valid."""
    weights, mask = method.weights(tokens), tokens.mask
    mean = masked_mean(weights, mask)
    largest = method.estimate(tokens).abs().masked_fill(~mask, -1.0).flatten(-2).argmax(-1, keepdim=True)
    probability = (tokens.logp.exp() * mask).flatten(-2).gather(-1, largest)[..., 0]
    sd = masked_mean((weights - mean).square(), mask).sqrt()
    return Concentration(
        *(x[..., 0, 0] for x in (mean, sd, masked_mean(_pinned(weights, mask).to(weights), mask))), probability
    )


def _largest(score: Tensor, mask: Tensor) -> Tensor:
    """Largest score of the valid tokens, (..., 1, 1); 0 if none is valid."""
    if not score.numel():
        return score.new_zeros(*score.shape[:-2], 1, 1)
    largest = score.masked_fill(~mask, -torch.inf).amax((-2, -1), keepdim=True)
    return largest.where(largest.isfinite(), 0.0)


def _pinned(weights: Tensor, mask: Tensor) -> Tensor:
    """Which valid tokens have a weight within 1 % of the largest."""
    return (weights >= 0.99 * _largest(weights, mask)) & mask


def _rank(score: Tensor, mask: Tensor) -> Tensor:
    """Share of the other valid tokens with a smaller score, in [0, 1]; equal scores have equal ranks."""
    flat = score.masked_fill(~mask, torch.inf).flatten(-2)
    smaller = torch.searchsorted(flat.sort(-1).values, flat).view(score.shape).to(score)
    return (smaller / (mask.sum((-2, -1), keepdim=True) - 1).clamp(min=1)).clamp(max=1.0)


def _shuffled(weights: Tensor, random: Tensor, mask: Tensor) -> Tensor:
    """The weights of the valid tokens, dealt out among them in the order of the random numbers."""
    kept, order = weights.masked_fill(~mask, torch.inf).flatten(-2), random.masked_fill(~mask, 2.0).flatten(-2).argsort(-1)
    first = (~mask).flatten(-2).to(torch.uint8).sort(dim=-1, stable=True).indices  # valid places in their own order
    return torch.empty_like(kept).scatter_(-1, order, kept.gather(-1, first)).view_as(weights).masked_fill(~mask, 0.0)
