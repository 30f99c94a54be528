"""Objectives against autograd, closed forms and plain loops over one position at a time."""

import math

import pytest
import torch
from torch.nn import functional as F

from entropy_utils.lab.errors import ParameterError
from entropy_utils.unlearning.answer_tokens import answer_log_prob, answer_targets
from entropy_utils.unlearning.objectives import OBJECTIVES, Output, Retained, objective
from entropy_utils.unlearning.objectives.shred import demoted_target
from entropy_utils.unlearning.objectives.undial import undial_target

V = 7


def random_case(seed, lead=(), rows=3, length=9):
    """Logits of a frozen and of a live model, and labels with questions and padding of several lengths."""
    g = torch.Generator().manual_seed(seed)
    frozen, live = (2 * torch.randn(*lead, rows, length, V, generator=g, dtype=torch.double) for _ in range(2))
    labels = torch.randint(V, (rows, length), generator=g)
    for row in range(rows):
        labels[row, : 2 + row % 2] = -100
        labels[row, length - row :] = -100
    return frozen, live, labels


def positions(labels):
    return [(row, t, int(labels[row, t + 1])) for row, t in (labels[:, 1:] != -100).nonzero().tolist()]


def loss_and_gradient(method, live, labels, targets, **more):
    z = live.clone().requires_grad_()
    loss = method.loss(Output(z), labels, targets, **more)
    return loss.detach(), torch.autograd.grad(loss.sum(), z)[0]


def shred_by_hand(frozen, live, labels, share, top, variant="A", nucleus=0.9):
    """Mean KL(q || live), its gradient p - q, and the selection; one position at a time."""
    total, gradient, count, chosen = 0.0, torch.zeros_like(live), 0, set()
    for row in range(len(labels)):
        here = [(t, token) for r, t, token in positions(labels) if r == row]
        ranked = sorted(here, key=lambda pair: frozen[row, pair[0]].softmax(-1)[pair[1]])
        forget = {t for t, _ in ranked[: max(1, math.floor(share * len(here) + 0.5))]}
        chosen |= {(row, t) for t in forget}
        for t, token in here:
            p = frozen[row, t].softmax(-1)
            stored = p.argsort(descending=True)[:top].tolist()
            demoted = {token} if t in forget else set()
            if t in forget and variant == "B":
                mass = 0.0
                for v in p.argsort(descending=True).tolist():
                    if mass >= nucleus:
                        break
                    demoted.add(v)
                    mass += float(p[v])
            if not set(stored) - demoted:
                demoted = {token}
            q = torch.zeros(V, dtype=p.dtype)
            for v in stored:
                q[v] = 0.0 if v in demoted else p[v]
            q /= q.sum()
            total += sum(float(q[v] * (q[v].log() - live[row, t].log_softmax(-1)[v])) for v in range(V) if q[v] > 0)
            gradient[row, t] = live[row, t].softmax(-1) - q
            count += 1
    return total / count, gradient / count, chosen


@pytest.mark.parametrize(("share", "top", "variant", "nucleus"), [
    (0.25, V, "A", 0.9), (0.5, 4, "A", 0.9), (1.0, 2, "A", 0.9), (0.5, V, "B", 0.6), (0.75, 2, "B", 0.99),
    (0.4, 5, "B", 0.3),
])  # fmt: skip
def test_shred_is_the_kl_to_the_demoted_target_and_its_gradient_is_p_minus_q(share, top, variant, nucleus):
    frozen, live, labels = random_case(1)
    method = objective(f"shred share={share} top={top} variant={variant} nucleus={nucleus}")
    targets = method.prepare(Output(frozen), labels)
    loss, gradient = loss_and_gradient(method, live, labels, targets)
    expected, by_hand, chosen = shred_by_hand(frozen, live, labels, share, top, variant, nucleus)
    assert {tuple(place) for place in targets["selected"].nonzero().tolist()} == chosen
    torch.testing.assert_close(loss.item(), expected, atol=1e-5, rtol=1e-5)  # targets are stored in single precision
    torch.testing.assert_close(gradient, by_hand, atol=1e-6, rtol=1e-5)


