"""The relearning attack: does a little fine-tuning bring the forgotten facts back?

An attacker who knows a part of the forget set trains on it and asks for the rest; an innocent user trains on unrelated
data (benign relearning). Knowledge that was only hidden returns; a model that never saw the facts cannot find them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.experiment import Record
from entropy_utils.language_model.vector_adamw import VectorAdamW

from . import corpus as own_corpus
from . import metrics
from .answer_tokens import IGNORED, answer_places, answer_targets
from .diverged import Diverged
from .reading import logits_at, read


def relearn(
    models: nn.Module,
    corpus,
    tokenizer,
    data: Literal["forget", "retain"] = "forget",
    *,
    steps: int = 60,
    lr: float = 3e-4,
    batch: int = 8,
    every: int = 10,
    seeds: Sequence[int] | None = None,
    encode: Callable | None = None,
) -> Iterator[Record]:
    """Fine-tune copies of the models and yield how much of the facts that are not trained on comes back.

    `data` "forget": train on every second attribute of the forget set (every second row where there is no such column)
    and measure the others; "retain": train on the retain set and measure the whole forget set. AdamW, constant rate,
    weight decay 0.01, `batch` rows drawn with replacement; model s draws with `seeds[s]` (default 0, 1, ...).

    Records at step 0, every `every` steps and at the end, one per model: step, seed, data, forget_prob (mean of
    exp(-mean NLL)), fact_prob and fact_accuracy (with a column value), loss (nats per token of the last batch, None at
    step 0). `models` (one model or a stack) stay as they are. `Diverged` names the record's step and the seeds if a model
    gives no finite probabilities any more.
    """
    for name, count in (("steps", steps), ("batch", batch), ("every", every)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ParameterError.of(name, count, "an integer of at least 1")
    if data not in ("forget", "retain"):
        raise ParameterError.of("data", data, "'forget' or 'retain'")
    encode = encode or partial(own_corpus.encode, tokenizer)
    trained, asked = split_rows(corpus, data)
    train, test = (encode(rows["question"][:], rows["answer"][:]) for rows in (trained, asked))
    fact = None
    if "value" in asked.column_names:
        fact = own_corpus.fact_positions(test, asked["answer"][:], asked["value"][:])
    models = copy.deepcopy(models)
    loss, device = None, next(models.parameters()).device
    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            found = remembered(models, test, fact)
            count = len(found["forget_prob"])
            names = list(range(count)) if seeds is None else list(seeds)
            good = found["forget_prob"].isfinite().tolist()
            if not all(good):
                bad = ", ".join(str(seed) for seed, is_good in zip(names, good, strict=True) if not is_good)
                raise Diverged(f"relearning, seed {bad}: probabilities are no finite numbers after {step} updates", step)
            for s, seed in enumerate(names):
                yield {"step": step, "seed": seed, "data": data, "loss": None if loss is None else loss[s].item()} | {
                    name: values[s].item() for name, values in found.items()
                }
        if step == 0:
            generators = [torch.Generator().manual_seed(seed) for seed in names]
            optimizer = VectorAdamW(models.parameters(), lr)
            places, tokens = answer_places(train["labels"])
        if step < steps:
            rows = torch.stack([torch.randint(len(trained), (batch,), generator=generator) for generator in generators])
            at, answers = places[rows].to(device), tokens[rows].to(device)
            logits = logits_at(models, train["input_ids"][rows, : int(at.max()) + 1].to(device), at).float()
            loss = F.cross_entropy(logits.flatten(0, 2), answers.flatten(), reduction="none").view(count, -1).sum(-1)
            loss = loss / (answers != IGNORED).sum((-2, -1))
            optimizer.backward(loss.sum())
            optimizer.step()


def split_rows(corpus, data: str):
    """(rows to train on, rows to ask for), see `relearn`."""
    forget = corpus["forget"]
    if data == "retain":
        return corpus["retain"], forget
    kinds = forget["attribute"][:] if "attribute" in forget.column_names else list(range(len(forget)))
    known = set(list(dict.fromkeys(kinds))[::2])
    told = [kind in known for kind in kinds]
    if all(told):
        raise ParameterError.of("corpus", f"forget: {len(forget)} rows", "a forget set with at least two attributes or rows")
    return tuple(forget.select([row for row, use in enumerate(told) if use == wanted]) for wanted in (True, False))


def remembered(models: nn.Module, batch: Mapping[str, Tensor], fact: Tensor | None) -> dict[str, Tensor]:
    """Means over a batch, (S,) each: forget_prob and, where `fact` (N, T) marks them, fact_prob and fact_accuracy."""
    found = read(models, batch)
    values = {"forget_prob": metrics.probability(found.log_prob, answer_targets(batch["labels"])[1]).mean(-1)}
    if fact is not None:
        values["fact_prob"] = metrics.fact_probability(found.log_prob, fact).mean(-1)
        values["fact_accuracy"] = metrics.fact_accuracy(found.correct(batch["labels"]), fact).mean(-1)
    return values
