"""GRPO on a tiny language model, several seeds at once, with any entropy intervention (Cui et al. 2025, sec. 2 and 4).

One step is one rollout: sample G responses to every prompt, centre and scale the rewards inside each group, let the
intervention prepare the rollout, drop the prompts without any advantage left (all right, all wrong), then update on a few
minibatches of prompts. The intervention decides the loss of every token; the loop takes the mean over the tokens that
count and knows no method by name.

The seeds are trained as one stacked batch (`StackedLlama`); each has its own weights, prompts and random numbers, and
gets the numbers that it would get alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from entropy_utils.lab.experiment import Experiment, Record
from entropy_utils.language_model import token_statistics
from entropy_utils.language_model.stacked import StackedLlama

from .covariance import entropy_change_from_logits, group_covariance, masked_mean, token_covariance
from .interventions import AnyIntervention, NoIntervention, Prepared, Sampled, Tokens
from .tasks import TASKS, Task
from .warm_up import WarmUp, warm_policy


class GRPO(Experiment):
    """Train `replicas` policies (seeds seed, seed + 1, ...) with GRPO; one record per rollout and seed."""

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {"steps": 8, "replicas": 2, "warm_up": {"steps": 60}, "evaluation_prompts": 100, "evaluate_every": 2},
        "laptop": {},
        "gpu": {
            "steps": 400, "replicas": 8, "prompts": 256, "keep": 128, "device": "auto",
            "warm_up": {"hidden": 256, "layers": 4, "heads": 8, "steps": 4000, "lr": 1e-3},
        },
        "hub": {},
    }  # fmt: skip

    task: Literal["noisy_lookup", "digit_sum"] = Field("noisy_lookup", description="what is asked and how it is checked")
    intervention: AnyIntervention = Field(NoIntervention(), description="method acting on the entropy")
    replicas: int = Field(5, ge=1, le=64, description="seeds trained side by side")
    steps: int = Field(200, ge=1, le=100_000, description="rollouts", json_schema_extra={"unit": "rollouts"})
    prompts: int = Field(64, ge=1, le=65536, description="prompts sampled per rollout")
    keep: int = Field(32, ge=1, le=65536, description="prompts of mixed outcome used per rollout, at most")
    responses: int = Field(8, ge=2, le=1024, description="responses per prompt (the group)")
    minibatches: int = Field(4, ge=1, le=64, description="updates per rollout and inner epoch")
    epochs: int = Field(1, ge=1, le=16, description="inner epochs over one rollout")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="AdamW without weight decay, or plain SGD")
    lr: float = Field(3e-4, gt=0, le=10, description="learning rate", json_schema_extra={"scale": "log"})
    grad_clip: float = Field(1.0, gt=0, le=1e6, description="largest gradient norm of a seed")
    drop_uniform: bool = Field(True, description="leave out prompts whose responses are all right or all wrong")
    scale_rewards: bool = Field(True, description="divide by the group's standard deviation")
    evaluate_every: int = Field(4, ge=1, le=100_000, description="rollouts between greedy evaluations")
    evaluation_prompts: int = Field(1000, ge=1, le=100_000, description="fixed prompts of a greedy evaluation")
    exam_samples: int = Field(0, ge=0, le=1024, description="responses sampled per evaluation prompt at the end, 0: none")
    diagnose_every: int = Field(0, ge=0, le=100_000, description="rollouts between measured entropy changes, 0: never")
    warm_up: WarmUp = Field(WarmUp(), description="size of the model and its supervised warm-up")
    device: Literal["auto", "cpu", "cuda"] = Field("cpu", description="where to train; auto takes a GPU if there is one")

    @model_validator(mode="after")
    def _intervention_fits(self) -> Self:
        self.intervention.check(len(TASKS[self.task].vocabulary), self.steps)
        return self

    @property
    def seeds(self) -> list[int]:
        return [self.seed + replica for replica in range(self.replicas)]

    def length(self) -> int:
        return self.steps * self.replicas

    def run(self) -> Iterator[Record]:
        """Warm up (or load what is kept), then train; see `train` for the records."""
        yield from self.train(self.policies())

    def warmed_up(self) -> StackedLlama:
        """The stack of policies that training starts from, on the CPU: to look at."""
        return self.policies().cpu()

    def policies(self) -> StackedLlama:
        """The same on the device that they are trained on."""
        device = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        return warm_policy(self.warm_up, TASKS[self.task](), self.seeds, device)

    def train(self, policy: StackedLlama) -> Iterator[Record]:
        """Train a stack of policies in place. Fields of a record (entropies and covariances in nats):

        reward: mean over all sampled responses (= pass@1); pass_at_k: share of prompts with a right response among G;
        distinct_right: mean number of different right responses per prompt; entropy: mean over all sampled tokens;
        accuracy: greedy, on fixed prompts, every `evaluate_every` steps; kept: prompts of mixed outcome;
        exam_pass_at_1, _4, _16, ... and exam_distinct: share of evaluation prompts with a right one among k sampled
        responses (unbiased), and different right responses among `exam_samples`, both at the last step only;
        accepted: responses with an advantage other than 0 per prompt, after the intervention prepared the rollout;
        covariance: mean token score (eq. 10); group_covariance: eq. 8-9, mean over the kept prompts; acted_on: share of
        tokens the intervention acted on; memory: the intervention's own; entropy_change, predicted_change: on the states
        of this rollout, measured and by Lemma 1 from the logits before and after the update, every `diagnose_every`
        steps.
        """
        task = TASKS[self.task]()
        generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[self.optimizer]
        optimizer = kind(policy.parameters(), lr=self.lr, weight_decay=0.0, fused=True)
        exam = task.prompts(self.evaluation_prompts, torch.Generator().manual_seed(999))
        reference = None
        if "reference" in self.intervention.uses:
            reference = StackedLlama(policy.config, [policy.state(replica) for replica in range(self.replicas)])
            reference = reference.to(policy.cosine.device)
        uses = self.intervention.uses
        memory = torch.full((self.replicas,), self.intervention.first_memory, device=policy.cosine.device)
        for step in range(self.steps):
            batch = sample_rollout(policy, task, self.prompts, self.responses, generators, "moments" in uses)
            record = batch.metrics()
            if step % self.evaluate_every == 0 or step == self.steps - 1:
                record["accuracy"] = greedy_accuracy(policy, task, exam)
            if self.exam_samples and step == self.steps - 1:
                record |= sampled_exam(policy, task, exam, self.exam_samples, self.seeds)
            random = uniform(generators, batch.mask.shape[1:]).to(memory.device) if "random" in uses else None
            sampled = batch.sampled(self.scale_rewards, memory=memory, step=step, steps=self.steps, random=random)
            prepared = self.intervention.prepare(sampled)
            memory = prepared.memory
            record |= {"accepted": (prepared.advantages != 0).sum(-1).float().mean(-1), "memory": memory}
            kept = batch.chosen(prepared, self.keep, generators, self.minibatches, not self.drop_uniform)
            record |= kept.covariances()
            diagnose = self.diagnose_every and step % self.diagnose_every == 0
            before = policy_logits(policy, kept) if diagnose else None
            record["acted_on"] = self.update(policy, reference, optimizer, kept, generators, memory)
            if diagnose:
                measured, predicted = entropy_change_from_logits(before, policy_logits(policy, kept))
                flat_mask = kept.valid.flatten(1, 2)
                record["entropy_change"] = masked_mean(measured.flatten(1, 2), flat_mask).flatten()
                record["predicted_change"] = masked_mean(predicted.flatten(1, 2), flat_mask).flatten()
            columns = {name: values.tolist() for name, values in record.items()}
            for replica, seed in enumerate(self.seeds):
                row = {"step": step, "seed": seed, **dict.fromkeys(self._now_and_then())}
                yield row | {name: values[replica] for name, values in columns.items()}

    def _now_and_then(self) -> list[str]:
        """Columns that not every record fills."""
        exam = [*(f"exam_pass_at_{k}" for k in exam_sizes(self.exam_samples)), "exam_distinct"] if self.exam_samples else []
        return ["accuracy", "entropy_change", "predicted_change", *exam]

    def update(
        self,
        policy: StackedLlama,
        reference: StackedLlama | None,
        optimizer: torch.optim.Optimizer,
        kept: Kept,
        generators: list[torch.Generator],
        memory: Tensor | None = None,
    ) -> Tensor:
        """All updates on one rollout; returns the share of valid tokens that the intervention acted on, (S,).

        It acts on a token by taking it out of the loss beforehand or by what `token_loss` says it did.

        Minibatches are whole groups. A replica without any mixed group contributes a zero gradient.
        """
        uses, parts, acted, total = self.intervention.uses, min(self.minibatches, kept.prompts.shape[1]), 0, 0
        for epoch in range(self.epochs):
            # as many numbers as there may be places: what a replica draws does not depend on the others
            random = uniform(generators, (min(self.keep, self.prompts), *kept.mask.shape[2:])).to(kept.mask.device)
            random = random[:, : kept.mask.shape[1]]
            for part in range(parts):
                batch = kept.part(part, parts)
                logits = policy.response_logits(batch.prompts, batch.responses)
                logp, entropy = token_logp_and_entropy(logits, batch.responses, "entropy" in uses)
                # before the first update the policy is the one that sampled: the ratio is exactly 1
                old = logp.detach() if epoch == part == 0 else batch.old_logp
                tokens = Tokens(
                    *(x.flatten(1, 2) for x in (logp, old, batch.token_advantages, batch.mask, entropy)),
                    random=random[:, part::parts].flatten(1, 2),
                    reference_logp=reference_logp(reference, batch),
                    old_entropy=batch.old_entropy.flatten(1, 2),
                    memory=None if memory is None else memory[:, None, None],
                )
                loss, touched = self.intervention.token_loss(tokens)
                optimizer.zero_grad()
                masked_mean(loss, tokens.mask).sum().backward()
                clip_gradients(policy, self.grad_clip)
                optimizer.step()
                acted = acted + touched.sum((-2, -1)) + (batch.valid & ~batch.mask).sum((1, 2, 3))
                total = total + batch.valid.sum((1, 2, 3))
        return acted / total.clamp(min=1)


@dataclass(frozen=True)
class Rollout:
    """Responses of S policies to P prompts, G each: tokens and mask (S, P, G, T), rewards (S, P, G)."""

    prompts: Tensor  # (S, P, L)
    responses: Tensor
    mask: Tensor  # True up to and including the first end-of-sequence token
    logp: Tensor  # of the sampled tokens under the policy that sampled, (S, P, G, T)
    entropy: Tensor  # of the distribution that each token was drawn from, (S, P, G, T), nats
    rewards: Tensor
    sum_p2: Tensor | None = None  # moments of those distributions, (S, P, G, T), if asked for
    sum_p2_log_p: Tensor | None = None

    def metrics(self) -> dict[str, Tensor]:
        """Numbers of the whole rollout, before any prompt is dropped, each (S,)."""
        return {
            "reward": self.rewards.mean((1, 2)),
            "pass_at_k": (self.rewards > 0).any(-1).float().mean(-1),
            "distinct_right": distinct_right(self.responses, self.rewards).mean(-1),
            "entropy": masked_mean(self.entropy.flatten(1, 2), self.mask.flatten(1, 2)).flatten(),
            "kept": mixed_groups(self.rewards).sum(-1),
        }

    def sampled(self, scale: bool = True, memory: Tensor | None = None, **place) -> Sampled:
        """The rollout as an intervention's `prepare` sees it; `place`: step, steps, random."""
        memory = torch.zeros_like(self.rewards[:, 0, 0]) if memory is None else memory
        same = {name: getattr(self, name) for name in ("logp", "entropy", "mask", "rewards", "sum_p2", "sum_p2_log_p")}
        return Sampled(**same, advantages=group_advantages(self.rewards, scale), memory=memory, **place)

    def chosen(
        self,
        prepared: Prepared | Sampled,
        keep: int,
        generators: list[torch.Generator],
        least: int = 1,
        uniform_too: bool = False,
    ) -> Kept:
        """At most `keep` of the groups in which some response has an advantage, in random order, as prepared or as sampled.

        There are as many places as the replica with most of them needs, and `least` (a group for every minibatch);
        where a replica has fewer groups, masked ones fill up. `uniform_too` keeps the groups without any advantage as
        well: they give no gradient, but their tokens count.
        """
        wanted = (prepared.advantages != 0).any(-1) | uniform_too
        places = min(keep, wanted.shape[-1], max(least, wanted.sum(-1).max().item()))
        order = uniform(generators, wanted.shape[1:]).to(wanted.device)
        order = (order + 2.0 * ~wanted).argsort(-1)[:, :places]
        replica = torch.arange(len(order), device=order.device)[:, None]
        live = wanted[replica, order][..., None, None]
        valid = self.mask[replica, order] & live
        return Kept(
            self.prompts[replica, order],
            self.responses[replica, order],
            prepared.mask[replica, order] & valid,
            self.logp[replica, order],
            prepared.advantages[replica, order],
            self.entropy[replica, order],
            valid,
        )


@dataclass(frozen=True)
class Kept:
    """The groups that are trained on: as in `Rollout`, with advantages (S, P, G)."""

    prompts: Tensor
    responses: Tensor
    mask: Tensor  # the tokens that count in the loss
    old_logp: Tensor
    advantages: Tensor
    old_entropy: Tensor
    valid: Tensor  # all tokens of the responses

    @property
    def token_advantages(self) -> Tensor:
        return self.advantages[..., None].expand_as(self.old_logp)

    def part(self, index: int, count: int) -> Kept:
        """Every `count`-th group from `index` on: one minibatch; groups of every replica spread evenly."""
        return Kept(*(getattr(self, name)[:, index::count] for name in self.__dataclass_fields__))

    def covariances(self) -> dict[str, Tensor]:
        """Mean token score (eq. 10) and mean group covariance (eq. 8-9) of every replica over all valid tokens, (S,)."""
        mask = self.valid.flatten(1, 2)
        scores = token_covariance(self.old_logp.flatten(1, 2), self.token_advantages.flatten(1, 2), mask)
        live = self.valid.flatten(2).any(-1)
        groups = group_covariance(self.old_logp, self.advantages, self.valid) * live
        return {
            "covariance": masked_mean(scores, mask).flatten(),
            "group_covariance": groups.sum(-1) / live.sum(-1).clamp(min=1),
        }


