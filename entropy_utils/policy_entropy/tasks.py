"""Verifiable tasks: prompts, an exact prior to learn from, and a reward that a program can check.

Two tasks, both small enough for a 100k-parameter model:

* `NoisyLookup`: the answer is a table entry, so there is one right answer, a prior that is often wrong, and entries so
  rarely right that they form a ceiling;
* `DigitSum`: any four digits with the given sum are right, so that the diversity of right answers can be counted.

A task speaks tokens (tensors of ids) to the training loop and text to everything else: `dataset` gives a
`datasets.Dataset`, `reward_function` has the signature that TRL calls, `tokenizer` is a word-level tokenizer made in place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast


class Task(ABC):
    """A family of prompts of `prompt_length` tokens, answered by `response_length` tokens, the last of them `eos`."""

    name: ClassVar[str]
    vocabulary: tuple[str, ...]
    prompt_length: int
    response_length: int

    @property
    def eos(self) -> int:
        return self.vocabulary.index("<eos>")

    @property
    def identity(self) -> str:
        """Name and settings: what is learned from one task serves another of the same identity."""
        return self.name

    @abstractmethod
    def prompts(self, count: int, generator: torch.Generator) -> Tensor:
        """Random prompts, (count, prompt_length)."""

    @abstractmethod
    def prior(self, prompts: Tensor, responses: Tensor) -> Tensor:
        """Exact next-token distribution of the demonstrations along `responses`.

        prompts (n, prompt_length), responses (n, response_length): (n, response_length, vocabulary).
        """

    @abstractmethod
    def reward(self, prompts: Tensor, responses: Tensor) -> Tensor:
        """1.0 where a response is right, else 0.0. prompts (..., prompt_length), responses (..., response_length)."""

    def demonstrations(self, prompts: Tensor, generator: torch.Generator) -> Tensor:
        """Responses drawn token by token from `prior`, (n, response_length)."""
        responses = torch.full((len(prompts), self.response_length), self.eos)
        for step in range(self.response_length):
            distribution = self.prior(prompts, responses)[:, step]
            responses[:, step] = torch.multinomial(distribution, 1, generator=generator)[:, 0]
        return responses

    def decode(self, tokens: Tensor) -> str:
        """Words of one row of tokens, separated by blanks, up to the end-of-sequence token."""
        words = [self.vocabulary[token] for token in tokens.tolist()]
        return " ".join(words[: words.index("<eos>")] if "<eos>" in words else words)

    def dataset(self, size: int, seed: int = 0) -> Dataset:
        """`size` prompts as text, one column `prompt`; the reward needs nothing else."""
        from datasets import Dataset

        prompts = self.prompts(size, torch.Generator().manual_seed(seed))
        return Dataset.from_dict({"prompt": [self.decode(row) for row in prompts]})

    def reward_function(self, prompts: list[str], completions: list[str], **_: object) -> list[float]:
        """The reward of texts, in the signature of a TRL reward function. A malformed completion earns 0."""
        return [self._reward_of_text(prompt, text) for prompt, text in zip(prompts, completions, strict=True)]

    def _reward_of_text(self, prompt: str, completion: str) -> float:
        known = {word: token for token, word in enumerate(self.vocabulary)}
        words = completion.split("<eos>")[0].split()
        if len(words) != self.response_length - 1 or any(word not in known for word in words):
            return 0.0
        response = [known[word] for word in words] + [self.eos]
        return self.reward(torch.tensor([known[word] for word in prompt.split()]), torch.tensor(response)).item()

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """A word-level tokenizer of the task's vocabulary, padding with the end-of-sequence token."""
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        words = Tokenizer(models.WordLevel({word: token for token, word in enumerate(self.vocabulary)}, unk_token="<eos>"))
        words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return PreTrainedTokenizerFast(
            tokenizer_object=words, eos_token="<eos>", pad_token="<eos>", unk_token="<eos>", padding_side="left"
        )


