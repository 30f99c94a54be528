"""A random Qwen2 of a few thousand weights, its word-level tokenizer, a local data set, and trainers made of them.

Also a script: trains a few steps and writes the weights, alone or under a launcher with several processes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

WORDS = ("<eos>", "<pad>", *"0123456789", "+", "-", "=", *"abcdefghijklmnopqrstuvwxy")
LENGTH = 6


def save_model(folder: Path, seed: int = 0, max_positions: int = 64) -> Path:
    """A policy spread enough for its tokens to differ in probability, and its tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=max_positions, tie_word_embeddings=True, eos_token_id=0,
        pad_token_id=1, bos_token_id=None, initializer_range=0.3,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({word: token for token, word in enumerate(WORDS)}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="<eos>", pad_token="<pad>", unk_token="a", padding_side="left"
    ).save_pretrained(folder)
    return folder


def dataset(size: int = 16):
    """Sums of two digits: prompts of two lengths, answers as text."""
    from datasets import Dataset

    pairs = [(n % 10, (3 * n) % 7) for n in range(size)]
    prompts = [f"{a} + {b} =" if n % 3 else f"a b {a} + {b} =" for n, (a, b) in enumerate(pairs)]
    return Dataset.from_dict({"prompt": prompts, "answer": [str(a + b) for a, b in pairs]})


def reward(completions, **_):
    """1 for a response of which more than a quarter are digits: about half of the random ones."""
    words = [completion.replace("<eos>", "") for completion in completions]
    return [float(4 * sum(letter.isdigit() for letter in word) > len(word)) for word in words]


def written_rollout(prompts, trainer):
    """Responses that depend on the step and the place in the whole batch only, not on process or policy."""
    first = trainer.accelerator.process_index * len(prompts)
    rows = []
    for place in range(first, first + len(prompts)):
        g = torch.Generator().manual_seed(1000 * trainer.state.global_step + place)
        length = int(torch.randint(1, LENGTH + 1, (1,), generator=g))
        rows.append([*torch.randint(2, len(WORDS), (length - 1,), generator=g).tolist(), 0])
    tokenizer = trainer.processing_class
    return {"prompt_ids": [tokenizer(p)["input_ids"] for p in prompts], "completion_ids": rows, "logprobs": None}


def config(folder: Path, **changes):
    from trl import GRPOConfig

    settings = {
        "output_dir": str(folder), "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": LENGTH,
        "max_steps": 3, "learning_rate": 1e-2, "lr_scheduler_type": "constant", "report_to": "none", "use_cpu": True,
        "bf16": False, "save_strategy": "no", "logging_steps": 1, "disable_tqdm": True, "gradient_checkpointing": False,
        "dataloader_pin_memory": False, "seed": 3,
    }  # fmt: skip
    return GRPOConfig(**{**settings, **changes})


def make(
    model: Path, folder: Path, intervention="none", kind=None, written: bool = False, more: dict | None = None, **changes
):
    """A trainer of `kind` (by default ours) on the tiny model; `changes` are settings of its GRPOConfig."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from entropy_utils.policy_entropy.trl import EntropyGRPOTrainer

    kind = kind or EntropyGRPOTrainer
    ours = {"intervention": intervention} if kind is EntropyGRPOTrainer else {}
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    trainer = kind(
        model=loaded,
        reward_funcs=reward,
        args=config(folder, **changes),
        train_dataset=dataset(),
        processing_class=AutoTokenizer.from_pretrained(model, padding_side="left"),
        rollout_func=written_rollout if written else None,
        **ours,
        **(more or {}),
    )
    return trainer


def weights(trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten().double() for p in trainer.model.parameters()])


def unshuffled(batch):
    """Keep the order of a rollout, and let one process form the minibatches that two would form together."""
    import os

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return batch
    count = len(batch["prompt_ids"])
    order = torch.arange(count).view(2, -1, count // 4).transpose(0, 1).flatten()  # of 2 processes, in 2 minibatches
    return {name: x[order] if x.ndim else x for name, x in batch.items()}


def main(model: str, folder: str, jobs: str) -> None:
    from trl.trainer import grpo_trainer

    grpo_trainer.shuffle_sequence_dict = unshuffled
    for job in json.loads(jobs):
        trainer = make(Path(model), Path(folder), job["intervention"], written=True, **job["settings"])
        trainer.train()
        if trainer.accelerator.is_main_process:
            log = [row for row in trainer.state.log_history if "entropy" in row]
            torch.save({"weights": weights(trainer), "log": log}, Path(folder) / job["file"])


if __name__ == "__main__":
    main(*sys.argv[1:])
