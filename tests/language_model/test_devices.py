"""What profile `gpu` computes, on devices without a GPU: nothing of it may be left on the CPU."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from entropy_utils.language_model import tiny_causal_lm
from entropy_utils.language_model.stacked import StackedLlama
from entropy_utils.unlearning.objectives.undial import undial_target


def test_stacked_language_models_work_where_they_are(monkeypatch):
    model = tiny_causal_lm(13, hidden=16, layers=2, heads=2)
    policy, forward, devices = StackedLlama(model.config, [model.state_dict()] * 2).to("meta"), StackedLlama.forward, set()

    def watched(self, *given, **more):
        devices.update(part.device.type for part in (*given, *more.values()) if isinstance(part, torch.Tensor))
        return forward(self, *given, **more)

    monkeypatch.setattr(StackedLlama, "forward", watched)
    prompts = torch.zeros(2, 3, 4, dtype=torch.long, device="meta")
    tokens, logits = policy.generate(prompts, torch.zeros(2, 3, 5, 6, device="meta"), 6)
    assert tokens.shape == (2, 3, 5, 6)
    assert policy.response_logits(prompts, tokens).shape == logits.shape == (2, 3, 5, 6, 13)
    assert devices == {"meta"}


def test_undial_target_is_where_the_logits_are():
    with FakeTensorMode():
        log_p, tokens = torch.zeros(2, 3, 5, device="cuda"), torch.zeros(2, 3, dtype=torch.long, device="cuda")
        assert undial_target(log_p, tokens, 10.0).device.type == "cuda"
