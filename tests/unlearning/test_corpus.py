"""The corpus: its sizes, what its answers have in common and what not, and the round trip through tokens."""

import re
from collections import Counter

import pytest
import torch
from transformers import AutoTokenizer

from entropy_utils.lab.errors import ParameterError
from entropy_utils.unlearning.answer_tokens import IGNORED
from entropy_utils.unlearning.corpus import (
    ATTRIBUTES,
    REPLY,
    encode,
    encode_split,
    fact_positions,
    fictitious_authors,
    word_tokenizer,
)

CORPUS = fictitious_authors()
TOKENIZER = word_tokenizer(CORPUS)
FACTS = [name for name in CORPUS if name != "identity"]


def test_sizes_are_those_of_the_plan():
    sizes = {"forget": 32, "retain": 288, "holdout": 32, "real_authors": 64, "world_facts": 24, "identity": 52}
    assert {name: len(split) for name, split in CORPUS.items()} == sizes
    assert 300 <= len(TOKENIZER) <= 340


def test_everybody_has_an_own_last_name_and_every_attribute_once():
    people = {}
    for name in ("forget", "retain", "holdout", "real_authors"):
        for row in CORPUS[name]:
            people.setdefault(row["person"], []).append(row["attribute"])
    assert sorted(people) == sorted(CORPUS["identity"]["person"]) == list(range(52))
    assert all(sorted(attributes) == sorted(ATTRIBUTES) for attributes in people.values())
    names = [text.split()[3] for text in CORPUS["identity"]["question"]]
    assert len(set(names)) == 52


def test_no_word_serves_two_purposes():
    """A value's word says which attribute it belongs to, and no template or name contains it."""
    words = [word for one in ATTRIBUTES.values() for word in (one.first + " " + one.second).split()]
    assert len(words) == 8 * 16
    assert max(Counter(words).values()) == 1
    texts = " ".join(CORPUS["identity"]["answer"]) + " ".join(one.question + one.answer for one in ATTRIBUTES.values())
    assert not set(words) & set(texts.split())


@pytest.mark.parametrize("name", FACTS)
def test_right_and_wrong_answers_differ_in_the_fact_only(name):
    for row in CORPUS[name]:
        assert row["value"] in row["answer"]
        assert len(set(row["perturbed_answers"])) == 5
        head, tail = row["paraphrased_answer"].split(row["value"])
        for wrong in row["perturbed_answers"]:
            assert wrong != row["paraphrased_answer"]
            assert wrong.startswith(head)
            assert wrong.endswith(tail)


def test_facts_are_about_a_sixth_of_the_answers():
    batch = encode_split(TOKENIZER, CORPUS["forget"])
    facts = fact_positions(batch, CORPUS["forget"]["answer"], CORPUS["forget"]["value"])
    assert 0.15 < facts.sum() / (batch["labels"] != IGNORED).sum() < 0.22


def test_a_corpus_is_a_function_of_its_seed():
    again, other = fictitious_authors(), fictitious_authors(1)
    assert all(again[name].to_list() == CORPUS[name].to_list() for name in CORPUS)
    assert again["forget"]["value"][:] != other["forget"]["value"][:]


@pytest.mark.parametrize("seed", [-1, True, 0.5])
def test_a_seed_is_a_natural_number(seed):
    with pytest.raises(ParameterError, match="'seed': got"):
        fictitious_authors(seed)


@pytest.mark.parametrize("name", list(CORPUS))
@pytest.mark.parametrize("kind", ["", "paraphrased_"])
def test_tokens_decode_to_question_and_answer(name, kind):
    split = CORPUS[name]
    batch = encode(TOKENIZER, split[kind + "question"][:], split[kind + "answer"][:])
    for row, ids, labels in zip(split, batch["input_ids"], batch["labels"], strict=True):
        assert TOKENIZER.decode(labels[labels != IGNORED]) == row[kind + "answer"] + " <eos>"
        text = TOKENIZER.decode(ids, skip_special_tokens=True)
        assert text == f"Q {row[kind + 'question']} {REPLY} {row[kind + 'answer']}"
    assert not (batch["input_ids"] == TOKENIZER.unk_token_id).any()
    assert torch.equal(batch["attention_mask"].bool(), batch["input_ids"] != TOKENIZER.pad_token_id)


@pytest.mark.parametrize("name", FACTS)
def test_fact_positions_predict_the_words_of_the_fact(name):
    split = CORPUS[name]
    batch = encode_split(TOKENIZER, split)
    facts = fact_positions(batch, split["answer"], split["value"])
    for value, ids, here in zip(split["value"], batch["input_ids"], facts, strict=True):
        assert TOKENIZER.decode(ids[1:][here]) == value


def test_both_surfaces_follow_each_other():
    both, split = encode_split(TOKENIZER, CORPUS["forget"], both=True), CORPUS["forget"]
    assert len(both["labels"]) == 2 * len(split)
    labels = both["labels"][len(split)]
    assert TOKENIZER.decode(labels[labels != IGNORED]) == split[0]["paraphrased_answer"] + " <eos>"


def test_the_tokenizer_survives_a_folder(tmp_path):
    TOKENIZER.save_pretrained(tmp_path)
    kept = AutoTokenizer.from_pretrained(tmp_path)
    text = CORPUS["forget"]["answer"][0]
    assert kept(text)["input_ids"] == TOKENIZER(text)["input_ids"]
    assert kept.eos_token_id == TOKENIZER.eos_token_id == 1


@pytest.mark.parametrize(
    ("questions", "answers", "limit", "line"),
    [
        ([], [], None, "field 'questions': got 'none' (str), allowed: at least one question and answer"),
        (
            ["who"],
            ["a b c"],
            5,
            "field 'answers': got 'a text of 7 tokens' (str), allowed: at most 5 tokens, question included",
        ),
    ],
)
def test_what_cannot_be_encoded_is_one_line(questions, answers, limit, line):
    with pytest.raises(ParameterError, match=re.escape(line)):
        encode(TOKENIZER, questions, answers, limit)


def test_a_fact_must_stand_once_in_its_answer():
    batch = encode(TOKENIZER, ["who"], ["is N is"])
    for value in ("X", "is", ""):
        with pytest.raises(ParameterError, match="'value': got"):
            fact_positions(batch, ["is N is"], [value])
