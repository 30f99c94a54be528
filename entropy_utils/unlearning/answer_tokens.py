"""The answer's tokens in the shifted frame: position t speaks of token t + 1.

Everything of this room that looks at single tokens (surprisal, selection, losses, measures) takes the shift and the mask
from here, so that they agree. Labels are those of transformers: the token ids, -100 where there is nothing to learn
(question, padding); the end token is part of the answer.
"""

from __future__ import annotations

from torch import Tensor

IGNORED = -100


def shifted(labels: Tensor) -> tuple[Tensor, Tensor]:
    """(tokens, mask), both (..., L - 1): the token each position predicts, 0 outside the answer; and where it is one."""
    tokens = labels[..., 1:]
    mask = tokens != IGNORED
    return tokens.masked_fill(~mask, 0), mask


def answer_log_prob(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of every answer token, in nats, and the mask of these tokens.

    logits (..., L, V); labels (..., L), which may lack leading axes of the logits (S models that read the same text).
    Returns log_prob (..., L - 1), 0 outside the mask, and mask (..., L - 1) of the same shape.
    """
    tokens, mask = shifted(labels)
    z = logits[..., :-1, :]
    tokens, mask = (x.expand(z.shape[:-1]) for x in (tokens, mask))
    own = z.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return (own - z.logsumexp(-1)).masked_fill(~mask, 0), mask


def mean_answer_nll(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-probability per answer token over the last two axes (examples, tokens), (...), nats."""
    log_prob, mask = answer_log_prob(logits, labels)
    return -log_prob.sum((-2, -1)) / mask.sum((-2, -1))
