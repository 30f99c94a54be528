"""Attention entropy of a pretrained language model on text, by layer and head, as an `Experiment`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from entropy_utils.lab.errors import DataUnavailable, ParameterError
from entropy_utils.lab.experiment import Experiment, Record

from .recorder import AttentionRecorder


class PretrainedEntropy(Experiment):
    """Run a model over texts in eval mode and record every head.

    The model is any that `transformers.AutoModel` can load and that reads text (of an encoder-decoder the encoder). Each
    text is cut into sequences of at most `longest` tokens; padding does not count. What to read: `texts`, or a text `file`
    (one text per line), or else the `dataset`.
    """

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {"sequences": 8, "longest": 64},
        "hub": {},
    }

    model: str = Field("openai-community/gpt2", min_length=1, description="name on the hub, or a local folder")
    texts: tuple[str, ...] = Field((), description="texts to read; none: the file or the data set")
    file: str = Field("", description="text file, one text per line; empty: the data set")
    dataset: str = Field("Salesforce/wikitext", description="name on the hub, or a folder of Dataset.save_to_disk")
    configuration: str = Field("wikitext-103-raw-v1", description="of the data set on the hub, may be empty")
    split: str = Field("validation", min_length=1, description="split of the data set")
    column: str = Field("text", min_length=1, description="column of the data set that holds the text")
    sequences: int = Field(64, ge=1, le=1_000_000, description="sequences to read, at most")
    longest: int = Field(512, ge=2, le=1_000_000, description="texts are cut here", json_schema_extra={"unit": "tokens"})
    shortest: int = Field(2, ge=1, le=1_000_000, description="shorter are left out", json_schema_extra={"unit": "tokens"})
    batch: int = Field(8, ge=1, le=4096, description="sequences per forward pass")
    rank: bool = Field(False, description="record the effective rank of the attention matrices too (slow)")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="of the weights and the logits")
    device: Literal["auto", "cpu"] = Field("auto", description="auto takes a GPU if there is one")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.texts and self.file:
            raise ValueError("texts and file: got both, allowed: one of them")
        if self.shortest > self.longest:
            raise ValueError(f"shortest {self.shortest}: allowed is at most longest {self.longest}")
        return self

    def run(self) -> Iterator[Record]:
        """One record per batch, layer and head.

        Fields: step (batch, from 0), seed, sequences and tokens (in the batch, without padding), layer, module, head,
        entropy (mean over the rows that count, nats), normalised, minimum, max_logit, and rank on request, as in
        `AttentionRecorder.records`. The texts are read in their order: the seed changes nothing.
        """
        model, tokenizer = self._load()
        rows = self._tokens(tokenizer)
        with AttentionRecorder(model, rank=self.rank) as recorder:
            done = 0
            for first in range(0, len(rows), self.batch):
                part = rows[first : first + self.batch]
                ids, mask = padded(part, tokenizer.pad_token_id or 0)
                with torch.inference_mode():
                    model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device))
                fresh = recorder.records[done:]
                done += len(fresh)
                size = {"seed": self.seed, "sequences": len(part), "tokens": int(mask.sum())}
                for record in fresh:
                    step, _, *rest = record.items()
                    yield dict([step, *size.items(), *rest])

    def _load(self) -> tuple[Any, Any]:
        """Model (eager attention, eval mode) and tokenizer; `longest` is checked before weights are read."""
        from huggingface_hub.constants import HF_HOME
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        try:
            config = AutoConfig.from_pretrained(self.model)
            tokenizer = AutoTokenizer.from_pretrained(self.model)
            positions = positions_of(config, tokenizer)
            if positions is not None and self.longest > positions:
                raise ParameterError.of("longest", self.longest, f"at most {positions}, the positions of '{self.model}'")
            kind = {"dtype": getattr(torch, self.dtype), "attn_implementation": "eager"}
            model = AutoModel.from_pretrained(self.model, config=config, **kind)
        except ParameterError:
            raise
        except (OSError, ValueError) as error:
            home = str(HF_HOME).replace(str(Path.home()), "~", 1)
            raise DataUnavailable(
                f"model '{self.model}': neither a local folder with model and tokenizer, nor on the network, nor under "
                f"HF_HOME={home} ({_first_line(error)}); fetch it there with a network, or name a folder of save_pretrained"
            ) from None
        if config.is_encoder_decoder:
            model = model.get_encoder()
        gpu = self.device == "auto" and torch.cuda.is_available()
        return model.to("cuda" if gpu else "cpu").eval(), tokenizer

    def _tokens(self, tokenizer: Any) -> list[list[int]]:
        """The sequences to read, as token ids with the special tokens of the model."""
        found: list[list[int]] = []
        for text in self._texts():
            cut = tokenizer(text, truncation=True, max_length=self.longest, return_overflowing_tokens=True)["input_ids"]
            pieces = cut if cut and isinstance(cut[0], list) else [cut]  # tokenizers in Python leave the rest out
            found += [piece for piece in pieces if len(piece) >= self.shortest]
            if len(found) >= self.sequences:
                break
        if not found:
            where = "texts" if self.texts else "file" if self.file else "dataset"
            raise ParameterError.of(where, getattr(self, where), f"texts of at least {self.shortest} tokens")
        return found[: self.sequences]

    def _texts(self) -> Iterator[str]:
        if self.texts:
            yield from self.texts
        elif self.file:
            try:
                yield from Path(self.file).read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise DataUnavailable(f"file '{self.file}': {_first_line(error)}; allowed: a text file in UTF-8") from None
        else:
            rows = self._dataset()
            if self.column not in rows.column_names:
                raise ParameterError.of("column", self.column, " or ".join(rows.column_names))
            yield from (row[self.column] for row in rows)

    def _dataset(self) -> Any:
        from datasets import DatasetDict, load_dataset, load_from_disk
        from huggingface_hub.constants import HF_HOME

        try:
            if not Path(self.dataset).is_dir():
                return load_dataset(self.dataset, self.configuration or None, split=self.split)
            rows = load_from_disk(self.dataset)
        except (OSError, ValueError) as error:
            home = str(HF_HOME).replace(str(Path.home()), "~", 1)
            raise DataUnavailable(
                f"dataset '{self.dataset}': neither a folder of Dataset.save_to_disk, nor on the network, nor under "
                f"HF_HOME={home} ({_first_line(error)}); fetch it there with a network, or give texts or a file"
            ) from None
        if isinstance(rows, DatasetDict):
            if self.split not in rows:
                raise ParameterError.of("split", self.split, " or ".join(rows))
            rows = rows[self.split]
        return rows


def positions_of(config: Any, tokenizer: Any) -> int | None:
    """The longest sequence that a model reads: the smaller of what its configuration and its tokenizer say, None: any."""
    known = [getattr(config, "max_position_embeddings", None), tokenizer.model_max_length]
    known = [number for number in known if number is not None and 0 < number < 10**12]  # unset is 10^30 in a tokenizer
    return min(known, default=None)


def padded(rows: list[list[int]], fill: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids padded on the right to one length, and the mask (1: token, 0: padding), both (sequences, tokens)."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [fill] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
