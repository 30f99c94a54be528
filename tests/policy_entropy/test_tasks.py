"""The tasks: rewards against plain text and arithmetic, the prior against enumeration and frequencies."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
import torch

from entropy_utils.policy_entropy.tasks import TASKS, DigitSum, NoisyLookup

END = "<eos>"


@pytest.fixture(params=sorted(TASKS))
def task(request):
    return TASKS[request.param]()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def prompts_and_answers(task, count=400):
    """Prompts with right, shown, and random answers in equal shares, so that every reward occurs."""
    prompts = task.prompts(count, seeded(1))
    answers = task.demonstrations(prompts, seeded(2))
    answers[: count // 4] = torch.randint(0, len(task.vocabulary), answers[: count // 4].shape, generator=seeded(3))
    for row in range(count // 2, count):
        answers[row] = torch.tensor([task.vocabulary.index(word) for word in right_answer(task, prompts[row])])
    spoiled = slice(3 * count // 4, count)
    place = torch.randint(0, task.response_length, (count - 3 * count // 4, 1), generator=seeded(4))
    answers[spoiled] = answers[spoiled].scatter(1, place, task.vocabulary.index("="))
    return prompts, answers


def right_answer(task, prompt):
    """Words of one right answer, found without the task's reward."""
    words = [task.vocabulary[token] for token in prompt.tolist()]
    if task.name == "digit_sum":
        left, digits = int(words[0]) * 10 + int(words[1]), []
        for _ in range(4):
            digits.append(min(9, left))
            left -= digits[-1]
        return [*map(str, digits), END]
    operator = "+-*".index(words[3])
    return [
        *(str(task.table[operator, int(a), int(b)].item()) for a, b in zip(words[:3], words[4:7], strict=True)),
        END,
    ]


def reward_by_text(task, prompt, answer):
    """The rule in words: exactly the right digits, then the end."""
    prompt = [task.vocabulary[token] for token in prompt.tolist()]
    *words, last = [task.vocabulary[token] for token in answer.tolist()]
    if last != END or any(not word.isdigit() for word in words):
        return 0.0
    if task.name == "digit_sum":
        return float(sum(map(int, words)) == int(prompt[0] + prompt[1]))
    return float([*words, END] == right_answer(task, torch.tensor([task.vocabulary.index(word) for word in prompt])))


def test_reward_is_the_rule_in_words(task):
    prompts, answers = prompts_and_answers(task)
    wanted = [reward_by_text(task, *pair) for pair in zip(prompts, answers, strict=True)]
    found = task.reward(prompts, answers)
    assert found.dtype == torch.float32
    assert found.tolist() == wanted
    assert 0.2 < np.mean(wanted) < 0.7
    assert sum(wanted[300:]) < 5  # one token of a right answer spoiled
    stacked = task.reward(prompts.view(4, 100, 1, -1), answers.view(4, 100, 1, -1))
    assert torch.equal(stacked, found.view(4, 100, 1))


def test_prompts_are_of_the_stated_form_and_a_function_of_the_generator(task):
    prompts = task.prompts(2000, seeded())
    assert prompts.shape == (2000, task.prompt_length)
    assert torch.equal(prompts, task.prompts(2000, seeded()))
    assert not torch.equal(prompts, task.prompts(2000, seeded(1)))
    words = [task.decode(row).split() for row in prompts]
    assert {row[-1] for row in words} == {"="}
    if task.name == "digit_sum":
        targets = np.array([int(row[0] + row[1]) for row in words])
        assert (targets.min(), targets.max()) == DigitSum.targets == (6, 30)
        assert scipy.stats.chisquare(np.bincount(targets)[6:]).pvalue > 0.01
    else:
        assert {row[3] for row in words} == set("+-*")
        assert all(len({row[place] for row in words}) == 10 for place in (0, 1, 2, 4, 5, 6))


def test_prior_sums_to_one_wherever_a_response_goes(task):
    prompts = task.prompts(300, seeded())
    shown = task.demonstrations(prompts, seeded(1))
    for responses in (shown, torch.randint(0, len(task.vocabulary), shown.shape, generator=seeded(2))):
        prior = task.prior(prompts, responses)
        assert prior.shape == (*responses.shape, len(task.vocabulary))
        assert (prior >= 0).all()
        torch.testing.assert_close(prior.sum(-1), torch.ones(shown.shape), rtol=0, atol=1e-6)
        assert (prior[:, -1, task.eos] == 1).all()
        assert (prior[:, :-1, 10:] == 0).all()


def test_prior_sees_only_earlier_tokens(task):
    prompts = task.prompts(50, seeded())
    responses = task.demonstrations(prompts, seeded(1))
    prior = task.prior(prompts, responses)
    for step in range(task.response_length):
        other = responses.clone()
        other[:, step:] = torch.randint(0, 10, other[:, step:].shape, generator=seeded(2))
        assert torch.equal(task.prior(prompts, other)[:, : step + 1], prior[:, : step + 1])


def test_demonstrations_have_the_frequencies_of_the_prior(task):
    prompt = task.prompts(1, seeded(3)).expand(20_000, -1)
    shown = task.demonstrations(prompt, seeded(4))
    prior = task.prior(prompt, shown).double().numpy()
    assert (shown[:, -1] == task.eos).all()
    for step in range(task.response_length - 1):
        counts = np.bincount(shown[:, step], minlength=len(task.vocabulary))
        expected = prior[:, step].sum(0)  # given the tokens before, which were drawn as well
        possible = expected > 0
        assert counts[~possible].sum() == 0
        enough = expected > 5
        assert enough.sum() > 1
        observed = [*counts[enough], counts[possible & ~enough].sum()]
        wanted = [*expected[enough], max(expected[possible & ~enough].sum(), 1e-9)]
        keep = slice(None) if wanted[-1] > 1 else slice(-1)
        wanted = np.array(wanted[keep]) * sum(observed[keep]) / sum(wanted[keep])
        assert scipy.stats.chisquare(observed[keep], wanted).pvalue > 0.01
    assert torch.equal(shown, task.demonstrations(prompt, seeded(4)))


