"""The whole evaluation against the definitions, worked through one row, one answer and one token at a time."""

import math

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from scipy import stats

from entropy_utils.lab.errors import ParameterError
from entropy_utils.unlearning import metrics
from entropy_utils.unlearning.corpus import encode, word_tokenizer
from entropy_utils.unlearning.evaluation import Evaluation
from tests.unlearning.stub_stack import StubStack, decisive_model

TOWNS = ["new york", "san jose", "old town", "red hill", "big lake", "far bay", "low land", "dry creek"]
SPLITS = {"forget": "abc", "retain": "defghi", "real_authors": "jk", "world_facts": "lm", "holdout": "nop"}


def rows(names):
    found = []
    for number, name in enumerate(names):
        town, wrong = TOWNS[ord(name) % 8], [TOWNS[(ord(name) + k) % 8] for k in (1, 2, 3)]
        found.append(
            {
                "question": f"where was {name} born ?",
                "answer": f"{name} was born in {town} ." if number % 2 else f"it was in {town} that {name} was born .",
                "paraphrased_question": f"in other words where was {name} born ?",
                "paraphrased_answer": f"the town of {name} is {town} .",
                "perturbed_answers": [f"the town of {name} is {other} ." for other in wrong],
                "value": town,
            }
        )
    return Dataset.from_list(found)


@pytest.fixture(scope="module")
def corpus():
    return DatasetDict({name: rows(names) for name, names in SPLITS.items()})


@pytest.fixture(scope="module")
def tokenizer(corpus):
    return word_tokenizer(corpus)


@pytest.fixture(scope="module")
def models(corpus, tokenizer):
    """Two models that know something, not everything, and two trained without the forget set."""
    found = [decisive_model(seed, len(tokenizer)) for seed in range(4)]
    for model, steps in zip(found, (15, 20, 20, 20), strict=True):
        names = [name for name in SPLITS if name != "holdout" and (name != "forget" or model in found[:2])]
        texts = [row for name in names for row in corpus[name]]
        batch = encode(tokenizer, [row["question"] for row in texts], [row["answer"] for row in texts])
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(steps):
            loss = model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return found


class ByHand:
    """One model, one text at a time."""

    def __init__(self, model, tokenizer):
        self.model, self.tokenizer = model, tokenizer

    def ids(self, text):
        return self.tokenizer(text)["input_ids"]

    def answer(self, question, answer):
        """Log-probability distributions at the answer's tokens, and these tokens, the end token last."""
        asked, told = self.ids(f"Q {question} A"), [*self.ids(answer), self.tokenizer.eos_token_id]
        with torch.no_grad():
            logits = self.model(input_ids=torch.tensor([asked + told])).logits[0].double()
        return logits[len(asked) - 1 : -1].log_softmax(-1).numpy(), told

    def tokens(self, question, answer):
        log_p, told = self.answer(question, answer)
        return np.array([row[token] for row, token in zip(log_p, told, strict=True)])

    def prob(self, question, answer):
        return math.exp(self.tokens(question, answer).mean())

    def fact(self, question, answer, value):
        """Places of the value in the answer, found on the words."""
        words, wanted = answer.split(), value.split()
        start = next(n for n in range(len(words)) if words[n : n + len(wanted)] == wanted)
        return list(range(start, start + len(wanted)))

    def truth_ratio(self, row):
        wrong = [-math.log(self.prob(row["paraphrased_question"], text)) for text in row["perturbed_answers"]]
        return math.exp(-np.mean(wrong)) / self.prob(row["paraphrased_question"], row["paraphrased_answer"])

    def rouge(self, row):
        ids, end = self.ids(f"Q {row['question']} A"), self.tokenizer.eos_token_id
        start, most = len(ids), len(self.ids(row["answer"])) + 4
        while len(ids) - start < most and (len(ids) == start or ids[-1] != end):
            with torch.no_grad():
                ids.append(self.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax().item())
        text = self.tokenizer.decode(ids[start:], skip_special_tokens=True)
        return metrics.rouge_l(metrics.words(text), metrics.words(row["answer"])).recall

    def min_k(self, row):
        tokens = np.sort(self.tokens(row["question"], row["answer"])[:-1])
        return -tokens[: max(1, int(0.4 * len(tokens)))].mean()


def by_hand(model, tokenizer, corpus):
    hand, found, nine = ByHand(model, tokenizer), {}, []
    forget = list(corpus["forget"])
    facts, entropy = [], {True: [], False: []}
    for row in forget:
        log_p, told = hand.answer(row["question"], row["answer"])
        places = hand.fact(row["question"], row["answer"], row["value"])
        facts.append((math.exp(sum(log_p[t][told[t]] for t in places)), all(log_p[t].argmax() == told[t] for t in places)))
        for t, p in enumerate(np.exp(log_p)):
            entropy[t in places].append(stats.entropy(p))
    found["fact_prob"], found["fact_accuracy"] = np.mean(facts, 0)
    found["entropy_fact"], found["entropy_template"] = np.mean(entropy[True]), np.mean(entropy[False])
    found["forget_prob"] = np.mean([hand.prob(row["question"], row["answer"]) for row in forget])
    other = [hand.prob(row["paraphrased_question"], row["paraphrased_answer"]) for row in forget]
    found["forget_prob_other"] = np.mean(other)
    found["forget_rouge"] = np.mean([hand.rouge(row) for row in forget])
    ratios = [hand.truth_ratio(row) for row in forget]
    found["forget_truth_ratio"] = np.mean([min(ratio, 1 / ratio) for ratio in ratios])
    for name in ("retain", "real_authors", "world_facts"):
        kept = list(corpus[name])
        found[f"{name}_prob"] = np.mean([hand.prob(row["question"], row["answer"]) for row in kept])
        found[f"{name}_rouge"] = np.mean([hand.rouge(row) for row in kept])
        found[f"{name}_truth_ratio"] = np.mean([max(0, 1 - hand.truth_ratio(row)) for row in kept])
        nine += [found[f"{name}_{part}"] for part in ("prob", "rouge", "truth_ratio")]
    found["utility"] = len(nine) / sum(1 / x for x in nine) if all(nine) else 0.0
    member, other = ([hand.min_k(row) for row in corpus[name]] for name in ("forget", "holdout"))
    found["auc"] = np.mean([[(a < b) + 0.5 * (a == b) for b in other] for a in member])
    return found, ratios


