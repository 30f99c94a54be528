"""Pictures that sliders move: their mathematics against brute force, and every picture at the ends of its sliders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy.stats import entropy as scipy_entropy

from entropy_utils.unlearning import playgrounds, surprisal_plots
from entropy_utils.unlearning.objectives import Output, Shred, objective
from entropy_utils.unlearning.playgrounds import Answer, Position, target, undial

rng = np.random.default_rng(0)
WORDS = [f"w{n}" for n in range(40)]


def answers(count: int = 5) -> list[Answer]:
    found = []
    for length in range(9, 9 + count):
        facts = np.arange(length) // 2 == 2
        found.append(Answer(WORDS[:length], np.where(facts, 0.1, 0.001) * rng.random(length), facts))
    return found


def distribution(seed: int, size: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(size, 0.3))


def titles(fig):
    return [ax.get_title() + ax.get_title(loc="left") for ax in fig.axes]


@given(st.integers(0, 10_000), st.integers(0, 11))
def test_variant_a_keeps_the_ratios_of_all_others(seed, memorised):
    p = distribution(seed)
    q = target(p, memorised)
    others = np.arange(len(p)) != memorised
    assert q[memorised] == 0
    assert q.sum() == pytest.approx(1)
    np.testing.assert_allclose(q[others] * (1 - p[memorised]), p[others], rtol=1e-6, atol=1e-12)
    p_x, coin = p[memorised], scipy_entropy([p[memorised], 1 - p[memorised]])
    if p_x < 0.999:
        assert scipy_entropy(q) == pytest.approx((scipy_entropy(p) - coin) / (1 - p_x), abs=1e-6)


@given(st.integers(0, 10_000), st.integers(0, 11), st.floats(0.05, 0.99), st.integers(2, 12))
def test_variant_b_demotes_the_nucleus_with_its_last_token(seed, memorised, nucleus, top):
    p = distribution(seed)
    stored = sorted(range(len(p)), key=lambda v: -p[v])[:top]
    demoted, mass = {memorised}, 0.0
    for token in sorted(range(len(p)), key=lambda v: -p[v]):
        if mass >= nucleus:
            break
        demoted.add(token)
        mass += p[token]
    left = [token for token in stored if token not in demoted]
    q = target(p, memorised, "B", nucleus, top)
    expected = left or [token for token in stored if token != memorised]  # nothing left: variant A
    assert set(np.flatnonzero(q)) <= set(expected)
    np.testing.assert_allclose(q[expected], p[expected] / p[expected].sum(), rtol=1e-9, atol=1e-15)


@given(st.integers(0, 10_000), st.integers(0, 11), st.sampled_from("AB"), st.floats(0.05, 0.99), st.integers(2, 12))
def test_the_targets_are_those_of_the_objectives(seed, memorised, variant, nucleus, top):
    p = distribution(seed)
    logits = torch.tensor(np.log(np.maximum(p, 1e-30)))[None].repeat(2, 1)
    shred = Shred(share=1.0, top=top, variant=variant, nucleus=nucleus)
    made = shred.prepare(Output(logits[None]), torch.tensor([[-100, memorised]]))
    q = torch.zeros(12).scatter(0, made["ids"][0, 0], made["log_q"][0, 0].exp().float())
    np.testing.assert_allclose(target(p, memorised, variant, nucleus, top), q, atol=1e-5)
    other = objective("undial beta=3").prepare(Output(logits[None]), torch.tensor([[-100, memorised]]))["q"][0, 0]
    np.testing.assert_allclose(undial(p, memorised, np.array([0.0, 3.0])), [p, other], atol=1e-6)


def test_undial_is_shred_in_the_limit_and_keeps_its_argmax_up_to_the_edge():
    p = np.array([0.9995, 0.0004, 0.0001])
    np.testing.assert_allclose(undial(p, 0, 200.0), target(p, 0), atol=1e-12)
    edge = np.log(p[0] / p[1])
    assert undial(p, 0, edge - 0.01).argmax() == 0
    assert undial(p, 0, edge + 0.01).argmax() == 1
    p = np.array([1 - 1e-5, 1e-5])
    assert undial(p, 0, 10.0)[0] == pytest.approx(0.82, abs=0.005)  # the brief's example


def most_surprising(surprisal, share):
    count = max(1, int(np.floor(share * len(surprisal) + 0.5)))
    return np.isin(np.arange(len(surprisal)), np.argsort(-surprisal)[:count])


@pytest.mark.parametrize("share", [0.02, 0.25, 1.0])
def test_selection_shows_the_precision_and_recall_it_counts(share):
    given_answers = answers()
    playgrounds.selection(fig := Figure((8, 4)), given_answers, answer=2, share=share)
    chosen = [most_surprising(one.surprisal, share) for one in given_answers]
    hits = sum(int((c & one.facts).sum()) for c, one in zip(chosen, given_answers, strict=True))
    lines = {line.get_color(): line.get_ydata()[0] for line in fig.axes[1].get_lines() if line.get_marker() == "o"}
    assert lines[playgrounds.PRECISION] == pytest.approx(hits / sum(c.sum() for c in chosen))
    assert lines[playgrounds.RECALL] == pytest.approx(hits / 10)
    frames = [c for c in fig.axes[0].collections if len(c.get_facecolor()) == 0]
    assert [len(c.get_paths()) for c in frames] == [chosen[2].sum()]
    assert titles(fig)[0].startswith(f"{chosen[2].sum()} of 11 tokens selected")


@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("top", [2, 40])
@pytest.mark.parametrize("logarithmic", [False, True])
def test_demotion_draws_p_and_q(variant, top, logarithmic):
    p = np.append(0.9, 0.1 * distribution(1, 39))
    positions = {"one": Position(WORDS, p, 0), "tiny": Position(WORDS[:3], np.array([0.2, 0.5, 0.3]), 2)}
    for name in positions:
        playgrounds.demotion(fig := Figure(), positions, name, variant, 0.8, top, logarithmic)
        frozen, aim = ([bar.get_width() for bar in bars] for bars in fig.axes[0].containers)
        assert sum(frozen) == pytest.approx(1)
        assert sum(aim) == pytest.approx(1)
        marked = [label for label in fig.axes[0].get_yticklabels() if label.get_color() == surprisal_plots.MEMORISED]
        assert [label.get_text() for label in marked] == [WORDS[positions[name].memorised]]
    playgrounds.demotion(fig := Figure(), positions, "one", "A", 0.8, 40)
    dot = next(line for line in fig.axes[1].get_lines() if line.get_marker() == "o")
    assert dot.get_ydata()[0] == pytest.approx(-np.log(1 - 0.9))


@pytest.mark.parametrize(("beta", "word"), [(0.0, "is still"), (7.5, "is still"), (7.7, "is not"), (20.0, "is not")])
def test_the_morph_says_when_the_argmax_changes(beta, word):
    playgrounds.from_undial_to_shred(fig := Figure(), beta, -3.0, 0.5)
    assert f"x {word}" in titles(fig)[1]
    assert "7.60" in titles(fig)[1]
    for doubt, share in ((-6.0, 0.1), (-0.3, 0.9)):
        playgrounds.from_undial_to_shred(Figure(), beta, doubt, share)


def test_coloured_tokens_break_lines_and_put_white_on_dark():
    fig = Figure((8, 3))
    surprisal = np.array([9.0, 1e-6, *[0.01] * 28])
    surprisal_plots.coloured_tokens(fig.subplots(), ["dark", "light", *["word"] * 28], surprisal, columns=40)
    texts = {text.get_text(): text for text in fig.axes[0].texts}
    assert texts["dark"].get_color() == "white"
    assert texts["light"].get_color() == "black"
    places = np.array([text.get_position() for text in fig.axes[0].texts])
    assert places[:, 0].max() < 40
    assert len(np.unique(np.floor(places[:, 1]))) > 3
    assert not fig.axes[0].axison


def test_before_and_after_has_one_row_per_model_and_one_scale():
    one = answers(1)[0]
    chosen = most_surprising(one.surprisal, 0.25)
    fig = Figure((8, 3))
    surprisal_plots.before_and_after(fig, one.words, {"before": one.surprisal, "after": 9 * one.facts}, chosen, one.facts)
    assert titles(fig)[:2] == ["before", "after"]
    text = surprisal_plots.in_words(one.words, one.surprisal, chosen)
    assert "9 tokens" in text
    assert text.endswith("Selected: w4, w5.")


@pytest.mark.parametrize(("nats", "text"), [(0.0, "0"), (1.2e-4, "1e-4"), (0.0412, "0.04"), (3.14159, "3.14"), (12.3, "12")])
def test_short_numbers(nats, text):
    assert surprisal_plots.short(nats) == text
