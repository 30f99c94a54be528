"""Entropy of every attention head of a running model, in one line: ``with AttentionRecorder(model) as recorder: ...``.

While the model's forward runs, the recorder watches the operations below autograd and autocast and looks at what enters
each softmax over keys, that is at logits and masks as the model uses them and before dropout. So it needs no
`output_attentions` (transformers gives weights after dropout there), and it sees `torch.nn.MultiheadAttention` and
attention written by hand as well. What the model computes does not change.

Which rows count: those that see at least two keys. In self-attention a token whose key is hidden to everyone is
padding, and its row is left out too. (In cross-attention nothing says which queries are padding: all count.)

A softmax counts as attention if it runs over the last axis and has four axes (batch, heads, queries, keys) or more, or
fewer axes inside a module with "attn" or "attention" in its name or class. Layers are numbered in the order they run.
Recomputation by gradient checkpointing happens outside the model's forward, and is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.experiment import Record

from .entropy import AttentionRows, attention_logits, attention_rows, attention_rows_from_qk, effective_rank

if TYPE_CHECKING:
    import pandas as pd

EAGER = 'attn_implementation="eager" (in from_pretrained, or model.set_attn_implementation("eager"))'
MEASURES = ("entropy", "normalised", "minimum", "max_logit")
ATEN = torch.ops.aten
# the last of these, and the first of those: in inference mode nothing is decomposed
SOFTMAX = {ATEN._softmax.default, ATEN._safe_softmax.default, ATEN.softmax.int}
CUDNN = ATEN._scaled_dot_product_cudnn_attention.default
FUSED = {  # place of the arguments mask and is_causal
    ATEN.scaled_dot_product_attention.default: (3, 5),
    ATEN._scaled_dot_product_flash_attention_for_cpu.default: (None, 4),
    ATEN._scaled_dot_product_flash_attention.default: (None, 4),
    ATEN._scaled_dot_product_efficient_attention.default: (3, 6),
    CUDNN: (3, 6),
}


class AttentionRecorder:
    """Follows the attention entropy of a model, by layer and head, through training or evaluation.

    Records every `every`-th forward pass; passes in train and in eval mode are counted apart, from 0, as `step`. (With
    gradient accumulation a step of the optimiser is several passes.) `queries` keeps the mean of each query's row too,
    `rank` the `effective_rank` of the attention matrices (slow for long sequences).

    Attached from `attach` (or ``with``) to `detach`; what was recorded stays. ParameterError: a transformers model whose
    attention runs in a fused kernel; and, from the model's forward, a model without any attention that can be seen.
    """

    def __init__(self, model: nn.Module, every: int = 1, *, queries: bool = False, rank: bool = False):
        if not isinstance(model, nn.Module) or hasattr(model, "_orig_mod"):
            raise ParameterError.of("model", type(model).__name__, "a torch module, as it was before torch.compile")
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ParameterError.of("every", every, "integer from 1")
        self.model, self.every, self.queries, self.rank = model, every, queries, rank
        self.passes = {True: 0, False: 0}
        self._handles: list[Any] = []
        self._running: _Watch | None = None
        self._inside: list[tuple] = []  # the modules whose forward is running, from the model on
        self._fresh: list[tuple] = []  # recorded, but still tensors: a GPU need not wait
        self._records: list[Record] = []
        self._rows: list[tuple] = []

    def attach(self) -> AttentionRecorder:
        """Begin to record; returns the recorder."""
        if self._handles:
            raise ParameterError.of("model", type(self.model).__name__, "a recorder that is not attached yet")
        for module in self.model.modules():
            kind = getattr(getattr(module, "config", None), "_attn_implementation", None)
            if kind not in (None, "eager"):
                raise ParameterError.of("model", f"{type(module).__name__} with attn_implementation {kind}", EAGER)
        for name, module in self.model.named_modules():
            if module is self.model or next(module.children(), None) or not _is_of_torch(module):
                enter = module.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True)
                self._handles += [enter, module.register_forward_hook(self._leave, always_call=True)]
        return self

    def detach(self) -> None:
        """Stop recording, and leave the model without hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._stop()

    __enter__ = attach

    def __exit__(self, *_) -> None:
        self.detach()

    @property
    def records(self) -> list[Record]:
        """One flat record per recorded pass, layer and head, over the rows that count (see the module's text).

        Fields: step, training (was the model in train mode), layer (number, from 0), module (its name), head, entropy
        (mean, nats), normalised (mean of entropy / log of the visible keys), minimum (the smallest normalised entropy),
        max_logit (largest logit among visible keys), and rank (mean effective rank of the matrices) on request. NaN where
        no row counts.
        """
        for place, numbers in self._fresh:
            names = (*MEASURES, "rank") if self.rank else MEASURES
            for head, values in enumerate(numbers.T.tolist()):
                self._records.append({**place, "head": head, **dict(zip(names, values, strict=True))})
        self._fresh.clear()
        return self._records

    def history(self) -> pd.DataFrame:
        """`records` as a table."""
        import pandas as pd

        return pd.DataFrame(self.records)

    def query_history(self) -> pd.DataFrame:
        """One row per recorded pass, layer, head and query: entropy (nats) and normalised, means over the batch."""
        import pandas as pd

        if not self.queries:
            raise ParameterError.of("queries", self.queries, "True, when the recorder is made")
        tables = []
        for place, means in self._rows:
            entropy, share = means.cpu()
            heads, queries = entropy.shape
            head, query = torch.arange(heads).repeat_interleave(queries), torch.arange(queries).repeat(heads)
            columns = {"head": head, "query": query, "entropy": entropy.flatten(), "normalised": share.flatten()}
            tables.append(pd.DataFrame({**place, **{name: column.numpy() for name, column in columns.items()}}))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def _enter(self, name: str, module: nn.Module, args: tuple, kwargs: dict) -> None:
        if module is self.model:
            self._stop()  # a pass that was interrupted is still open
            number, training = self.passes[module.training], module.training
            self.passes[training] += 1
            if number % self.every == 0:
                self._place = {"step": number, "training": training}
                self._layers = 0
                self._fast = torch.backends.mha.get_fastpath_enabled()
                torch.backends.mha.set_fastpath_enabled(False)  # torch's encoder layer in one kernel hides its attention
                self._running = _Watch(self)
                self._running.__enter__()
        if self._running:
            self._inside.append((name, module, args, kwargs))

    def _leave(self, module: nn.Module, inputs: tuple, output: Any) -> None:
        if not self._running:
            return
        self._inside.pop()
        if not self._inside:
            self._stop()
            if not self._layers and output is not None:  # None: an error is on its way
                got = f"{type(module).__name__}, whose forward pass shows no attention"
                raise ParameterError.of("model", got, f"a softmax over keys in a module called attention; {EAGER}")

    def _stop(self) -> None:
        """Stop watching, if a pass is being watched."""
        running, self._running = self._running, None
        if running:
            running.__exit__(None, None, None)
            torch.backends.mha.set_fastpath_enabled(self._fast)
            self._inside.clear()

    def softmax(self, logits: Tensor, axis: int, weights: Tensor) -> None:
        """Record one softmax from logits to weights, if it is one of attention."""
        name, module, args, kwargs = self._inside[-1]
        if axis not in (-1, logits.ndim - 1) or logits.ndim < 2 or (logits.ndim < 4 and not self._in_attention()):
            return
        heads = logits.shape[-3] if logits.ndim >= 4 else _heads(module, logits, args)
        shape = -1, heads, *logits.shape[-2:]
        logits, weights = logits.reshape(shape), weights.reshape(shape)
        self._keep(name, attention_rows(logits, weights), lambda: weights, _is_cross(args, kwargs))

    def fused(self, q: Tensor, k: Tensor, mask: Tensor | None, causal: bool, scale: float | None) -> None:
        """Record attention that torch computes in one kernel, from its queries and keys."""
        name, _, args, kwargs = self._inside[-1]
        if causal and q.shape[2] != k.shape[2]:  # torch counts from the first key, `attention_rows_from_qk` from the last
            mask, causal = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril(), False
        what = {"mask": mask, "causal": causal, "scale": scale}
        rows = attention_rows_from_qk(q, k, **what)
        self._keep(name, rows, lambda: attention_logits(q, k, **what).softmax(-1), _is_cross(args, kwargs))

    def _keep(self, name: str, rows: AttentionRows, weights: Callable[[], Tensor], cross: bool) -> None:
        own = rows.visible > 0
        if not cross and rows.seen.shape[-1] == own.shape[-1]:
            own = own & rows.seen
        counts = own & (rows.visible > 1)
        share = rows.normalised
        number = counts.sum((0, 2))
        found = [
            torch.where(counts, rows.entropy, 0).sum((0, 2)) / number,
            torch.where(counts, share, 0).sum((0, 2)) / number,
            torch.where(counts, share, torch.inf).amin((0, 2)).masked_fill(number == 0, torch.nan),
            torch.where(own, rows.largest, -torch.inf).amax((0, 2)).masked_fill(~own.any(2).any(0), torch.nan),
        ]
        if self.rank:
            found.append(effective_rank(torch.where(own[..., None], weights(), 0)).mean(0))
        place = {**self._place, "layer": self._layers, "module": name}
        self._layers += 1
        self._fresh.append((place, torch.stack(found)))
        if self.queries:
            means = [torch.where(counts, x, 0).sum(0) / counts.sum(0) for x in (rows.entropy, share)]
            self._rows.append((place, torch.stack(means)))

    def _in_attention(self) -> bool:
        inner = self._inside[1:] or self._inside
        words = [word.lower() for name, module, *_ in inner for word in (name.rpartition(".")[2], type(module).__name__)]
        return any("attn" in word or "attention" in word for word in words)


