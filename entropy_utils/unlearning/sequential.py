"""Requests to forget come one at a time: each starts from the models that served the one before.

Damage adds up over requests, and what was forgotten for the first may come back while the fourth is served; a method
that looks good after one request may not survive ten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.experiment import Record

from .corpus import encode_split, fact_positions
from .objectives import Objective
from .relearning import remembered
from .stacked_gpt2 import StackedGPT2
from .unlearn import Unlearner


def sequential(
    models: StackedGPT2,
    corpus,
    tokenizer,
    method: Objective | str,
    evaluation: Callable[[nn.Module], list[Record]],
    *,
    until: float = 0.02,
    every: int = 10,
    most: int = 320,
    batch: int = 4,
    lr: float = 3e-4,
    seeds: Sequence[int] | None = None,
    both: bool = False,
) -> Iterator[Record]:
    """Unlearn the people of the forget set one after the other, in one wording or `both`; one record per request and model.

    A request ends for a model when the mean probability of that person's facts is below `until`, looked at before the
    first update and after every `every` (a model that is done waits for the others of its stack untouched), or after
    `most` updates. The optimizer and the frozen model of `method` are made anew for each request.

    Records: request (1, 2, ...), seed, person, step (updates that this request took), served (whether the probability
    came below `until`), fact_prob_request (of this person), fact_prob and fact_accuracy (of all people requested so
    far), forget_prob (likewise), and utility and retain_fact_accuracy of `evaluation`, an `Evaluation` of the corpus.
    """
    if not (isinstance(until, (int, float)) and 0 < until < 1):
        raise ParameterError.of("until", until, "a probability above 0 and below 1")
    for name, count in (("every", every), ("most", most)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ParameterError.of(name, count, "an integer of at least 1")
    forget, retain = corpus["forget"], encode_split(tokenizer, corpus["retain"])
    people = list(dict.fromkeys(forget["person"]))
    seeds = list(range(models.replicas)) if seeds is None else list(seeds)
    for request, person in enumerate(people, 1):
        own, so_far = (_rows(tokenizer, forget, wanted) for wanted in ({person}, set(people[:request])))
        told = encode_split(tokenizer, _of(forget, {person}), both=both)
        unlearner = Unlearner(models, told, method, retain=retain, batch=batch, lr=lr, seeds=seeds)
        models, steps = unlearner.models, torch.zeros(len(seeds), dtype=torch.long)
        left = remembered(models, *own)["fact_prob"]
        while (left >= until).any() and unlearner.step_count < most:
            active = left >= until
            unlearner.step(active.to(unlearner.device))
            steps += active
            if unlearner.step_count % every == 0 or unlearner.step_count == most:
                left = torch.where(active, remembered(models, *own)["fact_prob"], left)
        found, kept = remembered(models, *so_far), evaluation(models)
        for s, seed in enumerate(seeds):
            record = {"request": request, "seed": seed, "person": person, "step": int(steps[s])}
            record |= {"served": bool(left[s] < until), "fact_prob_request": float(left[s])}
            record |= {name: float(values[s]) for name, values in found.items()}
            yield record | {name: kept[s][name] for name in ("utility", "retain_fact_accuracy")}


def _of(split, people: set[int]):
    """The rows of these people."""
    return split.select([row for row, person in enumerate(split["person"]) if person in people])


def _rows(tokenizer, split, people: set[int]):
    """The batch and the fact positions of these people, in the plain wording."""
    rows = _of(split, people)
    batch = encode_split(tokenizer, rows)
    return batch, fact_positions(batch, rows["answer"][:], rows["value"][:])
