"""How different are STEER's weights from token to token while a language model trains?"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import ClassVar, Literal

import torch
from pydantic import Field

from entropy_utils.lab.experiment import Experiment, Record

from .grpo import GRPO, Kept, sample_rollout
from .interventions import Steer, Tokens
from .interventions.steer import Concentration, concentration
from .tasks import TASKS
from .warm_up import WarmUp

METHODS: dict[str, Steer] = {
    "released": Steer(),
    "theorem": Steer(form="theorem"),
    "released, 0.3": Steer(weakest=0.3),
    "theorem, 0.3": Steer(form="theorem", weakest=0.3),
    "linear": Steer(map="linear", weakest=0.8, strongest=1.2),
    "rank": Steer(map="rank"),
}
"""The weights compared, by name; "linear" is the released linear script, rank is ours."""


class TokenWeights(Experiment):
    """The weights of all `METHODS` on the same minibatches of tokens, on policy, before and during training with GRPO."""

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {"replicas": 2, "rounds": 2, "rollouts": 2, "warm_up": {"steps": 60}},
        "laptop": {},
        "gpu": {"replicas": 8, "device": "auto", "warm_up": GRPO.profiles["gpu"]["warm_up"]},
        "hub": {},
    }

    task: Literal["noisy_lookup", "digit_sum"] = Field("noisy_lookup", description="what is asked and how it is checked")
    replicas: int = Field(5, ge=1, le=64, description="seeds side by side")
    rounds: int = Field(4, ge=1, le=1000, description="looks at the weights")
    rollouts: int = Field(20, ge=1, le=10_000, description="rollouts of training between two looks")
    responses: int = Field(8, ge=2, le=1024, description="responses per prompt")
    warm_up: WarmUp = Field(WarmUp(), description="size of the model and its supervised warm-up")
    device: Literal["auto", "cpu", "cuda"] = Field("cpu", description="where to compute; auto takes a GPU if there is one")

    def length(self) -> int:
        return self.rounds * self.replicas * len(METHODS)

    def run(self) -> Iterator[Record]:
        """Records: seed, step (rollouts trained), method, entropy (nats, of a whole rollout); mean, sd, pinned and
        probability as in `interventions.steer.Concentration`, means over the minibatches of that rollout that hold any
        token, None if none does (all prompts of the rollout answered alike).
        """
        same = {name: getattr(self, name) for name in ("task", "seed", "replicas", "responses", "warm_up", "device")}
        steps = max(1, self.rollouts * (self.rounds - 1))
        training = GRPO(steps=steps, intervention="clip_higher", evaluate_every=steps, **same)
        policy, generators = training.policies(), [torch.Generator().manual_seed(seed) for seed in training.seeds]
        trained = training.train(policy)
        for look in range(self.rounds):
            if look:
                deque(islice(trained, self.rollouts * self.replicas), maxlen=0)
            batch = sample_rollout(policy, TASKS[self.task](), training.prompts, self.responses, generators)
            kept = batch.chosen(batch.sampled(), training.keep, generators, training.minibatches)
            parts = [on_policy(kept.part(part, training.minibatches)) for part in range(training.minibatches)]
            entropy, live = batch.metrics()["entropy"], sum(tokens.mask.any(-1).any(-1).float() for tokens in parts)
            for name, method in METHODS.items():
                found = sum(torch.stack(concentration(method, tokens)) for tokens in parts) / live
                for replica, seed in enumerate(training.seeds):
                    place = {"seed": seed, "step": look * self.rollouts, "method": name, "entropy": entropy[replica].item()}
                    values = found[:, replica].tolist() if live[replica] else [None] * len(found)
                    yield place | dict(zip(Concentration._fields, values, strict=True))


def on_policy(kept: Kept) -> Tokens:
    """The tokens of some groups as one minibatch, under the policy that sampled them."""
    flat = {name: getattr(kept, name).flatten(1, 2) for name in ("old_logp", "mask", "old_entropy")}
    advantages, old = kept.token_advantages.flatten(1, 2), flat["old_logp"]
    return Tokens(old, old, advantages, flat["mask"], flat["old_entropy"], old, old_entropy=flat["old_entropy"])
