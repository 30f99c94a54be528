"""A causal language model small enough to train from nothing in seconds on one core."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def tiny_causal_lm(
    vocabulary_size: int,
    *,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
    intermediate: int | None = None,
    max_positions: int = 64,
    seed: int = 0,
    tie: bool = False,
) -> LlamaForCausalLM:
    """A freshly initialised Llama in float32 without dropout; any ``AutoModelForCausalLM`` works in its place.

    The defaults give about 100 000 parameters at a vocabulary of 15. ``intermediate`` is the width of the gated
    feed-forward layer, by default 8/3 of ``hidden`` rounded up to a multiple of 8 (Touvron et al. 2023, section 2.2).
    ``tie`` shares the embedding with the output matrix. No token is special: begin, end and padding are unset.

    Two defaults of full-size models are changed, for they leave tiny ones on a long plateau: weights start with a
    standard deviation of 0.6 / sqrt(hidden) instead of 0.02, and the rotary base is ``max_positions`` instead of
    10 000, so that the wavelengths fit the few positions that there are.

    The weights are a function of ``seed`` and the sizes; the global random state is left as it was.
    ValueError: a size below 1, or ``hidden / heads`` not an even integer (rotary positions turn pairs).
    """
    intermediate = -(-hidden // 3) * 8 if intermediate is None else intermediate
    sizes = {"vocabulary_size": vocabulary_size, "hidden": hidden, "layers": layers, "heads": heads}
    sizes |= {"intermediate": intermediate, "max_positions": max_positions}
    for name, size, least in [*((name, size, 1) for name, size in sizes.items()), ("seed", seed, 0)]:
        if isinstance(size, bool) or not isinstance(size, int) or size < least:
            raise ValueError(f"{name}: got {size!r}, allowed: an integer of at least {least}")
    if hidden % (2 * heads):
        raise ValueError(f"hidden: got {hidden}, allowed: a multiple of 2 x heads = {2 * heads}")
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=max_positions,
        tie_word_embeddings=tie,
        initializer_range=0.6 / hidden**0.5,
        rope_parameters={"rope_type": "default", "rope_theta": float(max_positions)},
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return model.float()
