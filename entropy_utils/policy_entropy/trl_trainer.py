"""TRL's GRPO trainer with any entropy intervention of this collection (written against TRL 1.16).

`EntropyGRPOTrainer` leaves sampling, rewards, advantages, devices and checkpoints to `trl.GRPOTrainer` and replaces two
things. After a rollout is sampled and scored, the method's `prepare` sees all of it, gathered from all processes. In
every minibatch the method's `token_loss` replaces the clipped loss; it too sees the minibatch of all processes, so that
means, quantiles and largest values do not depend on how many there are.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from entropy_utils.lab.errors import LabError, ParameterError
from entropy_utils.language_model import token_statistics

from .covariance import masked_mean
from .interventions import Intervention, NoIntervention, Prepared, Sampled, Tokens, intervention


class TRLMissing(LabError, ImportError):
    """TRL is an optional extra and not installed."""


try:
    from trl import GRPOConfig, GRPOTrainer
    from trl.models.utils import disable_gradient_checkpointing
except ModuleNotFoundError as error:
    raise TRLMissing(f'{error.name} is missing: pip install "entropy-collection[trl]"') from None

LOSS_TYPES = ("grpo", "bnpo", "dapo", "dr_grpo")
STATE_FILE = "intervention.json"
LOGITS = 2**28  # held at once when the moments are computed: 1 GiB in float32


class Distribution(NamedTuple):
    """Of the policy that sampled, at every sampled token, (..., T): as in `TokenStatistics`; moments only if asked for."""

    logp: Tensor
    entropy: Tensor
    sum_p2: Tensor | None = None
    sum_p2_log_p: Tensor | None = None


class EntropyGRPOTrainer(GRPOTrainer):
    """`GRPOTrainer` whose loss and rollouts are those of an `intervention` (an instance, "kl_cov share=0.2", or a dict).

    - The clip range is the intervention's. `args.epsilon` and `epsilon_high` must be left at their defaults or agree.
    - `loss_type` grpo, bnpo, dapo or dr_grpo says what the sum of the token losses is divided by: what TRL divides by,
      counted over all processes and without the tokens that `prepare` took out (grpo: responses with no token left to
      it; dr_grpo divides by a constant). With `NoIntervention` loss and gradient are the parent's.
    - A minibatch is per_device_train_batch_size responses of every process; gradient accumulation does not enlarge what
      one `token_loss` sees. The gradient, averaged over processes, is that of one process with the same minibatch.
    - Rewards reach `prepare` as (reward - low) / (high - low) for `reward_range` = (low, high); a reward outside is a
      ValueError if the method has a `prepare` of its own. A response that no reward function scores counts as 1/2 and
      has advantage 0. Distributions are those at `temperature`; top_p, top_k and min_p are not applied to them.
    - A method that uses a reference policy gets TRL's (the model as it was, or the model without its adapter); `beta`
      must then be 0. With other methods `beta` adds TRL's own penalty. Statistics are float32 for half-precision models.
    - The memory lies in `intervention.json` of every checkpoint. A run resumed from a checkpoint that was saved between
      two rollouts (save_steps a multiple of the updates per rollout) goes on as if it had not been interrupted.
    - A rollout or minibatch without any counting token has loss 0; a loss that is not finite is a ValueError.
    - Evaluation is the parent's, with the intervention's clip range. Logged besides the parent's numbers: acted_on
      (share of valid tokens), accepted (responses with an advantage per prompt), memory, pass_at_k.

    Works with gradient checkpointing, vLLM's importance weights, tools, mixture-of-experts losses and PEFT adapters.
    ValueError at construction for what would act beside the method (TRL's entropy options, two-sided clip, sequence
    ratios, off-policy masks), Liger kernels, and images.
    """

    _name = "Entropy GRPO"

    def __init__(
        self,
        *args_of_parent: Any,
        intervention: Intervention | str | dict[str, Any] = NoIntervention(),  # noqa: B008 (frozen)
        reward_range: tuple[float, float] = (0.0, 1.0),
        args: GRPOConfig,
        **more: Any,
    ):
        self.intervention = method = _intervention(intervention)
        _refuse(args, method)
        if not reward_range[0] < reward_range[1]:
            raise ParameterError.of("reward_range", reward_range, "(low, high) with low < high")
        self.reward_range = reward_range
        self.kl_coefficient = args.beta
        if "reference" in method.uses:  # TRL makes a reference model when beta is not 0
            args = copy.copy(args)
            args.beta = 1e-30
        super().__init__(*args_of_parent, args=args, **more)
        self.args.beta = self.kl_coefficient
        if self._is_vlm:
            raise ValueError("processing_class: got a processor of images, allowed: a tokenizer (text only)")
        self.epsilon_low, self.epsilon_high = _clip_range(method) or (self.epsilon_low, self.epsilon_high)
        self.rollouts = _rollouts(self.args, self.train_dataset)
        method.check(self.model.get_input_embeddings().weight.shape[0], self.rollouts)
        self.memory, self.rollout = method.first_memory, 0
        self._rewards: Tensor | None = None

    def _send_telemetry(self) -> None:
        """TRL reports every run to its makers; this trainer does not."""

    # one rollout

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        """The rewards of all processes, kept for `prepare`, (sequences, functions)."""
        self._rewards = super()._calculate_rewards(*args, **kwargs)
        return self._rewards

    def _generate_and_score_completions(self, inputs: list[dict]) -> dict[str, Any]:
        """The parent's rollout, then the method's `prepare` on the rollout of all processes."""
        output = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return output
        if "num_images" in output:
            raise ValueError("train_dataset: got images, allowed: text only")
        valid = _valid(output)
        rewards = self._rewards.mul(self.reward_weights.to(self._rewards.device)).nansum(1)
        groups = self.num_generations
        self._log(pass_at_k=(rewards > self.reward_range[0]).view(-1, groups).any(-1).float().mean())
        method = self.intervention
        prepares = type(method).prepare is not Intervention.prepare
        if prepares or "old_per_token_logps" in output:
            found = self._distribution(output)
            output["old_entropy"] = found.entropy
        advantages, mask = output["advantages"], valid
        if prepares:
            sampled = self._sampled(found, valid, advantages, self._scaled(rewards))
            prepared = Prepared(*method.prepare(sampled))
            self.memory = prepared.memory.item()
            rows = self._rows(len(valid))
            advantages = prepared.advantages.flatten()[rows].to(advantages.dtype)
            mask = prepared.mask.flatten(0, 1)[rows, : valid.shape[1]] & valid
            output["num_items_in_batch"] = (prepared.mask & sampled.mask).sum()
        output |= {"advantages": advantages, "counted": mask}
        accepted = (self.accelerator.gather(advantages) != 0).view(-1, groups).sum(-1).float().mean()
        self._log(accepted=accepted, memory=torch.tensor(self.memory))
        self.rollout += 1
        return output

    def _sampled(self, found: Distribution, valid: Tensor, advantages: Tensor, rewards: Tensor) -> Sampled:
        """The rollout of all processes as groups, (prompts, num_generations, tokens)."""
        shape = (-1, self.num_generations)
        mask = self._everywhere(valid.float()) > 0
        random = None
        if "random" in self.intervention.uses:
            random = self._uniform("prepare", self.rollout, 0, mask).unflatten(0, shape)
        return Sampled(
            mask=mask.unflatten(0, shape),
            rewards=rewards.view(shape),
            advantages=self.accelerator.gather(advantages).view(shape),
            memory=torch.tensor(self.memory, device=mask.device),
            step=self.rollout,
            steps=self.rollouts,
            random=random,
            **{name: self._everywhere(x).unflatten(0, shape) for name, x in found._asdict().items() if x is not None},
        )

    def _scaled(self, rewards: Tensor) -> Tensor:
        """Rewards in [0, 1]; 1/2 where no function gave one."""
        low, high = self.reward_range
        scored = ~self._rewards.isnan().all(1)
        wrong = scored & ((rewards < low) | (rewards > high))
        if wrong.any():
            raise ValueError(
                f"rewards: got {rewards[wrong][0].item():g}, allowed: {low:g} to {high:g}; "
                f"give the trainer another reward_range for method {self.intervention.name}"
            )
        return torch.where(scored, (rewards - low) / (high - low), 0.5)

    @torch.no_grad()
    def _distribution(self, output: dict[str, Any]) -> Distribution:
        """Log-probabilities, entropies and (if the method uses them) moments of the local responses, (B, T)."""
        ids, attention, length = _sequence(output)
        size = self.args.per_device_train_batch_size
        with disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs):
            if "moments" not in self.intervention.uses:
                logp, entropy, _ = self._get_per_token_logps_and_entropies(
                    self.model, ids, attention, length, batch_size=size, compute_entropy=True
                )
                return Distribution(logp, entropy)
            parts = []
            size = max(1, min(size, LOGITS // (length * self.model.get_input_embeddings().weight.shape[0])))
            for rows in torch.arange(len(ids), device=ids.device).split(size):
                with self.accelerator.autocast():
                    out = self.model(input_ids=ids[rows], attention_mask=attention[rows], logits_to_keep=length + 1)
                tokens = ids[rows, -length:]
                parts.append(token_statistics(tokens, out.logits[:, :-1], temperature=self.temperature))
        return Distribution(*(torch.cat(column) for column in zip(*parts, strict=True)))

    # one minibatch

    def _compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any]) -> Tensor:
        """The method's loss of the minibatch of all processes; its value is the same on each of them.

        The gradient is `num_processes` times that of the local tokens' share, because averaging over processes follows.
        """
        if not self.model.training:
            return super()._compute_loss(model, inputs)
        ids, attention, length = _sequence(inputs)
        logp, entropy, router_loss = self._get_per_token_logps_and_entropies(
            model, ids, attention, length, compute_entropy=True, compute_aux_loss=self.aux_loss_enabled
        )
        tokens, valid, weight = self._minibatch(logp, entropy, inputs)
        loss, touched = self.intervention.token_loss(tokens)
        kl = None
        if self.kl_coefficient != 0:
            difference = tokens.reference_logp - tokens.logp
            kl = difference.exp() - difference - 1
            if self.args.use_bias_correction_kl:
                kl = kl * tokens.log_ratio.exp()
        if weight is not None:  # TRL weighs the policy's loss, not its own penalty
            loss = loss * weight
        if kl is not None:
            loss = loss + self.kl_coefficient * kl
        total = torch.where(tokens.mask, loss, 0.0)
        if not total.isfinite().all():
            raise ValueError(
                f"loss: got {total[~total.isfinite()][0].item()} at a token in step {self.state.global_step} (method "
                f"{self.intervention.name}), allowed: finite numbers; are the logits of the model finite?"
            )
        self._log_minibatch(tokens, valid, touched, kl)
        total = self._aggregate(total, tokens.mask, valid, inputs)
        processes = self.accelerator.num_processes
        total = processes * total - (processes - 1) * total.detach()
        if self.aux_loss_enabled:
            total = total + self.router_aux_loss_coef * router_loss / self.current_gradient_accumulation_steps
            self._log(aux_loss=self.accelerator.gather(router_loss.detach()).mean())
        return total

    def _minibatch(self, logp: Tensor, entropy: Tensor, inputs: dict[str, Any]) -> tuple[Tokens, Tensor, Tensor | None]:
        """`Tokens` of all processes with the local gradient, which tokens are valid, and vLLM's weights or None."""
        rows = self._rows(len(logp))
        if "entropy" not in self.intervention.uses:
            entropy = entropy.detach()
        old = inputs.get("old_per_token_logps")
        columns = {
            "logp": logp,
            "entropy": entropy,
            "old_logp": logp if old is None else old,
            "old_entropy": inputs.get("old_entropy", entropy),
            "reference_logp": inputs.get("ref_per_token_logps"),
            "weight": inputs["importance_sampling_ratio"] if self._corrects_vllm else None,
            "advantages": inputs["advantages"].unsqueeze(1),
            "valid": _valid(inputs),
            "mask": inputs["counted"],
        }
        given = {name: x for name, x in columns.items() if x is not None}
        packed = torch.stack([x.detach().to(logp.dtype).expand_as(logp) for x in given.values()], 1)
        whole = dict(zip(given, self._everywhere(packed, axis=2).unbind(1), strict=True))
        for name in ("logp", "entropy"):
            whole[name] = whole[name].clone()
            whole[name][rows, : logp.shape[1]] = given[name]
        mask, valid, weight = whole.pop("mask") > 0, whole.pop("valid") > 0, whole.pop("weight", None)
        micro = self._step % self.current_gradient_accumulation_steps
        random = self._uniform("token_loss", self.state.global_step, micro, mask)
        memory = torch.full((1, 1), self.memory, device=logp.device, dtype=logp.dtype)
        return Tokens(mask=mask, random=random.to(logp.dtype), memory=memory, **whole), valid, weight

    def _aggregate(self, loss: Tensor, mask: Tensor, valid: Tensor, inputs: dict[str, Any]) -> Tensor:
        """The number that the token losses (N, T) of a minibatch add up to, as `loss_type` says."""
        accumulated = self.current_gradient_accumulation_steps
        if self.loss_type == "grpo":
            taken_out = valid.any(-1) & ~mask.any(-1)
            responses = loss.sum(-1) / mask.sum(-1).clamp(min=1)
            return responses.sum() / (~taken_out).sum().clamp(min=1) / accumulated
        if self.loss_type == "bnpo":
            return loss.sum() / mask.sum().clamp(min=1) / accumulated
        if self.loss_type == "dr_grpo":
            return loss.sum() / (len(loss) * self.max_completion_length) / accumulated
        share = accumulated / self.args.steps_per_generation  # of the rollout that one optimisation step sees
        return loss.sum() / (inputs["num_items_in_batch"].clamp(min=1) * share)

    # of all processes

    def _everywhere(self, x: Tensor, axis: int = 1) -> Tensor:
        """(B, ..., T) of every process, zero-padded to the longest T, as (N, ..., T): process 0 first."""
        if self.accelerator.num_processes == 1:
            return x
        return self.accelerator.gather(self.accelerator.pad_across_processes(x, dim=axis).contiguous())

    def _rows(self, count: int) -> slice:
        """Where the `count` rows of this process stand among those of all."""
        first = self.accelerator.process_index * count
        return slice(first, first + count)

    def _uniform(self, purpose: str, step: int, part: int, like: Tensor) -> Tensor:
        """Uniform numbers of the shape of `like`, the same on every process and after a resumption."""
        entropy = (self.args.seed, ("prepare", "token_loss").index(purpose), step, part)
        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
        return torch.rand(like.shape, generator=torch.Generator().manual_seed(seed)).to(like.device)

    @property
    def _corrects_vllm(self) -> bool:
        return self.use_vllm and self.vllm_importance_sampling_correction

    # what is logged and kept

    def _log(self, **numbers: Tensor) -> None:
        for name, value in numbers.items():
            self._metrics["train"][name].append(value.item())

    @torch.no_grad()
    def _log_minibatch(self, tokens: Tokens, valid: Tensor, touched: Tensor, kl: Tensor | None) -> None:
        """entropy, acted_on, clip ratios and kl of the minibatch of all processes, over its valid tokens."""
        mean = lambda x: masked_mean(x.to(tokens.logp.dtype), valid).squeeze()  # noqa: E731
        self._log(entropy=mean(tokens.entropy), acted_on=mean((touched & tokens.mask) | ~tokens.mask))
        if kl is not None:
            self._log(kl=mean(kl))
        if _clip_range(self.intervention):
            low = (tokens.log_ratio.exp() < 1 - self.epsilon_low) & (tokens.advantages < 0) & tokens.mask
            high = (tokens.log_ratio.exp() > 1 + self.epsilon_high) & (tokens.advantages > 0) & tokens.mask
            shares = {"low_mean": low, "high_mean": high, "region_mean": low | high}
            self._log(**{f"clip_ratio/{name}": mean(x) for name, x in shares.items()})

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
            (folder / STATE_FILE).write_text(json.dumps(self._state() | {"memory": self.memory, "rollout": self.rollout}))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        file = Path(checkpoint) / STATE_FILE
        if not file.is_file():
            raise ValueError(f"checkpoint: got {Path(checkpoint).name} without {STATE_FILE}, allowed: one of this trainer")
        state = json.loads(file.read_text())
        if state["intervention"] != self._state()["intervention"]:
            got, want = state["intervention"], self._state()["intervention"]
            raise ValueError(f"checkpoint: got one of intervention {got}, allowed: {want}")
        self.memory, self.rollout = state["memory"], state["rollout"]

    def _state(self) -> dict[str, Any]:
        method = self.intervention
        return {"intervention": {"name": method.name, **method.model_dump(mode="json")}}


