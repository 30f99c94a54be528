"""The pretrained-model experiment on tiny models with a tokenizer, saved here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from entropy_utils.attention_entropy.entropy import attention_entropy
from entropy_utils.attention_entropy.pretrained import PretrainedEntropy
from entropy_utils.lab.experiment import collect

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
TEXTS = ("one two three four five", "six seven", "ten nine eight seven six five four three two one one two three")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No look at the network for names that are nowhere."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of save_pretrained by name: gpt2 (16 positions, no padding token), bert, t5."""
    torch.manual_seed(0)
    vocabulary = {word: number for number, word in enumerate(["<unk>", *WORDS])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    special = {"bos_token_id": None, "eos_token_id": None}
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    gpt2 = GPT2Config(vocab_size=11, n_positions=16, n_embd=16, n_layer=2, n_head=4, initializer_range=0.5, **special)
    bert = BertConfig(vocab_size=11, max_position_embeddings=16, **sizes)
    t5 = T5Config(vocab_size=11, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2, decoder_start_token_id=0)
    models = {"gpt2": GPT2LMHeadModel(gpt2), "bert": BertModel(bert), "t5": T5ForConditionalGeneration(t5)}
    for name, model in models.items():
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        models[name] = str(folder)
    return models


def experiment(model, **fields):
    return PretrainedEntropy.profile("smoke", **{"model": model, "texts": TEXTS, "longest": 16, "device": "cpu", **fields})


def test_records_are_those_of_each_text_alone(folders):
    """Batches with padding, against one text at a time through the model itself."""
    records = collect(experiment(folders["gpt2"], batch=3, rank=True), progress=False).records
    assert len(records) == 2 * 4
    assert set(records.tokens) == {5 + 2 + 13}
    model = GPT2LMHeadModel.from_pretrained(folders["gpt2"], attn_implementation="eager").eval()
    rows = []
    for text in TEXTS:
        ids = torch.tensor([[1 + WORDS.index(word) for word in text.split()]])
        with torch.no_grad():
            weights = torch.cat(model(ids, output_attentions=True).attentions)
        rows.append(attention_entropy(weights)[..., 1:])  # the first token has no choice
    expected = torch.cat(rows, -1).mean(-1).flatten()
    np.testing.assert_allclose(records.entropy, expected, rtol=1e-5)
    assert records["rank"].between(1, 13).all()


def test_long_texts_are_cut_and_the_number_of_sequences_is_kept(folders):
    records = collect(experiment(folders["gpt2"], longest=4, batch=2, shortest=2), progress=False).records
    steps = records.drop_duplicates("step")
    assert steps.tokens.tolist() == [4 + 2, 4 + 4, 4]  # 5 = 4 + 1 (left out), 2, 13 = 4 + 4 + 4 + 1 (left out)
    few = collect(experiment(folders["gpt2"], longest=4, sequences=1), progress=False).records
    assert few.sequences.unique().tolist() == [1]


@pytest.mark.parametrize("name", ["bert", "t5"])
def test_encoders(folders, name):
    records = collect(experiment(folders[name]), progress=False).records
    assert len(records) == 2 * 2
    assert records.normalised.between(0, 1).all()


def test_text_file_and_data_set_give_the_same(folders, tmp_path):
    (tmp_path / "texts.txt").write_text("\n\n".join(TEXTS))
    DatasetDict({"validation": Dataset.from_dict({"line": list(TEXTS)})}).save_to_disk(str(tmp_path / "set"))
    direct = list(experiment(folders["gpt2"]).run())
    from_file = list(experiment(folders["gpt2"], texts=(), file=str(tmp_path / "texts.txt")).run())
    local = {"texts": (), "dataset": str(tmp_path / "set"), "column": "line"}
    assert direct == from_file == list(experiment(folders["gpt2"], **local).run())
    with pytest.raises(ValueError, match=r"column.*line"):
        list(experiment(folders["gpt2"], **{**local, "column": "text"}).run())
    with pytest.raises(ValueError, match=r"split.*validation"):
        list(experiment(folders["gpt2"], **local, split="train").run())


def test_low_precision_weights(folders):
    exact = collect(experiment(folders["gpt2"]), progress=False).records
    rough = collect(experiment(folders["gpt2"], dtype="bfloat16"), progress=False).records
    np.testing.assert_allclose(rough.entropy, exact.entropy, atol=0.05)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"longest": 17}, "longest.*17.*at most 16"),
        ({"model": "nowhere/at-all"}, "model 'nowhere/at-all'.*save_pretrained"),
        ({"texts": (), "file": "missing.txt"}, "missing.txt"),
        ({"texts": (), "dataset": "nowhere/at-all"}, "dataset 'nowhere/at-all'"),
        ({"texts": ("one",)}, "texts.*at least 2 tokens"),
        ({"file": "both.txt"}, "texts and file"),
        ({"shortest": 17}, "shortest"),
        ({"dtype": "int8"}, "dtype"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(folders, fields, named):
    with pytest.raises((ValueError, FileNotFoundError), match=named) as error:
        list(experiment(fields.pop("model", folders["gpt2"]), **fields).run())
    assert "\n" not in str(error.value)
