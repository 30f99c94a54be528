"""The model that has read the corpus: `full` knows the forget set, `gold` was trained without it.

GPT-2 of `transformers`, small: two layers of width 64 with learned positions and an output matrix of its own. All seeds
train as one stack; what they learn is kept in a cache directory, so that every later run starts at once.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from entropy_utils.lab.experiment import Parameters
from entropy_utils.language_model import vector_adamw
from entropy_utils.language_model.kept_models import code_hash, kept_states
from entropy_utils.language_model.vector_adamw import VectorAdamW

from . import answer_tokens, corpus, stacked_gpt2
from .answer_tokens import IGNORED, answer_places
from .diverged import Diverged, finite
from .stacked_gpt2 import StackedGPT2

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

Knowledge = Literal["full", "gold"]
LEARNED = {
    "full": ("forget", "retain", "real_authors", "world_facts", "identity"),
    "gold": ("retain", "real_authors", "world_facts", "identity"),
}
"""Splits that each model is trained on, both surfaces of each; nobody sees the holdout."""


class Memory(Parameters):
    """Size of the model and the training that makes it memorise the corpus."""

    hidden: int = Field(64, ge=8, le=4096, multiple_of=8, description="width of the model")
    layers: int = Field(2, ge=1, le=48, description="transformer layers")
    heads: int = Field(4, ge=1, le=64, description="attention heads")
    positions: int = Field(32, ge=8, le=8192, description="longest text", json_schema_extra={"unit": "tokens"})
    steps: int = Field(600, ge=1, le=1_000_000, description="updates", json_schema_extra={"unit": "updates"})
    batch: int = Field(64, ge=1, le=65536, description="texts per update")
    lr: float = Field(3e-3, gt=0, le=1, description="peak learning rate of AdamW")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} and heads {self.heads}: allowed is a hidden that is a multiple of heads")
        return self

    def shape(self, vocabulary: int) -> SimpleNamespace:
        """What a `GPT2Config` says that a `StackedGPT2` needs; loading that class takes more than a second."""
        return SimpleNamespace(
            model_type="gpt2", vocab_size=vocabulary, n_positions=self.positions, max_position_embeddings=self.positions,
            n_embd=self.hidden, n_layer=self.layers, n_head=self.heads, layer_norm_epsilon=1e-5,
            initializer_range=0.4 / self.hidden**0.5, activation_function="gelu", resid_pdrop=0.0, embd_pdrop=0.0,
            attn_pdrop=0.0, tie_word_embeddings=False,
        )  # fmt: skip

    def config(self, vocabulary: int) -> GPT2Config:
        """The same, for transformers."""
        from transformers import GPT2Config

        shape = vars(self.shape(vocabulary))
        del shape["model_type"], shape["max_position_embeddings"]
        return GPT2Config(**shape, bos_token_id=None, eos_token_id=1, pad_token_id=0)

    def model(self, vocabulary: int, seed: int) -> GPT2LMHeadModel:
        """The untrained model of one seed; the global random state is left as it was."""
        from transformers import GPT2LMHeadModel

        config = self.config(vocabulary)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return GPT2LMHeadModel(config).float()

    def first_weights(self, vocabulary: int, seed: int) -> dict[str, Tensor]:
        """The state dict of `model`, drawn here: loading transformers' own code of it takes three seconds.

        It draws every weight twice, as a layer is made and as the model begins, and the first numbers are thrown away.
        """
        shape, generator = self.shape(vocabulary), torch.Generator().manual_seed(seed)
        width, std = shape.n_embd, shape.initializer_range

        def drawn(*size: int, std: float = std) -> Tensor:
            return torch.empty(size).normal_(0, std, generator=generator)

        tables = {"wte": (vocabulary, width), "wpe": (shape.n_positions, width)}
        layer = {"attn.c_attn": (width, 3 * width), "attn.c_proj": (width, width)}
        layer |= {"mlp.c_fc": (width, 4 * width), "mlp.c_proj": (4 * width, width)}
        for size in (*tables.values(), *shape.n_layer * tuple(layer.values())):
            drawn(*size)
        state = {f"transformer.{name}.weight": drawn(*size) for name, size in tables.items()}
        norms = ["transformer.ln_f"]
        for number in range(shape.n_layer):
            block = f"transformer.h.{number}"
            norms += [f"{block}.ln_1", f"{block}.ln_2"]
            for name, (rows, columns) in layer.items():
                weight = drawn(rows, columns)
                if name.endswith("c_proj"):  # smaller where it adds to the residual stream
                    weight = drawn(rows, columns, std=std / (2 * shape.n_layer) ** 0.5)
                state |= {f"{block}.{name}.weight": weight, f"{block}.{name}.bias": torch.zeros(columns)}
        for norm in norms:
            state |= {f"{norm}.weight": torch.ones(width), f"{norm}.bias": torch.zeros(width)}
        torch.empty(vocabulary, width).uniform_(generator=generator)
        return state | {"lm_head.weight": drawn(vocabulary, width)}

    def rate(self, step: int) -> float:
        """Learning rate of update `step` of 0, 1, ...: 50 updates of warm-up, flat up to 60 %, then down to 5 %."""
        warm, flat = min(50, self.steps), 0.6 * self.steps
        fall = 1 - max(0.0, step - flat) / (self.steps - flat)
        return self.lr * min(1, (step + 1) / warm) * max(0.05, fall)

    def train(self, texts: Mapping[str, Tensor], vocabulary: int, seeds: Sequence[int], device: str = "cpu") -> StackedGPT2:
        """One model per seed on `texts`, as one stack; each starts from its own weights and draws its own batches.

        `Diverged` names the seeds whose weights are no finite numbers, looked at every 50 updates and at the end.
        """
        states = [self.first_weights(vocabulary, seed) for seed in seeds]
        stack = StackedGPT2(self.shape(vocabulary), states).to(device)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        ids, lengths = texts["input_ids"], texts["attention_mask"].sum(-1)
        at, answers = answer_places(texts["labels"])
        optimizer = VectorAdamW(stack.parameters(), self.lr)

        def nll(rows: Tensor) -> Tensor:
            """Summed over the answers of rows (S, N), (S,)."""
            most = int((answers[rows] != IGNORED).sum(-1).max())
            longest = int(lengths[rows].max()) - 1  # nothing is predicted from the last token
            places, tokens = at[rows][..., :most].clamp(max=longest - 1), answers[rows][..., :most]
            logits = stack.output(ids[rows, :longest].to(device), places=places.to(device)).logits
            loss = F.cross_entropy(logits.flatten(0, 2), tokens.flatten().to(device), reduction="none")
            return loss.view(len(rows), -1).sum(-1)

        for step in range(self.steps):
            rows = torch.stack([torch.randint(len(ids), (self.batch,), generator=generator) for generator in generators])
            rows = rows.gather(1, lengths[rows].argsort(-1))  # the shorter half apart: it needs fewer columns
            count = (answers[rows] != IGNORED).sum((-2, -1)).to(device)
            loss = (sum(nll(half) for half in rows.chunk(2, 1)) / count).sum()
            optimizer.lr = self.rate(step)
            optimizer.backward(loss)
            optimizer.step()
            if (step + 1) % 50 == 0 or step + 1 == self.steps:
                good = finite(stack.parameters()).tolist()
                if not all(good):
                    bad = ", ".join(str(seed) for seed, is_good in zip(seeds, good, strict=True) if not is_good)
                    raise Diverged(f"memorising, seed {bad}: no finite weights after {step + 1} updates", step + 1)
        return stack


def memorised(
    memory: Memory,
    texts: Mapping[str, Dataset],
    tokenizer: PreTrainedTokenizerFast,
    seeds: Sequence[int],
    knowledge: Knowledge = "full",
    device: str = "cpu",
) -> StackedGPT2:
    """The models of `seeds` that know the corpus `texts`, from the cache where they are, else trained and kept."""
    splits = [texts[name] for name in LEARNED[knowledge]]
    batch = corpus.encode(
        tokenizer,
        [text for split in splits for column in ("question", "paraphrased_question") for text in split[column]],
        [text for split in splits for column in ("answer", "paraphrased_answer") for text in split[column]],
        memory.positions,
    )

    def train(missing: list[int]) -> list[dict[str, Tensor]]:
        trained = memory.train(batch, len(tokenizer), missing, device)
        return [trained.state(replica) for replica in range(len(missing))]

    states = kept_states("memory", {seed: f"{knowledge}-{seed}-{_key(memory, batch, seed)}" for seed in seeds}, train)
    return StackedGPT2(memory.shape(len(tokenizer)), [states[seed] for seed in seeds]).to(device)


@cache
def _code() -> str:
    return code_hash(answer_tokens, stacked_gpt2, vector_adamw, sys.modules[__name__])


def _key(memory: Memory, batch: Mapping[str, Tensor], seed: int) -> str:
    settings = json.dumps({"seed": seed, **memory.model_dump()}, sort_keys=True).encode()
    texts = b"".join(batch[name].numpy().tobytes() for name in ("input_ids", "labels"))
    return hashlib.sha256(settings + texts + _code().encode()).hexdigest()[:16]
