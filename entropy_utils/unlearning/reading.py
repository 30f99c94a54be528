"""What models say about given answers, and what they answer themselves: batched, for one model or a stack of S.

A batch is what `encode` returns: `input_ids` and `labels` (N, L), padded on the right, labels -100 outside the answer.
With causal attention nothing to the left of the padding can see it, so no attention mask is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BUFFERED = 2**21  # logits held at a time on a CPU, 2^27 on an accelerator


class Reading(NamedTuple):
    """Of S models over N examples, in the shifted frame of T = L - 1 positions (position t speaks of token t + 1).

    `log_prob` (S, N, T): of the answer's tokens, in nats, 0 elsewhere. `choice` (S, N, T): the most probable token, -1
    outside the answer. `entropy` (S, N, T): of the next-token distribution, in nats, 0 outside; None unless asked for.
    """

    log_prob: Tensor
    choice: Tensor
    entropy: Tensor | None

    def correct(self, labels: Tensor) -> Tensor:
        """Whether the first choice is the answer's token, (S, N, T)."""
        return self.choice == labels[:, 1:]


@torch.no_grad()
def read(models: nn.Module, batch: Mapping[str, Tensor], *, entropy: bool = False) -> Reading:
    """Teacher-forced reading of a batch by one model (S = 1) or a stack; the vocabulary never leaves its block of rows."""
    labels = batch["labels"][:, 1:]
    mask = labels != -100
    found = None
    with evaluation_mode(models):
        for rows, logits in _blocks(models, batch["input_ids"]):
            here = mask[rows]
            z = logits[:, :, :-1][:, here]
            if found is None:
                shape = len(z), *mask.shape
                found = torch.zeros(shape), torch.full(shape, -1), torch.zeros(shape) if entropy else None
            log_z = z.logsumexp(-1)
            own = z.gather(-1, labels[rows][here].to(z.device).expand(len(z), -1).unsqueeze(-1)).squeeze(-1)
            values = [own - log_z, z.argmax(-1)]
            if entropy:
                log_p = z - log_z.unsqueeze(-1)
                values.append(-(log_p.exp() * log_p).sum(-1))
            for whole, value in zip(found, values, strict=False):
                whole[:, rows][:, here] = value.to("cpu", whole.dtype)
    return Reading(*found)


@torch.no_grad()
def greedy(models: nn.Module, batch: Mapping[str, Tensor], choice: Tensor, end: int, extra: int = 3) -> Tensor:
    """Every model's own greedy answers to the questions of a batch, (S, N, A), `end` from the end token on.

    `choice` is that of `read` on this batch; an answer may be `extra` tokens longer than the batch's. The batch's answer
    serves as a draft: one pass over a draft confirms every token up to the first that the model would not have said;
    that token and those after it become the model's first choices, and so on until nothing changes (each pass confirms
    at least one token more). An answer that the model knows costs nothing beyond the reading, and the result is that of
    taking one token at a time.
    """
    answered = batch["labels"] != -100
    length = answered.sum(-1) + extra
    steps = torch.arange(int(length.max()))
    places = answered.int().argmax(-1)[:, None] + steps  # (N, A): where answer tokens stand in the sequence
    width = int(places.max()) + 1
    ids = F.pad(batch["input_ids"], (0, max(0, width - batch["input_ids"].shape[1])))
    choice = F.pad(choice, (0, max(0, width - 1 - choice.shape[-1])), value=-1)

    def finished(tokens, rows):
        """Nothing but `end` behind the first `end`, and where the length is used up."""
        over = (tokens == end).cumsum(-1) > 0
        return torch.where(over | (tokens < 0) | (steps >= length[rows, None]), end, tokens)

    everything = torch.arange(len(ids))
    answers = finished(_at(choice, places - 1), everything)
    going = (answers != finished(_at(ids, places), everything)).any(-1).any(0).nonzero()[:, 0]
    with evaluation_mode(models):
        while len(going):
            at = places[going].expand(len(answers), -1, -1)
            draft = ids[going].expand(len(answers), -1, -1).scatter(-1, at, answers[:, going])[..., :-1]
            choice = torch.cat([logits.argmax(-1).cpu() for _, logits in _blocks(models, draft)], 1)
            new = finished(_at(choice, places[going] - 1), going)
            changed = (new != answers[:, going]).any(-1).any(0)
            answers[:, going] = new
            going = going[changed]
    return answers


def _at(tokens: Tensor, places: Tensor) -> Tensor:
    """The tokens (..., N, L) at `places` (N, A): (..., N, A)."""
    return tokens.gather(-1, places.expand(*tokens.shape[:-1], -1))


def _blocks(models: nn.Module, ids: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """(rows, logits (S, rows, L, V)) of blocks of rows; `ids` is (N, L), or (S, N, L) with its own rows per model."""
    device = next(models.parameters()).device
    rows, n = 8, ids.shape[-2]
    start, budget = 0, BUFFERED if device.type == "cpu" else 2**6 * BUFFERED
    while start < n:
        part = slice(start, min(n, start + rows))
        logits = logits_of(models, ids[..., part, :].to(device)).float()
        rows = max(1, budget // logits[:, 0].numel())
        start = part.stop
        yield part, logits


def logits_of(models: nn.Module, ids: Tensor) -> Tensor:
    """Logits (S, N, L, V) of a stack, or (1, N, L, V) of a transformers model."""
    if hasattr(models, "config") and hasattr(models, "generate"):
        ids = ids if ids.ndim == 2 else ids.squeeze(0)
        return models(input_ids=ids, use_cache=False).logits.unsqueeze(0)
    return models(ids)


@contextmanager
def evaluation_mode(models: nn.Module):
    """No dropout inside; afterwards as before."""
    training = models.training
    models.eval()
    try:
        yield
    finally:
        models.train(training)
