"""A GPT-2 and a Llama of a few thousand weights that know a few facts, their tokenizer and the facts, saved in place."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from entropy_utils.unlearning.readers import encode_text

NAMES = ["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hal", "Ida", "Jon", "Kim", "Leo"]
TOWNS = ["Oslo", "Rome", "Lima", "Cairo", "Delhi", "Quito"]
SUBSETS = {
    "forget10": slice(0, 3), "retain90": slice(3, 9), "holdout10": slice(9, 12), "forget10_perturbed": slice(0, 3),
    "retain_perturbed": slice(3, 6), "real_authors_perturbed": slice(5, 7), "world_facts_perturbed": slice(7, 9),
}  # fmt: skip
WORDS = ["<eos>", "<pad>", "Question", "Answer", ":", "?", ".", "Where", "was", "born", "in", *NAMES, *TOWNS]


def facts() -> list[dict]:
    found = []
    for n, name in enumerate(NAMES):
        town, wrong = TOWNS[n * 5 % 6], [TOWNS[(n * 5 + shift) % 6] for shift in (1, 2)]
        row = {"question": f"Where was {name} born?", "answer": f"{name} was born in {town}."}
        row |= {"paraphrased_answer": row["answer"], "perturbed_answer": [f"{name} was born in {town}." for town in wrong]}
        found.append(row)
    return found


def save_data(folder: Path) -> Path:
    """The subsets as TOFU names them, one file each."""
    for name, rows in SUBSETS.items():
        found = facts()[rows]
        if "perturbed" not in name:
            found = [{name: row[name] for name in ("question", "answer")} for row in found]
        (folder / f"{name}.json").write_text(json.dumps(found))
    return folder


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: token for token, word in enumerate(WORDS)}, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", pad_token="<pad>", unk_token="<pad>")


def untrained(kind: str):
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokens = {"vocab_size": len(WORDS), "eos_token_id": 0, "bos_token_id": None, "pad_token_id": 1}
    if kind == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 32, "tie_word_embeddings": False}
        sizes |= {"initializer_range": 0.1, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        return GPT2LMHeadModel(GPT2Config(**tokens, **sizes))
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(**tokens, **sizes, max_position_embeddings=32, initializer_range=0.1, rope_theta=32.0)
    return LlamaForCausalLM(config)


def save_model(folder: Path, kind: str = "llama", rows: slice = slice(0, 9), steps: int = 120) -> Path:
    """A model trained on the answers of some of the facts, with its tokenizer."""
    tok, known, model = tokenizer(), facts()[rows], untrained(kind)
    batch = encode_text(tok, [row["question"] for row in known], [row["answer"] for row in known])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder
