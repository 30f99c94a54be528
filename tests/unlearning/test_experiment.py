"""The experiments of notebook 09 on a corpus and a model that learn in a second."""

from __future__ import annotations

import pandas as pd
import pytest

from entropy_utils.lab import ParameterError, collect
from entropy_utils.unlearning import runs
from entropy_utils.unlearning.diverged import Diverged
from entropy_utils.unlearning.experiment import Learning, Relearning, Sequential, Unlearning
from entropy_utils.unlearning.unlearn import Unlearner

TINY = {
    "forget": 2, "retain": 3, "holdout": 2, "real_authors": 2, "replicas": 2,
    "memory": {"hidden": 16, "layers": 1, "heads": 2, "steps": 20, "batch": 8},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENTROPY_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


def records(kind=Unlearning, **changes) -> pd.DataFrame:
    return collect(kind(**{**TINY, "steps": 4, "every": 2, **changes}), progress=False).records


def test_one_record_per_evaluation_and_seed():
    found = records()
    assert found[["step", "seed"]].values.tolist() == [[0, 0], [0, 1], [2, 0], [2, 1], [4, 0], [4, 1]]
    assert found.loss.isna().tolist() == [True] * 2 + [False] * 4
    assert Unlearning(**TINY, steps=4, every=3).length() == 6
    assert len(records(every=3)) == 6  # the last step is always measured
    for column in ("forget_prob", "fact_prob", "fact_accuracy_other", "utility"):
        assert found[column].between(0, 1).all()
    assert (found[["entropy_fact", "entropy_template"]] > 0).all().all()


def test_a_seed_does_the_same_in_any_stack():
    alone, stacked = records(seed=1, replicas=1), records()
    stacked = stacked[stacked.seed == 1].reset_index(drop=True)
    for column in ("loss", "forget_prob", "fact_prob", "utility", "privleak"):
        assert alone[column].tolist() == pytest.approx(stacked[column].tolist(), rel=1e-4, abs=1e-6, nan_ok=True)


def test_it_starts_at_the_reference_and_moves():
    references = runs.references(Unlearning(**TINY))
    found = records()
    for column in ("forget_prob", "utility"):
        before = references[references.model == "full"][column].tolist()
        assert found[found.step == 0][column].tolist() == before
        assert found[found.step == 4][column].tolist() != before
    assert references[references.model == "gold"].privleak.tolist() == [0, 0]
    assert records(knowledge="gold", steps=0)[["forget_prob"]].squeeze().tolist() == (
        references[references.model == "gold"].forget_prob.tolist()
    )


def test_both_wordings_are_other_examples():
    asked, both = (Unlearning(**TINY, wording=wording).unlearner() for wording in ("asked", "both"))
    assert len(both._texts["forget"][0]) == 2 * len(asked._texts["forget"][0])


def test_learning_keeps_what_others_start_from():
    found = collect(Learning(**TINY, knowledge="gold"), progress=False).records
    assert found.seed.tolist() == [0, 1]
    assert set(found.knowledge) == {"gold"}


def test_relearning_starts_where_unlearning_ends():
    found = records(Relearning, data="forget", further_steps=10, every=4)
    end = records(every=4).query("step == 4")
    assert set(found.step) == {0, 10}
    retained = records(Relearning, data="retain", further_steps=10)
    assert retained[retained.step == 0].fact_prob.tolist() == pytest.approx(end.fact_prob.tolist(), rel=1e-5)
    pd.testing.assert_frame_equal(records(Relearning, further_steps=10), pd.concat([found, retained], ignore_index=True))


def test_relearning_looks_as_often_as_it_is_told():
    found = records(Relearning, data="retain", further_steps=6, look_every=3)
    assert found.step.unique().tolist() == [0, 3, 6]


def test_a_broken_run_ends_with_the_last_good_state(monkeypatch):
    step = Unlearner.step

    def breaking(self, active=None):
        if self.step_count == 3:
            self.optimizer.lr = 1e38
        return step(self, active)

    whole = records(steps=3, every=3)
    monkeypatch.setattr(Unlearner, "step", breaking)
    with pytest.raises(Diverged, match=r"after update 4 of shred, seed 0, 1: .*after 3 updates") as found:
        records(steps=8, every=2)
    history = found.value.history
    assert history.records.step.tolist() == [0, 0, 2, 2, 3, 3]
    assert not history.completed
    end = history.records[history.records.step == 3]
    assert end.loss.isna().all()
    assert end.fact_prob.tolist() == whole[whole.step == 3].fact_prob.tolist()


def test_a_request_ends_at_its_bound_or_with_its_budget():
    hopeless = records(Sequential, look_every=2, until=1e-30)
    assert hopeless.step.tolist() == [4] * 4
    assert not hopeless.served.any()
    done = records(Sequential, look_every=2, until=0.999)
    assert done.step.tolist() == [0] * 4
    assert done.served.all()
    both = records(Sequential, look_every=2, until=1e-30, wording="both")
    assert both.fact_prob.tolist() != hopeless.fact_prob.tolist()
    with pytest.raises(ParameterError, match="'steps': got 0"):
        Sequential(steps=0)


def test_sequential_serves_every_person():
    found = records(Sequential, look_every=2)
    assert found[["request", "seed"]].values.tolist() == [[1, 0], [1, 1], [2, 0], [2, 1]]
    assert (found.step <= 4).all()
    assert len(found) == Sequential(**TINY).length()


@pytest.mark.parametrize("profile", ["smoke", "laptop", "gpu"])
def test_every_named_run_is_allowed(profile):
    base = Unlearning.profile(profile)
    changes = runs.shares() | runs.rivals() | runs.other_rates() | runs.CONTROLS | runs.ablations() | runs.attacked()
    made = {name: base.replace(**change) for name, change in (changes | runs.sequence()).items()}
    assert {name for name in changes if "+RT" in name} == {name for name, e in made.items() if e.objective.needs_retain} - {
        "SHRED"
    }
    assert set(runs.QUICK) <= set(changes)
    assert {runs.own(name) for name in runs.METHODS} <= set(changes)
    assert len({e.model_dump_json() for name, e in made.items() if name in runs.shares() | runs.rivals()}) == 5 + 27


def test_the_surprising_tokens_are_judged_against_the_facts():
    base = Unlearning(**TINY)
    view = runs.token_view(base)
    quality = runs.selection_quality(view)
    chosen = view.selected & view.mask
    count = [max(1, int(0.25 * len(words) + 0.5)) for words in view.words]
    assert chosen.sum(-1).tolist() == [count] * 2
    recall = [(chosen[s] & view.fact).sum() / view.fact.sum() for s in range(2)]
    assert quality.recall.tolist() == pytest.approx(recall)
    row = view.words[0]
    corpus = base.texts().corpus["forget"]
    assert " ".join(row[:-1]) == corpus[0]["answer"]
    assert [row[i] for i in range(len(row)) if view.fact[0][view.mask[0]][i]] == corpus[0]["value"].split()


def test_wrong_parameters_are_named():
    with pytest.raises(ParameterError, match=r"field 'steps': got -1"):
        Unlearning(steps=-1)
    with pytest.raises(ParameterError, match="shred"):
        Unlearning(objective="shredder")


@pytest.mark.parametrize("kind", [Unlearning, Relearning, Sequential])
def test_an_objective_that_does_not_fit_is_named_before_models_are_trained(kind, monkeypatch):
    monkeypatch.setattr(Unlearning, "models", None)
    for spec in ("shred top=10000", "rmu layer=2"):
        with pytest.raises(ParameterError, match=r"'top'|'layer'"):
            list(kind(**TINY, objective=spec).run())
