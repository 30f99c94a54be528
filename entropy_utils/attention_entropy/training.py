"""Training tiny vision transformers on digits, several seeds at once, with any remedy against entropy collapse.

Plain Adam without weight decay; what is compared are the remedies: sigmaReparam (Zhai et al. 2023), spectral norm, weight
norm, a LayerNorm on queries and keys, a soft-cap on the logits, QK-clip; and warm-up, gradient clipping, the place of
LayerNorm, and a change of the attention's temperature on the way.

The seeds are trained as one stack (`StackedViT`); each has its own weights and batches and trains as it would alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from entropy_utils.lab.experiment import Experiment, Record
from entropy_utils.language_model.vector_adamw import VectorAdamW

from .device import chosen_device
from .digits import digits
from .rivals import weight_norm
from .sigma_reparam import is_query_or_key, reparametrize
from .stacked_vit import StackedViT
from .tiny_vit import TinyViT

STEPS = {"unit": "steps"}
BATCHES = 1_000_003  # what is added to a seed for the generator of its batches
RESHAPING = ("sigma", "spectral", "weight")  # methods that act on the weights


class Training(Experiment):
    """Train `seeds` tiny ViTs (seeds seed, seed + 1, ...) on the digits; one record per step and seed.

    The defaults are a pre-LN ViT at the brief's configuration A; the profile ``smoke`` is its configuration B, 60 steps.
    """

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {"lr": 3e-2, "std": 0.5, "steps": 60, "seeds": 2},
        "laptop": {},
        "gpu": {"width": 128, "heads": 8, "layers": 8, "batch": 256, "steps": 600, "seeds": 8, "std": 0.088, "every": 5,
                "device": "auto"},
    }  # fmt: skip

    method: Literal["plain", "sigma", "spectral", "weight", "qk_norm", "soft_cap", "qk_clip"] = Field(
        "plain", description="remedy: sigmaReparam, spectral norm, weight norm, LayerNorm on q and k, soft-cap, QK-clip"
    )
    norm: Literal["pre", "post", "none"] = Field("pre", description="LayerNorm before each sublayer, after it, or none")
    where: Literal["all", "qk", "all but qk"] = Field("all", description="layers that sigma, spectral and weight act on")
    gamma_init: Literal["one", "sigma"] = Field("one", description="sigmaReparam's gain at the start: 1 or sigma(W)")
    lr: float = Field(1e-2, gt=0, le=1, description="learning rate of Adam", json_schema_extra={"scale": "log"})
    std: float = Field(
        0.18, gt=0, le=2, description="standard deviation of the initial weights", json_schema_extra={"scale": "log"}
    )
    warm_up: int = Field(0, ge=0, le=1000, description="steps of rising learning rate, 0: none", json_schema_extra=STEPS)
    clip: float = Field(0.0, ge=0, le=1000, description="largest gradient norm of a seed, 0: no clipping")
    temperature: float = Field(1.0, ge=0.01, le=10, description="logits are divided by it from `temperature_from` on")
    temperature_from: int = Field(0, ge=0, le=100_000, description="first step at `temperature`", json_schema_extra=STEPS)
    limit: float = Field(20.0, gt=0, le=1000, description="largest logit that soft-cap and QK-clip allow")
    steps: int = Field(200, ge=1, le=100_000, description="steps of Adam", json_schema_extra=STEPS | {"scale": "log"})
    batch: int = Field(64, ge=1, le=1437, description="images per step and seed, drawn with replacement")
    seeds: int = Field(5, ge=1, le=64, description="models trained side by side, of seeds seed, seed + 1, ...")
    every: int = Field(1, ge=1, le=10_000, description="steps between records", json_schema_extra=STEPS)
    width: int = Field(32, ge=4, le=1024, description="width of the model")
    heads: int = Field(4, ge=1, le=64, description="attention heads per layer")
    layers: int = Field(4, ge=1, le=64, description="blocks")
    device: Literal["auto", "cpu", "cuda"] = Field("cpu", description="where to train; auto takes a GPU if there is one")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} and heads {self.heads}: allowed is a width that is a multiple of heads")
        if self.where != "all" and self.method not in RESHAPING:
            raise ValueError(f"where '{self.where}' with method '{self.method}': allowed with {', '.join(RESHAPING)}")
        return self

    def length(self) -> int:
        """Records if no seed diverges."""
        return len(self.recorded_steps()) * self.seeds

    def recorded_steps(self) -> list[int]:
        """Every `every`-th step from 0 on, and the last."""
        return [step for step in range(self.steps) if step % self.every == 0 or step == self.steps - 1]

    def run(self) -> Iterator[Record]:
        """Train from the start; see `train` for the records."""
        yield from self.train(self.start())

    def build(self, seed: int) -> TinyViT:
        """The untrained model of one seed, with the method's parametrizations, in train mode."""
        model = TinyViT(
            width=self.width,
            heads=self.heads,
            layers=self.layers,
            norm=self.norm,
            qk_norm=self.method == "qk_norm",
            soft_cap=self.limit if self.method == "soft_cap" else None,
            std=self.std,
            generator=torch.Generator().manual_seed(seed),
        )
        only = {"all": None, "qk": is_query_or_key, "all but qk": lambda name: not is_query_or_key(name)}[self.where]
        if self.method == "sigma":
            reparametrize(model, self.gamma_init, only=only)
        elif self.method == "spectral":
            reparametrize(model, "one", only=only)
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(not name.endswith("gamma"))
        elif self.method == "weight":
            weight_norm(model, only)
        return model.train()

    def start(self) -> StackedViT:
        """The stack of untrained models, which `train` trains in place; `stack.model(i)` gives one of them back."""
        device = chosen_device(self.device)
        return StackedViT([self.build(seed) for seed in range(self.seed, self.seed + self.seeds)]).to(device).train()

    def train(self, stack: StackedViT) -> Iterator[Record]:
        """Train a stack in place. Fields of a record, all of the batch and the weights before the step:

        loss: cross-entropy in nats; entropy, entropy_min: mean and minimum over the layers of the attention entropy over
        log T (mean over heads, queries and images); entropy_l<i>_h<j>: of head j of layer i; max_logit: largest absolute
        logit, after temperature and soft-cap; diverged. The last record of a seed has in addition, after the last step,
        accuracy: on the test images; rank_l<i>: mean stable rank of the attention matrices of layer i (1: all rows alike
        or one direction rules, T: every token looks elsewhere); top_l<i>: mean share of the most attended key.

        A seed whose loss is not finite ends there: its last record has that step and ``diverged``, its weights in the
        stack (and the accuracy) are those of the last finite loss; the other seeds go on. If even those weights have no
        finite output on the test images, accuracy, rank and top are None. Whenever the generator is closed, the stack
        holds weights of a finite loss, or the start.
        """
        data = digits()
        device = next(stack.parameters()).device
        images, labels = data.train.to(device), data.train_labels.to(device)
        generators = [torch.Generator().manual_seed(seed + BATCHES) for seed in range(self.seed, self.seed + self.seeds)]
        optimizer = VectorAdamW(stack.parameters(), self.lr, weight_decay=0)
        kept = list(stack.buffers())
        good = [tensor.clone() for tensor in kept]

        def back(which: Tensor) -> None:
            """The seeds in the mask `which` get the weights of their last finite loss."""
            optimizer.undo(which)
            for tensor, copy in zip(kept, good, strict=True):
                tensor[which] = copy[which]

        alive, recorded = torch.ones(self.seeds, dtype=torch.bool, device=device), set(self.recorded_steps())
        for step in range(self.steps):
            optimizer.lr = self.lr * min(1.0, (step + 1) / max(self.warm_up, 1))
            stack.temperature = self.temperature if step >= self.temperature_from else 1.0
            drawn = [torch.randint(len(labels), (self.batch,), generator=generator) for generator in generators]
            drawn = torch.stack(drawn).to(device)
            losses = seed_losses(stack(images[drawn]), labels[drawn])
            ended = alive & ~losses.isfinite()
            alive = alive & ~ended
            optimizer.backward(torch.where(alive, losses, 0.0).sum())
            if ended.any():
                back(ended)
            if kept:
                torch._foreach_copy_(good, kept)
            rows = self.rows(step, losses, stack) if step in recorded or ended.any() else {}
            for index in ended.nonzero().flatten().tolist():
                yield rows[index] | {"diverged": True} | examination(stack.model(index))
            last = step == self.steps - 1
            if step in recorded and not last:
                yield from (rows[index] for index in alive.nonzero().flatten().tolist())
            if not alive.any():
                return
            if self.clip:
                clip_gradients(optimizer.gradients, self.clip)
            optimizer.step()
            if self.method == "qk_clip":
                stack.clip_queries_and_keys(self.limit)
            if not alive.all():
                back(~alive)
        ends = []  # all before the first is given away: closed after it, the stack must hold finite weights too
        for index in alive.nonzero().flatten().tolist():
            found = examination(stack.model(index))
            if not found:  # the last step itself led to weights without a finite output
                back(torch.arange(self.seeds, device=device) == index)
                found = {"diverged": True} | examination(stack.model(index))
            ends.append(rows[index] | found)
        yield from ends

    def rows(self, step: int, losses: Tensor, stack: StackedViT) -> list[Record]:
        """The records of one step, one per seed; what only the last record has is None."""
        layers = range(self.layers)
        by_layer = stack.entropy.mean(-1)
        columns = {
            "loss": losses,
            "entropy": by_layer.mean(-1),
            "entropy_min": by_layer.amin(-1),
            **{f"entropy_l{i}_h{j}": stack.entropy[:, i, j] for i in layers for j in range(self.heads)},
            "max_logit": stack.largest_logit.amax((1, 2)),
        }
        values = torch.stack(list(columns.values()), 1).tolist()
        at_the_end = dict.fromkeys(["accuracy", *(f"{name}_l{i}" for name in ("rank", "top") for i in layers)])
        return [
            {"step": step, "seed": self.seed + index, **dict(zip(columns, row, strict=True)), "diverged": False} | at_the_end
            for index, row in enumerate(values)
        ]


def seed_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy per seed, (S,), in nats, of logits (S, batch, classes) and labels (S, batch)."""
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape).mean(1)


@torch.no_grad()
def clip_gradients(gradients: list[Tensor], limit: float) -> None:
    """Scale down the gradients (S, ...) of every seed whose norm over all of them exceeds `limit`."""
    norms = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
    scale = (limit / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))


@torch.no_grad()
def examination(model: TinyViT, shown: int = 64) -> Record:
    """Accuracy on the test images; of the attention on the first `shown` of them, per layer, mean stable rank and share of
    the top key. Empty if the model's output or its attention is not finite."""
    data = digits()
    logits, attention = model(data.test), [weights.double() for weights in model.attention(data.test[:shown])]
    if not all(part.isfinite().all() for part in (logits, *attention)):
        return {}
    found = {"accuracy": (logits.argmax(-1) == data.test_labels).double().mean().item()}
    for layer, weights in enumerate(attention):
        values = torch.linalg.svdvals(weights)
        found[f"rank_l{layer}"] = (values.square().sum(-1) / values[..., 0].square()).mean().item()
    return found | {f"top_l{layer}": weights.amax(-1).mean().item() for layer, weights in enumerate(attention)}