class NoisyLookup(Task):
    """Prompt `a1 a2 a3 op b1 b2 b3 =`, answer c1 c2 c3 with c_i = table[op, a_i, b_i]: 300 entries without any pattern.

    Demonstrations are right at a table entry with a probability of its own, Beta(1.5, 1.5); for 15 % of the entries it
    is only 0.0005. Otherwise they show one of three fixed decoys of the entry (60 %, 25 %, 15 %). A model that learned
    this prior has entropy to lose, a wrong favourite on about half the entries, and entries that it hardly ever tries.
    """

    name = "noisy_lookup"
    vocabulary = (*"0123456789", "+", "-", "*", "=", "<eos>")
    prompt_length = 8
    response_length = 4
    hard_share = 0.15

    def __init__(self, table_seed: int = 7):
        self.table_seed = table_seed
        rng = np.random.default_rng(table_seed)
        ranking = rng.permuted(np.broadcast_to(np.arange(10), (3, 10, 10, 10)), axis=-1)
        right = rng.beta(1.5, 1.5, size=(3, 10, 10))
        right[rng.random(right.shape) < self.hard_share] = 0.0005
        self.table = torch.from_numpy(ranking[..., 0].copy())
        self.right = torch.from_numpy(right)
        shares = np.stack([right, *(share * (1 - right) for share in (0.60, 0.25, 0.15))], -1)
        entries = np.zeros((3, 10, 10, len(self.vocabulary)))
        np.put_along_axis(entries, ranking[..., :4], shares, -1)
        self.entries = torch.from_numpy(entries).float()

    @property
    def identity(self) -> str:
        return f"{self.name}, table {self.table_seed}"

    def prompts(self, count: int, generator: torch.Generator) -> Tensor:
        digits = torch.randint(0, 10, (count, 6), generator=generator)
        operator = torch.randint(10, 13, (count, 1), generator=generator)
        equals = torch.full((count, 1), self.vocabulary.index("="))
        return torch.cat([digits[:, :3], operator, digits[:, 3:], equals], 1)

    def prior(self, prompts: Tensor, responses: Tensor) -> Tensor:
        end = torch.zeros(len(prompts), 1, len(self.vocabulary))
        end[..., self.eos] = 1.0
        return torch.cat([self.entries[self._entry(prompts)], end], 1)

    def reward(self, prompts: Tensor, responses: Tensor) -> Tensor:
        right = (responses[..., :3] == self.table[self._entry(prompts)]).all(-1)
        return (right & (responses[..., 3] == self.eos)).float()

    @staticmethod
    def _entry(prompts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Indices (operator, a_i, b_i) of the three table entries of every prompt."""
        return prompts[..., 3:4] - 10, prompts[..., :3], prompts[..., 4:7]


class DigitSum(Task):
    """Prompt `tens units =`, answer four digits whose sum is the number asked for: up to 670 right answers to a prompt.

    A demonstration is, with probability `skill`, one of the right answers (all equally likely), else any four digits.
    """

    name = "digit_sum"
    vocabulary = (*"0123456789", "=", "<eos>")
    prompt_length = 3
    response_length = 5
    skill = 0.25
    targets: ClassVar[tuple[int, int]] = (6, 30)

    @cached_property
    def ways(self) -> Tensor:
        """ways[k, s]: how many strings of k digits have the sum s, for k up to 4."""
        ways = torch.zeros(5, 37, dtype=torch.float64)
        ways[0, 0] = 1
        for k in range(1, 5):
            for digit in range(10):
                ways[k, digit:] += ways[k - 1, : 37 - digit]
        return ways

    def prompts(self, count: int, generator: torch.Generator) -> Tensor:
        low, high = self.targets
        target = torch.randint(low, high + 1, (count, 1), generator=generator)
        return torch.cat([target // 10, target % 10, torch.full((count, 1), self.vocabulary.index("="))], 1)

    def prior(self, prompts: Tensor, responses: Tensor) -> Tensor:
        target = self._target(prompts)
        prior = torch.zeros(*responses.shape, len(self.vocabulary))
        prior[:, 4, self.eos] = 1.0
        missing = target
        for step in range(4):
            rest = missing[:, None] - torch.arange(10)  # what the digits after this one must still add up to
            possible = (rest >= 0) & (rest <= 36)
            right = torch.where(possible, self.ways[3 - step][rest.clamp(0, 36)], 0.0) / self.ways[4][target][:, None]
            weight = self.skill * right + (1 - self.skill) * 10.0 ** (3 - step) / 1e4
            prior[:, step, :10] = (weight / weight.sum(-1, keepdim=True)).float()
            missing = missing - responses[:, step].clamp(max=9)
        return prior

    def reward(self, prompts: Tensor, responses: Tensor) -> Tensor:
        digits = responses[..., :4]
        right = (digits < 10).all(-1) & (digits.sum(-1) == self._target(prompts)) & (responses[..., 4] == self.eos)
        return right.float()

    @staticmethod
    def _target(prompts: Tensor) -> Tensor:
        return prompts[..., 0] * 10 + prompts[..., 1]


TASKS: dict[str, type[Task]] = {task.name: task for task in (NoisyLookup, DigitSum)}
