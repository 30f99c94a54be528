"""Data for `large_training`: images with labels, or one long text, made in place or read by name or local path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from entropy_utils.lab.errors import DataUnavailable, ParameterError

Batch = dict[str, Tensor]
IMAGES, LABELS = ("img", "image"), ("fine_label", "label")  # columns, the first that there is


class Pictures:
    """Images (n, 3, side, side) in bytes with labels (n,), drawn with replacement; `classes` of them."""

    def __init__(self, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]):
        self.train, self.test = train, test
        self.classes = int(max(train[1].max(), test[1].max())) + 1

    def draw(self, batch: int, generator: torch.Generator) -> Batch:
        """A training batch: pixel_values (batch, 3, side, side), from -1 to 1, and labels (batch,)."""
        return self._batch(self.train, torch.randint(len(self.train[1]), (batch,), generator=generator))

    def exam(self, batch: int, largest: int) -> Iterator[Batch]:
        """The first `largest` test images, in batches."""
        for indices in torch.arange(min(largest, len(self.test[1]))).split(batch):
            yield self._batch(self.test, indices)

    @staticmethod
    def _batch(part: tuple[Tensor, Tensor], indices: Tensor) -> Batch:
        images, labels = (tensor[indices] for tensor in part)
        return {"pixel_values": images.float() / 127.5 - 1, "labels": labels}


class Text:
    """Token ids, one stream for training and one for the test, read in windows of `context`; `classes` is the vocabulary."""

    def __init__(self, train: Tensor, test: Tensor, context: int, classes: int):
        for name, stream in (("train", train), ("test", test)):
            if len(stream) <= context:
                raise ParameterError.of("dataset", f"{name}: {len(stream)} tokens", f"more than the context of {context}")
        self.train, self.test, self.context, self.classes = train, test, context, classes

    def draw(self, batch: int, generator: torch.Generator) -> Batch:
        """A training batch: input_ids (batch, context) from random places."""
        starts = torch.randint(len(self.train) - self.context + 1, (batch, 1), generator=generator)
        return {"input_ids": self.train[starts + torch.arange(self.context)].long()}

    def exam(self, batch: int, largest: int) -> Iterator[Batch]:
        """The first `largest` windows of the test stream, side by side, in batches."""
        number = min(largest, len(self.test) // self.context)
        for windows in self.test[: number * self.context].view(number, -1).split(batch):
            yield {"input_ids": windows.long()}


def digit_pictures(side: int) -> Pictures:
    """scikit-learn's digits (8 x 8, bundled) as grey pictures of side x side."""
    from .digits import digits

    parts = []
    data = digits(8)  # one patch is the image
    low = min(data.train.min(), data.test.min())
    high = max(data.train.max(), data.test.max())
    for images, labels in ((data.train, data.train_labels), (data.test, data.test_labels)):
        grey = ((images.view(-1, 1, 8, 8) - low) / (high - low) * 255).expand(-1, 3, -1, -1)
        parts.append((F.interpolate(grey, size=side, mode="bilinear").round().byte(), labels.long()))
    return Pictures(*parts)


def markov_text(vocabulary: int, tokens: int, context: int, seed: int) -> Text:
    """A language in which each token has a few likely successors: P = softmax of Gaussians of standard deviation 3."""
    g = torch.Generator().manual_seed(seed)
    successors = (3 * torch.randn(vocabulary, vocabulary, generator=g)).softmax(-1)
    chains = max(1, min(1024, tokens // (8 * context)))
    state, stream = torch.randint(vocabulary, (chains,), generator=g), []
    for _ in range(-(-tokens // chains)):
        stream.append(state)
        state = torch.multinomial(successors[state], 1, generator=g)[:, 0]
    stream = torch.stack(stream, 1).flatten()
    return Text(stream[: -len(stream) // 10], stream[-len(stream) // 10 :], context, vocabulary)


def pictures(name: str, side: int) -> Pictures:
    """A data set of images by name (as ``uoft-cs/cifar100``) or local folder, with the splits train and test."""
    parts = []
    for rows in _splits(name, None):
        image, label = _column(name, rows, IMAGES), _column(name, rows, LABELS)
        images = [np.asarray(row.convert("RGB").resize((side, side))) for row in rows[image]]
        parts.append((torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), torch.tensor(rows[label])))
    return Pictures(*parts)


def text(name: str, configuration: str | None, tokenizer: str | None, context: int) -> Text:
    """A data set of texts by name or local folder, tokenised (by bytes if `tokenizer` is None)."""
    from transformers import AutoTokenizer

    encode, vocabulary = _as_bytes, 256
    if tokenizer is not None:
        try:
            found = AutoTokenizer.from_pretrained(tokenizer)
        except (OSError, ValueError) as error:
            raise _unavailable("tokenizer", tokenizer, error) from None

        def encode(lines: list[str]) -> np.ndarray:
            tokens = found(lines, add_special_tokens=False).input_ids
            return np.fromiter((token for line in tokens for token in line), np.int32)

        vocabulary = len(found)
    streams = []
    for rows in _splits(name, configuration):
        column = _column(name, rows, ("text",))
        parts = [encode(part[column]) for part in rows.iter(1000)]
        streams.append(torch.from_numpy(np.concatenate(parts or [_as_bytes([])])))
    return Text(*streams, context, vocabulary)


def _as_bytes(lines: list[str]) -> np.ndarray:
    return np.frombuffer(bytearray("".join(lines).encode()), np.uint8)


def _splits(name: str, configuration: str | None) -> tuple[Any, Any]:
    from datasets import load_dataset, load_from_disk

    try:
        found = load_from_disk(name) if Path(name).is_dir() else load_dataset(name, configuration)
    except (OSError, ValueError) as error:
        raise _unavailable("dataset", name, error) from None
    if not {"train", "test"} <= set(found):
        raise ParameterError.of("dataset", name, f"one with the splits train and test, got {', '.join(map(str, found))}")
    return found["train"], found["test"]


def _column(name: str, rows: Any, wanted: tuple[str, ...]) -> str:
    found = [column for column in wanted if column in rows.column_names]
    if not found:
        allowed = f"one with column {' or '.join(wanted)}, got {', '.join(rows.column_names)}"
        raise ParameterError.of("dataset", name, allowed)
    return found[0]


def _unavailable(field: str, name: str, error: Exception) -> DataUnavailable:
    reason = str(error).strip().partition("\n")[0]
    return DataUnavailable(
        f"{field} '{name}': neither a local folder nor to be had from the hub ({reason}); "
        "fetch it with a network, or name a folder written by save_to_disk or save_pretrained"
    )