def sample_rollout(
    policy: StackedLlama,
    task: Task,
    prompts: int,
    responses: int,
    generators: list[torch.Generator],
    moments: bool = False,
) -> Rollout:
    """Draw prompts for every replica, `responses` answers to each, and their rewards; `moments`: sum p^2, sum p^2 log p."""
    asked = torch.stack([task.prompts(prompts, generator) for generator in generators])
    numbers = uniform(generators, (prompts, responses, task.response_length))
    device = policy.cosine.device
    tokens, logits = policy.generate(asked.to(device), numbers.to(device), task.response_length)
    statistics = token_statistics(tokens, logits)
    ended = (tokens == task.eos).cumsum(-1)
    mask = (ended == 0) | ((ended == 1) & (tokens == task.eos))
    rewards = task.reward(asked[:, :, None], tokens.cpu()).to(device)
    more = (statistics.sum_p2, statistics.sum_p2_log_p) if moments else ()
    return Rollout(asked.to(device), tokens, mask, statistics.log_prob, statistics.entropy, rewards, *more)


def greedy_accuracy(policy: StackedLlama, task: Task, prompts: Tensor, block: int = 64) -> Tensor:
    """Share of `prompts` (P, L) that the most probable tokens answer rightly, (S,); blocks of prompts fit the cache."""
    rewards = []
    for part in prompts.split(block):
        asked = part.to(policy.cosine.device).expand(policy.replicas, -1, -1)
        tokens, _ = policy.generate(asked, None, task.response_length)
        rewards.append(task.reward(part, tokens[:, :, 0].cpu()))
    return torch.cat(rewards, -1).mean(-1)