class _Watch(TorchDispatchMode):
    """Shows the recorder each softmax and each fused attention."""

    def __init__(self, recorder: AttentionRecorder):
        super().__init__()
        self.recorder = recorder

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        if func in SOFTMAX:
            self.recorder.softmax(args[0], args[1], found)
        elif func in FUSED:
            self.recorder.fused(args[0], args[1], *_mask_and_causal(func, args, kwargs), kwargs.get("scale"))
        return found


def _mask_and_causal(func: Any, args: tuple, kwargs: dict) -> tuple[Tensor | None, bool]:
    """The arguments mask and is_causal of one of the `FUSED`."""
    at, causal_at = FUSED[func]
    mask = args[at] if at and len(args) > at else kwargs.get("attn_mask")
    if mask is not None and func is CUDNN:
        mask = mask.masked_fill(mask <= -65504, -torch.inf)  # so torch writes False here, and no other number is as low
    return mask, args[causal_at] if len(args) > causal_at else kwargs.get("is_causal", False)


def _is_of_torch(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.modules.")


def _heads(module: nn.Module, logits: Tensor, args: tuple) -> int:
    """Heads that share the first axis of logits (batch x heads, queries, keys) with the batch, 1 if that is the batch."""
    known = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads")
    heads = next((value for name in known if isinstance(value := getattr(module, name, None), int)), 1)
    own = isinstance(module, nn.MultiheadAttention) or not args or not isinstance(args[0], Tensor)
    alone = not own and len(args[0]) == len(logits)
    return 1 if alone or logits.ndim < 3 or len(logits) % heads else heads


def _is_cross(args: tuple, kwargs: dict) -> bool:
    """Whether a module attends to something else than its own input."""
    named = ("key_value_states", "encoder_hidden_states", "key", "context")
    other = args[1] if len(args) > 1 else next((kwargs[name] for name in named if kwargs.get(name) is not None), None)
    own = args[0] if args else kwargs.get("query")
    return isinstance(other, Tensor) and isinstance(own, Tensor) and other is not own and other.ndim == own.ndim
