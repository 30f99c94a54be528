"""Notebook 09: unlearning without a retain set by self-distillation with demoted logits (SHRED), and its rivals."""
