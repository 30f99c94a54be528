"""The reader of coolcore_criteria.hdf5, on files of that layout written here."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest

from entropy_utils.cool_cores import cosmology
from entropy_utils.cool_cores.histories import read_coolcore_criteria
from entropy_utils.lab.errors import BrokenFile, DataUnavailable, ParameterError

SNAPSHOTS = pd.DataFrame({"snap": np.arange(90, 100), "age_gyr": np.linspace(12.4, 13.8, 10)})
SNAPSHOTS["redshift"] = cosmology.redshift(SNAPSHOTS.age_gyr)
CATALOGUE = pd.DataFrame(
    {"halo_id": [11, 8, 9, 7], "log10_m500c_msun": [14.1, 14.8, 14.9, 14.7], "z_form": [0.1, 0.8, 0.9, 0.7]}
)


def arrays(**changes) -> dict[str, np.ndarray]:
    """Three haloes at 100 snapshots; K0 is the halo's number times 10 plus the snapshot; none known before snapshot 40."""
    K0 = 10.0 * np.array([[7], [8], [9]]) + np.arange(100)
    K0[:, :40] = np.nan
    flags = np.where(K0 > 165, 2, 1).astype(np.int16)
    whole = {
        "HaloIDs": np.array([7, 8, 9]),
        "centralEntropy": K0,
        "centralCoolingTime": K0 / 50,
        "centralCoolingTime_flag": flags,
    }
    return whole | {"centralNumDens": 1 / K0} | changes


@pytest.fixture(params=["hdf5", "npz"])
def write(request, tmp_path):
    def to(**datasets):
        path = tmp_path / f"coolcore_criteria.{request.param}"
        if request.param == "npz":
            np.savez(path, **datasets)
        else:
            with h5py.File(path, "w") as file:
                for name, values in datasets.items():
                    file[name] = values
        return path

    return to


def test_snapshots_are_taken_by_their_number(write):
    histories = read_coolcore_criteria(write(**arrays()), SNAPSHOTS, CATALOGUE)
    assert histories.halo_id.tolist() == [7, 8, 9]
    np.testing.assert_array_equal(histories.K0, 10 * histories.halo_id[:, None] + np.arange(90, 100))
    np.testing.assert_array_equal(histories.t_cool, histories.K0 / 50)
    np.testing.assert_array_equal(histories.flags, np.where(histories.K0 > 165, 2, 1))
    np.testing.assert_array_equal(histories.t, SNAPSHOTS.age_gyr)
    np.testing.assert_allclose(histories.m500c, [10**14.7, 10**14.8, 10**14.9])
    np.testing.assert_allclose(histories.z_form, [0.7, 0.8, 0.9])


def test_what_is_not_in_the_file_stays_out(write):
    histories = read_coolcore_criteria(
        write(HaloIDs=arrays()["HaloIDs"], centralEntropy=arrays()["centralEntropy"]), SNAPSHOTS
    )
    assert histories.t_cool is None
    assert histories.flags is None
    assert histories.m500c is None


def test_missing_values(write):
    K0 = arrays()["centralEntropy"]
    K0[1, 94] = np.nan
    path = write(**arrays(centralEntropy=K0))
    with pytest.raises(ParameterError, match="cluster 8: K0 = nan at snapshot number 4"):
        read_coolcore_criteria(path, SNAPSHOTS)
    skipped = read_coolcore_criteria(path, SNAPSHOTS, CATALOGUE, on_error="skip")
    assert skipped.halo_id.tolist() == [7, 9]
    assert list(skipped.skipped) == [8]
    assert skipped.t_cool.shape == (2, 10)
    np.testing.assert_allclose(skipped.z_form, [0.7, 0.9])
    kept = read_coolcore_criteria(path, SNAPSHOTS, allow_missing=True)
    assert np.isnan(kept.K0[1]).sum() == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"centralEntropy": np.ones((3, 99))}, r"dataset 'centralEntropy': got \(3, 99\).*more than snapshot 99"),
        ({"centralCoolingTime": np.ones((2, 100))}, "centralCoolingTime"),
        ({"HaloIDs": np.array([7, 8, 10])}, "HaloIDs has 10"),
    ],
)
def test_files_that_do_not_fit(write, changes, message):
    with pytest.raises(ParameterError, match=message):
        read_coolcore_criteria(write(**arrays(**changes)), SNAPSHOTS, CATALOGUE)


def test_another_file(write, tmp_path):
    with pytest.raises(ParameterError, match="dataset centralEntropy missing, there are: HaloIDs"):
        read_coolcore_criteria(write(HaloIDs=np.arange(3)), SNAPSHOTS)
    with pytest.raises(DataUnavailable, match=r"none\.hdf5 is not there"):
        read_coolcore_criteria(tmp_path / "none.hdf5", SNAPSHOTS)
    path = write(**arrays())
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(BrokenFile, match=r"coolcore_criteria.*not an HDF5 file"):
        read_coolcore_criteria(path, SNAPSHOTS)


def test_an_npz_that_is_damaged_or_holds_objects(tmp_path):
    np.savez(path := tmp_path / "damaged.npz", **arrays())
    content = bytearray(path.read_bytes())
    content[content.index(b"centralEntropy.npy") + 1000] ^= 255
    path.write_bytes(content)
    with pytest.raises(BrokenFile, match=r"damaged\.npz.*CRC"):
        read_coolcore_criteria(path, SNAPSHOTS)
    np.savez(path := tmp_path / "objects.npz", **arrays(centralEntropy=np.full((3, 100), None)))
    with pytest.raises(BrokenFile, match=r"objects\.npz.*allow_pickle"):
        read_coolcore_criteria(path, SNAPSHOTS)
    with open(path := tmp_path / "one.npz", "wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(BrokenFile, match=r"one\.npz"):
        read_coolcore_criteria(path, SNAPSHOTS)


def test_flags_that_are_none(write):
    flags = arrays()["centralCoolingTime_flag"]
    flags[1, 95] = 3
    path = write(**arrays(centralCoolingTime_flag=flags))
    with pytest.raises(ParameterError, match="cluster 8: flags = 3 at snapshot number 5"):
        read_coolcore_criteria(path, SNAPSHOTS)
    assert read_coolcore_criteria(path, SNAPSHOTS, on_error="skip").halo_id.tolist() == [7, 9]


def test_entropies_in_other_units_warn(write):
    with pytest.warns(UserWarning, match="K0: typical value"):
        read_coolcore_criteria(write(**arrays(centralEntropy=1000 * arrays()["centralEntropy"])), SNAPSHOTS)


@pytest.mark.parametrize(("name", "theirs"), [("K0", "centralEntropy"), ("t_cool", "centralCoolingTime")])
def test_one_cluster_in_other_units_warns(write, name, theirs):
    values = arrays()[theirs]
    values[1] *= 1000
    with pytest.warns(UserWarning, match=f"{name}: typical value .* in 1 of 3 clusters, first 8, expected"):
        read_coolcore_criteria(write(**arrays(**{theirs: values})), SNAPSHOTS)