@pytest.mark.parametrize("target", [6, 18, 30])
def test_digit_sum_prior_is_the_exact_mixture_over_all_strings(target):
    task = DigitSum()
    strings = torch.tensor(list(itertools.product(range(10), repeat=4)))
    responses = torch.cat([strings, torch.full((10_000, 1), task.eos)], 1)
    prompt = torch.tensor([[target // 10, target % 10, task.vocabulary.index("=")]]).expand(10_000, -1)
    right = strings.sum(1) == target
    wanted = torch.where(right, 0.25 / right.sum(), 0.0) + 0.75 / 1e4
    found = task.prior(prompt, responses).double().gather(-1, responses[..., None])[..., 0].prod(-1)
    torch.testing.assert_close(found, wanted.double(), rtol=1e-5, atol=0)
    assert found.sum().item() == pytest.approx(1, abs=1e-5)
    assert task.reward(prompt, responses).sum() == right.sum() == task.ways[4, target]


def test_digit_sum_has_at_most_670_right_answers():
    ways = DigitSum().ways
    assert ways[4].max() == ways[4, 18] == 670
    assert ways.sum(1).tolist() == [1, 10, 100, 1000, 10_000]


def test_lookup_prior_entry_by_entry():
    task = NoisyLookup()
    hard = (task.right == 0.0005).double().mean().item()
    assert hard == pytest.approx(0.15, abs=0.06)
    assert 0.35 < (task.right < 0.5).double().mean() < 0.65  # the favourite is wrong about half the time
    for operator, a, b in itertools.product(range(3), range(10), range(10)):
        entry, right = task.entries[operator, a, b].double(), task.right[operator, a, b].item()
        assert entry[task.table[operator, a, b]].item() == pytest.approx(right, abs=1e-6)
        decoys = entry.clone()
        decoys[task.table[operator, a, b]] = 0
        shares = decoys.sort(descending=True).values[:4] / (1 - right)
        np.testing.assert_allclose(shares, [0.60, 0.25, 0.15, 0], atol=2e-5)
    prompts = task.prompts(40, seeded())
    prior = task.prior(prompts, task.demonstrations(prompts, seeded()))
    for prompt, row in zip(prompts.tolist(), prior, strict=True):
        for place in range(3):
            assert torch.equal(row[place], task.entries[prompt[3] - 10, prompt[place], prompt[4 + place]])


def test_lookup_table_has_no_pattern_and_is_a_function_of_its_seed():
    one, same, other = NoisyLookup(3), NoisyLookup(3), NoisyLookup(4)
    assert torch.equal(one.entries, same.entries)
    assert (one.table == other.table).double().mean() < 0.2
    assert scipy.stats.chisquare(np.bincount(one.table.flatten(), minlength=10)).pvalue > 0.01


def test_dataset_tokenizer_and_tensors_agree(task):
    rows = task.dataset(30, seed=5)
    prompts = task.prompts(30, seeded(5))
    assert rows.column_names == ["prompt"]
    tokenizer = task.tokenizer()
    assert tokenizer(list(rows["prompt"]))["input_ids"] == prompts.tolist()
    assert tokenizer.batch_decode(prompts) == list(rows["prompt"]) == [task.decode(row) for row in prompts]
    assert len(tokenizer) == len(task.vocabulary)
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == task.eos
    assert tokenizer.padding_side == "left"


def test_reward_of_texts_is_the_reward_of_tensors(task):
    prompts, answers = prompts_and_answers(task)
    tokenizer = task.tokenizer()
    wanted = task.reward(prompts, answers).tolist()
    asked = [task.decode(row) for row in prompts]
    completions = [task.decode(row) for row in answers]
    assert task.reward_function(asked, completions) == wanted
    assert task.reward_function(prompts=asked, completions=completions, completion_ids=[], trainer_state=None) == wanted
    with_end = tokenizer.batch_decode(answers)
    assert task.reward_function(asked, with_end) == wanted
    until_end = [row[: row.index(task.eos)] if task.eos in row else row for row in answers.tolist()]
    assert task.reward_function(asked, tokenizer.batch_decode(until_end, skip_special_tokens=True)) == wanted


@pytest.mark.parametrize(
    "completion",
    ["", " ", END, "9", "3 3 3", "3 3 3 0 0", "3 3 3 0 =", "3 3 = 3", "3330", "3 3 x 3", "3 3 3.0 0", "-3 3 9 0",
     "3 3 <eos> 3 0", "<eos> 3 3 3 0", "٣ ٣ ٣ ٠", "3 3 3 + 0", "03 3 3 0", "3, 3, 3, 0"],
)  # fmt: skip
def test_malformed_completions_earn_nothing(completion):
    task = DigitSum()
    assert task.reward_function(["0 9 ="], ["3 3 3 0"]) == [1.0]
    assert task.reward_function(["0 9 ="] * 2, [completion, "0 0 9 0 <eos>"]) == [0.0, 1.0]


def test_as_many_completions_as_prompts(task):
    with pytest.raises(ValueError, match=r"shorter|longer"):
        task.reward_function(["0 9 ="], [])
