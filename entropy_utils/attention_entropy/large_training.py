"""Training a ViT or a GPT-like model of transformers from nothing, with the recorder attached: notebook 04 on a real size.

Plain pre-LN training against sigmaReparam (Zhai et al. 2023) with and without LayerNorm and against QK-norm, along a ladder
of learning rates, with and without warm-up. Autocast to bfloat16 on request; sigma and the attention logits stay in float32.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from math import exp, isfinite
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.experiment import Experiment, Record

from .device import chosen_device
from .recorder import AttentionRecorder
from .rivals import HeadNorm
from .sigma_reparam import linear_layers, parameter_groups, power_step, reparametrize
from .training_data import Batch, Pictures, Text, digit_pictures, markov_text, pictures, text

VIT_S = {"width": 384, "heads": 6, "layers": 12, "batch": 256, "device": "auto", "bf16": True, "every": 10}


class LargeTraining(Experiment):
    """Train one model from nothing and record loss, attention entropy and spectral norms. Without `dataset`, data is made
    in place: digits for ``vision``, a Markov language for ``language``.

    The profile ``gpu`` is a ViT-S on digits of 32 x 32 pixels, ``hub`` the same on CIFAR-100. For a model of GPT-2's size:
    ``task="language", width=768, heads=12, context=512, dataset="Salesforce/wikitext",
    configuration="wikitext-103-raw-v1", tokenizer="gpt2"``.
    """

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {"steps": 3},
        "laptop": {},
        "gpu": VIT_S | {"steps": 1000, "evaluate_every": 250, "exam": 360},
        "hub": VIT_S | {"steps": 5850, "evaluate_every": 195, "exam": 10_000, "dataset": "uoft-cs/cifar100"},  # 30 epochs
    }

    task: Literal["vision", "language"] = Field("vision", description="a ViT on images or a causal language model")
    method: Literal["pre-LN", "sigma + pre-LN", "sigma", "sigma from sigma(W)", "QK-norm"] = Field(
        "pre-LN",
        description="LayerNorm alone; sigmaReparam with it; sigmaReparam instead of it, gamma from 1 or from sigma(W); "
        "LayerNorm and QK-norm",
    )
    lr: float = Field(1e-3, gt=0, le=1, description="learning rate of AdamW", json_schema_extra={"scale": "log"})
    warm_up: int = Field(0, ge=0, description="steps of rising learning rate, 0: none", json_schema_extra={"unit": "steps"})
    weight_decay: float = Field(0.0, ge=0, le=1, description="of matrices; gains and biases have none")
    temperature: float = Field(1.0, ge=0.01, le=10, description="logits are divided by it from `temperature_from` on")
    temperature_from: int = Field(0, ge=0, description="first step at `temperature`", json_schema_extra={"unit": "steps"})
    steps: int = Field(100, ge=1, description="steps of AdamW", json_schema_extra={"unit": "steps"})
    batch: int = Field(32, ge=1, description="images or windows of text per step")
    every: int = Field(1, ge=1, description="steps between records", json_schema_extra={"unit": "steps"})
    evaluate_every: int = Field(50, ge=1, description="steps between tests", json_schema_extra={"unit": "steps"})
    exam: int = Field(360, ge=1, description="images or windows in a test")
    width: int = Field(32, ge=4, description="width of the model")
    heads: int = Field(4, ge=1, description="attention heads per layer")
    layers: int = Field(2, ge=1, description="blocks")
    side: int = Field(32, ge=4, le=512, description="side of the images", json_schema_extra={"unit": "pixels"})
    patch: int = Field(4, ge=1, description="side of a patch", json_schema_extra={"unit": "pixels"})
    context: int = Field(64, ge=2, description="length of a window of text", json_schema_extra={"unit": "tokens"})
    vocabulary: int = Field(128, ge=2, description="tokens of the language made in place")
    tokens: int = Field(
        100_000, ge=1000, description="length of the text made in place", json_schema_extra={"unit": "tokens"}
    )
    dataset: str | None = Field(None, description="name on the hub or local folder with the splits train and test")
    configuration: str | None = Field(None, description="configuration of the data set on the hub")
    tokenizer: str | None = Field(None, description="name or local folder; None: bytes")
    bf16: bool = Field(False, description="autocast to bfloat16")
    device: Literal["auto", "cpu", "cuda"] = Field("cpu", description="where to train; auto takes a GPU if there is one")
    output: str | None = Field(None, description="folder for model.pt: the last weights whose loss was finite")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} and heads {self.heads}: allowed is a width divisible by 2 x heads"
            )
        if self.task == "vision" and self.side % self.patch:
            raise ValueError(f"side {self.side} and patch {self.patch}: allowed is a side that is a multiple of patch")
        return self

    def length(self) -> int:
        """Records if the run does not diverge."""
        return len([step for step in range(self.steps) if self._recorded(step)])

    def run(self) -> Iterator[Record]:
        """Train from the start; see `train` for the records."""
        self._check_machine()
        data = self.data()
        yield from self.train(self.model(data.classes), data)

    def data(self) -> Pictures | Text:
        """The data, read or made."""
        if self.task == "vision":
            return digit_pictures(self.side) if self.dataset is None else pictures(self.dataset, self.side)
        if self.dataset is None:
            return markov_text(self.vocabulary, self.tokens, self.context, self.seed)
        return text(self.dataset, self.configuration, self.tokenizer, self.context)

    def model(self, classes: int) -> nn.Module:
        """The untrained model with the method applied, in float32 on the device, without dropout."""
        from transformers import LlamaConfig, LlamaForCausalLM, ViTConfig, ViTForImageClassification

        sizes = {"hidden_size": self.width, "num_attention_heads": self.heads, "num_hidden_layers": self.layers}
        sizes["attn_implementation"] = "eager"
        free = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            if self.task == "vision":
                sizes |= {"image_size": self.side, "patch_size": self.patch, "num_labels": classes}
                model = ViTForImageClassification(ViTConfig(intermediate_size=4 * self.width, **sizes, **free))
            else:  # a GPT with separate q, k and v: Llama's block
                sizes |= {"vocab_size": classes, "max_position_embeddings": self.context, "tie_word_embeddings": False}
                inner = -(-self.width // 3) * 8
                no_token = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
                model = LlamaForCausalLM(LlamaConfig(intermediate_size=inner, **sizes, **no_token))
        if self.method in ("sigma", "sigma from sigma(W)"):
            remove_norms(model)
        if self.method == "QK-norm":
            for module in [module for module in model.modules() if hasattr(module, "q_proj")]:
                for name in ("q_proj", "k_proj"):
                    setattr(module, name, nn.Sequential(getattr(module, name), HeadNorm(self.heads, self.width)))
        if self.method.startswith("sigma"):
            reparametrize(model, "sigma" if self.method == "sigma from sigma(W)" else "one")
        return model.to(chosen_device(self.device)).train()

    def train(self, model: nn.Module, data: Pictures | Text) -> Iterator[Record]:
        """Train a model in place. Fields of a record, of the batch and the weights before the step:

        loss (nats); entropy, entropy_min: mean and minimum over the layers of the attention entropy over its maximum, and
        entropy_l<i>; max_logit: the largest (signed; that of `training.Training` is the largest |logit|); spectral_norm: of
        the largest of the weights in effect (power iteration, from below); test_loss (nats) and accuracy or perplexity on
        the test data, after the step, every `evaluate_every` steps and at the end; diverged.

        A loss (of training or test) that is not finite ends the run: the last record has its step and ``diverged``. However
        the run ends, model (and ``output``) have the last weights whose loss was finite.
        """
        self._check_machine()
        device = next(model.parameters()).device
        generator = torch.Generator().manual_seed(self.seed + 1_000_003)
        optimizer = torch.optim.AdamW(parameter_groups(model, self.weight_decay), lr=self.lr, fused=device.type == "cuda")
        scales = [(module, module.scaling) for module in model.modules() if hasattr(module, "scaling")]
        kept = [tensor.detach() for tensor in model.state_dict().values()]
        good = [tensor.clone() for tensor in kept]
        recorder = AttentionRecorder(model, self.every)
        try:
            recorder.attach()
            model.set_attn_implementation(register_float32_logits())  # after attach, which asks for eager: it is, in float32
            for step in range(self.steps):
                for group in optimizer.param_groups:
                    group["lr"] = self.lr * min(1.0, (step + 1) / max(self.warm_up, 1))
                for module, scale in scales:
                    module.scaling = scale / (self.temperature if step >= self.temperature_from else 1.0)
                loss, _ = self._loss(model, data.draw(self.batch, generator), device)
                value = loss.item()
                fresh = [row for row in recorder.records if row["training"]]
                recorder.records.clear()
                record = {"step": step, "seed": self.seed, "loss": value} | self._attention(fresh)
                record |= dict.fromkeys(["spectral_norm", "test_loss", "accuracy", "perplexity"])
                record["diverged"] = not isfinite(value)
                if record["diverged"]:
                    yield record
                    return
                torch._foreach_copy_(good, kept)
                if step % self.every == 0:
                    record["spectral_norm"] = largest_spectral_norm(model)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if (step + 1) % self.evaluate_every == 0 or step == self.steps - 1:
                    record |= self.examine(model, data)
                    record["diverged"] = not isfinite(record["test_loss"])
                    if not record["diverged"]:
                        torch._foreach_copy_(good, kept)
                if self._recorded(step):
                    yield record
                if record["diverged"]:
                    return
        finally:
            recorder.detach()
            model.set_attn_implementation("eager")
            torch._foreach_copy_(kept, good)
            if self.output is not None:
                torch.save(model.state_dict(), Path(self.output) / "model.pt")

    @torch.no_grad()
    def examine(self, model: nn.Module, data: Pictures | Text) -> Record:
        """test_loss, and accuracy on the test images or perplexity on the test text."""
        model.eval()
        device, total, right, number = next(model.parameters()).device, 0.0, 0, 0
        for batch in data.exam(self.batch, self.exam):
            loss, logits = self._loss(model, batch, device)
            size = len(logits)
            total, number = total + size * loss.item(), number + size
            if self.task == "vision":
                right += int((logits.argmax(-1).cpu() == batch["labels"]).sum())
        model.train()
        loss = total / number
        found = {"accuracy": right / number} if self.task == "vision" else {"perplexity": exp(min(loss, 700.0))}
        return {"test_loss": loss} | found

    def _loss(self, model: nn.Module, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy in nats, and the logits."""
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        with torch.autocast(device.type, torch.bfloat16) if self.bf16 else nullcontext():
            if self.task == "vision":
                logits = model(pixel_values=batch["pixel_values"]).logits
            else:
                logits = model(input_ids=batch["input_ids"], use_cache=False).logits
        logits = logits.float()
        if self.task == "vision":
            return F.cross_entropy(logits, batch["labels"]), logits
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), batch["input_ids"][:, 1:].flatten()), logits

    def _attention(self, rows: list[Record]) -> Record:
        """Statistics of one pass from the recorder's rows (one per layer and head), None without any."""
        names = [f"entropy_l{layer}" for layer in range(self.layers)]
        if not rows:
            return dict.fromkeys(["entropy", "entropy_min", *names, "max_logit"])
        table = torch.tensor([row["normalised"] for row in rows], dtype=torch.float64).view(self.layers, self.heads)
        layers = table.mean(1)
        found = {"entropy": layers.mean().item(), "entropy_min": layers.min().item()}
        return found | dict(zip(names, layers.tolist(), strict=True)) | {"max_logit": max(row["max_logit"] for row in rows)}

    def _check_machine(self) -> None:
        """Refuse a device that is not there and a folder that cannot be written, before any work."""
        chosen_device(self.device)
        if self.output is not None:
            try:
                Path(self.output).mkdir(parents=True, exist_ok=True)
            except OSError:
                writable = False
            else:
                writable = os.access(self.output, os.W_OK)
            if not writable:
                raise ParameterError.of("output", self.output, "a folder that can be made and written")

    def _recorded(self, step: int) -> bool:
        return step % self.every == 0 or (step + 1) % self.evaluate_every == 0 or step == self.steps - 1