def test_nucleus_includes_the_token_that_crosses_and_an_empty_target_falls_back_to_variant_a():
    log_p = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    token = torch.tensor(3)
    torch.testing.assert_close(demoted_target(log_p, token, variant="B", nucleus=0.7).exp(), torch.tensor([0, 0, 1.0, 0]))
    torch.testing.assert_close(
        demoted_target(log_p, token, variant="B", nucleus=0.9).exp(), demoted_target(log_p, token).exp()
    )


def test_initial_loss_is_minus_log_of_one_minus_p_and_anchors_cost_nothing():
    frozen, _, labels = random_case(2)
    method = objective(f"shred share=0.4 top={V}")
    targets = method.prepare(Output(frozen), labels)
    loss, gradient = loss_and_gradient(method, frozen, labels, targets)
    log_prob, mask = answer_log_prob(frozen, labels)
    expected = -torch.log1p(-log_prob.exp())[targets["selected"]].sum() / mask.sum()
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-5)
    anchors = mask & ~targets["selected"]
    assert gradient[:, :-1][anchors].abs().max() < 1e-7
    torch.testing.assert_close(gradient.sum(-1), torch.zeros_like(gradient[..., 0]), atol=1e-7, rtol=0)


def test_entropy_of_the_target_by_the_chain_rule():
    log_p = torch.randn(50, V, dtype=torch.double).log_softmax(-1)
    tokens = torch.randint(V, (50,))
    q = demoted_target(log_p, tokens).exp()
    p_x = log_p.exp().gather(-1, tokens[:, None])[:, 0]
    binary = -p_x * p_x.log() - (1 - p_x) * torch.log1p(-p_x)
    entropy = torch.special.entr(log_p.exp()).sum(-1)
    torch.testing.assert_close(torch.special.entr(q).sum(-1), (entropy - binary) / (1 - p_x), atol=1e-10, rtol=1e-10)


def test_truncated_anchors_cost_minus_log_of_the_stored_mass():
    frozen, _, labels = random_case(3)
    method = objective("shred share=0.01 top=3 how=probable")
    targets = method.prepare(Output(frozen), labels)
    only = targets | {"mask": targets["mask"] & ~targets["selected"]}
    loss = method.loss(Output(frozen), labels, only)
    mass = frozen[:, :-1].softmax(-1).topk(3, -1).values.sum(-1)[only["mask"]]
    torch.testing.assert_close(loss, -mass.log().mean(), atol=1e-6, rtol=1e-5)


def test_without_anchors_only_forgotten_positions_have_a_gradient():
    frozen, live, labels = random_case(4)
    method = objective("shred share=0.3 top=7 anchors=false")
    targets = method.prepare(Output(frozen), labels)
    gradient = loss_and_gradient(method, live, labels, targets)[1]
    assert ((gradient[:, :-1].abs().sum(-1) > 0) == targets["selected"]).all()


def test_strong_undial_is_shred_with_everything_selected():
    frozen, live, labels = random_case(5)
    shred, undial = objective(f"shred share=1 top={V}"), objective("undial beta=200")
    gradients = [
        loss_and_gradient(method, live, labels, method.prepare(Output(frozen), labels))[1] for method in (shred, undial)
    ]
    torch.testing.assert_close(*gradients, atol=1e-7, rtol=1e-5)


