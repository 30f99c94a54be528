"""Several small Llama models of one shape, run as one stacked batch.

Tiny models are bound by the overhead of calls, not by arithmetic: five of them in one batched matrix product cost
little more than one. A `StackedLlama` holds the weights of S models along a leading axis and computes exactly what
`transformers.LlamaForCausalLM` computes for each of them (a test compares the two).

A second saving: the G responses to one prompt share its prefix. They are packed behind it as branches of one
sequence, so that the prompt is computed once instead of G times. `Branches` holds the layout: which position every
packed token has and which earlier tokens it may see.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from transformers import LlamaConfig


@dataclass(frozen=True)
class Branches:
    """Layout of one prompt of `prompt` tokens followed by `responses` branches of `length` tokens each.

    Packed order: the prompt, then the first token of every branch, then the second of every branch, and so on.
    """

    prompt: int
    responses: int
    length: int

    def positions(self) -> Tensor:
        """Position of every packed token inside its own branch, shape (prompt + responses * length,)."""
        steps = torch.arange(self.length).repeat_interleave(self.responses) + self.prompt
        return torch.cat([torch.arange(self.prompt), steps])

    def visible(self) -> Tensor:
        """Boolean (packed, packed): row i may attend to column j: the prompt, and earlier tokens of its own branch."""
        branch = torch.cat([torch.full((self.prompt,), -1), torch.arange(self.responses).repeat(self.length)])
        position = self.positions()
        causal = position[:, None] >= position[None, :]
        return causal & ((branch[None, :] == -1) | (branch[:, None] == branch[None, :]))


@dataclass
class Cache:
    """Keys and values seen so far, one pair of (S, P, heads, tokens, head) tensors per layer."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append this layer's new keys and values; return all of them."""
        if layer == len(self.keys):
            self.keys.append(key)
            self.values.append(value)
        else:
            self.keys[layer] = torch.cat([self.keys[layer], key], -2)
            self.values[layer] = torch.cat([self.values[layer], value], -2)
        return self.keys[layer], self.values[layer]


