"""Every number about an unlearned model, from one call: what it forgot, what it kept, what an attacker sees.

An `Evaluation` encodes the questions once and then measures one model or a stack of S in a few batched passes. It runs
after every setting and during training, so it is built to be cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor, nn

from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.experiment import Record

from . import corpus as own_corpus
from . import metrics
from .answer_tokens import answer_targets
from .membership import auc, min_k_score, privleak
from .reading import Reading, greedy, read

KEPT = ("retain", "real_authors", "world_facts")
"""The splits that model utility is made of; beside them `forget`, and `holdout` for the membership attack."""
ROWS = {"retain": 48, "real_authors": 32}
Encode = Callable[[Sequence[str], Sequence[str]], Mapping[str, Tensor]]


class Evaluation:
    """The measures of open-unlearning on a corpus; call it with a model or a stack.

    `corpus` maps split names to datasets: `forget` and the three of `KEPT`, each with columns question, answer and
    perturbed_answers (the same number in every row of a split), where there are paraphrased_question and
    paraphrased_answer (else the plain ones serve), and where there is value the words that are the fact. `holdout`,
    texts never trained on, allows the membership attack.
    `encode(questions, answers)` makes batches; by default that of our word-level corpus.
    `reference` is the model (or stack, one per seed) retrained without the forget set; it is measured here once.
    `rows` limits splits to so many rows, spread by a fixed shuffle. `normalised` puts p / (p + wrong) in the place of the
    probability of real authors and world facts in the utility, as TOFU does. A greedy answer, for ROUGE, ends at the
    latest `extra` tokens behind the length of the right one.
    """

    def __init__(
        self,
        corpus,
        tokenizer,
        *,
        reference: nn.Module | None = None,
        encode: Encode | None = None,
        rows: Mapping[str, int] = ROWS,
        normalised: bool = False,
        extra: int = 3,
    ):
        encode = encode or partial(own_corpus.encode, tokenizer)
        self.tokenizer, self.normalised, self.extra = tokenizer, normalised, extra
        wanted = ("forget", *KEPT, *(["holdout"] if "holdout" in corpus else []))
        missing = [name for name in wanted if name not in corpus or not len(corpus[name])]
        if missing:
            raise ParameterError.of("corpus", list(corpus), f"one with rows in its split {missing[0]!r}")
        splits = {name: _some(corpus[name], rows.get(name)) for name in ("forget", *KEPT)}
        self.wrong = _Questions.of(splits, encode, "paraphrased_question", "perturbed_answers")
        self.other = _Questions.of(splits, encode, "paraphrased_question", "paraphrased_answer")
        if "holdout" in corpus:
            splits["holdout"] = _some(corpus["holdout"], rows.get("holdout"))
        self.asked = _Questions.of(splits, encode, "question", "answer")
        kept = slice(0, self.asked.rows[KEPT[-1]].stop)
        self.answerable = {name: value[kept] for name, value in self.asked.batch.items()}
        self.answers = [metrics.words(text) for text in self.asked.answers[kept]]
        self.reference = None
        if reference is not None:
            self.reference = self._measure(reference)

    def __call__(self, models: nn.Module) -> list[Record]:
        """One flat record per model. Probabilities are means over rows of exp(-mean NLL).

        utility; forget_prob, fact_prob, fact_accuracy, and the same with `_other` on the paraphrased surface;
        forget_rouge (recall), forget_rouge_f1, forget_truth_ratio, extraction_strength, exact_memorisation; entropy_fact
        and entropy_template (nats); auc and privleak with a holdout; forget_quality with a reference; and per kept split
        {split}_prob, _normalised_prob, _rouge, _rouge_f1, _truth_ratio, _fact_accuracy.
        """
        found, log_ratio = self._measure(models)
        if "auc" in found:
            found["privleak"] = privleak(found["auc"], self.reference[0]["auc"] if self.reference else 0.5)
        if self.reference:
            pairs = zip(log_ratio, self.reference[1], strict=True)
            found["forget_quality"] = np.array([metrics.forget_quality(*pair) for pair in pairs])
        return [{name: float(values[s]) for name, values in found.items()} for s in range(len(log_ratio))]

    def _measure(self, models: nn.Module) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Numbers (S,) by name, and the log truth ratios of the forget set (S, N)."""
        asked = read(models, self.asked.batch, entropy=True)
        other, wrong = read(models, self.other.batch), read(models, self.wrong.batch)
        found = self._forgotten(asked, other)
        correct_nll, wrong_nll = self.other.nll(other), self.wrong.nll(wrong)
        rouge = self._rouge(models, asked)
        probability, log_ratios, utility = (-self.asked.nll(asked)).exp(), {}, []
        for name in ("forget", *KEPT):
            rows = self.asked.rows[name]
            perturbed = wrong_nll[:, self.wrong.rows[name]].unflatten(1, (rows.stop - rows.start, -1))
            correct = correct_nll[:, self.other.rows[name]]
            log_ratios[name] = metrics.log_truth_ratio(correct, perturbed)
            found[f"{name}_prob"] = probability[:, rows].mean(1)
            found[f"{name}_rouge"], found[f"{name}_rouge_f1"] = rouge[:, rows].mean(1).T
            if name != "forget":
                found[f"{name}_truth_ratio"] = metrics.truth_ratio_utility(log_ratios[name])
                found[f"{name}_normalised_prob"] = metrics.normalised_probability(correct, perturbed).mean(1)
                normalised = "_normalised" if self.normalised and name != "retain" else ""
                utility += [found[f"{name}{part}"] for part in (f"{normalised}_prob", "_rouge", "_truth_ratio")]
        found["forget_truth_ratio"] = metrics.truth_ratio_forget(log_ratios["forget"])
        found["utility"] = metrics.harmonic_mean(np.stack(utility, -1))
        return {name: np.asarray(values) for name, values in found.items()}, log_ratios["forget"].numpy()

    def _forgotten(self, asked: Reading, other: Reading) -> dict[str, Tensor]:
        """What is left of the forget set, and what Min-K% makes of it."""
        rows = self.asked.rows["forget"]
        mask, correct = self.asked.mask, asked.correct(self.asked.batch["labels"])
        found = {
            "forget_prob_other": (-self.other.nll(other)[:, self.other.rows["forget"]]).exp().mean(1),
            "extraction_strength": metrics.extraction_strength(correct[:, rows], mask[rows]).mean(1),
            "exact_memorisation": metrics.exact_memorisation(correct[:, rows], mask[rows]).mean(1),
        }
        for surface, reading, suffix in ((self.asked, asked, ""), (self.other, other, "_other")):
            if surface.fact is not None:
                where, fact = surface.rows["forget"], surface.fact[surface.rows["forget"]]
                right = reading.correct(surface.batch["labels"])
                found["fact_prob" + suffix] = metrics.fact_probability(reading.log_prob[:, where], fact).mean(1)
                found["fact_accuracy" + suffix] = metrics.fact_accuracy(right[:, where], fact).mean(1)
        if (fact := self.asked.fact) is not None:
            for name in KEPT:
                kept = self.asked.rows[name]
                found[f"{name}_fact_accuracy"] = metrics.fact_accuracy(correct[:, kept], fact[kept]).mean(1)
            entropy = asked.entropy[:, rows]
            found["entropy_fact"] = entropy[:, fact[rows]].mean(1)
            found["entropy_template"] = entropy[:, mask[rows] & ~fact[rows]].mean(1)
        if "holdout" in self.asked.rows:
            score = min_k_score(asked.log_prob, mask)
            found["auc"] = auc(score[:, rows], score[:, self.asked.rows["holdout"]])
        return found

    def _rouge(self, models: nn.Module, asked: Reading) -> np.ndarray:
        """ROUGE-L recall and F1 of the greedy answers, (S, N, 2)."""
        end = self.tokenizer.eos_token_id
        tokens = greedy(models, self.answerable, asked.choice[:, : len(self.answers)], end, self.extra)
        texts = self.tokenizer.batch_decode(tokens.flatten(0, 1), skip_special_tokens=True)
        pairs = zip(texts, self.answers * len(tokens), strict=True)
        scores = [metrics.rouge_l(metrics.words(text), answer) for text, answer in pairs]
        return np.array(scores).reshape(*tokens.shape[:2], 2)


