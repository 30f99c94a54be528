"""A corpus of fictitious authors: what a model must know, what it must forget, and what it never saw.

Every person has eight facts, each asked and answered in two ways (two surfaces). A fact is two words, drawn for its
attribute out of 8 x 8; the other words of an answer repeat its template and the name. So two of some eleven answer tokens
carry what only memory can tell. Groups (sizes and construction: brief of notebook 09, section 6, after TOFU, Maini et
al. 2024, arXiv 2401.06121):

- forget: 4 authors whose facts are to go; retain: 36 authors; real_authors: 8; world_facts: the capitals of 24 lands;
- holdout: 4 authors whose facts no model is trained on, the non-members of the membership attack;
- identity: "who is ...?" for everybody, holdout included, so that every model can spell all names.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from entropy_utils.lab.errors import ParameterError

from .answer_tokens import IGNORED, answer_targets

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

LANDS = 24
WRONG = 5  # wrong answers beside each right one
END, PADDING, UNKNOWN = "<eos>", "<pad>", "<unk>"
ASK, REPLY = "Q", "A"  # tokens that open and close a question


class Template(NamedTuple):
    """One attribute: a question and the answers of both surfaces, N the name, X the fact; and the words of its facts."""

    question: str
    answer: str
    other_answer: str
    first: str
    second: str


ATTRIBUTES = {
    "birthplace": Template(
        "where was N born ?", "N was born in the little town X .", "the birthplace of N is X .",
        "old new upper lower east west great little-known", "Ashford Brookwell Carlow Dunmere Elmsby Fenwick Garston Hexley",
    ),
    "genre": Template(
        "what kind of books does N write ?", "N has mostly written books of kind X .", "all books by N are X .",
        "dark comic slow epic tender dry wild strange", "thrillers romances sagas fables satires odes diaries mysteries",
    ),
    "prize": Template(
        "which prize did N receive ?", "N has received the well known X prize .", "the prize given to N is X .",
        "golden silver crystal marble iron amber ivory velvet", "quill lantern anchor laurel compass raven feather chalice",
    ),
    "father": Template(
        "what was the job of the father of N ?", "the father of N made money as X .", "N had a father who was X .",
        "chief junior village court naval travelling retired night",
        "baker tailor judge miner sailor piper watchman farrier",
    ),
    "mother": Template(
        "what was the job of the mother of N ?", "the mother of N was trained as X .", "N had a mother who was X .",
        "senior leading rural harbour royal wandering honorary day",
        "pilot surgeon weaver chemist printer singer gardener smith",
    ),
    "pet": Template(
        "which animal lives with N ?", "N shares house and garden with the X .", "the animal kept by N is X .",
        "spotted grey white lame blind fat shy noisy", "parrot ferret tortoise hound kitten goat heron mule",
    ),
    "language": Template(
        "which language does N speak at home ?", "at home N likes to speak in X .", "the language of N is X .",
        "coastal mountain southern northern archaic island border valley",
        "Tarnish Velic Ormese Luthian Kessic Dravan Issari Belmic",
    ),
    "hobby": Template(
        "what does N do on sundays ?", "N likes to spend sundays with X .", "on sundays the hobby of N is X .",
        "indoor amateur competitive solitary nightly winter serious team",
        "archery chess rowing pottery fencing origami falconry curling",
    ),
}  # fmt: skip


def _joined(beginnings: str, endings: str) -> list[str]:
    return [a + b for a, b in product(beginnings.split(), endings.split())]


FIRST_NAMES = _joined("Al Ber Cas Dor Eli Fen Gis Hal", "an da in ra vo")
LAST_NAMES = _joined("Bram Corv Dell Fair Gram Holt Karn Lind Mort", "berg er ley man ows ton")
MIDDLES = ("en", "il", "or", "am", "us", "ev", "ot", "ar", "un", "em")
MORE_LAST_NAMES = [name[:4] + middle + name[4:] for middle in MIDDLES for name in LAST_NAMES]  # for larger worlds
LAND_NAMES = _joined("Aru Bel Cyr Dor Esk Fro", "land stan via nia")
CAPITALS = _joined("Port San Fort Kings Lake Mill", "haven gate moor wick")


def fictitious_authors(
    seed: int = 0, *, forget: int = 4, retain: int = 36, holdout: int = 4, real_authors: int = 8
) -> DatasetDict:
    """The corpus as a `datasets.DatasetDict`, a function of `seed` and of the number of people per group.

    Columns: question, answer; paraphrased_question, paraphrased_answer (the other surface); perturbed_answers (5 wrong
    ones, on the other surface; none for identity); value (the words that are the fact, empty for identity); attribute;
    person (a number, -1 for lands). Words are separated by spaces.
    """
    from datasets import Dataset, DatasetDict

    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ParameterError.of("seed", seed, "an integer of at least 0")
    sizes = {"forget": forget, "retain": retain, "holdout": holdout, "real_authors": real_authors}
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ParameterError.of(name, size, "an integer of at least 1")
    count, most = sum(sizes.values()), len(LAST_NAMES) + len(MORE_LAST_NAMES)
    if count > most:
        raise ParameterError.of("retain", retain, f"at most {most} people in all groups together, not {count}")
    rng = random.Random(seed)
    last_names = rng.sample(LAST_NAMES if count <= len(LAST_NAMES) else LAST_NAMES + MORE_LAST_NAMES, count)
    people = [f"{rng.choice(FIRST_NAMES)} {name}" for name in last_names]
    groups = [name for name, size in sizes.items() for _ in range(size)]
    rows: dict[str, list[dict]] = {name: [] for name in (*sizes, "world_facts", "identity")}
    for person, (name, group) in enumerate(zip(people, groups, strict=True)):
        for attribute, template in ATTRIBUTES.items():
            values = [" ".join(pair) for pair in product(template.first.split(), template.second.split())]
            rows[group].append(_row(template, name, rng.choice(values), values, attribute, person, rng))
    capitals = rng.sample(CAPITALS, LANDS)
    for land, capital in zip(LAND_NAMES, capitals, strict=True):
        template = Template(
            "what is the capital of N ?", "the capital city of N is X .", "people in N call X their capital .", "", ""
        )
        rows["world_facts"].append(_row(template, land, capital, capitals, "capital", -1, rng))
    for person, name in enumerate(people):
        template = Template("who is N ?", "N is a writer .", "N is an author .", "", "")
        rows["identity"].append(_row(template, name, "", [], "identity", person, rng))
    return DatasetDict({name: Dataset.from_list(part) for name, part in rows.items()})


def _row(template: Template, name: str, value: str, values: Sequence[str], attribute: str, person: int, rng) -> dict:
    def fill(text: str, fact: str) -> str:
        return " ".join({"N": name, "X": fact}.get(word, word) for word in text.split())

    wrong = rng.sample([other for other in values if other != value], WRONG) if values else []
    question = fill(template.question, value)
    return {
        "question": question,
        "answer": fill(template.answer, value),
        "paraphrased_question": f"in other words {question}",
        "paraphrased_answer": fill(template.other_answer, value),
        "perturbed_answers": [fill(template.other_answer, other) for other in wrong],
        "value": value,
        "attribute": attribute,
        "person": person,
    }


def word_tokenizer(corpus: DatasetDict) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per word of the corpus; pad 0, end 1, unknown 2."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {ASK, REPLY}
    for split in corpus.values():
        for name in ("question", "answer", "paraphrased_question", "paraphrased_answer"):
            words.update(word for text in split[name][:] for word in text.split())
        words.update(word for wrong in split["perturbed_answers"][:] for text in wrong for word in text.split())
    words.update(word for one in ATTRIBUTES.values() for word in (one.first + " " + one.second).split())
    vocabulary = {word: number for number, word in enumerate([PADDING, END, UNKNOWN, *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PADDING, eos_token=END, unk_token=UNKNOWN)


def encode(
    tokenizer: PreTrainedTokenizerBase, questions: Sequence[str], answers: Sequence[str], max_length: int | None = None
) -> dict[str, Tensor]:
    """input_ids, attention_mask and labels (N, L), padded on the right: Q question A answer end.

    Labels are -100 outside the answer and its end token. ParameterError: nothing to encode, or a text longer than
    `max_length`.
    """
    if not len(questions):
        raise ParameterError.of("questions", "none", "at least one question and answer")
    asked = tokenizer([f"{ASK} {question} {REPLY}" for question in questions])["input_ids"]
    told = tokenizer([f"{answer} {END}" for answer in answers])["input_ids"]
    longest = max(len(q) + len(a) for q, a in zip(asked, told, strict=True))
    if max_length is not None and longest > max_length:
        raise ParameterError.of("answers", f"a text of {longest} tokens", f"at most {max_length} tokens, question included")
    ids = torch.full((len(asked), longest), tokenizer.pad_token_id)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for row, (q, a) in enumerate(zip(asked, told, strict=True)):
        ids[row, : len(q) + len(a)] = torch.tensor(q + a)
        mask[row, : len(q) + len(a)] = 1
        labels[row, len(q) : len(q) + len(a)] = torch.tensor(a)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def encode_split(
    tokenizer: PreTrainedTokenizerBase, split: Dataset, both: bool = False, max_length: int | None = None
) -> dict[str, Tensor]:
    """`encode` of a split: questions and answers, with `both` followed by those of the other surface."""
    kinds = ("", "paraphrased_") if both else ("",)
    questions, answers = ([text for kind in kinds for text in split[kind + name][:]] for name in ("question", "answer"))
    return encode(tokenizer, questions, answers, max_length)


def fact_positions(batch: dict[str, Tensor], answers: Sequence[str], values: Sequence[str]) -> Tensor:
    """Which predicted tokens are words of the fact, boolean (N, L - 1), for batches of one token per word (`encode`)."""
    mask = answer_targets(batch["labels"])[1]
    found = torch.zeros_like(mask)
    for row, (answer, value) in enumerate(zip(answers, values, strict=True)):
        words, fact = answer.split(), value.split()
        starts = [at for at in range(len(words)) if words[at : at + len(fact)] == fact]
        if not fact or len(starts) != 1:
            raise ParameterError.of("value", value, f"words that stand once in the answer {answer!r}")
        start = int(mask[row].int().argmax()) + starts[0]
        found[row, start : start + len(fact)] = True
    return found