def _intervention(spec: Intervention | str | dict[str, Any]) -> Intervention:
    try:
        return intervention(spec)
    except ParameterError:
        raise
    except ValueError as error:
        raise ParameterError(str(error)) from None


def _refuse(args: GRPOConfig, method: Intervention) -> None:
    """ParameterError for the first setting of `args` that does not go with an intervention; names what is allowed."""
    only = {
        "top_entropy_quantile": 1.0,
        "entropy_coef": 0.0,
        "use_adaptive_entropy": False,
        "use_liger_kernel": False,
        "delta": None,
        "off_policy_mask_threshold": None,
        "importance_sampling_level": "token",
    }
    for name, allowed in only.items():
        if getattr(args, name) != allowed:
            raise ParameterError.of(name, getattr(args, name), f"{allowed!r}; the intervention decides the loss")
    if args.loss_type not in LOSS_TYPES:
        raise ParameterError.of("loss_type", args.loss_type, " or ".join(LOSS_TYPES))
    if "reference" in method.uses and args.beta != 0:
        raise ParameterError.of("beta", args.beta, f"0.0; {method.name} has a penalty of its own")
    low, high = args.epsilon, args.epsilon if args.epsilon_high is None else args.epsilon_high
    if (low, args.epsilon_high) != (0.2, None) and (low, high) != _clip_range(method):
        has = _clip_range(method) or "none"
        raise ParameterError.of("epsilon", (low, high), f"unset, or the clip range of {method.name}: {has}")


def _clip_range(method: Intervention) -> tuple[float, float] | None:
    """How far the ratio may fall below and rise above 1; None for a method that does not clip."""
    return (method.clip_low, method.clip_high) if hasattr(method, "clip_low") else None


def _rollouts(args: GRPOConfig, dataset: Any) -> int:
    """How many rollouts the training will have."""
    per_rollout = args.steps_per_generation * args.num_iterations
    if args.max_steps > 0:
        return max(1, -(-args.max_steps * args.gradient_accumulation_steps // per_rollout))
    prompts = args.generation_batch_size // args.num_generations
    return max(1, int(args.num_train_epochs * (len(dataset) // prompts)))


def _valid(batch: dict[str, Any]) -> Tensor:
    """The tokens that the policy itself produced, (B, T), without padding and tool output."""
    return (batch["completion_mask"] * batch.get("tool_mask", 1)).bool()


def _sequence(batch: dict[str, Any]) -> tuple[Tensor, Tensor, int]:
    """Token ids and attention mask of prompts and responses, and the length of the responses."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    return ids, attention, batch["completion_ids"].shape[1]
