"""A stack of independent transformers models, as slow and plain as can be."""

import torch
from torch import nn

from entropy_utils.language_model import tiny_causal_lm


class StubStack(nn.Module):
    """S models side by side: ids (N, L), or (S, N, L) with rows of their own, give logits (S, N, L, V)."""

    def __init__(self, models):
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, ids):
        rows = ids.expand(len(self.models), *ids.shape[-2:])
        return torch.stack([model(input_ids=x).logits for model, x in zip(self.models, rows, strict=True)])


def decisive_model(seed, vocabulary=11):
    """Untrained, but with logits far enough apart that another order of additions cannot change a first choice."""
    model = tiny_causal_lm(vocabulary, hidden=16, heads=2, max_positions=32, seed=seed)
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
    return model


def random_batch(seed, n=9, vocabulary=11, end=1):
    """Questions of 1 to 5 and answers of 1 to 6 tokens, the end token included, padded on the right with 0."""
    generator = torch.Generator().manual_seed(seed)
    ids, labels = torch.zeros(n, 12, dtype=torch.long), torch.full((n, 12), -100)
    for row in range(n):
        question, answer = (int(torch.randint(1, most, (), generator=generator)) for most in (6, 6))
        ids[row, : question + answer] = torch.randint(2, vocabulary, (question + answer,), generator=generator)
        ids[row, question + answer] = end
        labels[row, question : question + answer + 1] = ids[row, question : question + answer + 1]
    return {"input_ids": ids, "labels": labels}
