"""Unlearning with `transformers.Trainer`: any objective of this collection on any causal language model.

`UnlearningTrainer` leaves devices, precision, optimiser, accumulation and checkpoints to `transformers.Trainer` and
replaces the loss. Before training the frozen model reads every forget example once, and the objective keeps what it
needs of that (for SHRED the top-K targets); in each step an objective with a retain set gets as many random retain
examples as there are forget examples.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from entropy_utils.lab.errors import ParameterError

from .answer_tokens import IGNORED, check_answers
from .diverged import Diverged
from .objectives import Objective, objective
from .objectives.base import Output, Retained

LAST_GOOD = "last_good"
PADDING = {"input_ids": 0, "attention_mask": 0, "labels": IGNORED}


class Rows(Dataset):
    """The rows of a batch as a data set: an item is one row without its padding, and its number."""

    def __init__(self, batch: Mapping[str, Tensor]):
        self.batch = {name: batch[name] for name in PADDING}
        self.lengths = batch["attention_mask"].sum(-1).tolist()

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"row": row} | {name: values[row, : self.lengths[row]] for name, values in self.batch.items()}


def together(items: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Rows of unequal length as one batch (N, L), padded on the right, with their numbers `row` (N,)."""
    columns = {name: [item[name] for item in items] for name in PADDING}
    padded = {name: pad_sequence(column, True, PADDING[name]) for name, column in columns.items()}
    return {"row": torch.tensor([item["row"] for item in items]), **padded}


