"""The shift by one and the mask: against transformers' own loss, and with models that share their rows."""

import pytest
import torch

from entropy_utils.language_model import tiny_causal_lm
from entropy_utils.unlearning.answer_tokens import IGNORED, answer_log_prob, answer_targets

LABELS = torch.tensor([[IGNORED, IGNORED, 4, 2, 1], [IGNORED, 3, 1, IGNORED, IGNORED]])


def test_position_t_predicts_the_token_at_t_plus_1():
    target, mask = answer_targets(LABELS)
    assert target.tolist() == [[0, 4, 2, 1], [3, 1, 0, 0]]
    assert mask.tolist() == [[False, True, True, True], [True, True, False, False]]


def test_the_mean_is_the_loss_of_transformers():
    model = tiny_causal_lm(7, hidden=16, heads=2)
    ids = torch.randint(0, 7, LABELS.shape, generator=torch.Generator().manual_seed(0))
    log_prob, mask = answer_log_prob(model(ids).logits, LABELS)
    assert torch.isclose(-log_prob.sum() / mask.sum(), model(ids, labels=LABELS).loss, rtol=1e-6)
    assert not log_prob[~mask].any()


def test_models_that_share_rows_are_read_one_by_one():
    logits = torch.randn(3, *LABELS.shape, 7, generator=torch.Generator().manual_seed(0))
    log_prob, mask = answer_log_prob(logits, LABELS)
    assert torch.equal(log_prob, torch.stack([answer_log_prob(one, LABELS)[0] for one in logits]))
    assert torch.equal(mask, answer_targets(LABELS)[1].expand(3, -1, -1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits = torch.randn(*LABELS.shape, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    log_prob, _ = answer_log_prob(logits, LABELS)
    assert torch.equal(log_prob, answer_log_prob(logits.float(), LABELS)[0])