def test_undial_target_in_closed_form_and_its_loss_ignores_padding():
    p, beta = 0.999, 7.0
    log_p = torch.tensor([p, 1 - p], dtype=torch.double).log()
    q = undial_target(log_p, torch.tensor(0), beta).exp()[0]
    torch.testing.assert_close(q.item(), p * math.exp(-beta) / (1 - p + p * math.exp(-beta)), rtol=1e-10, atol=0)
    frozen, live, labels = random_case(6)
    method = objective("undial beta=3")
    loss, gradient = loss_and_gradient(method, live, labels, method.prepare(Output(frozen), labels))
    terms = []
    for row, t, token in positions(labels):
        z = frozen[row, t].clone()
        z[token] -= 3
        terms.append(-(z.softmax(-1) * live[row, t].log_softmax(-1)).sum())
    torch.testing.assert_close(loss, torch.stack(terms).mean(), atol=1e-6, rtol=1e-5)
    assert not gradient[:, :-1][labels[:, 1:] == -100].any()


def test_ceu_equals_shred_at_the_first_step_and_not_later():
    frozen, live, labels = random_case(7)
    ceu, shred = objective("ceu exempt=0"), objective(f"shred share=1 top={V}")
    targets = shred.prepare(Output(frozen), labels)
    start = [loss_and_gradient(ceu, frozen, labels, {})[1], loss_and_gradient(shred, frozen, labels, targets)[1]]
    torch.testing.assert_close(*start, atol=1e-7, rtol=1e-5)
    later = [loss_and_gradient(ceu, live, labels, {})[1], loss_and_gradient(shred, live, labels, targets)[1]]
    assert (later[0] - later[1]).abs().max() > 1e-3


def test_ceu_spares_the_first_answer_token():
    _, live, labels = random_case(8)
    gradient = loss_and_gradient(objective("ceu"), live, labels, {})[1][:, :-1]
    moved = gradient.abs().sum(-1) > 0
    mask = labels[:, 1:] != -100
    assert (moved == (mask & (mask.cumsum(-1) > 1))).all()


def test_ceu_with_no_token_left_moves_nothing():
    _, live, labels = random_case(8)
    loss, gradient = loss_and_gradient(objective("ceu exempt=50"), live, labels, {})
    assert loss == 0
    assert not gradient.any()


