"""Questions with checkable answers: two public sets by name, local files, and the rewards of the responses to them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entropy_utils.lab.errors import DataUnavailable, ParameterError

if TYPE_CHECKING:
    from datasets import Dataset

BOXED = "\nReason step by step and put the final answer into \\boxed{}."
LOCAL = "a folder of Dataset.save_to_disk, or a .json, .jsonl or .parquet file, with text columns prompt and answer"


@dataclass(frozen=True)
class Source:
    """A public set: its configuration, its two columns, and what it is."""

    configuration: str
    prompt: str
    answer: str
    about: str


SOURCES = {
    "openai/gsm8k": Source("main", "question", "answer", "7473 problems, MIT licence"),
    "open-r1/DAPO-Math-17k-Processed": Source("en", "prompt", "solution", "about 14 000 problems, licence on its page"),
}


def known(dataset: str) -> bool:
    """Whether a data set is one of the public ones or a local path that is there."""
    return dataset in SOURCES or Path(dataset).exists()


def questions(dataset: str, split: str) -> Dataset:
    """Columns prompt (text) and answer (text, the final answer alone). `DataUnavailable` says what to put where."""
    rows = _local(Path(dataset), split) if Path(dataset).exists() else _public(dataset, split)
    source = SOURCES.get(dataset, Source("", "prompt", "answer", ""))
    for column in (source.prompt, source.answer):
        if column not in rows.column_names:
            raise ParameterError.of("dataset", dataset, f"one with column '{column}', got {', '.join(rows.column_names)}")
    tail = BOXED if dataset in SOURCES else ""

    def row(example: dict[str, Any]) -> dict[str, str]:
        answer = str(example[source.answer])
        if dataset == "openai/gsm8k":  # a worked solution that ends in "#### 1,200"
            answer = answer.rpartition("####")[2].strip().replace(",", "")
        return {"prompt": str(example[source.prompt]) + tail, "answer": answer}

    return rows.map(row, remove_columns=rows.column_names)


def _local(path: Path, split: str) -> Dataset:
    from datasets import Dataset, DatasetDict, load_from_disk

    readers = {".json": Dataset.from_json, ".jsonl": Dataset.from_json, ".parquet": Dataset.from_parquet}
    try:
        found = load_from_disk(str(path)) if path.is_dir() else readers[path.suffix](str(path))
    except KeyError:
        raise ParameterError.of("dataset", str(path), LOCAL) from None
    except (OSError, ValueError) as error:
        raise DataUnavailable(f"dataset '{path}': {_first_line(error)}; allowed: {LOCAL}") from None
    if isinstance(found, DatasetDict):
        if split not in found:
            raise ParameterError.of("split", split, " or ".join(found))
        found = found[split]
    return found


def _public(name: str, split: str) -> Dataset:
    from datasets import load_dataset
    from huggingface_hub.constants import HF_HOME

    source = SOURCES[name]
    try:
        return load_dataset(name, source.configuration, split=split)
    except (OSError, ValueError) as error:
        raise DataUnavailable(
            f"dataset '{name}' ({source.about}): neither on the network nor under HF_HOME={_home(HF_HOME)} "
            f"({_first_line(error)}); fetch it there with a network, or name {LOCAL}"
        ) from None


def load_model(name: str, dtype: Any) -> tuple[Any, Any]:
    """Model and tokenizer by name or local folder; `DataUnavailable` says what to put where."""
    from huggingface_hub.constants import HF_HOME
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left", truncation_side="left")
        return AutoModelForCausalLM.from_pretrained(name, dtype=dtype), tokenizer
    except (OSError, ValueError) as error:
        raise DataUnavailable(
            f"model '{name}': neither a local folder, nor on the network, nor under HF_HOME={_home(HF_HOME)} "
            f"({_first_line(error)}); fetch it there with a network, or name a folder of save_pretrained"
        ) from None


def _home(path: str) -> str:
    return str(path).replace(str(Path.home()), "~", 1)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def reward_of(dataset: str) -> Callable[..., list[float]]:
    """The reward function of a data set, as TRL calls it: 1.0 for a right final answer, else 0.0."""
    judge = right_number if dataset in SOURCES else right_text

    def right(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
        return [float(judge(_text(c), a)) for c, a in zip(completions, answer, strict=True)]

    return right


def _text(completion: Any) -> str:
    """The text of a completion, also of a conversation's last message."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"] or "")


def right_text(completion: str, answer: str) -> bool:
    """Whether completion and answer are the same text but for blanks."""
    return "".join(completion.split()) == "".join(answer.split())


def right_number(completion: str, answer: str) -> bool:
    """Whether the last \\boxed{} of a completion equals the answer: by math-verify if it is installed, else as text."""
    boxed = last_boxed(completion)
    if boxed is None:
        return False
    try:
        from math_verify import parse, verify
    except ModuleNotFoundError:
        return _plain(boxed) == _plain(answer)
    # no time limits: they need signals, which only the main thread gets
    gold, found = (parse(f"\\boxed{{{x}}}", parsing_timeout=None) for x in (answer, boxed))
    return bool(verify(gold, found, timeout_seconds=None))


def last_boxed(text: str) -> str | None:
    """The content of the last \\boxed{...} whose braces close, or None."""
    for start in reversed([match.end() for match in re.finditer(r"\\boxed\{", text)]):
        depth = 1
        for place in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                return text[start:place]
    return None


def _plain(text: str) -> str:
    return re.sub(r"[\s$,]|\\[,;!]|\.0+$", "", text)
