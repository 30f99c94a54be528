"""Interventions in TRL: equal to the parent without one, to our own loss with one, and to one process with two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

trl = pytest.importorskip("trl")

from entropy_utils.lab.errors import ParameterError  # noqa: E402
from entropy_utils.policy_entropy.interventions import (  # noqa: E402
    INTERVENTIONS,
    Intervention,
    NoIntervention,
    Prepared,
    Sampled,
    Tokens,
    intervention,
)
from entropy_utils.policy_entropy.trl import EntropyGRPOTrainer  # noqa: E402
from tests.policy_entropy import tiny_policy  # noqa: E402

ROOT = Path(__file__).parents[2]
T, G = tiny_policy.LENGTH, 4


@pytest.fixture(scope="module", autouse=True)
def offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_policy.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def make(model, tmp_path):
    return lambda *args, **changes: tiny_policy.make(model, tmp_path / "run", *args, **changes)


def numbers(trainer, names=("loss", "grad_norm", "entropy", "clip_ratio/region_mean", "kl")):
    rows = [row for row in trainer.state.log_history if "entropy" in row]
    return torch.tensor([[row.get(name, 0.0) for name in names] for row in rows], dtype=torch.float64)


# without an intervention: the parent


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dapo", "dr_grpo"])
@pytest.mark.parametrize(
    "settings",
    [
        {"steps_per_generation": 2, "gradient_accumulation_steps": 1},
        {"steps_per_generation": 2, "gradient_accumulation_steps": 2, "num_iterations": 2, "beta": 0.1},
        {"steps_per_generation": 4, "gradient_accumulation_steps": 2, "mask_truncated_completions": True},
    ],
)
def test_without_an_intervention_training_is_the_parents(make, loss_type, settings):
    parent = make(kind=trl.GRPOTrainer, loss_type=loss_type, **settings)
    parent.train()
    ours = make(loss_type=loss_type, **settings)  # making a trainer sets the seeds
    ours.train()
    assert numbers(parent)[:, 1].min() > 0.1
    torch.testing.assert_close(numbers(ours), numbers(parent), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tiny_policy.weights(ours), tiny_policy.weights(parent), atol=1e-5, rtol=0)


def inputs(trainer, drift=0.4, seed=0, rows=8):
    """A minibatch of random responses with ratios on both sides of any range."""
    g = torch.Generator().manual_seed(seed)
    count = len(tiny_policy.WORDS)
    lengths = torch.randint(1, T + 1, (rows,), generator=g)
    lengths[0] = 0  # masked out wholly
    mask = torch.arange(T) < lengths[:, None]
    batch = {
        "prompt_ids": torch.randint(2, count, (rows, 5), generator=g),
        "prompt_mask": (torch.arange(5) >= torch.arange(rows)[:, None] % 3).long(),
        "completion_ids": torch.randint(2, count, (rows, T), generator=g).where(mask, 1),
        "completion_mask": mask.long(),
        "advantages": torch.randn(rows, generator=g),
        "num_items_in_batch": torch.tensor(57),
        "counted": mask,
    }
    trainer.current_gradient_accumulation_steps = 3
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    with torch.no_grad():
        logp, entropy, _ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, attention, T, compute_entropy=True)
    noise = torch.randn(rows, T, generator=g)
    return batch | {
        "old_per_token_logps": logp - drift * noise * mask,
        "old_entropy": entropy,
        "ref_per_token_logps": (logp + 0.3 * noise.roll(1, 0)) * mask,
    }


def loss_and_gradient(trainer, compute, batch):
    trainer.model.train()
    trainer.model.zero_grad()
    loss = compute(trainer.model, batch)
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten().clone() for p in trainer.model.parameters()])


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dapo", "dr_grpo"])
@pytest.mark.parametrize(("low", "high"), [(0.2, 0.2), (0.5, 0.05), (0.1, 0.9)])
def test_one_minibatch_with_any_clip_range_is_the_parents(make, loss_type, low, high):
    trainer = make(f"none clip_low={low} clip_high={high}", loss_type=loss_type, beta=0.2, epsilon=low, epsilon_high=high)
    assert (trainer.epsilon_low, trainer.epsilon_high) == (low, high)
    trainer.use_vllm, trainer.vllm_importance_sampling_correction = True, True
    batch = inputs(trainer) | {"importance_sampling_ratio": torch.linspace(0.5, 1.5, 8)[:, None].expand(8, T)}
    batch["tool_mask"] = (torch.arange(8 * T).view(8, T) % 5 > 0).long()
    batch["counted"] = batch["counted"] & (batch["tool_mask"] > 0)
    found = loss_and_gradient(trainer, trainer._compute_loss, batch)
    logged = trainer._metrics["train"]["clip_ratio/region_mean"].pop()
    wanted = loss_and_gradient(trainer, lambda *x: trl.GRPOTrainer._compute_loss(trainer, *x), batch)
    assert found[0] == pytest.approx(wanted[0], abs=1e-6)
    torch.testing.assert_close(found[1], wanted[1], atol=1e-6, rtol=1e-5)
    assert logged > 0
    assert logged == pytest.approx(trainer._metrics["train"]["clip_ratio/region_mean"].pop(), abs=1e-6)


# with one: our own loss on the same tensors


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_every_intervention_changes_the_loss_as_its_token_loss_does(make, name):
    method = INTERVENTIONS[name]()
    trainer = make(method, loss_type="bnpo")
    trainer.memory = 0.25
    batch = inputs(trainer)
    drawn = []
    trainer._uniform = lambda purpose, step, part, like: drawn.append(torch.rand(like.shape)) or drawn[-1]
    found = loss_and_gradient(trainer, trainer._compute_loss, batch)

    logits = trainer.model(
        input_ids=torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
        attention_mask=torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
    ).logits[:, -T - 1 : -1]
    log_p = logits.log_softmax(-1)
    mask = batch["counted"]
    entropy = -(log_p.exp() * log_p).sum(-1) * mask
    tokens = Tokens(
        logp=log_p.gather(-1, batch["completion_ids"][..., None])[..., 0] * mask,
        old_logp=batch["old_per_token_logps"],
        advantages=batch["advantages"][:, None].expand(8, T),
        mask=mask,
        entropy=entropy if "entropy" in method.uses else entropy.detach(),
        random=drawn[0],
        reference_logp=batch["ref_per_token_logps"],
        old_entropy=batch["old_entropy"],
        memory=torch.full((1, 1), 0.25),
    )
    loss, touched = method.token_loss(tokens)
    trainer.model.zero_grad()
    wanted = (loss[mask].sum() / mask.sum()) / 3
    wanted.backward()
    assert found[0] == pytest.approx(wanted.item(), abs=1e-6)
    gradient = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
    torch.testing.assert_close(found[1], gradient, atol=2e-6, rtol=1e-5)
    acted_on = (touched & mask).sum() / mask.sum()
    assert trainer._metrics["train"]["acted_on"] == [pytest.approx(acted_on.item(), abs=1e-6)]


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_every_intervention_trains_and_logs_finite_numbers(make, name):
    trainer = make(name, max_steps=2, steps_per_generation=2, gradient_accumulation_steps=1, num_iterations=1)
    before = tiny_policy.weights(trainer)
    trainer.train()
    assert tiny_policy.weights(trainer).isfinite().all()
    assert (tiny_policy.weights(trainer) - before).abs().max() > 0 or name in ("signed_reward", "entrocraft")
    first, second = (row for row in trainer.state.log_history if "entropy" in row)
    for key in ("accepted", "memory", "pass_at_k", "reward"):
        assert key in first
        assert key not in second  # one rollout, two updates
    for row in (first, second):
        assert 0 <= row["acted_on"] <= 1
        assert 0 < row["entropy"] < torch.tensor(len(tiny_policy.WORDS)).log()


class Recorder(NoIntervention):
    """Keeps what `prepare` sees, halves the advantages of even prompts, takes out every third token, counts rollouts."""

    name = "recorder"
    uses = frozenset({"moments", "random"})
    seen: list = []  # noqa: RUF012 (a field)

    def prepare(self, sampled: Sampled) -> Prepared:
        self.seen.append(sampled)
        place = torch.arange(sampled.mask.shape[-1])
        return Prepared(sampled.advantages * 0.5, sampled.mask & (place % 3 > 0), sampled.memory + 2)


def test_prepare_sees_the_rollout_and_decides_what_the_update_uses(make):
    method = Recorder()
    trainer = make(method, temperature=0.7, max_steps=2, steps_per_generation=2, num_iterations=2)
    used = []
    parents = trainer._compute_loss
    trainer._compute_loss = lambda model, batch: used.append(batch) or parents(model, batch)
    first = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    sampled = method.seen[0]
    assert sampled.logp.shape == (4, G, sampled.mask.shape[-1])
    assert (sampled.step, sampled.steps, sampled.memory.item()) == (0, len(method.seen), 0.0)
    assert trainer.memory == 2 * len(method.seen)
    assert sampled.rewards.unique().tolist() == [0.0, 1.0]
    mean, sd = sampled.rewards.mean(-1, keepdim=True), sampled.rewards.std(-1, keepdim=True)
    torch.testing.assert_close(sampled.advantages, (sampled.rewards - mean) / (sd + 1e-4))
    assert (sampled.random[sampled.mask] < 1).all()
    assert sampled.random.unique().numel() == sampled.random.numel()
    # the minibatches of the first pass hold every response of the rollout once, in some order
    minibatches = used[:2]
    mask = torch.cat([batch["completion_mask"] for batch in minibatches]).bool()
    counted = torch.cat([batch["counted"] for batch in minibatches])
    assert torch.equal(counted, mask & (torch.arange(mask.shape[1]) % 3 > 0))
    assert minibatches[0]["num_items_in_batch"] == counted.sum()
    advantages = torch.cat([batch["advantages"] for batch in minibatches])
    torch.testing.assert_close(advantages.sort().values, sampled.advantages.flatten().sort().values / 2)
    # distributions of the policy that sampled, at the temperature
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            parameter.copy_(first[name])
        batch = {name: torch.cat([part[name] for part in minibatches]) for name in ("prompt_ids", "prompt_mask")}
        ids = torch.cat([part["completion_ids"] for part in minibatches])
        logits = trainer.model(
            input_ids=torch.cat([batch["prompt_ids"], ids], 1),
            attention_mask=torch.cat([batch["prompt_mask"], mask.long()], 1),
        ).logits[:, -ids.shape[1] - 1 : -1]
    log_p = (logits / 0.7).log_softmax(-1)
    p = log_p.exp()
    wanted = {
        "logp": log_p.gather(-1, ids[..., None])[..., 0],
        "entropy": -(p * log_p).sum(-1),
        "sum_p2": (p * p).sum(-1),
        "sum_p2_log_p": (p * p * log_p).sum(-1),
    }
    for name, value in wanted.items():
        found = getattr(sampled, name)[sampled.mask].sort().values
        torch.testing.assert_close(found, value[mask].sort().values, atol=1e-5, rtol=1e-5)
    old = torch.cat([part["old_entropy"] for part in minibatches])
    torch.testing.assert_close(old[mask], wanted["entropy"][mask], atol=1e-5, rtol=0)


# denominators, empty batches, wrong numbers


@pytest.mark.parametrize(("loss_type", "divisor"), [("grpo", None), ("bnpo", None), ("dapo", 57 / 1), ("dr_grpo", 8.0 * T)])
def test_tokens_taken_out_leave_the_denominator(make, loss_type, divisor):
    trainer = make("none", loss_type=loss_type)
    batch = inputs(trainer)
    batch["counted"] = batch["counted"] & (torch.arange(8)[:, None] != 3)
    loss, _ = loss_and_gradient(trainer, trainer._compute_loss, batch)
    tokens, _, _ = trainer._minibatch(
        *trainer._get_per_token_logps_and_entropies(
            trainer.model,
            torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
            torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
            T,
            compute_entropy=True,
        )[:2],
        batch,
    )
    each = trainer.intervention.token_loss(tokens)[0] * tokens.mask
    if loss_type == "grpo":  # response 3 was taken out, response 0 had no token to begin with
        wanted = (each.sum(-1) / tokens.mask.sum(-1).clamp(min=1)).sum() / 7
    else:
        wanted = each.sum() / (divisor or tokens.mask.sum())
    window = 3 if loss_type != "dapo" else 3 / trainer.args.steps_per_generation
    assert loss == pytest.approx(wanted.item() / window, abs=1e-6)


KINDS = [(name, "dapo") for name in INTERVENTIONS] + [("steer", kind) for kind in ("grpo", "bnpo", "dr_grpo")]


@pytest.mark.parametrize(("name", "loss_type"), KINDS)
def test_a_minibatch_without_a_counting_token_has_loss_and_gradient_zero(make, name, loss_type):
    trainer = make(name, loss_type=loss_type)
    batch = inputs(trainer)
    batch |= {"counted": torch.zeros(8, T, dtype=torch.bool), "num_items_in_batch": torch.tensor(0)}
    loss, gradient = loss_and_gradient(trainer, trainer._compute_loss, batch)
    assert loss == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("name", ["none", "clip_v", "steer", "kl_cov"])
def test_equal_rewards_teach_nothing_and_break_nothing(make, name, value):
    trainer = make(name, max_steps=2, mask_truncated_completions=True)
    trainer.reward_funcs = [lambda completions, **_: [value] * len(completions)]
    before = tiny_policy.weights(trainer)
    trainer.train()
    assert torch.equal(tiny_policy.weights(trainer), before)
    row = trainer.state.log_history[0]
    assert (row["accepted"], row["pass_at_k"], row["loss"]) == (0, value, 0)


def test_rewards_outside_their_range_are_refused_where_a_method_reads_them(make):
    def twice(completions, **_):
        return [2 * x if n % 8 else None for n, x in enumerate(tiny_policy.reward(completions))]

    trainer = make("signed_reward", max_steps=1)
    trainer.reward_funcs = [twice]
    with pytest.raises(ValueError, match="rewards: got 2, allowed: 0 to 1; give the trainer another reward_range"):
        trainer.train()
    method = Recorder()
    trainer = make(method, max_steps=1, more={"reward_range": (-2.0, 2.0)})
    trainer.reward_funcs = [twice]
    trainer.train()
    assert set(method.seen[0].rewards.unique().tolist()) == {0.5, 1.0}
    assert method.seen[0].rewards.flatten()[0] == 0.5  # nobody scored it
    assert method.seen[0].advantages.flatten()[0] == 0


def test_numbers_that_are_not_finite_stop_the_training(make):
    trainer = make("none")
    trainer.model.train()
    batch = inputs(trainer)
    batch["old_per_token_logps"] = torch.full((8, T), -torch.inf)
    with pytest.raises(ValueError, match=r"loss: got .*inf at a token in step 0 \(method none\), allowed: finite"):
        trainer._compute_loss(trainer.model, batch)
    for parameter in trainer.model.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="loss: got nan at a token"):
        trainer._compute_loss(trainer.model, inputs(trainer))
    with pytest.raises((RuntimeError, ValueError), match="nan"):
        trainer.train()


# settings


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("kl_cov", {"top_entropy_quantile": 0.2}, r"field 'top_entropy_quantile': got 0\.2 \(float\), allowed: 1\.0"),
        ("kl_cov", {"entropy_coef": 0.1}, "field 'entropy_coef'"),
        ("kl_cov", {"use_adaptive_entropy": True}, "field 'use_adaptive_entropy'"),
        ("kl_cov", {"delta": 2.0}, "field 'delta'"),
        ("kl_cov", {"importance_sampling_level": "sequence"}, "field 'importance_sampling_level'"),
        ("kl_cov", {"off_policy_mask_threshold": 0.5}, "field 'off_policy_mask_threshold'"),
        ("none", {"loss_type": "cispo"}, "field 'loss_type': got 'cispo' .*allowed: grpo or bnpo or dapo or dr_grpo"),
        ("reference_kl", {"beta": 0.1}, r"field 'beta': got 0\.1 .*reference_kl has a penalty of its own"),
        ("none", {"epsilon": 0.3}, r"field 'epsilon': got \(0\.3, 0\.3\) .*clip range of none: \(0\.2, 0\.2\)"),
        ("clip_higher", {"epsilon_high": 0.3}, r"clip range of clip_higher: \(0\.2, 0\.28\)"),
        ("kl_cov", {"epsilon": 0.3}, "clip range of kl_cov: none"),
        ("kl_kov", {}, "intervention 'kl_kov', allowed: none, "),
        ("kl_cov share=2", {}, r"field 'share': got 2\.0"),
    ],
)
def test_what_does_not_go_with_an_intervention_is_refused_in_one_line(make, method, settings, message):
    with pytest.raises(ParameterError, match=message) as error:
        make(method, **settings)
    assert "\n" not in str(error.value)


def test_liger_groups_of_one_and_wrong_ranges_are_refused(make):
    with pytest.raises(ParameterError, match="field 'use_liger_kernel'"):
        make("none", use_liger_kernel=True)
    with pytest.raises(ValueError, match="at least 2 generations"):
        make("none", num_generations=1)
    with pytest.raises(ParameterError, match="field 'reward_range'"):
        make("none", more={"reward_range": (1.0, 0.0)})


class Short(NoIntervention):
    name = "short"

    def check(self, vocabulary, steps):
        raise ParameterError(f"{vocabulary} tokens, {steps} rollouts")


@pytest.mark.parametrize(
    ("settings", "rollouts"),
    [
        ({"max_steps": 3}, 3),
        ({"max_steps": 5, "steps_per_generation": 2, "gradient_accumulation_steps": 1}, 3),
        ({"max_steps": 5, "gradient_accumulation_steps": 4, "steps_per_generation": 2}, 10),
        ({"max_steps": -1, "num_train_epochs": 3}, 24),
        ({"max_steps": 6, "num_iterations": 3}, 2),
    ],
)
def test_the_method_is_checked_against_vocabulary_and_rollouts(make, settings, rollouts):
    with pytest.raises(ParameterError, match=f"^{len(tiny_policy.WORDS)} tokens, {rollouts} rollouts$"):
        make(Short(), **settings)


def test_a_method_with_a_reference_gets_the_first_policy_and_no_second_penalty(make):
    trainer = make("reference_kl coefficient=0.5", learning_rate=0.05, max_steps=3)
    assert trainer.args.beta == 0
    first = tiny_policy.weights(trainer)
    trainer.train()
    frozen = torch.cat([p.flatten().double() for p in trainer.ref_model.parameters()])
    assert torch.equal(frozen, first)
    without = make("none", learning_rate=0.05, max_steps=3)
    without.train()
    moved = [(tiny_policy.weights(t) - first).norm() for t in (trainer, without)]
    assert numbers(trainer)[0, :2].tolist() == pytest.approx(numbers(without)[0, :2].tolist(), abs=1e-5)
    assert not torch.allclose(tiny_policy.weights(trainer), tiny_policy.weights(without), atol=1e-4)
    assert all(m > 0 for m in moved)
    assert "kl" not in trainer.state.log_history[0]


# checkpoints


@pytest.mark.parametrize("method", ["adaptive_bonus target=3.6 delta=0.3", "clip_cov share=0.2 low=0.01 high=9"])
def test_a_resumed_run_goes_on_bit_by_bit(make, tmp_path, method):
    settings = {"steps_per_generation": 2, "gradient_accumulation_steps": 1, "save_strategy": "steps", "save_steps": 2}
    whole = make(method, max_steps=6, **settings)
    whole.train()
    half = make(method, max_steps=6, **settings)
    half.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert torch.equal(tiny_policy.weights(half), tiny_policy.weights(whole))
    assert (half.memory, half.rollout) == (whole.memory, whole.rollout) == (whole.memory, 3)
    state = json.loads((tmp_path / "run" / "checkpoint-2" / "intervention.json").read_text())
    assert state["rollout"] == 1
    if "bonus" in method:
        assert abs(state["memory"]) == pytest.approx(0.3)
        assert half.memory != state["memory"]
    with pytest.raises(ValueError, match=r"checkpoint: got one of intervention .*, allowed: .*kl_cov"):
        make("kl_cov", max_steps=6, **settings).train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    (tmp_path / "run" / "checkpoint-4" / "intervention.json").unlink()
    with pytest.raises(ValueError, match=r"checkpoint: got checkpoint-4 without intervention\.json"):
        make(method, max_steps=6, **settings).train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4"))


# several processes


def jobs(processes: int) -> list[dict]:
    base = {
        "per_device_train_batch_size": 8 // processes, "generation_batch_size": 16, "num_iterations": 2, "max_steps": 4,
        "optim": "sgd", "learning_rate": 0.05,
    }  # fmt: skip
    base |= {"ddp_backend": "gloo"} if processes > 1 else {}
    methods = {
        "none": {}, "clip_cov share=0.1 low=0.01 high=9": {}, "kl_cov share=0.1": {}, "clip_b_random share=0.3": {},
        "clip_v mu=0.5 max_share=0.2": {"loss_type": "grpo"}, "entropic": {"loss_type": "bnpo"},
        "reference_kl": {"loss_type": "dr_grpo"}, "entropy_bonus": {"gradient_accumulation_steps": 2},
        "steer": {"beta": 0.1},
    }  # fmt: skip
    return [
        {"intervention": name, "settings": base | more, "file": f"{number}.{processes}.pt"}
        for number, (name, more) in enumerate(methods.items())
    ]


def test_two_processes_train_as_one_with_the_same_minibatches(model, tmp_path):
    script = ["tests.policy_entropy.tiny_policy", str(model), str(tmp_path)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    for processes, start in ((1, []), (2, launch)):
        command = [sys.executable, "-m", *start, *script, json.dumps(jobs(processes))]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    for number, job in enumerate(jobs(1)):
        one, two = (torch.load(tmp_path / f"{number}.{processes}.pt") for processes in (1, 2))
        torch.testing.assert_close(one["weights"], two["weights"], atol=2e-6, rtol=0, msg=job["intervention"])
        for name in ("loss", "entropy", "acted_on", "accepted", "memory", "pass_at_k"):
            first, second = ([row[name] for row in run["log"] if name in row] for run in (one, two))
            assert first == pytest.approx(second, abs=1e-5), (job["intervention"], name)
    assert len(one["log"]) == 4


# what real models bring along


def test_gradient_checkpointing_changes_nothing(make):
    plain = make("clip_v mu=1")
    plain.train()
    checkpointed = make("clip_v mu=1", gradient_checkpointing=True)
    checkpointed.train()
    torch.testing.assert_close(tiny_policy.weights(plain), tiny_policy.weights(checkpointed), atol=1e-5, rtol=0)


def test_statistics_of_a_half_precision_model_are_float32(make):
    method = Recorder()
    trainer = make(method, max_steps=1)
    trainer.model.to(torch.bfloat16)
    trainer.train()
    for name in ("logp", "entropy", "sum_p2", "sum_p2_log_p"):
        assert getattr(method.seen[0], name).dtype == torch.float32
    assert tiny_policy.weights(trainer).isfinite().all()


def test_evaluation_is_the_parents(make):
    trainer = make("clip_b share=0.5", eval_strategy="no", per_device_eval_batch_size=8)
    before = trainer.memory, trainer.rollout
    found = trainer.evaluate(tiny_policy.dataset(8))
    assert set(found) >= {"eval_loss", "eval_reward", "eval_entropy"}
    assert (trainer.memory, trainer.rollout) == before


def test_trainer_is_a_trl_trainer_and_sends_nothing(make, monkeypatch):
    assert issubclass(EntropyGRPOTrainer, trl.GRPOTrainer)
    assert isinstance(make(intervention({"name": "kl_cov", "share": 0.5})).intervention, Intervention)
    sent = []
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda *a, **k: sent.append(a))
    make("none")
    assert not sent
