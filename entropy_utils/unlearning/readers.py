"""TOFU and MUSE by name on the hub or from local files, in the columns of our own corpus; and their text as tokens.

TOFU (Maini et al. 2024, arXiv:2401.06121): one configuration per subset, split "train". MUSE (Shi et al. 2024,
arXiv:2407.06460): several splits per configuration. Everything comes out with columns question and answer, and where
the source has them paraphrased_question, paraphrased_answer and perturbed_answers (a list of wrong answers); a document
is an answer to the empty question. Of MUSE only the texts are read: its measures on documents and its few-shot prompts
are not here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from entropy_utils.lab.errors import DataUnavailable, ParameterError

from .answer_tokens import IGNORED, answer_targets
from .selection import chunks

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

ABOUT = {
    "locuslab/TOFU": "4000 questions about fictitious authors, MIT licence",
    "muse-bench/MUSE-News": "BBC news after August 2023, CC BY 4.0",
    "muse-bench/MUSE-Books": "Harry Potter novels and a fan encyclopedia, licence on its page",
}
SPELLINGS = {
    "question": ("question", "prompt"),
    "answer": ("answer", "gt", "text"),
    "paraphrased_question": ("paraphrased_question",),
    "paraphrased_answer": ("paraphrased_answer",),
    "perturbed_answers": ("perturbed_answers", "perturbed_answer"),
}
"""Our columns and what the data sets call them: TOFU perturbed_answer, MUSE prompt and gt (verbmem), text (raw)."""
MARKS = ("state.json", "dataset_dict.json")  # of a saved Dataset and DatasetDict
SUFFIXES = (".jsonl", ".json", ".parquet")
LOCAL = "a folder of Dataset.save_to_disk or with SUBSET.jsonl, .json or .parquet, or SUBSET/SPLIT.jsonl and so on"
TEMPLATES = ("auto", "chat", "plain", "none")
DATE = "10 Apr 2025"  # for templates that would write today's: the day that open-unlearning's models were trained with


def load_subset(dataset: str, subset: str = "forget10", split: str = "train") -> Dataset:
    """A subset of TOFU, MUSE or of a local copy, with columns question, answer and the paraphrased and wrong ones it has.

    `dataset` is a name on the hub, a folder or a file. In a folder `subset` is a file, a folder of splits, or a split of
    a saved `DatasetDict` (such as our own corpus). `DataUnavailable` says what is missing and what to put where;
    `ParameterError` names a column that is not there.
    """
    where = f"{dataset}, {subset}" + (f", {split}" if split != "train" else "")
    rows = _local(Path(dataset), subset, split) if Path(dataset).exists() else _public(dataset, subset, split)
    found = {}
    for column, spellings in SPELLINGS.items():
        if column == "paraphrased_question" and "perturbed_answer" in rows.column_names:
            continue  # TOFU's other answers are all to the plain question
        names = [name for name in spellings if name in rows.column_names]
        if names:
            found[names[0]] = column
    if "answer" not in found.values() or ("question" not in found.values() and "text" not in found):
        wanted = "question" if "answer" in found.values() else "answer"
        spelled = " or ".join(repr(name) for name in SPELLINGS[wanted])
        got = ", ".join(rows.column_names)
        raise ParameterError.of("dataset", where, f"one with column {spelled}; its columns are {got}")
    rows = rows.select_columns(list(found)).rename_columns({old: new for old, new in found.items() if old != new})
    if "question" not in rows.column_names:
        rows = rows.add_column("question", [""] * len(rows))
    if not len(rows):
        raise ParameterError.of("dataset", where, "at least one row")
    return rows


def encode_text(
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    answers: Sequence[str],
    template: str = "auto",
    max_length: int | None = None,
    system: str = "",
) -> dict[str, Tensor]:
    """input_ids, attention_mask and labels (N, L), right-padded; labels are -100 outside the answer and its end token.

    `template`: "chat", the tokenizer's own; "plain", "Question: ...", a new line and "Answer: ..."; "auto", chat where
    there is one; "none", the answer continues the question after a blank (documents, verbatim recall). The whole text is
    tokenized at once, as at training: a token that the prompt's end and the answer's start share belongs to the answer.
    Texts are cut at `max_length` tokens, documents too: `encode_documents` keeps all of them. `system`: what a chat template
    says before the question; a template that names the day gets `DATE`, so that a prompt is the same on every day.
    ParameterError: nothing to encode, no end token, or a question that leaves no room for its answer.
    """
    if not len(questions):
        raise ParameterError.of("questions", "none", "at least one question and answer")
    if template not in TEMPLATES:
        raise ParameterError.of("template", template, " or ".join(TEMPLATES))
    if tokenizer.eos_token_id is None:
        raise ParameterError.of("tokenizer", type(tokenizer).__name__, "one with an end token (eos_token)")
    if template == "auto":
        template = "chat" if tokenizer.chat_template else "plain"
    rows = []
    for question, answer in zip(questions, answers, strict=True):
        ids, start = _tokens(tokenizer, question, answer, template, system)
        ids = ids[:max_length]
        if max(start, 1) >= len(ids):
            allowed = f"more than the {max(start, 1)} tokens before the answer of {question!r}"
            raise ParameterError.of("max_length", max_length, allowed)
        rows.append((ids, start))
    width = max(len(ids) for ids, _ in rows)
    padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    batch = {
        "input_ids": torch.full((len(rows), width), padding),
        "attention_mask": torch.zeros((len(rows), width), dtype=torch.long),
        "labels": torch.full((len(rows), width), IGNORED),
    }
    for row, (ids, start) in enumerate(rows):
        tokens = torch.tensor(ids)
        batch["input_ids"][row, : len(ids)] = tokens
        batch["attention_mask"][row, : len(ids)] = 1
        batch["labels"][row, start : len(ids)] = tokens[start:]
    return batch


def encode_documents(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int = 512, context: int = 32
) -> dict[str, Tensor]:
    """Whole documents as a batch of chunks (N, L): input_ids, attention_mask, labels, for `UnlearningTrainer`.

    Each text is cut into chunks of `length` tokens without overlap, as `chunks` says: in all but the first of a text the
    first `context` tokens carry no loss. What then has no token to predict is left out. No end token is added.
    ParameterError: no text, a text without tokens, a length or context that cannot be.
    """
    if not len(texts):
        raise ParameterError.of("texts", "none", "at least one document")
    parts = [chunks(torch.tensor(tokenizer(text)["input_ids"], dtype=torch.long), length, context) for text in texts]
    batch = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    counted = answer_targets(batch["labels"])[1].any(-1)
    return {name: values[counted] for name, values in batch.items()}


def _tokens(
    tokenizer: PreTrainedTokenizerBase, question: str, answer: str, template: str, system: str
) -> tuple[list[int], int]:
    """The token ids of one example and the place of the answer's first one."""
    chat = template == "chat"
    if chat:
        asked = [{"role": "user", "content": question}]
        if system:
            asked = [{"role": "system", "content": system}, *asked]
        write = partial(tokenizer.apply_chat_template, tokenize=False, date_string=DATE)
        whole = write([*asked, {"role": "assistant", "content": answer}])
        prompt = write(asked, add_generation_prompt=True)
    else:
        prompt = f"Question: {question}\nAnswer: " if template == "plain" else question
        apart = bool(prompt) and not (prompt[-1:].isspace() or answer[:1].isspace())
        whole = prompt + " " * apart + answer
    ids = tokenizer(whole, add_special_tokens=not chat)["input_ids"]
    asked = tokenizer(prompt, add_special_tokens=not chat)["input_ids"]
    start = next((n for n, (a, b) in enumerate(zip(ids, asked, strict=False)) if a != b), min(len(ids), len(asked)))
    end = tokenizer.eos_token_id
    if end in ids[start:]:  # a template may write a new line after it
        return ids[: len(ids) - ids[::-1].index(end)], start
    return [*ids, end], start


