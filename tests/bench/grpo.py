"""GRPO steps on the digit-sum task, one thread: ours against TRL's GRPOTrainer from the same warmed-up policy."""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings

import torch

from entropy_utils.language_model.stacked import StackedLlama
from entropy_utils.policy_entropy.grpo import GRPO
from entropy_utils.policy_entropy.tasks import DigitSum
from entropy_utils.policy_entropy.warm_up import WarmUp, warm_policy
from tests.bench.timing import row, seconds

PROMPTS, GROUP, SEEDS = 48, 8, 5
FIRST, TURNS = 5, 35  # uncounted steps, then steps of each side in turn: short turns meet the same load
TASK, WARM_UP = DigitSum(), WarmUp()


class Ours:
    """A running experiment of the first seeds of a warmed-up stack, going on step by step."""

    def __init__(self, policy: StackedLlama, replicas: int, **changes):
        experiment = GRPO(
            task="digit_sum", prompts=PROMPTS, keep=PROMPTS, responses=GROUP, minibatches=1, replicas=replicas,
            steps=100_000, evaluate_every=100_000, evaluation_prompts=1, device="cpu", **changes,
        )  # fmt: skip
        states = [policy.state(replica) for replica in range(replicas)]
        self.records = experiment.train(StackedLlama(policy.config, states))
        self.replicas, self.rewards, self.times = replicas, [], []
        for _ in range(FIRST):
            self.step()

    def step(self) -> None:
        """One step of every seed."""
        self.rewards.append(statistics.mean(next(self.records)["reward"] for _ in range(self.replicas)))

    def turn(self) -> None:
        """One step, timed."""
        self.times.append(seconds(self.step))


def train_in_turns(policy: StackedLlama, others: list[Ours]) -> tuple[list[float], list[float]]:
    """TRL's trainer, at its fastest here, with a step of every other between its steps: its times and rewards."""
    from transformers import PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    model, times, rewards = WARM_UP.model(TASK, 0), [], []
    model.load_state_dict(policy.state(0))

    def reward(prompts: list[str], completions: list[str], **rest: object) -> list[float]:
        found = TASK.reward_function(prompts, completions)
        rewards.append(statistics.mean(found))
        return found

    class Turns(TrainerCallback):
        def on_step_end(self, args, state, control, **rest):
            if state.global_step >= FIRST:
                if state.global_step > FIRST:
                    times.append(time.perf_counter() - self.start)
                for ours in others:
                    ours.turn()
                self.start = time.perf_counter()

    steps = FIRST + TURNS
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        config = GRPOConfig(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=PROMPTS * GROUP, num_generations=GROUP,
            max_completion_length=TASK.response_length, beta=0.0, learning_rate=3e-4, lr_scheduler_type="constant",
            weight_decay=0.0, gradient_checkpointing=False, bf16=False, use_cpu=True, save_strategy="no",
            logging_strategy="no", report_to="none", disable_tqdm=True,
        )  # fmt: skip
        data = TASK.dataset(PROMPTS * steps)
        trainer = GRPOTrainer(
            model, reward, config, train_dataset=data, processing_class=TASK.tokenizer(), callbacks=[Turns()]
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return times, rewards


def bench_grpo() -> list[dict]:
    """One seed and a stack of seeds, in steps per second and seed; every side must really learn."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        policy = warm_policy(WARM_UP, TASK, list(range(SEEDS)))
        one, stack, every = Ours(policy, 1), Ours(policy, SEEDS), Ours(policy, 1, drop_uniform=False)
        times, rewards = train_in_turns(policy, [one, stack, every])
    finally:
        torch.set_num_threads(threads)
    for side in (one.rewards, stack.rewards, every.rewards, rewards):
        first, last = statistics.mean(side[: 2 * FIRST]), statistics.mean(side[-2 * FIRST :])
        if not last > first:
            raise RuntimeError(f"a side does not learn: its reward goes from {first:.3f} to {last:.3f}")
    trl, alone, all_groups = (1 / statistics.median(found) for found in (times, one.times, every.times))
    stacked = SEEDS / statistics.median(stack.times)
    size = f"{PROMPTS} x {GROUP}, 1 thread"
    peer, unit = "TRL 1.16 GRPOTrainer", "steps/s per seed"
    return [
        row(f"GRPO on digit_sum, groups of equal rewards dropped, {size}", alone, trl, peer, unit, ">= 4", alone >= 4 * trl),
        row(f"GRPO, no group dropped (TRL drops none), {size}", all_groups, trl, peer, unit, "reported", True),
        row(f"GRPO, {SEEDS} seeds stacked, {size}", stacked, trl, peer, unit, "reported", True),
        row(f"GRPO, {SEEDS} seeds stacked, {size}", stacked, alone, "ours, 1 seed", unit, "reported", True),
    ]
