"""The catalogue refuses what it does not know, naming the claim; verdicts follow from its bounds and nothing else."""

import json
import math

import numpy as np
import pytest

from entropy_utils.lab import BrokenFile, ParameterError
from entropy_utils.lab.catalogue import Bounds, Catalogue, Claim, load_object
from entropy_utils.lab.claims import MIME, ClaimsTable, judge
from tests.throwaway import claim, collection, entry


def test_the_committed_catalogue_has_all_notebooks_and_only_papers_claims():
    catalogue = Catalogue.load()
    assert [notebook.id for notebook in catalogue.notebooks] == [f"{n:02}" for n in range(11)]
    assert [n.id for n in catalogue.notebooks if n.paper is None] == ["00", "10"]
    for notebook in catalogue.notebooks:
        assert notebook.status == "written" or not notebook.claims
        for name in (notebook.experiment, notebook.hub, notebook.exercises):
            assert name is None or load_object(name)


BAD = {
    "unknown key": ('unit = "nats"', r"claim '05\.x': unit: unknown key \(got 'nats'\)"),
    "unknown key of bounds": ("expect.gpu = { mn = 1.0 }", r"claim '05\.x': expect\.gpu\.mn: unknown key"),
    "unknown profile": ("expect.gpuu = { min = 1.0 }", r"claim '05\.x': expect\.gpuu: .*'laptop', 'gpu' or 'hub'"),
    "text for a number": ('expect.gpu = { min = "1" }', r"claim '05\.x': expect\.gpu\.min: .*\(got '1'\)"),
    "no bound": ("expect.gpu = {}", r"claim '05\.x': expect\.gpu: needs min or max"),
    "empty interval": ("expect.gpu = { min = 2.0, max = 1.0 }", r"claim '05\.x': expect\.gpu: min 2 above max 1"),
    "nan": ("expect.gpu = { min = nan }", r"claim '05\.x': expect\.gpu\.min: "),
    "judged twice": ('untestable.laptop = "why"', r"claim '05\.x': has both expect\.laptop and untestable\.laptop"),
    "excuse without bounds": ('not_reproduced.gpu = "why"', r"claim '05\.x': not_reproduced\.gpu without expect\.gpu"),
}


@pytest.mark.parametrize(("line", "message"), BAD.values(), ids=BAD)
def test_a_bad_claim_is_named(tmp_path, line, message):
    path = collection(tmp_path, [entry("05", more=claim("05.x", line))])
    with pytest.raises(BrokenFile, match=rf"^collection\.toml: {message}") as error:
        Catalogue.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry("05", more=claim("05.x").replace("expect.smoke", "expect.gpu"))], "claim '05.x': needs expect.smoke"),
        ([entry("05", more=claim("06.x"))], "notebook '05': claim '06.x' does not start with '05.'"),
        ([entry("05", more=claim("05.x") + claim("05.x"))], "notebook '05': claim '05.x' stands twice"),
        ([entry("05").replace("05_throw", "06_throw")], "notebook '05': file '06_throwaway.ipynb' does not start"),
        ([entry("05").replace("written", "draft")], "notebook '05': status: .*'written' or 'planned'"),
        ([entry("05", more="colour = 1")], "notebook '05': colour: unknown key"),
        ([entry("05"), entry("05")], "notebook ids 05, 05 are not in order, each once"),
        ([entry("05"), entry("04")], "notebook ids 05, 04 are not in order"),
        (["[notebok]\n"], r"top-level keys \['notebok'\], allowed"),
        (["[[notebook]\n"], "Expected"),
    ],
)
def test_a_bad_notebook_is_named(tmp_path, entries, message):
    with pytest.raises(BrokenFile, match=f"^collection.toml: {message}"):
        Catalogue.load(collection(tmp_path, entries))


def test_an_unknown_notebook_or_claim_lists_the_known(tmp_path):
    catalogue = Catalogue.load(collection(tmp_path, [entry("05", more=claim("05.x"))]))
    with pytest.raises(ParameterError, match=r"^field 'notebook': got '06' \(str\), allowed: 05$"):
        catalogue.notebook("06")
    with pytest.raises(ParameterError, match=r"^field 'claim': got '05\.y' \(str\), allowed: 05\.x$"):
        catalogue.notebook("05").claim("05.y")


def law(**more) -> Claim:
    bounds = {"smoke": Bounds(min=0.9), "laptop": Bounds(min=0.95, max=1.0)}
    return Claim(**{"id": "05.law", "says": "s", "published": "p", "measures": "m", "expect": bounds, **more})