def remove_norms(model: nn.Module) -> None:
    """Put the identity for every LayerNorm and RMSNorm, in place."""
    for parent in list(model.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, nn.LayerNorm) or type(module).__name__.endswith("RMSNorm"):
                setattr(parent, name, nn.Identity())


@torch.no_grad()
def largest_spectral_norm(model: nn.Module, rounds: int = 20) -> float:
    """Largest spectral norm of the linear layers' weights in effect, by power iteration from a fixed random start."""
    training = model.training
    model.eval()  # reading a reparametrized weight must not turn its u
    found = []
    for layer, tensor in linear_layers(model).values():
        matrix = getattr(layer, tensor).flatten(1).float()
        u = torch.randn(matrix.shape[1], generator=torch.Generator().manual_seed(0)).to(matrix.device)
        for _ in range(rounds):
            u, v = power_step(matrix, u)
        found.append(v @ matrix @ u)
    model.train(training)
    return float(torch.stack(found).max())


def float32_logits(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float, **_: Any
) -> tuple[Tensor, Tensor]:
    """Eager attention whose logits and softmax are in float32 under autocast too, as transformers calls it."""
    with torch.autocast(query.device.type, enabled=False):
        logits = query.float() @ key.float().mT * scaling
        weights = (logits if attention_mask is None else logits + attention_mask).softmax(-1)
        mixed = weights.to(value.dtype) @ value
    return mixed.transpose(1, 2).contiguous(), weights


def register_float32_logits(name: str = "float32_logits") -> str:
    """Make `float32_logits` known to transformers; returns its name."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register(name, float32_logits)
    AttentionMaskInterface.register(name, eager_mask)
    return name