@dataclass(frozen=True)
class _Questions:
    """Encoded rows of several splits, one after the other; `rows` says where each split lies."""

    batch: Mapping[str, Tensor]
    rows: Mapping[str, slice]
    answers: list[str]
    fact: Tensor | None

    @classmethod
    def of(cls, splits: Mapping, encode: Encode, question: str, answer: str) -> _Questions:
        questions, answers, values, rows = [], [], [], {}
        for name, split in splits.items():
            start = len(questions)
            asked, given = (_column(split, column, name) for column in (question, answer))
            values += split["value"] if "value" in split.column_names else [None] * len(split)
            for text, wanted in zip(asked, given, strict=True):
                versions = [wanted] if isinstance(wanted, str) else wanted
                questions += [text] * len(versions)
                answers += versions
            rows[name] = slice(start, len(questions))
        batch = encode(questions, answers)
        known = answer != "perturbed_answers" and all(values)
        return cls(batch, rows, answers, own_corpus.fact_positions(batch, answers, values) if known else None)

    @property
    def mask(self) -> Tensor:
        return answer_targets(self.batch["labels"])[1]

    def nll(self, reading: Reading) -> Tensor:
        return metrics.mean_nll(reading.log_prob, self.mask)


def _column(split, column: str, name: str) -> list:
    """A column, or the plain one in the place of a paraphrased one."""
    for spelling in (column, column.removeprefix("paraphrased_")):
        if spelling in split.column_names:
            return split[spelling][:]
    raise ParameterError.of("corpus", name, f"a split with a column {column!r}; its columns are {split.column_names}")


def _some(split, limit: int | None):
    if limit is None or limit >= len(split):
        return split
    return split.select(sorted(np.random.default_rng(0).permutation(len(split))[:limit].tolist()))
