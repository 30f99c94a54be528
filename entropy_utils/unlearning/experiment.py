"""Learn a corpus, unlearn a part of it, attack the result: the experiments of notebook 09, all seeds as one stack."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field

from entropy_utils.lab.experiment import Experiment, Record

from .corpus import encode_split, fictitious_authors, word_tokenizer
from .diverged import Diverged
from .evaluation import Evaluation
from .memory import Memory, memorised
from .objectives import AnyObjective, objective
from .relearning import relearn
from .sequential import sequential
from .stacked_gpt2 import StackedGPT2
from .unlearn import Unlearner

if TYPE_CHECKING:
    from datasets import DatasetDict
    from transformers import PreTrainedTokenizerFast

PEOPLE = {"forget": 4, "retain": 36, "holdout": 4, "real_authors": 8}
"""People per group in profile laptop; ten times as many in gpu."""


class Learning(Experiment):
    """Train `replicas` models on the corpus, or load them where they are kept; one record per seed.

    Others start from what this leaves in the cache. Two of these side by side train both kinds of model on two cores.
    """

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {
            "forget": 2, "retain": 10, "holdout": 2, "real_authors": 4, "replicas": 2,
            "memory": {"hidden": 48, "steps": 180, "batch": 32, "lr": 5e-3},
        },
        "laptop": {},
        "gpu": {
            **{name: 10 * count for name, count in PEOPLE.items()}, "replicas": 8, "device": "auto",
            "memory": {"hidden": 256, "layers": 4, "heads": 8, "steps": 8000, "batch": 256, "lr": 1e-3},
        },
    }  # fmt: skip

    knowledge: Literal["full", "gold"] = Field("full", description="what the models learn: all, or all but the forget set")
    replicas: int = Field(3, ge=1, le=64, description="seeds trained side by side")
    forget: int = Field(PEOPLE["forget"], ge=1, le=10_000, description="people to forget, eight facts each")
    retain: int = Field(PEOPLE["retain"], ge=1, le=10_000, description="people to keep")
    holdout: int = Field(PEOPLE["holdout"], ge=1, le=10_000, description="people whose facts nobody learns")
    real_authors: int = Field(PEOPLE["real_authors"], ge=1, le=10_000, description="other people to keep, for the utility")
    memory: Memory = Field(Memory(), description="size of the model and its training")
    device: Literal["auto", "cpu", "cuda"] = Field("cpu", description="where to train; auto takes a GPU if there is one")

    @property
    def seeds(self) -> list[int]:
        return [self.seed + replica for replica in range(self.replicas)]

    def texts(self) -> Texts:
        """The corpus and its tokenizer; the corpus is the same for all seeds."""
        return _texts(self.forget, self.retain, self.holdout, self.real_authors)

    def models(self, knowledge: Literal["full", "gold"]) -> StackedGPT2:
        """The trained stack: from the cache, or trained now and kept. It is shared: work on copies, as `Unlearner` does."""
        return _models(self._learning(), knowledge)

    def _learning(self) -> Learning:
        return Learning(**{name: getattr(self, name) for name in Learning.model_fields})

    def length(self) -> int | None:
        return self.replicas

    def run(self) -> Iterator[Record]:
        self.models(self.knowledge)
        for seed in self.seeds:
            yield {"seed": seed, "knowledge": self.knowledge, "steps": self.memory.steps}


class Unlearning(Learning):
    """Unlearn the forget set; one record per evaluation and seed.

    Records: step, seed, loss (of the step before; None at step 0), and all numbers of `Evaluation`: forget_prob,
    fact_prob, fact_accuracy (each also `_other`: in the other wording), utility, privleak, entropy_fact,
    entropy_template (nats), retain_fact_accuracy and more.
    """

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {**Learning.profiles["smoke"], "steps": 40, "every": 20},
        "laptop": {},
        "gpu": {**Learning.profiles["gpu"], "steps": 2000, "every": 250},
    }

    objective: AnyObjective = Field(objective("shred share=0.25"), description="what is minimised")
    steps: int = Field(320, ge=0, le=1_000_000, description="updates; 0: none", json_schema_extra={"unit": "updates"})
    batch: int = Field(4, ge=1, le=4096, description="answers to forget per update")
    lr: float = Field(3e-4, gt=0, le=1, description="learning rate of AdamW, constant", json_schema_extra={"scale": "log"})
    wording: Literal["asked", "both"] = Field("asked", description="unlearn one wording of each fact, or both")
    every: int = Field(80, ge=1, le=1_000_000, description="updates between evaluations")

    def length(self) -> int | None:
        return self.replicas * (1 + -(-self.steps // self.every))

    def evaluation(self) -> Evaluation:
        """The measuring device, with the retrained models as its reference; made once per process."""
        return _evaluation(self._learning().replace(knowledge="gold"))

    def before(self) -> list[Record]:
        """The measures of the models of `knowledge` before anything is unlearned, one record per seed."""
        return _before(self._learning())

    def unlearner(self) -> Unlearner:
        """Copies of the models of `knowledge`, with everything that unlearning them needs."""
        corpus, tokenizer = self.texts()
        forget = encode_split(tokenizer, corpus["forget"], both=self.wording == "both")
        retain = encode_split(tokenizer, corpus["retain"]) if self.objective.needs_retain else None
        models = self.models(self.knowledge)
        return Unlearner(models, forget, self.objective, retain=retain, batch=self.batch, lr=self.lr, seeds=self.seeds)

    def run(self) -> Iterator[Record]:
        """Records as they come. Where training breaks, those of the last good state come last, then `Diverged`."""
        self._check()
        evaluation, unlearner = self.evaluation(), self.unlearner()
        yield from self._records(self.before(), 0, [None] * self.replicas)
        seen = 0
        try:
            for step, loss in unlearner.run(self.steps):
                if step % self.every == 0 or step == self.steps:
                    yield from self._records(evaluation(unlearner.models), step, loss.tolist())
                    seen = step
        except Diverged as error:
            if error.good > seen:
                yield from self._records(evaluation(unlearner.models), error.good, [None] * self.replicas)
            raise

    def _check(self) -> None:
        """Raise a `ParameterError` if the objective does not fit the models, before they are trained."""
        self.objective.check(len(self.texts().tokenizer), self.memory.layers)

    def _records(self, found: list[Record], step: int, loss: list) -> Iterator[Record]:
        for seed, last, record in zip(self.seeds, loss, found, strict=True):
            yield {"step": step, "seed": seed, "loss": last, **record}

    def unlearned(self) -> StackedGPT2:
        """The models after all steps."""
        unlearner = self.unlearner()
        for _ in unlearner.run(self.steps):
            pass
        return unlearner.models


class Relearning(Unlearning):
    """Unlearn, then train on: on half of the facts to forget (an attack), or on retained facts (an innocent user).

    Nothing is measured while it unlearns, so `every` has no effect; the training on is measured every `look_every` updates.
    """

    data: Literal["forget", "retain", "both"] = Field(
        "both", description="what the unlearned models are trained on; both: one after the other, each from the same start"
    )
    further_steps: int = Field(60, ge=1, le=1_000_000, description="updates of that training")
    further_batch: int = Field(8, ge=1, le=4096, description="answers per update")
    further_lr: float = Field(3e-4, gt=0, le=1, description="its learning rate", json_schema_extra={"scale": "log"})
    look_every: int = Field(10, ge=1, le=100_000, description="updates of that training between measurements")

    def length(self) -> int | None:
        return None

    def run(self) -> Iterator[Record]:
        """Records of `relearn`: fact_prob of the facts that are not shown again."""
        self._check()
        further = {"steps": self.further_steps, "lr": self.further_lr, "batch": self.further_batch, "seeds": self.seeds}
        further["every"] = self.look_every
        models = self.unlearned()
        for data in ("forget", "retain") if self.data == "both" else (self.data,):
            yield from relearn(models, *self.texts(), data, **further)


class Sequential(Unlearning):
    """Serve one request after the other: a person's facts are unlearned until their mean probability is below `until`.

    One record per request, so `every` has no effect.
    """

    steps: int = Field(
        320, ge=1, le=1_000_000, description="most updates per request", json_schema_extra={"unit": "updates"}
    )
    until: float = Field(0.02, gt=0, lt=1, description="fact probability at which a request is served")
    look_every: int = Field(10, ge=1, le=100_000, description="updates between looks at it")

    def length(self) -> int | None:
        return self.replicas * self.forget

    def run(self) -> Iterator[Record]:
        """Records of `sequential`: one per request and seed."""
        self._check()
        budget = {"until": self.until, "every": self.look_every, "most": self.steps, "batch": self.batch, "lr": self.lr}
        budget |= {"seeds": self.seeds, "both": self.wording == "both"}
        models, evaluation = self.models(self.knowledge), self.evaluation()
        yield from sequential(models, *self.texts(), self.objective, evaluation, **budget)


class Texts(NamedTuple):
    """The corpus and its tokenizer."""

    corpus: DatasetDict
    tokenizer: PreTrainedTokenizerFast


@lru_cache(maxsize=2)
def _texts(forget: int, retain: int, holdout: int, real_authors: int) -> Texts:
    corpus = fictitious_authors(0, forget=forget, retain=retain, holdout=holdout, real_authors=real_authors)
    return Texts(corpus, word_tokenizer(corpus))


@lru_cache(maxsize=4)
def _models(learning: Learning, knowledge: Literal["full", "gold"]) -> StackedGPT2:
    device = ("cuda" if torch.cuda.is_available() else "cpu") if learning.device == "auto" else learning.device
    return memorised(learning.memory, *learning.texts(), learning.seeds, knowledge, device)


@lru_cache(maxsize=4)
def _evaluation(learning: Learning) -> Evaluation:
    return Evaluation(*learning.texts(), reference=learning.models("gold"))


@lru_cache(maxsize=4)
def _before(learning: Learning) -> list[Record]:
    return _evaluation(learning.replace(knowledge="gold"))(learning.models(learning.knowledge))
