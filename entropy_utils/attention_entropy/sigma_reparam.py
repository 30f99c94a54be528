"""sigmaReparam: every weight matrix becomes gamma / sigma(W) * W, with one learned gain gamma (Zhai et al. 2023).

`reparametrize(model)` does it to a whole model, in place, through `torch.nn.utils.parametrize`; `fold(model)` turns the
result back into plain weights. Things to know before training:

- In train mode a forward pass makes one power iteration per weight, and so does every other reading of ``layer.weight``:
  gradient accumulation over n batches makes n, and its batches see slightly different weights. Inside
  ``torch.nn.utils.parametrize.cached()`` there is one in all. In eval mode nothing is stored, and the same input gives
  the same output.
- As with all parametrizations of torch, save the state dict, not the module; copies by `copy.deepcopy` are fine.
- The scale of W is no scale of the layer, but divides its learning rate (the scale law: W times c and its Adam rate times
  c train alike). Compare methods at more than one learning rate.
- Weight decay on gamma would shrink the layer: `parameter_groups` keeps it out.
- torch.func (`grad`, `vmap`) works in eval mode; in train mode the new u cannot be stored from inside a transform. There
  is no forward-mode differentiation.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from fnmatch import fnmatch

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from entropy_utils.lab.errors import ParameterError

EPSILON = 1e-12
QUERIES_AND_KEYS = ("q", "k", "query", "key", "q_proj", "k_proj", "to_q", "to_k", "wq", "wk", "w_q", "w_k")


def top_singular(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The largest singular value of a weight (rows flattened: out x in k k) and its right singular vector u.

    Exact, from the eigenvectors of the smaller Gram matrix in float64. A start from a cold random vector would
    underestimate sigma in the first steps, and make the first outputs too large.
    """
    matrix = weight.detach().flatten(1).double()
    wide = matrix.shape[0] < matrix.shape[1]
    vector = torch.linalg.eigh(matrix @ matrix.T if wide else matrix.T @ matrix).eigenvectors[:, -1]
    u = matrix.T @ vector if wide else vector
    u = u / u.norm().clamp_min(EPSILON)
    return (matrix @ u).norm(), u


