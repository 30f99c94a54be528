"""Drawing continuations from a causal language model, many prompts at a time."""

import inspect
import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sample:
    """Continuations of n prompts, each ``max_new_tokens`` long.

    ``tokens`` int64 [n, new], padding after the end token. ``mask`` bool [n, new], true for what the model drew, the
    end token included. ``logp`` float32 [n, new], in nats: the log-probability of each token under the distribution it
    was drawn from, temperature included; 0 where masked, and 0 for greedy choices, which are certain.
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    logp: torch.Tensor


def sample(
    model,
    prompts: torch.Tensor,
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    eos: int | None = None,
    pad: int = 0,
    attention_mask: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    num_return_sequences: int = 1,
) -> Sample:
    """Continue every row of ``prompts`` (int64 [b, t]) by up to ``max_new_tokens`` tokens, using the key-value cache.

    ``model`` is any ``AutoModelForCausalLM``. ``temperature`` divides the logits; 0 takes the likeliest token. Drawing
    stops for a row after ``eos``, and altogether when every row has stopped. Prompts of unequal length are padded on
    the left, with ``attention_mask`` [b, t] 0 on the padding. ``num_return_sequences`` continuations of a prompt lie
    in adjacent rows of the result; each prompt is read once. Randomness comes from ``generator`` (on the model's
    device) or, without one, from torch's global state. The model is left in the mode (train or eval) it came in.
    ValueError: a bad shape, an id outside the vocabulary, more positions than the model has, logits that are NaN.
    """
    _check(model, prompts, max_new_tokens, temperature, attention_mask, num_return_sequences)
    accepted = inspect.signature(model.forward).parameters
    last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
    n, copies = len(prompts) * num_return_sequences, num_return_sequences
    tokens = torch.full((n, max_new_tokens), pad, dtype=torch.long, device=prompts.device)
    mask = torch.zeros((n, max_new_tokens), dtype=torch.bool, device=prompts.device)
    logp = torch.zeros((n, max_new_tokens), dtype=torch.float32, device=prompts.device)
    if n == 0:
        return Sample(tokens, mask, logp)
    going = torch.ones(n, dtype=torch.bool, device=prompts.device)
    placing = {}
    if attention_mask is not None:
        placing = {"attention_mask": attention_mask.long()}
        if "position_ids" in accepted:
            placing["position_ids"] = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            out = model(input_ids=prompts, use_cache=True, **placing, **last_only)
            logits, cache = out.logits[:, -1], out.past_key_values
            if copies > 1:
                logits = logits.repeat_interleave(copies, 0)
                cache.batch_repeat_interleave(copies)
                placing = {name: value.repeat_interleave(copies, 0) for name, value in placing.items()}
            for step in range(max_new_tokens):
                chosen, chosen_logp = _choose(logits, temperature, generator)
                tokens[:, step] = torch.where(going, chosen, pad)
                logp[:, step] = torch.where(going, chosen_logp, 0.0)
                mask[:, step] = going
                if eos is not None:
                    going = going & (chosen != eos)
                    if not going.any():
                        break
                if step + 1 < max_new_tokens:
                    if placing:
                        old = placing["attention_mask"]
                        placing["attention_mask"] = torch.cat([old, old.new_ones(n, 1)], 1)
                    if "position_ids" in placing:
                        placing["position_ids"] = placing["position_ids"][:, -1:] + 1
                    ids = tokens[:, step : step + 1]
                    out = model(input_ids=ids, past_key_values=cache, use_cache=True, **placing, **last_only)
                    logits, cache = out.logits[:, -1], out.past_key_values
    finally:
        model.train(was_training)
    return Sample(tokens, mask, logp)


def _choose(logits, temperature, generator):
    """One token per row of ``logits`` [n, v] and its log-probability."""
    if temperature == 0:
        if logits.isnan().any():
            raise ValueError("model: got logits that are NaN, allowed: numbers")
        return logits.argmax(-1), 0.0
    log_p = (logits.float() / temperature).log_softmax(-1)
    if log_p.isnan().any():
        raise ValueError("model: got logits that are NaN or +inf, allowed: numbers, and -inf for an impossible token")
    chosen = torch.multinomial(log_p.exp(), 1, generator=generator)
    return chosen[:, 0], log_p.gather(-1, chosen)[:, 0]


def _check(model, prompts, max_new_tokens, temperature, attention_mask, num_return_sequences):
    if prompts.ndim != 2 or prompts.shape[1] == 0 or prompts.is_floating_point():
        got = f"{tuple(prompts.shape)} {prompts.dtype}"
        raise ValueError(f"prompts: got {got}, allowed: integers [prompts, at least 1 token]")
    for name, count in (("max_new_tokens", max_new_tokens), ("num_return_sequences", num_return_sequences)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"{name}: got {count!r}, allowed: an integer of at least 1")
    if not (isinstance(temperature, (int, float)) and temperature >= 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature: got {temperature!r}, allowed: a finite number of at least 0")
    vocabulary = model.get_input_embeddings().num_embeddings
    if prompts.numel() and (prompts.min() < 0 or prompts.max() >= vocabulary):
        low, high = prompts.min().item(), prompts.max().item()
        raise ValueError(f"prompts: got ids from {low} to {high}, allowed: 0 to {vocabulary - 1}")
    room = getattr(model.config, "max_position_embeddings", None)
    if room is not None and prompts.shape[1] + max_new_tokens > room:
        got = f"{prompts.shape[1]} prompt + {max_new_tokens} new tokens"
        raise ValueError(f"max_new_tokens: got {got}, allowed: at most {room} positions in this model")
    if attention_mask is not None:
        if attention_mask.shape != prompts.shape:
            got = tuple(attention_mask.shape)
            raise ValueError(f"attention_mask: got shape {got}, allowed: that of the prompts {tuple(prompts.shape)}")
        if (attention_mask.long().diff(dim=1) < 0).any() or (attention_mask[:, -1] == 0).any():
            raise ValueError("attention_mask: got padding on the right, allowed: 0s on the left, then 1s")