def _files(folder: Path, subset: str, split: str) -> Iterator[Path]:
    for stem in (folder / subset / split, folder / subset):
        yield from (stem.with_name(stem.name + suffix) for suffix in SUFFIXES)


def _local(path: Path, subset: str, split: str) -> Dataset:
    from datasets import Dataset, DatasetDict, load_from_disk

    parts = (path / subset / split, path / subset, path)
    saved = next((part for part in parts if any((part / mark).is_file() for mark in MARKS)), None)
    file = path if path.is_file() else next((file for file in _files(path, subset, split) if file.is_file()), None)
    if file is None and saved is None:
        raise DataUnavailable(f"dataset '{path}': nothing there for subset '{subset}', split '{split}'; put there {LOCAL}")
    try:
        if file is not None:
            reader = Dataset.from_parquet if file.suffix == ".parquet" else Dataset.from_json
            return reader(str(file))
        found: Any = load_from_disk(str(saved))
    except Exception as error:  # pyarrow, pandas and datasets each have their own
        reason = _first_line(error)
        raise DataUnavailable(f"dataset '{file or saved}': cannot be read ({reason}); allowed: {LOCAL}") from None
    if isinstance(found, DatasetDict):
        names = [name for name in (subset, split) if name in found]
        if not names:
            raise ParameterError.of("subset", subset, " or ".join(found))
        found = found[names[0]]
    return found


def _public(name: str, subset: str, split: str) -> Dataset:
    from datasets import load_dataset
    from huggingface_hub.constants import HF_HOME

    try:
        return load_dataset(name, subset, split=split)
    except Exception as error:  # OSError, ValueError, and those of the network's libraries
        home = str(HF_HOME).replace(str(Path.home()), "~", 1)
        raise DataUnavailable(
            f"dataset '{name}', subset '{subset}', split '{split}' ({ABOUT.get(name, 'of the hub')}): neither on the "
            f"network nor under HF_HOME={home} ({_first_line(error)}); fetch it there with a network, or name {LOCAL}"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