class UnlearningTrainer(Trainer):
    """Minimise an unlearning objective over the `forget` batch.

    `objective` is an `Objective` or text such as "shred share=0.5". `forget` and `retain` are batches (N, L) as of
    `encode_text`: input_ids, attention_mask, labels. `model` is also the frozen reference: it is read before training,
    and to resume from a checkpoint the trainer must again be made of the model that training started from.
    Evaluation is that of `Trainer`: the mean NLL per answer token of `eval_dataset`, a batch or `Rows`.

    Targets of more than `cache_bytes` (a whole vocabulary per token, say) are not kept but made in every step by a copy
    of the frozen model (not for a random selection, which is drawn once). Every `keep_every` updates the weights are kept
    beside the model; if the loss, or a weight after an update, is no finite number, they are put back and saved under
    output_dir/last_good, and `Diverged` names the update. ParameterError, before any work: no forget or retain examples,
    texts longer than the model's positions, coefficients that do not fit the model.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        *,
        objective: Objective | str | dict[str, Any],
        forget: Mapping[str, Tensor],
        retain: Mapping[str, Tensor] | None = None,
        eval_dataset: Mapping[str, Tensor] | Dataset | None = None,
        keep_every: int = 50,
        cache_bytes: int = 2**33,
        **more: Any,
    ):
        self.objective = _objective(objective)
        config = model.config.get_text_config()
        self.objective.check(config.vocab_size, config.num_hidden_layers)
        if self.objective.needs_retain and retain is None:
            raise ParameterError.of("retain", retain, f"a batch to keep, for {self.objective.name} has a retain term")
        if keep_every < 1:
            raise ParameterError.of("keep_every", keep_every, "at least 1")
        for name, batch in {"forget": forget, **({"retain": retain} if self.objective.needs_retain else {})}.items():
            check_answers(name, batch, getattr(config, "max_position_embeddings", None))
        self.retain = Rows(retain) if self.objective.needs_retain else None
        self.targets: dict[str, Tensor] | None = None
        self.frozen: PreTrainedModel | None = None
        self.keep_every, self.cache_bytes = keep_every, cache_bytes
        self._good: tuple[int, dict[str, Tensor]] = (0, {})  # updates done, weights
        self._micro = (0, -1)  # update, batch of it
        args = copy.copy(args)
        args.remove_unused_columns = False
        if isinstance(eval_dataset, Mapping):
            eval_dataset = Rows(eval_dataset)
        rows = Rows(forget)
        super().__init__(model, args, data_collator=together, train_dataset=rows, eval_dataset=eval_dataset, **more)
        self.add_callback(_Watch(self))
        self.model_accepts_loss_kwargs = False  # the loss is a mean over a batch, to be divided when batches accumulate

    def train(self, *args: Any, **more: Any) -> Any:
        """As `Trainer.train`, after the frozen model has been read."""
        if self.targets is None:
            self.targets = self._prepare()
        return super().train(*args, **more)

    @torch.no_grad()
    def _prepare(self) -> dict[str, Tensor]:
        """The objective's targets of all forget examples, (N, ...), on the CPU; {} if they are made batch by batch."""
        batch, parts, fits = self.train_dataset.batch, [], True
        if not self.objective.prepares:
            self.frozen = copy.deepcopy(self.model).requires_grad_(False).eval() if self.objective.prepares_retain else None
            return {}
        generator = torch.Generator().manual_seed(self.args.seed)
        training, self.frozen = self.model.training, self.model.eval()
        for rows in torch.arange(len(self.train_dataset)).split(self.args.per_device_train_batch_size):
            part = {name: values[rows].to(self.args.device) for name, values in batch.items()}
            found = self.objective.prepare(self._read(part), part["labels"], generator)
            size = sum(value.numel() * value.element_size() for value in found.values()) / len(rows)
            fits = size * len(self.train_dataset) <= self.cache_bytes
            if not fits and self.objective.draws:
                line = f"at least {size * len(self.train_dataset):.0f}: a random selection is drawn once and must be kept"
                raise ParameterError.of("cache_bytes", self.cache_bytes, line)
            if not fits:
                break
            parts.append({name: value.cpu() for name, value in found.items()})
        every_step = not fits or self.objective.prepares_retain
        self.frozen = copy.deepcopy(self.model).requires_grad_(False) if every_step else None
        self.model.train(training)
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if fits else {}

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The objective on a batch to forget; in evaluation the mean NLL of the answers."""
        rows = inputs.pop("row").cpu()
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"]
        live = self._output(model, inputs)
        loss = self.objective.loss(live, labels, self._targets(rows, inputs), self._retained(model, len(rows)))
        if not torch.isfinite(loss):
            self.stop(f"loss {loss.item()} in update {self.state.global_step + 1}", self.state.global_step + 1)
        self._keep()
        return (loss, {"loss": loss, "logits": live.logits}) if return_outputs else loss

    def _output(self, model: torch.nn.Module, batch: Mapping[str, Tensor]) -> Output:
        hidden = "hidden" in self.objective.needs
        out = model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            output_hidden_states=hidden,
            use_cache=False,
        )
        return Output(out.logits.float(), out.hidden_states[self.objective.layer].float() if hidden else None)

    @torch.no_grad()
    def _read(self, batch: Mapping[str, Tensor]) -> Output:
        """The frozen model on a batch."""
        with self.accelerator.autocast():
            return self._output(self.frozen, batch)

    def _targets(self, rows: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The targets of some rows: those kept, cut to the length of the batch, or else made now."""
        labels = batch["labels"]
        if not self.objective.prepares:
            return {}
        if not self.targets:
            return self.objective.prepare(self._read(batch), labels)
        whole, length = self.train_dataset.batch["labels"].shape[1], labels.shape[1]
        found = {}
        for name, values in self.targets.items():
            values = values[rows]
            for padded, wanted in ((whole, length), (whole - 1, length - 1)):
                if values.ndim > 1 and values.shape[1] == padded:
                    values = values[:, :wanted]
                    break
            found[name] = values.to(labels.device)
        return found

    def _retained(self, model: torch.nn.Module, count: int) -> Retained | None:
        """The model on `count` random examples to keep: others in every step, the same again after a resumption."""
        if self.retain is None:
            return None
        step = self.state.global_step
        self._micro = (step, self._micro[1] + 1 if self._micro[0] == step else 0)
        entropy = (self.args.seed, self.accelerator.process_index, *self._micro)
        rows = np.random.default_rng(entropy).integers(len(self.retain), size=count)
        batch = self._prepare_inputs(together([self.retain[int(row)] for row in rows]))
        targets = {}
        if self.objective.prepares_retain:
            targets = self.objective.prepare_retain(self._read(batch), batch["labels"])
        return Retained(self._output(model, batch), batch["labels"], targets)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        return self.accelerator.unwrap_model(self.model).named_parameters()

    @torch.no_grad()
    def _keep(self) -> None:
        step, kept = self._good
        now = self.state.global_step
        if not kept or (now > step and now % self.keep_every == 0):
            self._good = now, {name: value.detach().clone() for name, value in self.weights()}

    @torch.no_grad()
    def stop(self, what: str, update: int) -> None:
        """Put the last good weights back, save them, and raise."""
        step, kept = self._good
        where = "the loss of the model as it was given; nothing was trained"
        if kept:
            folder = Path(self.args.output_dir) / LAST_GOOD
            for name, value in self.weights():
                value.copy_(kept[name])
            self.save_model(str(folder))
            where = f"the weights after {step} updates are back in the model and in {folder}"
        raise Diverged(f"{what} of {self.objective.name}: {where}", update, step)


class _Watch(TrainerCallback):
    """Looks at the weights after every update, before anything is evaluated or saved."""

    def __init__(self, trainer: UnlearningTrainer):
        self.trainer = trainer

    @torch.no_grad()
    def on_step_end(self, args, state, control, **_):
        if not torch.stack([value.sum(dtype=torch.float32).isfinite() for _, value in self.trainer.weights()]).all():
            what = f"weights that are no finite numbers after update {state.global_step}"
            self.trainer.stop(what, state.global_step)


def _objective(spec: Objective | str) -> Objective:
    try:
        return objective(spec)
    except ParameterError:
        raise
    except ValueError as error:
        raise ParameterError(str(error)) from None
