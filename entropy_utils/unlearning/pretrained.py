"""Unlearning on a real model and real data, both by name on the hub or by local path, as an `Experiment`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from entropy_utils.lab.errors import DataUnavailable, ParameterError
from entropy_utils.lab.experiment import Experiment, Record
from entropy_utils.language_model.trainer_records import trainer_records

from .diverged import Diverged
from .evaluation import KEPT, Evaluation
from .objectives import AnyObjective, Shred
from .readers import encode_text, load_subset

if TYPE_CHECKING:
    from .trainer import UnlearningTrainer


LONGER = 200  # tokens by which a generated answer may exceed the right one, as open-unlearning's longest


class PretrainedUnlearning(Experiment):
    """Unlearn a subset of TOFU, or of a local copy in its layout, with any objective; one record per evaluation.

    The defaults are the 1B model and the subsets of the paper's TOFU grid. A local folder of `datasets.save_to_disk` in
    the columns of our own corpus works as well: name its splits.

    Made for questions and answers. A document (a row without question, MUSE's texts) counts as one answer and is cut at
    `max_length` tokens: what follows is not unlearned, and `evaluated` has no subset of MUSE, whose own measures are not
    here. To unlearn whole documents give `encode_documents` of them to `UnlearningTrainer`.
    """

    profiles: ClassVar[dict[str, dict]] = {"hub": {}}

    model: str = Field(
        "open-unlearning/tofu_Llama-3.2-1B-Instruct_full", min_length=1, description="name on the hub, or a local folder"
    )
    retrained: str = Field(
        "open-unlearning/tofu_Llama-3.2-1B-Instruct_retain90",
        description="model trained without the forget set, for PrivLeak and forget quality; empty: none",
    )
    dataset: str = Field("locuslab/TOFU", min_length=1, description="name on the hub, or a local folder")
    forget: str = Field("forget10", min_length=1, description="subset to forget")
    retain: str = Field("retain90", min_length=1, description="subset that objectives with a retain set draw from")
    holdout: str = Field("holdout10", description="subset never trained on, for the membership attack; empty: none")
    evaluated: tuple[str, ...] = Field(
        ("forget10_perturbed", "retain_perturbed", "real_authors_perturbed", "world_facts_perturbed"),
        min_length=4,
        max_length=4,
        description="subsets with wrong answers: forget, retain, real authors, world facts",
    )
    objective: AnyObjective = Field(Shred(share=0.5, top=64), description="what is minimised")
    steps: int = Field(2000, ge=1, le=1_000_000, description="updates", json_schema_extra={"unit": "updates"})
    batch: int = Field(2, ge=1, le=4096, description="forget examples per process and update")
    accumulation: int = Field(1, ge=1, le=4096, description="batches per update")
    lr: float = Field(1e-5, gt=0, le=1, description="peak learning rate of AdamW", json_schema_extra={"scale": "log"})
    schedule: Literal["linear", "constant"] = Field("linear", description="of the learning rate (the paper's: not found)")
    weight_decay: float = Field(0.01, ge=0, le=1, description="of AdamW")
    template: Literal["auto", "chat", "plain", "none"] = Field("auto", description="around question and answer")
    system: str = Field("You are a helpful assistant.", description="what a chat template says first; empty: its own")
    max_length: int = Field(
        512, ge=2, le=1_000_000, description="longer texts are cut", json_schema_extra={"unit": "tokens"}
    )
    evaluate_every: int = Field(500, ge=1, le=1_000_000, description="updates between evaluations")
    evaluation_rows: int = Field(400, ge=1, le=1_000_000, description="largest number of rows per subset evaluated")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of the weights and the optimiser's moments")
    device: Literal["auto", "cpu"] = Field("auto", description="auto takes a GPU if there is one")
    output: str = Field("", description="folder for checkpoints and the last good state; empty: a temporary one")
    save_every: int = Field(500, ge=1, le=1_000_000, description="updates between checkpoints")
    resume: bool = Field(False, description="go on from the last checkpoint in `output`")

    @model_validator(mode="after")
    def _resumable(self) -> Self:
        if self.resume and not self.output:
            raise ValueError("resume True without output: allowed with the folder that holds the checkpoints")
        return self

    def length(self) -> int:
        return len(self._evaluated_at)

    @property
    def _evaluated_at(self) -> list[int]:
        return sorted({*range(0, self.steps, self.evaluate_every), self.steps})

    def run(self) -> Iterator[Record]:
        """Train while the records are read; closing the generator stops training after the update under way.

        A record: step (updates done, 0 is the model as loaded), seed, loss (of the last update; None at 0) and the
        numbers of `Evaluation`, with utility as TOFU normalises it. A resumed run starts after its checkpoint. Where a
        loss or weights are no numbers, the record of the last good state comes last (loss None), then `Diverged`, which
        names the step and where that state lies: also without `output`, when a temporary folder is left with it.
        """
        folder = Path(self.output or tempfile.mkdtemp(prefix="unlearning-"))
        try:
            checkpoint, seen = self._checkpoint(folder), 0
            trainer, evaluation = self.trainer(folder)
            if checkpoint is None:
                yield from self._record(trainer, evaluation, 0)
            try:
                for record in self._training(trainer, evaluation, checkpoint):
                    yield record
                    seen = record["step"]
            except Diverged as error:
                if error.good > seen:
                    yield from self._record(trainer, evaluation, error.good)
                raise
        finally:
            if not self.output and not (folder / "last_good").is_dir():
                shutil.rmtree(folder)

    def _checkpoint(self, folder: Path) -> str | None:
        from transformers.trainer_utils import get_last_checkpoint

        found = get_last_checkpoint(str(folder)) if folder.is_dir() else None
        if self.resume and found is None:
            raise ParameterError.of("output", self.output, "a folder with a checkpoint to resume from")
        if found and not self.resume:
            raise ParameterError.of("output", self.output, "a folder without checkpoints, or resume")
        return found

    @property
    def _trained(self) -> dict[str, str]:
        """The subsets that training reads: no retain set where the objective needs none."""
        return {"forget": self.forget} | ({"retain": self.retain} if self.objective.needs_retain else {})

    def trainer(self, folder: Path) -> tuple[UnlearningTrainer, Evaluation]:
        """The trainer and the evaluation, with models and data loaded; nothing has been trained."""
        from transformers import TrainingArguments

        from .trainer import UnlearningTrainer

        cpu = self.device == "cpu" or not torch.cuda.is_available()
        subsets = {name: load_subset(self.dataset, name) for name in (*self._trained.values(), *self.evaluated)}
        texts = {name: subsets[subset] for name, subset in zip(("forget", *KEPT), self.evaluated, strict=True)}
        for name, rows in texts.items():
            if "perturbed_answers" not in rows.column_names:
                raise ParameterError.of("evaluated", self.evaluated, f"for {name} one with a column of wrong answers")
        if self.holdout:
            texts["holdout"] = load_subset(self.dataset, self.holdout)
        model, tokenizer = self._load(self.model)
        longest = getattr(model.config, "max_position_embeddings", None)
        if longest is not None and self.max_length > longest:
            raise ParameterError.of("max_length", self.max_length, f"at most the model's {longest} positions")
        encode = partial(encode_text, tokenizer, template=self.template, max_length=self.max_length, system=self.system)
        if not cpu:
            model.gradient_checkpointing_enable()
        retrained = self._load(self.retrained)[0] if self.retrained else None
        evaluation = Evaluation(
            texts, tokenizer, reference=retrained if cpu or retrained is None else retrained.to("cuda"), encode=encode,
            rows=dict.fromkeys(texts, self.evaluation_rows), normalised=True, extra=LONGER,
        )  # fmt: skip
        args = TrainingArguments(
            output_dir=str(folder),
            seed=self.seed,
            max_steps=self.steps,
            per_device_train_batch_size=self.batch,
            gradient_accumulation_steps=self.accumulation,
            learning_rate=self.lr,
            lr_scheduler_type=self.schedule,
            weight_decay=self.weight_decay,
            logging_steps=1,
            save_strategy="steps" if self.output else "no",
            save_steps=self.save_every,
            save_total_limit=2,
            report_to="none",
            disable_tqdm=True,
            use_cpu=cpu,
            bf16=not cpu,
            dataloader_pin_memory=not cpu,
        )
        batches = {role: encode(subsets[name]["question"], subsets[name]["answer"]) for role, name in self._trained.items()}
        trainer = UnlearningTrainer(model, args, objective=self.objective, processing_class=tokenizer, **batches)
        return trainer, evaluation

    def _load(self, name: str) -> tuple[Any, Any]:
        """Model and tokenizer by name or local folder; `DataUnavailable` says what to put where."""
        from huggingface_hub.constants import HF_HOME
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
            return AutoModelForCausalLM.from_pretrained(name, dtype=getattr(torch, self.dtype)), tokenizer
        except (OSError, ValueError) as error:
            home = str(HF_HOME).replace(str(Path.home()), "~", 1)
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
            raise DataUnavailable(
                f"model '{name}': neither a local folder, nor on the network, nor under HF_HOME={home} ({reason}); "
                "fetch it there with a network, or name a folder of save_pretrained"
            ) from None

    def _record(
        self, trainer: UnlearningTrainer, evaluation: Evaluation, step: int, loss: float | None = None
    ) -> Iterator[Record]:
        model = trainer.accelerator.unwrap_model(trainer.model)
        for found in evaluation(model):
            yield {"step": step, "seed": self.seed, "loss": loss, **found}

    def _training(self, trainer: UnlearningTrainer, evaluation: Evaluation, checkpoint: str | None) -> Iterator[Record]:
        def records(step: int, logs: dict) -> Iterator[Record]:
            if "loss" in logs and step in self._evaluated_at:
                yield from self._record(trainer, evaluation, step, logs["loss"])

        yield from trainer_records(trainer, records, checkpoint)
