"""CE-U (arXiv:2503.01224): the label's logit set to minus infinity in the live model's own distribution."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..answer_tokens import answer_targets
from .base import Objective, Output, masked_mean


class CEU(Objective):
    """Cross-entropy to the live distribution without the answer's token, the target taken as given.

    The first `exempt` tokens of every answer carry no loss, so one of no more tokens is not unlearned. At the first step
    the gradient is that of SHRED with the whole vocabulary stored; later nothing pins the rest of the distribution.
    """

    name: ClassVar[str] = "ceu"

    exempt: int = Field(1, ge=0, le=1000, description="answer tokens at the start without loss")

    def forget_loss(self, live: Output, labels: Tensor, targets: dict[str, Tensor]) -> Tensor:
        z = live.logits[..., :-1, :]
        tokens, mask = (part.expand(z.shape[:-1]) for part in answer_targets(labels))
        mask = mask & (mask.cumsum(-1) > self.exempt)
        q = z.detach().scatter(-1, tokens.unsqueeze(-1), -torch.inf).softmax(-1)
        return masked_mean(z.logsumexp(-1) - (q * z).sum(-1), mask)
