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

from .answer_tokens import IGNORED, answer_places, answer_targets
from .stacked_gpt2 import StackedGPT2

BUFFERED = 2**20  # logits held at a time on a CPU, 2^26 on an accelerator


class Reading(NamedTuple):
    """Of S models over N examples, in the shifted frame of T = L - 1 positions (position t speaks of token t + 1).

    `log_prob` (S, N, T): of the answer's tokens, in nats, 0 elsewhere. `choice` (S, N, T): the most probable token, -1
    outside the answer. `entropy` (S, N, T): of the next-token distribution, in nats, 0 outside; None unless asked for.
    """

    log_prob: Tensor
    choice: Tensor
    entropy: Tensor | None = None

    def correct(self, labels: Tensor) -> Tensor:
        """Whether the first choice is the answer's token, (S, N, T)."""
        return self.choice == labels[:, 1:]


@torch.no_grad()
def read(models: nn.Module, batch: Mapping[str, Tensor], *, entropy: bool = False) -> Reading:
    """Teacher-forced reading of a batch by one model (S = 1) or a stack; logits are held for one block of rows at a time."""
    mask = answer_targets(batch["labels"])[1]
    places, tokens = answer_places(batch["labels"])
    parts = []
    with evaluation_mode(models):
        for rows, z in _blocks(models, batch["input_ids"], places):
            log_z = z.logsumexp(-1)
            target = tokens[rows].clamp(min=0).to(z.device).expand(z.shape[:-1])
            values = [z.gather(-1, target.unsqueeze(-1)).squeeze(-1) - log_z, z.argmax(-1)]
            if entropy:
                log_p = z - log_z.unsqueeze(-1)
                values.append(-(log_p.exp() * log_p).sum(-1))
            parts.append((rows, [value.cpu() for value in values]))
    order = torch.cat([rows for rows, _ in parts]).argsort()
    found = []
    for value, outside in zip(zip(*(values for _, values in parts), strict=True), (0.0, -1, 0.0), strict=False):
        value = torch.cat(value, 1)[:, order]
        whole = value.new_full((len(value), *mask.shape), outside)
        whole[:, mask] = value[:, tokens != IGNORED]
        found.append(whole)
    return Reading(*found)


@torch.no_grad()
def greedy(models: nn.Module, batch: Mapping[str, Tensor], choice: Tensor, end: int, extra: int = 3) -> Tensor:
    """Every model's own greedy answers to the questions of a batch, (S, N, A), `end` from the end token on.

    `choice` is that of `read` on this batch; an answer may be `extra` tokens longer than the batch's, where the model has
    the positions. The batch's answer serves as a draft: one pass over a draft confirms every token up to the first that
    the model would not have said; that token and those after it become the model's first choices, and so on until nothing
    changes (each pass confirms at least one token more). An answer that the model knows costs nothing beyond the reading,
    and the result is that of taking one token at a time.
    """
    answered = batch["labels"] != IGNORED
    start, length = answered.int().argmax(-1)[:, None], answered.sum(-1, keepdim=True) + extra
    room = getattr(getattr(models, "config", None), "max_position_embeddings", None) or torch.inf
    width = int(min((start + length).max(), room + 1))  # the last token of an answer is not read again
    length = length.minimum(width - start)
    steps = torch.arange(int(length.max()))
    places = (start + steps).clamp(max=width - 1)  # (N, A): where answer tokens stand in the sequence
    ids = F.pad(batch["input_ids"], (0, max(0, width - batch["input_ids"].shape[1])))
    choice = F.pad(choice, (0, max(0, width - 1 - choice.shape[-1])), value=-1)

    def finished(tokens, length):
        """Nothing but `end` behind the first `end`, and where the length is used up."""
        over = (tokens == end).cumsum(-1) > 0
        return torch.where(over | (tokens < 0) | (steps >= length), end, tokens)

    answers = finished(_at(choice, places - 1), length)
    going = (answers != finished(_at(ids, places), length)).any(-1)  # (S, N)
    which = torch.arange(len(answers))[:, None]
    with evaluation_mode(models):
        while most := int(going.sum(-1).max()):
            rows = going.int().argsort(-1, descending=True)[:, :most]  # each model's own, filled up with finished ones
            at, old = places[rows], answers[which, rows]
            draft = ids[rows, :width].scatter(-1, at, old)[..., :-1]
            new = torch.empty_like(old)
            for block, z in _blocks(models, draft, at - 1):
                new[:, block] = z.argmax(-1).cpu()
            new = finished(new, length[rows]).where(going.gather(1, rows).unsqueeze(-1), old)
            answers[which, rows] = new
            going = torch.zeros_like(going).scatter(1, rows, (new != old).any(-1))
    return answers


def _at(tokens: Tensor, places: Tensor) -> Tensor:
    """The tokens (..., N, L) at `places` (N, A): (..., N, A)."""
    return tokens.gather(-1, places.expand(*tokens.shape[:-1], -1))


def _blocks(models: nn.Module, ids: Tensor, places: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(rows, logits (S, rows, A, V) at `places` (N, A)) of blocks of rows of ids (N, L); both with an axis S: own per model.

    Short texts first: a block is read up to its last place only.
    """
    device = next(models.parameters()).device
    last = places.amax(-1)
    last = last.amax(0) if last.ndim > 1 else last
    order, start, size, budget = last.argsort(), 0, 8, BUFFERED if device.type == "cpu" else 2**6 * BUFFERED
    while start < len(order):
        rows = order[start : start + size]
        seen = ids[..., rows, : int(last[rows].max()) + 1]
        z = logits_at(models, seen.to(device), places[..., rows, :].to(device)).float()
        start, size = start + size, max(1, budget // z[:, 0].numel())
        yield rows, z


def logits_at(models: nn.Module, ids: Tensor, places: Tensor) -> Tensor:
    """Logits (S, N, A, V) at `places` (N, A) or (S, N, A); a stack that can is asked for no others."""
    if isinstance(models, StackedGPT2):
        return models.output(ids, places=places.expand(models.replicas, -1, -1)).logits
    logits = logits_of(models, ids)
    return logits.gather(2, places[..., None].expand(len(logits), -1, -1, logits.shape[-1]))


def logits_of(models: nn.Module, ids: Tensor) -> Tensor:
    """Logits (S, N, L, V) of a stack, or (1, N, L, V) of a transformers model."""
    if hasattr(models, "main_input_name"):  # of transformers: asked without loading its models, which takes seconds
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