def test_gradient_ascent_and_grad_diff_against_cross_entropy():
    _, live, labels = random_case(9)
    other, kept_labels = random_case(10)[1:]
    nll = F.cross_entropy(live[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    kept = F.cross_entropy(other[:, :-1].flatten(0, 1), kept_labels[:, 1:].flatten(), ignore_index=-100)
    torch.testing.assert_close(objective("gradient_ascent").loss(Output(live), labels, {}), -nll)
    retain = Retained(Output(other), kept_labels, {})
    loss = objective("grad_diff retain_weight=2").loss(Output(live), labels, {}, retain)
    torch.testing.assert_close(loss, -nll + 2 * kept)


def test_npo_and_simnpo_one_answer_at_a_time():
    frozen, live, labels = random_case(11)
    npo, simnpo = objective("npo beta=0.3"), objective("simnpo beta=2 delta=0.4 gamma=0.5")
    sums = {name: [0.0] * len(labels) for name in ("live", "frozen")}
    counts = [0] * len(labels)
    for row, t, token in positions(labels):
        counts[row] += 1
        for name, logits in (("live", live), ("frozen", frozen)):
            sums[name][row] -= logits[row, t].log_softmax(-1)[token].item()
    s, s0, n = (torch.tensor(x, dtype=torch.double) for x in (sums["live"], sums["frozen"], counts))
    expected = (-2 / 0.3 * (1 / (1 + torch.exp(-0.3 * (s - s0)))).log()).mean()
    loss, gradient = loss_and_gradient(npo, live, labels, npo.prepare(Output(frozen), labels))
    torch.testing.assert_close(loss, expected)
    expected = (-0.5 * 2 / 2 * (1 / (1 + torch.exp(-2 * (s / n - 0.4)))).log()).mean()
    torch.testing.assert_close(simnpo.loss(Output(live), labels, {}), expected)
    row, t, token = positions(labels)[0]  # d loss / d z = 2 sigmoid(-beta (s - s0)) (p - onehot) (-1) ... / rows
    weight = 2 / (1 + math.exp(0.3 * float(s[row] - s0[row]))) / len(labels)
    p = live[row, t].softmax(-1)
    torch.testing.assert_close(gradient[row, t], weight * (F.one_hot(torch.tensor(token), V) - p))


def test_rmu_pulls_answers_to_a_vector_of_the_given_length_and_keeps_the_rest():
    method = objective("rmu coefficient=3 retain_weight=0.5")
    _, live, labels = random_case(12)
    hidden = torch.randn(*labels.shape, 5, dtype=torch.double)
    other, frozen = (torch.randn(*labels.shape, 5, dtype=torch.double) for _ in range(2))
    vector = method.direction(5)
    assert vector.norm().item() == pytest.approx(3)
    retain = Retained(Output(live, other), labels, method.prepare_retain(Output(live, frozen), labels))
    inside = labels != -100
    expected = (hidden[inside] - vector).square().mean() + 0.5 * (other - frozen)[inside].square().mean()
    torch.testing.assert_close(method.loss(Output(live, hidden), labels, {}, retain), expected)


@pytest.mark.parametrize("spec", [*OBJECTIVES, "shred variant=B top=5", "shred how=probable", "npo retain_weight=1"])
def test_stacked_models_are_independent(spec):
    """The loss of S stacked models is the loss of each alone, and so is its gradient."""
    method = objective(f"{spec} top=7" if spec.startswith("shred") and "top" not in spec else spec)
    frozen, live, labels = random_case(13, lead=(2,))
    other = random_case(14, lead=(2,))[1]
    hidden = torch.randn(2, *labels.shape, 4, dtype=torch.double)

    def run(z_frozen, z_live, z_other, h):
        targets = method.prepare(Output(z_frozen, h), labels)
        z = z_live.clone().requires_grad_()
        h = h.clone().requires_grad_()
        retain = Retained(Output(z_other, h), labels, method.prepare_retain(Output(z_other, 2 * h.detach()), labels))
        loss = method.loss(Output(z, h), labels, targets, retain)
        return loss.detach(), *(g for g in torch.autograd.grad(loss.sum(), (z, h), allow_unused=True) if g is not None)

    together = run(frozen, live, other, hidden)
    for s in range(2):
        for whole, alone in zip(together, run(frozen[s], live[s], other[s], hidden[s]), strict=True):
            torch.testing.assert_close(whole[s], alone)


def test_targets_may_be_cut_into_batches():
    frozen, live, labels = random_case(15, rows=5)
    for spec in ("shred top=5", "undial", "npo"):
        method = objective(spec)
        targets = method.prepare(Output(frozen), labels)
        rows = torch.tensor([3, 1])
        part = method.prepare(Output(frozen[rows]), labels[rows])
        for name, value in part.items():
            torch.testing.assert_close(targets[name][rows], value)
        assert method.loss(Output(live[rows]), labels[rows], part).ndim == 0


def test_parsing_and_errors():
    assert (
        objective("shred share=0.5 top=64 anchors=false").model_dump()
        == objective({"name": "shred", "share": 0.5, "top": 64, "anchors": False}).model_dump()
    )
    for spec in ("shred share=0", "shred share=1.1", "shred share=nan", "shred top=1", "shred sahre=0.5", "shred variant=C"):
        with pytest.raises(ValueError, match=r"share|top|sahre|variant"):
            objective(spec)
    with pytest.raises(ValueError, match="objective 'nothing', allowed: shred"):
        objective("nothing")
    frozen, live, labels = random_case(16)
    with pytest.raises(ParameterError, match=r"'top'.*at most the 7"):
        objective("shred top=8").prepare(Output(frozen), labels)
    with pytest.raises(ValueError, match="retain"):
        objective("grad_diff").loss(Output(live), labels, {})
    assert answer_targets(labels)[1].any()