def sampled_exam(
    policy: StackedLlama, task: Task, prompts: Tensor, samples: int, seeds: list[int], block: int = 32
) -> dict[str, Tensor]:
    """pass@k for k = 1, 4, 16, ... and the number of different right ones among `samples` responses per prompt, (S,)."""
    generators = [torch.Generator().manual_seed(2**31 + seed) for seed in seeds]  # not the numbers of the training
    right, distinct = [], []
    for part in prompts.split(block):
        asked = part.to(policy.cosine.device).expand(policy.replicas, -1, -1)
        numbers = uniform(generators, (len(part), samples, task.response_length)).to(asked.device)
        tokens, _ = policy.generate(asked, numbers, task.response_length)
        rewards = task.reward(part[:, None], tokens.cpu())
        right.append(rewards.sum(-1))
        distinct.append(distinct_right(tokens.cpu(), rewards))
    right = torch.cat(right, -1)
    passed = {f"exam_pass_at_{k}": pass_at_k(right, samples, k).mean(-1) for k in exam_sizes(samples)}
    return passed | {"exam_distinct": torch.cat(distinct, -1).mean(-1)}


def exam_sizes(samples: int) -> list[int]:
    """1, 4, 16, ... up to `samples`."""
    return [4**power for power in range(6) if 4**power <= samples]