@pytest.mark.parametrize(
    ("profile", "value", "verdict", "note"),
    [
        ("smoke", 0.9, "reproduced", ""),  # bounds belong to the interval
        ("smoke", np.nextafter(0.9, 0), "not reproduced", ""),
        ("laptop", 1.0, "reproduced", ""),
        ("laptop", 1.0000001, "not reproduced", ""),
        ("gpu", 0.93, "not reproduced", ""),  # laptop's bounds where gpu has none
        ("smoke", math.nan, "not reproduced", ""),
        ("smoke", math.inf, "not reproduced", ""),
        ("smoke", [0.95, 0.99, 0.91], "reproduced", ""),
        ("smoke", [0.95, 0.89, 0.99, 0.99], "not reproduced", "3 of 4 seeds"),
        ("smoke", [0.99, math.nan], "not reproduced", "1 of 2 seeds"),
        ("smoke", (0.1, 0.2), "not reproduced", ""),
        ("smoke", np.array([0.95, 0.89]), "not reproduced", "1 of 2 seeds"),
        ("smoke", np.float32(0.95), "reproduced", ""),
        ("smoke", 1, "reproduced", ""),
        ("smoke", None, "not measured", ""),
    ],
)
def test_the_verdict_follows_from_the_bounds(profile, value, verdict, note):
    result = judge(law(), profile, value)
    assert (result.verdict, result.note) == (verdict, note)
    assert result.fails == (verdict != "reproduced")


def test_the_mean_within_bounds_does_not_save_a_seed_outside():
    assert judge(law(), "smoke", [0.85, 0.99]).verdict == "not reproduced"


def test_seeds_are_shown_with_mean_and_spread():
    result = judge(law(), "smoke", [0.91, 0.93, 0.95])
    assert result.value == pytest.approx(0.93)
    assert (result.sd, result.seeds) == (pytest.approx(0.02), 3)
    assert result.shown == "0.93 ± 0.02 (3 seeds)"
    assert judge(law(), "smoke", 0.98, sd=0.01, seeds=5).shown == "0.98 ± 0.01 (5 seeds)"
    assert judge(law(), "smoke", [0.95]).shown == "0.95 (1 seed)"


def test_an_untestable_claim_is_neither_right_nor_wrong_whatever_was_measured():
    claim = law(expect={"laptop": Bounds(min=0.95)}, untestable={"smoke": "needs 200 rollouts"})
    for value in (None, 0.1, 0.99):
        result = judge(claim, "smoke", value)
        assert (result.verdict, result.note, result.fails) == ("not testable here", "needs 200 rollouts", False)


def test_a_documented_failure_stays_and_does_not_fail_the_run():
    claim = law(not_reproduced={"laptop": "our seeds disagree"})
    missed, held = judge(claim, "laptop", [0.96, 0.5]), judge(claim, "laptop", 0.99)
    assert (missed.verdict, missed.note, missed.fails) == ("not reproduced", "1 of 2 seeds; our seeds disagree", False)
    assert held.verdict == "reproduced"
    assert "holds in this run" in held.note
    assert not held.fails
    assert judge(claim, "laptop", None).fails
    assert judge(claim, "smoke", 0.1).fails


@pytest.mark.parametrize("value", ["0.95", [], [[0.9]], ["0.9"], {"a": 1}, object()])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ParameterError, match=r"field 'value': got .*, allowed: a number or one number per seed"):
        judge(law(), "smoke", value)


def test_the_table_carries_every_verdict_as_strict_json_and_escapes_text():
    verdicts = [judge(law(says="<b>R</b> & e"), "smoke", value) for value in (0.95, math.nan, [0.9, math.inf], None)]
    bundle = ClaimsTable("05", "smoke", 3, tuple(verdicts))._repr_mimebundle_()
    rows = json.loads(json.dumps(bundle[MIME], allow_nan=False))
    assert [row["verdict"] for row in rows] == ["reproduced", "not reproduced", "not reproduced", "not measured"]
    assert [row["value"] for row in rows] == [0.95, None, None, None]
    assert {(row["notebook"], row["profile"], row["seed"], row["id"]) for row in rows} == {("05", "smoke", 3, "05.law")}
    assert bundle["text/html"].count("<tr>") == 5
    assert "&lt;b&gt;R&lt;/b&gt; &amp; e" in bundle["text/html"]
    assert "05.law: not measured" in bundle["text/plain"]