class StackedLlama(nn.Module):
    """S Llama models of equal configuration with every weight stacked along a leading axis of size S.

    Linear weights are kept as (S, in, out), so that a layer is one `torch.bmm`. Tokens come as (S, P, n): replica,
    prompt, packed token.
    """

    def __init__(self, config: LlamaConfig, states: Sequence[Mapping[str, Tensor]]):
        """config: that of every single model; states: one state dict of a `LlamaForCausalLM` per replica."""
        super().__init__()
        self.config = c = config
        plain = c.model_type == "llama" and not (c.attention_bias or c.mlp_bias or c.tie_word_embeddings)
        plain = plain and c.hidden_act == "silu" and c.rope_parameters["rope_type"] == "default"
        if not plain or not c.num_key_value_heads * c.head_dim == c.num_attention_heads * c.head_dim == c.hidden_size:
            allowed = "Llama with SiLU and default positions, without biases, grouped keys or tied embeddings"
            raise ValueError(f"config: {c.model_type}, allowed: {allowed}")
        self.replicas = len(states)
        for name in states[0]:
            tensors = [state[name].detach().float() for state in states]
            stacked = torch.stack([tensor.T if _is_linear(name) else tensor for tensor in tensors])
            self.register_parameter(_flat(name), nn.Parameter(stacked))
        head = c.hidden_size // c.num_attention_heads
        frequency = c.rope_parameters["rope_theta"] ** -(torch.arange(0, head, 2) / head)
        angle = torch.arange(c.max_position_embeddings)[:, None] * torch.cat([frequency, frequency])
        self.register_buffer("cosine", angle.cos(), persistent=False)
        sign = torch.cat([-torch.ones(head // 2), torch.ones(head // 2)])
        self.register_buffer("sine", sign * angle.sin(), persistent=False)

    def weight(self, name: str) -> Tensor:
        """The stacked weight of a module of the single model, by its name there."""
        return getattr(self, _flat(name + ".weight"))

    def forward(
        self, tokens: Tensor, positions: Tensor, visible: Tensor, cache: Cache | None = None, start: int = 0
    ) -> Tensor:
        """Logits (S, P, n - start, vocabulary) of the tokens (S, P, n) from number `start` on.

        positions (n,): position of each token; visible (n, m): which of the m cached and new tokens each may see.
        The last layer is computed for the tokens asked for only: the others matter to it as keys and values.
        """
        c = self.config
        replicas, prompts, length = tokens.shape
        width, heads = c.hidden_size, c.num_attention_heads
        split = (replicas, prompts, length, 3 * heads, width // heads)
        offset = torch.arange(replicas, device=tokens.device).view(-1, 1, 1) * c.vocab_size
        x = F.embedding(tokens + offset, self.weight("model.embed_tokens").flatten(0, 1)).flatten(1, 2)
        bias = torch.zeros(visible.shape, device=x.device).masked_fill_(~visible, -math.inf)
        cosine, sine = self.cosine[positions], self.sine[positions]
        for layer in range(c.num_hidden_layers):
            at = f"model.layers.{layer}."
            y = self._norm(x, at + "input_layernorm")
            projections = torch.cat([self.weight(f"{at}self_attn.{name}_proj") for name in "qkv"], -1)
            heads_in = torch.bmm(y, projections).view(*split).transpose(2, 3)
            q, k = _rotate(heads_in[:, :, : 2 * heads], cosine, sine).chunk(2, 2)
            v = heads_in[:, :, 2 * heads :]
            if cache is not None:
                k, v = cache.extend(layer, k, v)
            if start and layer == c.num_hidden_layers - 1:
                q, bias = q[..., start:, :], bias[start:]
                x = x.unflatten(1, (prompts, length))[:, :, start:].flatten(1, 2)
            score = torch.baddbmm(bias, q.flatten(0, 2), k.flatten(0, 2).mT, alpha=q.shape[-1] ** -0.5)
            mixed = torch.bmm(score.softmax(-1), v.flatten(0, 2)).unflatten(0, q.shape[:3])
            mixed = mixed.transpose(2, 3).reshape(replicas, -1, width)
            x = torch.baddbmm(x, mixed, self.weight(at + "self_attn.o_proj"))
            y = self._norm(x, at + "post_attention_layernorm")
            gate = F.silu(torch.bmm(y, self.weight(at + "mlp.gate_proj")))
            x = torch.baddbmm(
                x, gate * torch.bmm(y, self.weight(at + "mlp.up_proj")), self.weight(at + "mlp.down_proj")
            )
        x = self._norm(x, "model.norm")
        return torch.bmm(x, self.weight("lm_head")).view(replicas, prompts, length - start, -1)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], eps=self.config.rms_norm_eps) * self.weight(name)[:, None]

    def response_logits(self, prompts: Tensor, responses: Tensor) -> Tensor:
        """Logits that predict the tokens of `responses` (S, P, G, T) to `prompts` (S, P, L), (S, P, G, T, vocabulary)."""
        group, length = responses.shape[2:]
        layout = Branches(prompts.shape[-1], group, length - 1)
        packed = torch.cat([prompts, responses[..., :-1].transpose(2, 3).flatten(2)], -1)
        where = layout.positions().to(packed.device), layout.visible().to(packed.device)
        logits = self(packed, *where, start=layout.prompt - 1)
        first, later = logits[:, :, :1], logits[:, :, 1:].unflatten(2, (length - 1, group))
        first = first.unsqueeze(3).expand(-1, -1, -1, group, -1)
        return torch.cat([first, later], 2).transpose(2, 3)

    @torch.no_grad()
    def generate(self, prompts: Tensor, uniform: Tensor | None, length: int) -> tuple[Tensor, Tensor]:
        """Sample responses (S, P, G, T) token by token at temperature 1.

        uniform: numbers from [0, 1), one per token to draw, shape (S, P, G, T); a token is the inverse of its
        cumulative distribution, so that the same numbers give the same tokens in any stack. None: greedy, G = 1.
        Returns the tokens and the logits that they were drawn from, (S, P, G, T, vocabulary).
        """
        group = 1 if uniform is None else uniform.shape[2]
        layout, cache = Branches(prompts.shape[-1], group, length - 1), Cache()
        positions, visible = layout.positions().to(prompts.device), layout.visible().to(prompts.device)
        start = layout.prompt
        logits = self(prompts, positions[:start], visible[:start, :start], cache, start - 1).expand(-1, -1, group, -1)
        tokens, seen = [], [logits]
        for step in range(length):
            tokens.append(logits.argmax(-1) if uniform is None else _inverse_cdf(logits, uniform[..., step]))
            if step < length - 1:
                end = start + group
                logits = self(tokens[-1], positions[start:end], visible[start:end, :end], cache)
                seen.append(logits)
                start = end
        return torch.stack(tokens, -1), torch.stack(seen, -2)

    def state(self, replica: int) -> dict[str, Tensor]:
        """The state dict of one replica, as `LlamaForCausalLM.load_state_dict` takes it."""
        with torch.no_grad():
            pairs = ((name.replace("/", "."), tensor[replica]) for name, tensor in self.named_parameters())
            return {name: (tensor.T if _is_linear(name) else tensor).clone() for name, tensor in pairs}


def _flat(name: str) -> str:
    return name.replace(".", "/")  # nn.Module allows no dot in the name of a parameter


def _is_linear(name: str) -> bool:
    return "proj" in name or "lm_head" in name


def _inverse_cdf(logits: Tensor, uniform: Tensor) -> Tensor:
    """The token at which the cumulative distribution of softmax(logits) passes `uniform`."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    return (cumulative <= uniform.unsqueeze(-1)).sum(-1).clamp_(max=logits.shape[-1] - 1)


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary position embedding, the two halves of a head forming the rotated pairs; `sine` is negative for the first."""
    return torch.addcmul(x * cosine, x.roll(x.shape[-1] // 2, -1), sine)