def group_advantages(rewards: Tensor, scale: bool = True) -> Tensor:
    """Reward minus its group's mean, (..., G), divided by the sample standard deviation (ddof 1) + 1e-6 if `scale`."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    return centred / (rewards.std(-1, keepdim=True) + 1e-6) if scale else centred


def mixed_groups(rewards: Tensor) -> Tensor:
    """Which groups hold different rewards, (..., G) -> (...): only those give a policy gradient."""
    return rewards.amax(-1) > rewards.amin(-1)


def distinct_right(responses: Tensor, rewards: Tensor) -> Tensor:
    """How many different responses of each group are right: responses (..., G, T), rewards (..., G) -> (...)."""
    same = (responses.unsqueeze(-2) == responses.unsqueeze(-3)).all(-1)
    group = responses.shape[-2]
    earlier = torch.ones(group, group, dtype=torch.bool, device=responses.device).tril(-1)
    repeated = (same & earlier).any(-1)
    return ((rewards > 0) & ~repeated).sum(-1).float()


def pass_at_k(right: Tensor, samples: int, k: int) -> Tensor:
    """Unbiased probability that at least one of k responses is right, from `right` out of `samples` (Chen et al. 2021)."""
    if not 1 <= k <= samples:
        raise ValueError(f"k: got {k}, allowed: an integer from 1 to {samples}")
    wrong = samples - right.double()
    factors = torch.stack([(wrong - i).clamp(min=0) / (samples - i) for i in range(k)])
    return 1 - factors.prod(0)


def token_logp_and_entropy(logits: Tensor, tokens: Tensor, entropy_grad: bool = False) -> tuple[Tensor, Tensor]:
    """Log-probability of `tokens` (...) and entropy of softmax(logits) (..., V); the latter with gradient if asked."""
    statistics = token_statistics(tokens, logits, entropy_grad=entropy_grad)
    return statistics.log_prob, statistics.entropy


@torch.no_grad()
def policy_logits(policy: StackedLlama, kept: Kept) -> Tensor:
    """Logits of the policy on the states of these groups, (S, P, G, T, V), without gradient."""
    return policy.response_logits(kept.prompts, kept.responses)


def reference_logp(reference: StackedLlama | None, batch: Kept) -> Tensor | None:
    """Log-probabilities under the frozen reference, (S, P * G, T), or None without one."""
    if reference is None:
        return None
    return token_logp_and_entropy(policy_logits(reference, batch), batch.responses)[0].flatten(1, 2)


def uniform(generators: list[torch.Generator], shape: tuple[int, ...]) -> Tensor:
    """Uniform numbers (S, *shape), every replica from its own generator: a seed draws the same alone and in a stack."""
    return torch.stack([torch.rand(*shape, generator=generator) for generator in generators])


def clip_gradients(policy: nn.Module, largest: float) -> None:
    """Scale the gradient of every replica to a norm of at most `largest` (the leading axis of a weight is the replica)."""
    gradients = [parameter.grad for parameter in policy.parameters()]
    norm = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
    scale = (largest / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))
