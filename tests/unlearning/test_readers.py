"""TOFU and MUSE from local files of every kind, errors that say what to put where, and text as labelled tokens."""

from __future__ import annotations

import json

import pytest
import torch
from datasets import Dataset, DatasetDict
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from entropy_utils.lab.errors import DataUnavailable, ParameterError
from entropy_utils.unlearning.readers import DATE, encode_documents, encode_text, load_subset

TOFU = [
    {
        "question": f"Where was author {n} born?", "answer": f"Author {n} was born in Paris.",
        "paraphrased_answer": f"Paris is where author {n} was born.", "perturbed_answer": ["In Rome.", "In Oslo."],
        "paraphrased_question": f"In which city was author {n} born?",
    }
    for n in range(3)
]  # fmt: skip
OURS = {"question", "answer", "paraphrased_question", "paraphrased_answer", "perturbed_answers"}


def chat(end_line: str = "") -> str:
    """A template as instruction models have it: role marks, <eos> after each message, perhaps a new line after that."""
    return (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<eos>" + end_line + "{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )


def tokenizer(begin: bool = False, template: str | None = None) -> PreTrainedTokenizerFast:
    """A small byte-level BPE trained here; with `begin` it puts <bos> before every text."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<bos>", "<eos>", "<|user|>", "<|assistant|>"]
    text = [f"Question: {row['question']}\nAnswer: {row['answer']}" for row in TOFU] * 3
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(text, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet))
    if begin:
        bpe.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<bos>" if begin else None, eos_token="<eos>")
    fast.chat_template = template
    return fast


def answer_text(tok, batch, row: int = 0) -> str:
    labels = batch["labels"][row]
    return tok.decode(labels[labels != -100])


def write(rows, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        Dataset.from_list(rows).to_parquet(path)
    else:
        Dataset.from_list(rows).save_to_disk(str(path))


@pytest.mark.parametrize("name", ["forget10.jsonl", "forget10.json", "forget10.parquet", "forget10", "forget10/train.json"])
def test_tofu_from_every_kind_of_local_copy(tmp_path, name):
    write(TOFU, tmp_path / name)
    rows = load_subset(str(tmp_path), "forget10")
    assert set(rows.column_names) == OURS - {"paraphrased_question"}  # TOFU asks for the other answers in the same way
    assert rows["answer"][1] == TOFU[1]["answer"]
    assert rows["perturbed_answers"][2] == ["In Rome.", "In Oslo."]


def test_a_file_by_itself_and_our_own_corpus_saved_to_disk(tmp_path):
    write(TOFU, tmp_path / "any.jsonl")
    assert len(load_subset(str(tmp_path / "any.jsonl"))) == 3
    renamed = [{("perturbed_answers" if k == "perturbed_answer" else k): v for k, v in row.items()} for row in TOFU]
    splits = {"forget": Dataset.from_list(renamed[:1]), "retain": Dataset.from_list(renamed[1:])}
    DatasetDict(splits).save_to_disk(str(tmp_path / "corpus"))
    retain = load_subset(str(tmp_path / "corpus"), "retain")
    assert len(retain) == 2
    assert set(retain.column_names) == OURS


def test_muse_has_splits_and_its_own_names(tmp_path):
    write([{"prompt": "It was a dark", "gt": "and stormy night"}], tmp_path / "verbmem" / "forget.json")
    write([{"text": "A whole article."}], tmp_path / "raw" / "holdout.parquet")
    write([{"question": "Who?", "answer": "Harry"}], tmp_path / "knowmem" / "forget_qa.jsonl")
    assert load_subset(str(tmp_path), "verbmem", "forget")[0] == {"question": "It was a dark", "answer": "and stormy night"}
    assert load_subset(str(tmp_path), "raw", "holdout")[0] == {"question": "", "answer": "A whole article."}
    assert load_subset(str(tmp_path), "knowmem", "forget_qa")[0] == {"question": "Who?", "answer": "Harry"}


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    with pytest.raises(DataUnavailable, match=r"subset 'forget05', split 'train'; put there .*SUBSET/SPLIT.jsonl"):
        load_subset(str(tmp_path), "forget05")
    write([{"question": "Who?", "reply": "I"}], tmp_path / "forget01.json")
    with pytest.raises(ParameterError, match=r"column 'answer' or 'gt' or 'text'; its columns are question, reply"):
        load_subset(str(tmp_path), "forget01")
    write([{"answer": "I"}], tmp_path / "forget02.json")
    with pytest.raises(ParameterError, match="column 'question' or 'prompt'"):
        load_subset(str(tmp_path), "forget02")
    (tmp_path / "forget03.json").write_text("{ not json")
    with pytest.raises(DataUnavailable, match=r"forget03.json': cannot be read"):
        load_subset(str(tmp_path), "forget03")
    DatasetDict({"a": Dataset.from_list(TOFU), "b": Dataset.from_list(TOFU)}).save_to_disk(str(tmp_path / "two"))
    with pytest.raises(ParameterError, match=r"'subset': got 'forget10' .*allowed: a or b"):
        load_subset(str(tmp_path / "two"), "forget10")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(DataUnavailable, match=r"'locuslab/TOFU', subset 'forget10'.*MIT.*under HF_HOME=.*save_to_disk"):
        load_subset("locuslab/TOFU", "forget10")


@pytest.mark.parametrize("begin", [False, True])
def test_plain_template_labels_the_answer_and_its_end(begin):
    tok = tokenizer(begin)
    batch = encode_text(tok, [TOFU[0]["question"], "Who?"], [TOFU[0]["answer"], "Me"])
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
    ids, labels, seen = (batch[name][1] for name in ("input_ids", "labels", "attention_mask"))
    assert (ids[0] == tok.bos_token_id) == begin
    assert seen.sum() < len(seen)
    assert tok.decode(ids[: seen.sum()]).removeprefix("<bos>") == "Question: Who?\nAnswer: Me<eos>"
    assert answer_text(tok, batch, 1).strip() == "Me<eos>"
    assert (labels[seen == 0] == -100).all()
    assert (labels[labels != -100] == ids[labels != -100]).all()


def test_a_token_across_the_boundary_belongs_to_the_answer():
    tok = tokenizer()
    both = tok("Answer: Author")["input_ids"]
    prompt = tok("Answer: ")["input_ids"]
    assert both[: len(prompt)] != prompt  # the last blank of the prompt is merged into the answer's first token
    batch = encode_text(tok, ["Where?"], ["Author 1"], "plain")
    assert answer_text(tok, batch) == " Author 1<eos>"
    assert batch["input_ids"][0].tolist() == [*tok("Question: Where?\nAnswer: Author 1")["input_ids"], tok.eos_token_id]


@pytest.mark.parametrize("end_line", ["", "\n"])
def test_chat_template_ends_with_one_end_token(end_line):
    tok = tokenizer(begin=True, template=chat(end_line))
    batch = encode_text(tok, ["Where was he born?"], ["In Paris."])
    text = tok.decode(batch["input_ids"][0])
    assert text == f"<|user|>Where was he born?<eos>{end_line}<|assistant|>In Paris.<eos>"  # the template decides on <bos>
    assert answer_text(tok, batch) == "In Paris.<eos>"


def test_a_template_gets_the_system_prompt_and_always_the_same_day():
    tok = tokenizer(template="<|user|>{{ date_string if date_string is defined else 'today' }} " + chat())
    batch = encode_text(tok, ["Where was he born?"], ["In Paris."], system="Be brief.")
    prompt = f"<|user|>{DATE} <|system|>Be brief.<eos><|user|>Where was he born?<eos><|assistant|>"
    assert tok.decode(batch["input_ids"][0]) == prompt + "In Paris.<eos>"
    assert answer_text(tok, batch) == "In Paris.<eos>"


def test_documents_are_kept_whole_in_chunks():
    tok = tokenizer(begin=True, template=chat())
    texts = ["Author 1 was born in Paris. " * 9, "Author 2", "Where was author 0 born? " * 6]
    batch = encode_documents(tok, texts, 16, 4)
    tokens = [tok(text)["input_ids"] for text in texts]
    assert [len(row) for row in tokens] == [65, 3, 39]
    tokens[0].pop()  # a rest of no more tokens than the context is left out
    seen = batch["attention_mask"].bool()
    assert batch["input_ids"][seen].tolist() == [token for row in tokens for token in row]
    counted = (batch["labels"] != -100)[seen].tolist()
    assert counted == [place < 16 or place % 16 >= 4 for row in tokens for place in range(len(row))]
    assert batch["labels"][batch["labels"] != -100].equal(batch["input_ids"][batch["labels"] != -100])
    assert (batch["labels"][:, 1:] != -100).any(1).all()


def test_nothing_to_encode_is_named():
    with pytest.raises(ParameterError, match="'questions': got 'none'"):
        encode_text(tokenizer(), [], [])
    with pytest.raises(ParameterError, match="'texts': got 'none'"):
        encode_documents(tokenizer(), [])
    with pytest.raises(ParameterError, match="at least one token"):
        encode_documents(tokenizer(), ["Paris", ""])
    with pytest.raises(ParameterError, match="'context': got 8 "):
        encode_documents(tokenizer(), ["Paris"], 8, 8)


def test_documents_and_continuations_have_no_template():
    tok = tokenizer(begin=True, template=chat())
    whole = encode_text(tok, [""], ["Author 1 was born in Paris."], "none")
    assert answer_text(tok, whole) == "Author 1 was born in Paris.<eos>"
    assert whole["labels"][0, 0] == -100
    rest = encode_text(tok, ["Author 1 was born"], [" in Paris."], "none")
    assert answer_text(tok, rest) == " in Paris.<eos>"
    assert rest["input_ids"].equal(whole["input_ids"])
    assert encode_text(tok, ["Author 1 was born"], ["in Paris."], "none")["labels"].equal(rest["labels"])


def test_texts_are_cut_and_a_cut_answer_is_an_error():
    tok = tokenizer()
    long = encode_text(tok, ["Who?"], ["Paris " * 50], max_length=40)
    assert long["input_ids"].shape == (1, 40)
    assert long["labels"][0, -1] not in (-100, tok.eos_token_id)
    with pytest.raises(ParameterError, match=r"'max_length': got 5 .*before the answer of 'Who\?'"):
        encode_text(tok, ["Who?"], ["Paris"], max_length=5)
    with pytest.raises(ParameterError, match=r"'template': got 'chatty'.*allowed: auto or chat or plain or none"):
        encode_text(tok, ["Who?"], ["Paris"], "chatty")
    tok.eos_token = None
    with pytest.raises(ParameterError, match="end token"):
        encode_text(tok, ["Who?"], ["Paris"])


def test_padding_without_a_pad_token_is_neither_seen_nor_learned():
    tok = tokenizer()
    assert tok.pad_token_id is None
    batch = encode_text(tok, ["Who?", "Who was it then?"], ["I", "Author 2 was born in Paris."])
    padded = batch["attention_mask"] == 0
    assert padded.any()
    assert (batch["labels"][padded] == -100).all()
    assert torch.equal(padded, padded.sort(-1).values)  # on the right
