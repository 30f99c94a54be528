"""What a method adds to a GRPO step on the tiny model: whole steps with and without it, in turns, one thread."""

from __future__ import annotations

import torch

from entropy_utils.language_model.stacked import StackedLlama
from entropy_utils.policy_entropy.grpo import GRPO
from entropy_utils.policy_entropy.interventions import INTERVENTIONS
from entropy_utils.policy_entropy.tasks import DigitSum
from entropy_utils.policy_entropy.warm_up import WarmUp, warm_policy
from tests.bench.timing import alternate, row

PROMPTS, GROUP, TURNS = 48, 8, 41
TASK, WARM_UP = DigitSum(), WarmUp()


def steps(policy: StackedLlama, name: str):
    """An endless run of one seed under a method. The rate is so small that the policy, hence the work, stays as it is."""
    experiment = GRPO(
        task="digit_sum", prompts=PROMPTS, keep=PROMPTS, responses=GROUP, minibatches=1, replicas=1, steps=100_000,
        evaluate_every=100_000, evaluation_prompts=1, drop_uniform=False, lr=1e-12, intervention=name,
    )  # fmt: skip
    return experiment.train(StackedLlama(policy.config, [policy.state(0)]))


def bench_interventions() -> list[dict]:
    """Milliseconds of a step under every method and under none. A frozen reference is a second model: reported only."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = []
    try:
        policy = warm_policy(WARM_UP, TASK, [0])
        for name in (name for name in INTERVENTIONS if name != "none"):
            ours, plain = steps(policy, name), steps(policy, "none")
            times = [1e3 * t for t in alternate(lambda run=ours: next(run), lambda run=plain: next(run), TURNS)]
            second_model = "reference" in INTERVENTIONS[name].uses
            goal, met = ("reported", True) if second_model else ("<= 1.1", times[0] <= 1.1 * times[1])
            found.append(row(f"a GRPO step under {name}, {PROMPTS} x {GROUP}", *times, "no method", "ms", goal, met))
    finally:
        torch.set_num_threads(threads)
    return found
