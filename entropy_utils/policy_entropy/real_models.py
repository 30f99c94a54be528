"""GRPO with any intervention on a real model and a data set with checkable answers, as an `Experiment`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.experiment import Experiment, Record
from entropy_utils.language_model.trainer_records import trainer_records

from .interventions import AnyIntervention, NoIntervention
from .verifiable_rewards import LOCAL, SOURCES, known, load_model, questions, reward_of

if TYPE_CHECKING:
    from .trl_trainer import EntropyGRPOTrainer


class RealGRPO(Experiment):
    """Train a causal language model with TRL's GRPO and an intervention; one record per rollout.

    Under `accelerate launch` or `torchrun` every process runs its part of the same experiment. On a GPU the computation
    is in bfloat16 with gradient checkpointing; token statistics are float32.
    """

    profiles: ClassVar[dict[str, dict]] = {"hub": {}}

    model: str = Field("Qwen/Qwen2.5-0.5B-Instruct", min_length=1, description="name on the hub, or a local folder")
    dataset: str = Field("openai/gsm8k", min_length=1, description="openai/gsm8k, open-r1/DAPO-Math-17k-Processed or a path")
    split: str = Field("train", min_length=1, description="split of the data set")
    intervention: AnyIntervention = Field(NoIntervention(), description="method acting on the entropy")
    steps: int = Field(100, ge=1, le=100_000, description="rollouts", json_schema_extra={"unit": "rollouts"})
    prompts: int = Field(32, ge=1, le=65536, description="prompts per rollout")
    responses: int = Field(8, ge=2, le=1024, description="responses per prompt (the group)")
    minibatches: int = Field(4, ge=1, le=64, description="updates per rollout and inner epoch")
    epochs: int = Field(1, ge=1, le=16, description="inner epochs over one rollout")
    sequences: int = Field(8, ge=1, le=1024, description="responses per process and forward pass")
    lr: float = Field(1e-6, gt=0, le=1, description="learning rate, constant", json_schema_extra={"scale": "log"})
    beta: float = Field(0.0, ge=0, le=100, description="weight of the divergence from the first policy, per nat")
    loss_type: Literal["dapo", "bnpo", "grpo", "dr_grpo"] = Field("dapo", description="what the token losses are divided by")
    scale_rewards: Literal["group", "batch", "none"] = Field(
        "group", description="standard deviation rewards are divided by"
    )
    grad_clip: float = Field(1.0, gt=0, le=1e6, description="largest gradient norm")
    temperature: float = Field(1.0, gt=0, le=10, description="of sampling and of all statistics")
    max_prompt: int = Field(
        512, ge=1, le=100_000, description="longer prompts are left out", json_schema_extra={"unit": "tokens"}
    )
    max_response: int = Field(
        1024, ge=1, le=100_000, description="responses are cut here", json_schema_extra={"unit": "tokens"}
    )
    evaluate_every: int = Field(10, ge=0, le=100_000, description="rollouts between greedy evaluations, 0: never")
    evaluation_prompts: int = Field(128, ge=1, le=100_000, description="last prompts of the data set, kept out of training")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of the weights and the optimiser's moments")
    device: Literal["auto", "cpu"] = Field("auto", description="auto takes a GPU if there is one")
    output: str = Field("", description="folder for checkpoints; empty: keep nothing")
    save_every: int = Field(20, ge=1, le=100_000, description="rollouts between checkpoints")
    resume: bool = Field(False, description="go on from the last checkpoint in `output`")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        total, processes = self.prompts * self.responses, int(os.environ.get("WORLD_SIZE", "1"))
        part = self.minibatches * self.sequences * processes
        if total % part:
            raise ValueError(
                f"prompts {self.prompts} x responses {self.responses} = {total}, allowed: a multiple of minibatches "
                f"{self.minibatches} x sequences {self.sequences} x processes {processes} = {part}"
            )
        if "reference" in self.intervention.uses and self.beta:
            raise ValueError(f"beta {self.beta}: allowed is 0, {self.intervention.name} has a penalty of its own")
        if self.resume and not self.output:
            raise ValueError("resume True without output: allowed with the folder that holds the checkpoints")
        if not known(self.dataset):
            raise ValueError(f"dataset '{self.dataset}': allowed are {', '.join(SOURCES)}, or {LOCAL}")
        self.intervention.check(2**31, self.steps)  # the vocabulary is known when the model is there
        return self

    def length(self) -> int:
        return self.steps

    @property
    def updates(self) -> int:
        """Optimisation steps per rollout."""
        return self.minibatches * self.epochs

    def run(self) -> Iterator[Record]:
        """Train while the records are read; closing the generator stops training after the update under way.

        Fields of a record: step (of the rollout, from 0), seed, reward (mean over all responses), pass_at_k (share of
        prompts with a right response), entropy (nats, mean over tokens during the updates), accuracy (greedy, after the
        updates, every `evaluate_every` rollouts, else None), acted_on, accepted, memory, clip_ratio, kl (None without
        beta), length (tokens per response), loss, grad_norm. A resumed run starts at the rollout after the checkpoint.
        """
        with tempfile.TemporaryDirectory() as nowhere:
            folder = Path(self.output or nowhere)
            checkpoint = self._checkpoint(folder)
            trainer, exam = self.trainer(folder)
            yield from self._records(trainer, exam, checkpoint)

    def _checkpoint(self, folder: Path) -> str | None:
        from transformers.trainer_utils import get_last_checkpoint

        found = get_last_checkpoint(str(folder)) if folder.is_dir() else None
        if self.resume and found is None:
            raise ParameterError.of("output", self.output, "a folder with a checkpoint to resume from")
        if found and not self.resume:
            raise ParameterError.of("output", self.output, "a folder without checkpoints, or resume")
        return found

    def trainer(self, folder: Path) -> tuple[EntropyGRPOTrainer, Exam]:
        """The trainer and the evaluation, with model and data loaded; nothing has been trained."""
        from .trl_trainer import EntropyGRPOTrainer, GRPOConfig

        cpu = self.device == "cpu" or not torch.cuda.is_available()
        rows = questions(self.dataset, self.split)
        model, tokenizer = load_model(self.model, getattr(torch, self.dtype))
        if tokenizer.chat_template:
            rows = rows.map(lambda row: {"prompt": [{"role": "user", "content": row["prompt"]}]})
        rows = rows.filter(lambda row: _prompt_length(tokenizer, row["prompt"]) <= self.max_prompt)
        held_out = self.evaluation_prompts if self.evaluate_every else 0
        if len(rows) < self.prompts + held_out:
            least = f"at least {self.prompts} prompts + {held_out} for evaluation of at most {self.max_prompt} tokens"
            raise ParameterError.of("dataset", f"{self.dataset}: {len(rows)} rows", least)
        per_update = self.prompts * self.responses // self.minibatches
        world = int(os.environ.get("WORLD_SIZE", "1"))
        args = GRPOConfig(
            output_dir=str(folder),
            seed=self.seed,
            max_steps=self.steps * self.updates,
            per_device_train_batch_size=self.sequences,
            gradient_accumulation_steps=per_update // (self.sequences * world),
            generation_batch_size=self.prompts * self.responses,
            num_generations=self.responses,
            num_iterations=self.epochs,
            max_completion_length=self.max_response,
            learning_rate=self.lr,
            lr_scheduler_type="constant",
            max_grad_norm=self.grad_clip,
            beta=self.beta,
            loss_type=self.loss_type,
            scale_rewards=self.scale_rewards,
            temperature=self.temperature,
            logging_steps=self.updates,
            save_strategy="steps" if self.output else "no",
            save_steps=self.save_every * self.updates,
            save_total_limit=2,
            report_to="none",
            disable_tqdm=True,
            use_cpu=cpu,
            bf16=not cpu,
            gradient_checkpointing=not cpu,
            ddp_backend="gloo" if cpu and world > 1 else None,
            dataloader_pin_memory=not cpu,
        )
        reward = reward_of(self.dataset)
        trainer = EntropyGRPOTrainer(
            model=model,
            reward_funcs=reward,
            args=args,
            train_dataset=rows.select(range(len(rows) - held_out)),
            processing_class=tokenizer,
            intervention=self.intervention,
        )
        return trainer, Exam(rows.select(range(len(rows) - held_out, len(rows))), reward)

    def _records(self, trainer: EntropyGRPOTrainer, exam: Exam, checkpoint: str | None) -> Iterator[Record]:
        def records(updates: int, logs: dict) -> Iterator[Record]:
            if "entropy" in logs:
                step, every = updates // self.updates - 1, self.evaluate_every
                asked = every and (step % every == 0 or step == self.steps - 1)
                yield self.record(step, exam.accuracy(trainer) if asked else None, logs)

        yield from trainer_records(trainer, records, checkpoint)

    def record(self, step: int, accuracy: float | None, logs: dict) -> Record:
        """One record from what the trainer logs after a rollout."""
        names = {"length": "completions/mean_length", "clip_ratio": "clip_ratio/region_mean"}
        fields = ("reward", "pass_at_k", "entropy", "acted_on", "accepted", "memory", "clip_ratio", "kl", "length", "loss")
        numbers = {name: logs.get(names.get(name, name)) for name in (*fields, "grad_norm")}
        return {"step": step, "seed": self.seed, **numbers, "accuracy": accuracy}


class Exam:
    """Fixed questions, answered greedily."""

    def __init__(self, rows, reward):
        self.rows, self.reward = rows, reward

    @torch.no_grad()
    def accuracy(self, trainer: EntropyGRPOTrainer) -> float:
        """Share of right greedy answers, over all processes."""
        process, tokenizer = trainer.accelerator, trainer.processing_class
        model = process.unwrap_model(trainer.model)
        rows = self.rows.select(range(process.process_index, len(self.rows), process.num_processes))
        right, size = 0.0, trainer.args.per_device_train_batch_size
        training = model.training
        model.eval()
        for first in range(0, len(rows), size):
            part = rows[first : first + size]
            texts = [_as_text(tokenizer, prompt) for prompt in part["prompt"]]
            asked = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(process.device)
            with process.autocast():
                tokens = model.generate(
                    input_ids=asked["input_ids"],
                    attention_mask=asked["attention_mask"],
                    do_sample=False,
                    max_new_tokens=trainer.max_completion_length,
                    eos_token_id=trainer.eos_token_ids,
                    pad_token_id=tokenizer.pad_token_id,
                    temperature=None, top_p=None, top_k=None,
                )  # fmt: skip
            answers = tokenizer.batch_decode(tokens[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
            right += sum(self.reward(completions=answers, answer=part["answer"]))
        model.train(training)
        counted = torch.tensor([right, float(len(rows))], device=process.device)
        right, count = process.reduce(counted, "sum").tolist()
        return right / count


def _as_text(tokenizer, prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    return tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)


def _prompt_length(tokenizer, prompt) -> int:
    return len(tokenizer(_as_text(tokenizer, prompt), add_special_tokens=False)["input_ids"])