def power_step(matrix: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """One round of power iteration on (..., out, in): v = W u, then u = W^T v, both normalised. Returns (u, v)."""
    v = _unit((matrix @ u[..., None])[..., 0])
    return _unit((v[..., None, :] @ matrix)[..., 0, :]), v


def rescaled(matrix: Tensor, gamma: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """The definition: gamma / sigma * W, sigma = v^T W u, on (..., out, in). u and v are constants, W in sigma is not."""
    sigma = (v[..., None, :] @ matrix @ u[..., None])[..., 0, 0]
    return (gamma / sigma)[..., None, None] * matrix


class _Rescaled(torch.autograd.Function):
    """`rescaled` of (n, out, in), with its gradient by hand; gamma and sigma are (n, 1, 1), u (n, 1, in), v (n, 1, out).

    With G the gradient of the new weight: d gamma = <G, W> / sigma, dW = gamma / sigma (G - <G, W> / sigma v u^T).
    """

    @staticmethod
    def forward(ctx, matrix, gamma, u, v, sigma):
        scale = gamma / sigma
        ctx.save_for_backward(matrix, gamma, u, v, sigma, scale)
        return matrix * scale

    @staticmethod
    def backward(ctx, grad):
        matrix, gamma, u, v, sigma, scale = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient of the gradient may be wanted, and W is in sigma too
            sigma = v @ matrix @ u.mT
            scale = gamma / sigma
        inner = (grad * matrix).sum((1, 2), keepdim=True) / sigma
        along = v.mT * (inner * scale)
        return (grad * scale).addcmul_(along, u, value=-1), inner, None, None, None


class SigmaReparam(nn.Module):
    """The parametrization W -> gamma / sigma * W, for `torch.nn.utils.parametrize.register_parametrization`.

    `weight` gives the shape and the start: u is its exact top right singular vector. `gamma_init` is ``one`` (the paper
    and its JAX code: the layer starts with spectral norm 1) or ``sigma`` (the paper's PyTorch code: it starts unchanged).

    Train mode: one power iteration (without gradient) before each use, stored. Eval mode: u is left alone. sigma is
    computed in float32 at least, also under autocast and for bfloat16 weights (whose u is stored in bfloat16).
    Assigning ``module.weight = W`` sets gamma to sigma(W), so that the module then has the weight W.
    """

    def __init__(self, weight: Tensor, gamma_init: str = "one"):
        super().__init__()
        _check_gamma_init(gamma_init)
        _check_weight("weight", weight)
        sigma, u = top_singular(weight)
        start = sigma if gamma_init == "sigma" else torch.ones_like(sigma)
        self.gamma = nn.Parameter(start.to(weight.dtype))
        self.register_buffer("u", u.to(weight.dtype))
        self.registered = False

    def forward(self, weight: Tensor) -> Tensor:
        """gamma / sigma * weight, of the same shape and dtype."""
        return sigma_weights([self], [weight])[0]

    @torch.no_grad()
    def right_inverse(self, weight: Tensor) -> Tensor:
        """What to store so that the layer's weight becomes `weight`; the first call is the registration."""
        if self.registered:
            _check_weight("weight", weight)
            sigma, u = top_singular(weight)
            self.gamma.copy_(sigma)
            self.u.copy_(u)
            return weight.clone()
        self.registered = True
        return weight


def sigma_weights(gains: Sequence[SigmaReparam], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What parametrizations in one mode make of weights of one dtype, as one batch.

    All have the shape of the first; or else they are smaller matrices, which zeros fill up: sigma stays what it is.
    """
    first, training = weights[0], gains[0].training
    kind = torch.promote_types(first.dtype, torch.float32)
    odd = [number for number, weight in enumerate(weights) if weight.shape != first.shape]
    full, stored = list(weights), [gain._buffers["u"] for gain in gains]
    kept = list(stored)
    for number in odd:
        less = [whole - part for whole, part in zip(first.shape, weights[number].shape, strict=True)]
        full[number], kept[number] = F.pad(weights[number], (0, less[1], 0, less[0])), F.pad(stored[number], (0, less[1]))
    with _full_precision(first.device):
        matrix = torch.cat(full) if len(full) > 1 else first  # a single one is not copied
        matrix = matrix.reshape(len(full), first.shape[0], -1)
        gamma, u = torch.stack([gain._parameters["gamma"] for gain in gains]), torch.cat(kept).view(len(kept), -1)
        if first.dtype != kind:
            matrix, gamma, u = matrix.to(kind), gamma.to(kind), u.to(kind)
        new, u = sigma_batch(matrix, gamma, u, training)
        found, rows = list(new.to(first.dtype).view(-1, *first.shape).unbind()), list(u.unbind())
        for number in odd:
            size = weights[number].shape
            found[number], rows[number] = found[number][: size[0], : size[1]], rows[number][: size[1]]
        if training:
            torch._foreach_copy_(stored, rows)
    return tuple(found)


def sigma_batch(matrix: Tensor, gamma: Tensor, u: Tensor, training: bool) -> tuple[Tensor, Tensor]:
    """gamma / sigma * W of many W (n, out, in) with gamma (n,) and u (n, in); in train mode after a power iteration.

    Returns the new weights and the u to store.
    """
    row = u.unsqueeze(1)
    with torch.no_grad():
        v = torch.bmm(row, matrix.mT)  # as rows: batched products with columns are slow
        sigma = torch.linalg.vector_norm(v, dim=2, keepdim=True).clamp_min_(EPSILON)
        v /= sigma
        if training:
            row = torch.bmm(v, matrix)
            sigma = torch.linalg.vector_norm(row, dim=2, keepdim=True).clamp_min_(EPSILON)  # v^T W u for the new u
            row /= sigma
    u = row.squeeze(1)
    if training:
        return _Rescaled.apply(matrix, gamma.view(-1, 1, 1), row, v, sigma), u
    return rescaled(matrix, gamma, u, v.squeeze(1)), u  # torch.func goes through it


class Together:
    """Computes the small weights of a model that have one shape in one batch, when the model's forward starts.

    A matrix whose shape no other has joins larger ones. The layers find their weight ready; the numbers are those of each
    layer alone, without the cost of many tiny operations. After the forward they are on their own again, and so is a part
    of the model that is called directly.
    """

    largest = 2**22  # entries; a GPU waits for operations to be started, not for copies
    largest_on_cpu = 2**16  # above it stacking costs more than it saves

    def __init__(self, model: nn.Module, layers: Iterable[tuple[nn.Module, str]]):
        self.rows: list[tuple] = []
        for layer, tensor in layers:
            held = layer.parametrizations[tensor]
            if held.original.numel() <= self.largest:
                self.rows.append((layer, f"{tensor} ready", held, held[0]))
                _offer_ready(layer, tensor)
        self.handles = (
            model.register_forward_pre_hook(self.before),
            model.register_forward_hook(self.after, always_call=True),
        )

    def detach(self) -> None:
        """Leave the model without hooks."""
        for handle in self.handles:
            handle.remove()

    def before(self, *_) -> None:
        """Compute all; nothing inside `parametrize.cached()`, which has its own way of computing a weight once.

        A layer with a second parametrization on top (a mask, say) is left on its own.
        """
        if parametrize._cache_enabled:
            return
        groups: dict[tuple, list[tuple]] = {}
        for layer, key, held, gain in self.rows:
            weight = held._parameters["original"]
            largest = self.largest_on_cpu if weight.device.type == "cpu" else self.largest
            if len(held._modules) == 1 and weight.numel() <= largest:
                alike = weight.shape, weight.dtype, weight.device, gain.training
                groups.setdefault(alike, []).append((layer, key, gain, weight))
        for alone in [alike for alike, group in groups.items() if len(group) == 1]:
            larger = [other for other, group in groups.items() if len(group) > 1 and _fits(alone, other)]
            if larger:
                groups[min(larger, key=lambda alike: math.prod(alike[0]))] += groups.pop(alone)
        for group in groups.values():
            layers, keys, gains, weights = zip(*group, strict=True)
            for layer, key, weight in zip(layers, keys, sigma_weights(gains, weights), strict=True):
                layer.__dict__[key] = weight

    def after(self, *_) -> None:
        """Forget all."""
        for layer, key, *_ in self.rows:
            layer.__dict__.pop(key, None)


def _fits(one: tuple, other: tuple) -> bool:
    """Whether a group's matrices fit into those of another; groups are (shape, dtype, device, mode)."""
    return one[1:] == other[1:] and len(one[0]) == len(other[0]) == 2 and all(map(operator.le, one[0], other[0]))


def _offer_ready(layer: nn.Module, tensor: str) -> None:
    """Let the layer's weight be the ready one if there is one, without the way through parametrize's lists."""
    slow, key = getattr(type(layer), tensor), f"{tensor} ready"

    def read(layer: nn.Module) -> Tensor:
        ready = layer.__dict__.get(key)
        return slow.fget(layer) if ready is None else ready

    setattr(type(layer), tensor, property(read, slow.fset))


def sigma_reparametrize(module: nn.Module, tensor: str = "weight", gamma_init: str = "one") -> nn.Module:
    """Put `SigmaReparam` on one weight of one layer, in place; returns the layer."""
    if parametrize.is_parametrized(module, tensor):
        raise ParameterError.of("module", type(module).__name__, f"a layer whose {tensor} has no parametrization yet")
    return parametrize.register_parametrization(module, tensor, SigmaReparam(getattr(module, tensor), gamma_init))


def is_query_or_key(name: str) -> bool:
    """Whether the last part of a layer's name is one of `QUERIES_AND_KEYS`, as ``blocks.0.attention.q_proj``.

    Also ``q_proj_weight`` of torch's MultiheadAttention. A fused projection (``in_proj_weight``, ``c_attn``, ``qkv``) holds
    the values too and is none.
    """
    return name.rpartition(".")[2].lower().removesuffix("_weight") in QUERIES_AND_KEYS


def linear_layers(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Name of each linear layer of `model` -> (layer, name of its weight).

    Linear and convolution layers, transformers' Conv1D, and the input projections of `torch.nn.MultiheadAttention`
    (q, k and v are one matrix there, as in any fused projection: they share one gamma).
    """
    hub = sys.modules.get("transformers.pytorch_utils")
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *((hub.Conv1D,) if hub else ()))
    found = {}
    for name, layer in model.named_modules():
        if isinstance(layer, kinds):
            found[name] = (layer, "weight")
        elif isinstance(layer, nn.MultiheadAttention):
            for tensor in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
                if getattr(layer, tensor) is not None:
                    found[f"{name}.{tensor}".lstrip(".")] = (layer, tensor)
    return found


def chosen(model: nn.Module, only: Callable[[str], bool] | Iterable[str] | str | None) -> dict:
    """The `linear_layers` whose name passes `only`: a function of the name, or patterns as ``*.q_proj``; None: all."""
    layers = linear_layers(model)
    patterns = (only,) if isinstance(only, str) else only
    match = only if callable(only) else lambda name: patterns is None or any(fnmatch(name, p) for p in patterns)
    found = {name: layer for name, layer in layers.items() if match(name)}
    if not found:
        raise ParameterError.of("only", only, f"what matches one of the linear layers: {', '.join(layers) or 'none'}")
    return found


def reparametrize(
    model: nn.Module,
    gamma_init: str = "one",
    *,
    only: Callable[[str], bool] | Iterable[str] | str | None = None,
    fresh_std: float | None = None,
    generator: torch.Generator | None = None,
    together: bool = True,
) -> nn.Module:
    """Put `SigmaReparam` on all linear layers of a model (or on those that pass `only`, see `chosen`), in place.

    The weights stay as they are; with `fresh_std` they are drawn anew from a truncated normal (cut at +-2, as torch
    does). With ``gamma_init="sigma"`` and no fresh weights the function that the model computes does not change.
    `together` lets small layers share their work (see `Together`); False for models that use gradient checkpointing.

    Nothing is touched if a layer has a parametrization already, or shares its weight with another (tied weights: one
    tensor cannot be folded into two different ones), or has a weight of zeros. Returns the model.
    """
    _check_gamma_init(gamma_init)
    if fresh_std is not None and not fresh_std > 0:
        raise ParameterError.of("fresh_std", fresh_std, "number above 0, or None to keep the weights")
    if together and any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        raise ParameterError.of("together", together, "False for a model with gradient checkpointing")
    layers = chosen(model, only)
    owners: dict[int, list[str]] = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(tensor), []).append(name)
    for name, (layer, tensor) in layers.items():
        if parametrize.is_parametrized(layer, tensor):
            raise ParameterError.of("model", name, "layers without a parametrization; fold it first, or leave it out")
        shared = owners[id(getattr(layer, tensor))]
        if len(shared) > 1:
            raise ParameterError.of("model", " = ".join(shared), "layers of their own weight; leave tied ones out by only")
        if fresh_std is None:
            _check_weight(name, getattr(layer, tensor))
    for layer, tensor in layers.values():
        if fresh_std is not None:
            nn.init.trunc_normal_(getattr(layer, tensor), std=fresh_std, generator=generator)
        sigma_reparametrize(layer, tensor, gamma_init)
    if together:
        Together(model, layers.values())
    return model


def reparametrized(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Name -> (layer, name of its weight) of the layers that carry a `SigmaReparam`."""
    return {name: (layer, tensor) for name, (layer, tensor) in linear_layers(model).items() if _sigma(layer, tensor)}


def fold(model: nn.Module) -> nn.Module:
    """Turn every `SigmaReparam` into the plain weight it has in eval mode, in place; returns the model.

    Names and order of parameters and state dict are those of the model before `reparametrize`; the parameter objects too.
    """
    layers = reparametrized(model)
    if not layers:
        raise ParameterError.of("model", type(model).__name__, "a model with at least one SigmaReparam")
    for layer, tensor in layers.values():
        _sigma(layer, tensor).eval()
        kind = type(layer)  # parametrize's own class of this layer; deep copies share it, and the next line changes it
        layer.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))
        parametrize.remove_parametrizations(layer, tensor)
        for name in [other for other in layer._parameters if other != tensor]:  # the weight comes first again
            layer._parameters[name] = layer._parameters.pop(name)
    for module in model.modules():
        for hook in list(module._forward_hooks.values()):
            if isinstance(together := getattr(hook, "__self__", None), Together):
                together.detach()
    return model


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Two groups for an optimiser: decay for matrices, none for gains, biases and norms (all below two axes)."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def _sigma(layer: nn.Module, tensor: str) -> SigmaReparam | None:
    if parametrize.is_parametrized(layer, tensor):
        return next((p for p in layer.parametrizations[tensor] if isinstance(p, SigmaReparam)), None)
    return None


def _unit(vector: Tensor) -> Tensor:
    return vector / torch.linalg.vector_norm(vector, dim=-1, keepdim=True).clamp_min(EPSILON)


def _full_precision(device: torch.device):
    """No autocast inside; free where there is none."""
    on = torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if on else nullcontext()


def _check_gamma_init(gamma_init: str) -> None:
    if gamma_init not in ("one", "sigma"):
        raise ParameterError.of("gamma_init", gamma_init, "'one' or 'sigma'")


def _check_weight(name: str, weight: Tensor) -> None:
    if weight.ndim < 2 or not weight.is_floating_point():
        raise ParameterError.of(name, (tuple(weight.shape), str(weight.dtype)), "floats with at least two axes")
    largest = weight.detach().abs().max()
    if not 0 < largest < float("inf"):
        raise ParameterError.of(name, f"largest entry {float(largest)}", "finite weights, not all zero (sigma is 0 then)")