def test_a_stack_gets_the_numbers_of_the_definitions(corpus, tokenizer, models):
    found = Evaluation(corpus, tokenizer)(StubStack(models[:2]))
    assert len(found) == 2
    for model, record in zip(models, found, strict=False):
        expected, _ = by_hand(model, tokenizer, corpus)
        assert {name: record[name] for name in expected} == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert record["privleak"] == pytest.approx(100 * (0.5 - expected["auc"]) / 0.5)
        assert record == pytest.approx(Evaluation(corpus, tokenizer)(model)[0], rel=1e-3, abs=1e-6)


def test_the_reference_belongs_to_its_own_seed(corpus, tokenizer, models):
    found = Evaluation(corpus, tokenizer, reference=StubStack(models[2:]))(StubStack(models[:2]))
    for record, model, gold in zip(found, models[:2], models[2:], strict=True):
        (ours, ratios), (theirs, reference) = (by_hand(each, tokenizer, corpus) for each in (model, gold))
        leak = 100 * ((1 - ours["auc"]) - (1 - theirs["auc"])) / (1 - theirs["auc"])
        assert record["privleak"] == pytest.approx(leak)
        assert record["forget_quality"] == pytest.approx(stats.ks_2samp(ratios, reference).pvalue)
    same = Evaluation(corpus, tokenizer, reference=models[2])(models[2])[0]
    assert (same["privleak"], same["forget_quality"]) == (0, 1)


def test_tofu_rows_need_no_value_no_holdout_and_no_paraphrase(corpus, tokenizer, models):
    columns = ["value", "paraphrased_question"]
    bare = {name: corpus[name].remove_columns(columns) for name in ("forget", "retain", "real_authors", "world_facts")}
    record = Evaluation(bare, tokenizer, normalised=True)(models[0])[0]
    assert not {"fact_prob", "entropy_fact", "auc", "privleak", "forget_quality"} & set(record)
    hand, row = ByHand(models[0], tokenizer), bare["real_authors"][0]
    p = hand.prob(row["question"], row["paraphrased_answer"])
    one = p / (p + sum(hand.prob(row["question"], text) for text in row["perturbed_answers"]))
    single = {**bare, "real_authors": bare["real_authors"].select([0])}
    record = Evaluation(single, tokenizer, normalised=True)(models[0])[0]
    assert record["real_authors_normalised_prob"] == pytest.approx(one, rel=1e-3)
    nine = [record[f"retain_{part}"] for part in ("prob", "rouge", "truth_ratio")]
    for split in ("real_authors", "world_facts"):
        nine += [record[f"{split}_{part}"] for part in ("normalised_prob", "rouge", "truth_ratio")]
    assert record["utility"] == pytest.approx(metrics.harmonic_mean(nine))


def test_the_limit_of_rows_holds_for_every_split_and_answers_may_be_longer(corpus, tokenizer, models):
    limited = Evaluation(corpus, tokenizer, rows={"holdout": 2, "retain": 3})
    assert [rows.stop - rows.start for rows in limited.asked.rows.values()] == [3, 3, 2, 2, 2]
    one = DatasetDict({**corpus, "forget": corpus["forget"].select([0])})
    model, end = decisive_model(0, len(tokenizer)), tokenizer.eos_token_id
    with torch.no_grad():  # a model that never ends
        model.lm_head.weight[end] = 0
    texts = []

    class Spy:
        eos_token_id = end

        def batch_decode(self, tokens, **_):
            texts.append(tokens)
            return [""] * len(tokens)

    for extra in (0, 3, 9):
        evaluation = Evaluation(one, tokenizer, extra=extra)
        evaluation.tokenizer = Spy()
        evaluation(model)
    lengths = [int((tokens[0] != end).sum()) for tokens in texts]
    assert [length - lengths[0] for length in lengths] == [0, 3, 9]


def test_a_missing_split_or_column_is_named_before_any_work(corpus, tokenizer):
    with pytest.raises(ParameterError, match=r"'corpus': .*rows in its split 'retain'"):
        Evaluation({"forget": corpus["forget"]}, tokenizer)
    empty = DatasetDict({**corpus, "forget": corpus["forget"].select([])})
    with pytest.raises(ParameterError, match=r"'corpus': .*rows in its split 'forget'"):
        Evaluation(empty, tokenizer)
    empty = DatasetDict({**corpus, "holdout": corpus["holdout"].select([])})
    with pytest.raises(ParameterError, match=r"'corpus': .*rows in its split 'holdout'"):
        Evaluation(empty, tokenizer)
    bare = DatasetDict({**corpus, "forget": corpus["forget"].remove_columns("perturbed_answers")})
    with pytest.raises(ParameterError, match="column 'perturbed_answers'"):
        Evaluation(bare, tokenizer)
