"""`Histories`: the central entropy of many clusters through time, from a simulation's file or from the population model."""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from entropy_utils.lab.errors import BrokenFile, DataUnavailable, ParameterError

PLAUSIBLE = {
    "t": (0.02, 20.0, "Gyr"),
    "K0": (0.5, 5000.0, "keV cm²"),
    "t_cool": (0.01, 100.0, "Gyr"),
    "m500c": (1e12, 1e17, "Msun"),
}
PER_CLUSTER, PER_SNAPSHOT = ("m500c", "z_form"), ("K0", "t_cool", "flags")
GOOD = {"K0": 100.0, "t_cool": 1.0, "flags": 0}  # values that nothing is wrong with
MERGER = ["cluster", "t", "xi"]


def no_mergers() -> pd.DataFrame:
    """An empty list of mergers."""
    return pd.DataFrame({"cluster": np.empty(0, np.int64), "t": np.empty(0), "xi": np.empty(0)})


@dataclass(frozen=True)
class Histories:
    """Histories of n clusters at m snapshots; checked when made.

    `halo_id`: (n,) names of the clusters, all different. `t`: (m,) ages of the universe, Gyr, increasing; `z`: (m,)
    redshifts. `K0`: (n, m) central entropy, keV cm², NaN where it is missing. Optional: `t_cool`: (n, m) Gyr, above 0 or
    NaN; `flags`: (n, m) classes by cooling time, 0 SCC, 1 WCC, 2 NCC or NaN; `m500c`: (n,) mass at z = 0, Msun; `z_form`:
    (n,) half-mass redshift; `pulses`: (n, m - 1) AGN injections (or their energy) between a snapshot and the next;
    `mergers`: one row per merger with `cluster` (a row number of K0), `t` (age at coalescence, Gyr) and `xi` (mass ratio).
    A missing K0 is an error unless `allow_missing`; a gap above `max_gap` (Gyr) between two values always is. A history may
    begin late or end early.
    `skipped`: clusters that were left out, by name, with the reason.

    Raises `ParameterError` for wrong shapes, times, numbers or a bad cluster, naming it; warns if a typical value looks
    like another unit.
    """

    halo_id: np.ndarray
    t: np.ndarray
    z: np.ndarray
    K0: np.ndarray
    t_cool: np.ndarray | None = None
    flags: np.ndarray | None = None
    m500c: np.ndarray | None = None
    z_form: np.ndarray | None = None
    pulses: np.ndarray | None = None
    mergers: pd.DataFrame = field(default_factory=no_mergers)
    allow_missing: bool = False
    max_gap: float = 0.5
    skipped: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self):
        for name in ("halo_id", "t", "z", "K0", *PER_CLUSTER, "t_cool", "flags", "pulses"):
            if (values := getattr(self, name)) is not None:
                object.__setattr__(self, name, values := np.asarray(values))
                if name != "halo_id":
                    _require_numbers(name, values)
        self._check_axes()
        self._check_mergers()
        for name, reason in bad_clusters(self, **{name: getattr(self, name) for name in PER_SNAPSHOT}).items():
            raise ParameterError(f"cluster {name}: {reason}; on_error='skip' leaves such clusters out")
        for name in ("K0", "t_cool", "m500c"):
            if getattr(self, name) is not None:
                warn_if_implausible(name, getattr(self, name))

    @classmethod
    def of(cls, on_error: str = "raise", **fields) -> Histories:
        """`Histories(**fields)`; with on_error "skip" without the clusters that are bad, which `skipped` then names."""
        if on_error not in ("raise", "skip"):
            raise ParameterError.of("on_error", on_error, "'raise' or 'skip'")
        if on_error == "raise":
            return cls(**fields)
        values = {name: np.asarray(fields[name]) for name in PER_SNAPSHOT if fields.get(name) is not None}
        for name, given in values.items():
            _require_numbers(name, given)
        if "K0" not in values:
            raise ParameterError.of("K0", None, "an array (clusters, snapshots)")
        good = {name: np.full(given.shape, GOOD[name]) for name, given in values.items()}
        whole = cls(**{**fields, **good})  # all that is not of single clusters is checked here
        bad = bad_clusters(whole, **values)
        keep = ~np.isin(whole.halo_id, list(bad))
        if not keep.any():
            raise ParameterError(f"no cluster is left: {len(bad)} are bad, the first: {next(iter(bad.values()))}")
        kept = {name: given[keep] for name, given in values.items()}
        return replace(whole.select(keep), **kept, skipped={**whole.skipped, **bad})

    def __len__(self) -> int:
        return len(self.halo_id)

    def select(self, rows, **changes) -> Histories:
        """These clusters (row numbers, each at most once, or a mask), with their mergers."""
        rows = np.arange(len(self))[rows]
        chosen = {name: getattr(self, name) for name in ("halo_id", *PER_CLUSTER, *PER_SNAPSHOT, "pulses")}
        new = np.full(len(self), -1)
        new[rows] = np.arange(len(rows))
        mergers = self.mergers.assign(cluster=new[self.mergers.cluster.to_numpy()])
        chosen = {name: values[rows] for name, values in chosen.items() if values is not None}
        return replace(self, mergers=mergers[mergers.cluster >= 0].reset_index(drop=True), **chosen, **changes)

    def since(self, z: float) -> Histories:
        """From this redshift on; all mergers are kept, since a look-back may reach before the first snapshot."""
        keep = self.z <= z
        if keep.sum() < 2:
            raise ParameterError.of("z", z, f"a redshift with two snapshots after it, {self.z[-2]:g} or more")
        cut = {name: values[:, keep] for name in PER_SNAPSHOT if (values := getattr(self, name)) is not None}
        if self.pulses is not None:
            cut["pulses"] = self.pulses[:, keep[:-1]]
        return replace(self, t=self.t[keep], z=self.z[keep], **cut)

    def _check_axes(self) -> None:
        n, m = self.halo_id.size, self.t.size
        shapes = {"halo_id": (n,), "t": (m,), "z": (m,), "K0": (n, m), "t_cool": (n, m), "flags": (n, m)}
        for name, shape in {**shapes, "m500c": (n,), "z_form": (n,), "pulses": (n, m - 1)}.items():
            values = getattr(self, name)
            if values is not None and values.shape != shape:
                raise ParameterError.of(name, values.shape, f"shape {shape}: {n} clusters, {m} snapshots")
        if m < 2 or n < 1:
            raise ParameterError.of("K0", self.K0.shape, "at least one cluster and two snapshots")
        if np.unique(self.halo_id).size != n:
            raise ParameterError.of("halo_id", self.halo_id[:3].tolist(), "names that are all different")
        for name, sign, word in (("t", 1, "increasing"), ("z", -1, "falling")):
            values = getattr(self, name)
            if not np.isfinite(values).all():
                raise ParameterError.of(name, values[~np.isfinite(values)][0], f"finite numbers, {word} with the snapshot")
            wrong = np.flatnonzero(sign * np.diff(values) <= 0)
            if wrong.size:
                at = wrong[0]
                allowed = f"{word} with the snapshot; not sorted at number {at}"
                raise ParameterError.of(name, values[at : at + 2].tolist(), allowed)
        warn_if_implausible("t", self.t)
        steps = np.diff(self.t)
        if steps.max() > self.max_gap and np.median(self.t) <= PLAUSIBLE["t"][1]:
            at = int(steps.argmax())
            raise ParameterError.of("t", self.t[at : at + 2].tolist(), f"no gap above max_gap = {self.max_gap:g} Gyr")

    def _check_mergers(self) -> None:
        if not isinstance(self.mergers, pd.DataFrame) or not set(MERGER) <= set(self.mergers.columns):
            raise ParameterError.of("mergers", type(self.mergers).__name__, f"a table with columns {', '.join(MERGER)}")
        cluster, t, xi = (pd.to_numeric(self.mergers[name], errors="coerce").to_numpy(float) for name in MERGER)
        latest = PLAUSIBLE["t"][1]
        bad = ~((cluster >= 0) & (cluster < len(self)) & (cluster % 1 == 0) & (t > 0) & (t <= latest) & (xi > 0) & (xi <= 1))
        if bad.any():
            row = self.mergers[bad].iloc[0][MERGER].to_dict()
            allowed = f"cluster from 0 to {len(self) - 1}, a whole number; 0 < t <= {latest:g} Gyr; 0 < xi <= 1"
            raise ParameterError.of("mergers", row, allowed)
        if self.mergers["cluster"].dtype.kind != "i":
            object.__setattr__(self, "mergers", self.mergers.assign(cluster=cluster.astype(np.int64)))


CRITERIA = {"halo_id": "HaloIDs", "K0": "centralEntropy"}
MORE_CRITERIA = {"t_cool": "centralCoolingTime", "flags": "centralCoolingTime_flag"}


def read_coolcore_criteria(
    path,
    snapshots: pd.DataFrame,
    catalogue: pd.DataFrame | None = None,
    on_error: str = "raise",
    allow_missing: bool = False,
    max_gap: float = 0.5,
) -> Histories:
    """Histories from TNG-Cluster's supplementary file coolcore_criteria.hdf5, or an .npz of the same layout.

    HaloIDs (n,) and, for each quantity, an array (n, snapshots of the simulation) indexed by snapshot number:
    centralEntropy (keV cm²) and, if there, centralCoolingTime (Gyr) and its flag. `snapshots`: a table with `snap`,
    `redshift` and `age_gyr`, which says what is read. `catalogue`: the z = 0 table, for masses and formation redshifts.
    `on_error`, `allow_missing`, `max_gap`: see `Histories`. Mergers and AGN energies are in other files.

    Raises `DataUnavailable` if there is no such file, `BrokenFile` if it cannot be read, `ParameterError` for its content;
    warns if the typical value of any cluster looks like another unit.
    """
    path, snap = Path(path), snapshots["snap"].to_numpy()
    wanted = CRITERIA | MORE_CRITERIA
    found, there = _datasets(path, wanted)
    missing = [theirs for name, theirs in CRITERIA.items() if name not in found]
    if missing:
        raise ParameterError(f"{path.name}: dataset {missing[0]} missing, there are: {', '.join(there) or 'none'}")
    for name, values in found.items():
        if name != "halo_id" and (values.ndim != 2 or len(values) != len(found["halo_id"]) or values.shape[1] <= snap.max()):
            allowed = f"shape ({len(found['halo_id'])}, more than snapshot {snap.max()})"
            raise ParameterError.of(wanted[name], values.shape, allowed, f"{path.name}: dataset")
    found = {name: values if name == "halo_id" else values[:, snap] for name, values in found.items()}
    if catalogue is not None:
        absent = set(found["halo_id"].tolist()) - set(catalogue["halo_id"])
        if absent:
            raise ParameterError(f"{path.name}: HaloIDs has {min(absent)}, which is not in the catalogue")
        rows = catalogue.set_index("halo_id").loc[found["halo_id"]]
        found |= {"m500c": 10 ** rows["log10_m500c_msun"].to_numpy(), "z_form": rows["z_form"].to_numpy()}
    t, z = snapshots["age_gyr"].to_numpy(), snapshots["redshift"].to_numpy()
    histories = Histories.of(on_error, t=t, z=z, allow_missing=allow_missing, max_gap=max_gap, **found)
    for name in ("K0", "t_cool"):  # in a file single clusters may be in other units; those of a model may run away
        if name in found:
            warn_if_implausible(name, getattr(histories, name), names=histories.halo_id)
    return histories


def _datasets(path: Path, wanted: Mapping[str, str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Those of the wanted datasets that an HDF5 file or .npz has, by our names, and the names of all that it has."""
    if not path.is_file():
        raise DataUnavailable(f"{path} is not there; needed: the path of coolcore_criteria.hdf5, or of an .npz like it")
    import h5py

    try:
        with np.load(path) if path.suffix == ".npz" else h5py.File(path, "r") as file:
            return {name: np.asarray(file[theirs]) for name, theirs in wanted.items() if theirs in file}, list(file)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BrokenFile(f"{path.name}: not an HDF5 file or .npz, whole ({' '.join(str(error).split())})") from None


def bad_clusters(sample: Histories, K0, t_cool=None, flags=None) -> dict[int, str]:
    """What is wrong with which clusters of a sample if it had these values, by name.

    K0 that is not positive, missing, or missing for too long between two values; t_cool that is not positive; other flags.
    """
    found, t = {}, sample.t

    def note(row: int, name: str, values: np.ndarray, at: int, allowed: str) -> None:
        text = f"{name} = {values[row, at]:g} at snapshot number {at} (t = {t[at]:.2f} Gyr), allowed: {allowed}"
        found.setdefault(sample.halo_id[row].item(), text)

    known = np.isfinite(K0) & (K0 > 0)
    for row in np.flatnonzero(~known.all(axis=1)):
        wrong, times = np.flatnonzero(~known[row] & ~np.isnan(K0[row])), t[known[row]]
        first = np.flatnonzero(~known[row])[0]
        if wrong.size:
            note(row, "K0", K0, wrong[0], "above 0 keV cm²")
        elif not sample.allow_missing:
            note(row, "K0", K0, first, "none missing, unless allow_missing=True")
        elif times.size < 2:
            note(row, "K0", K0, first, f"two values or more, there are {times.size}")
        elif (gap := np.diff(times).max()) > sample.max_gap:
            at = np.searchsorted(t, times[np.diff(times).argmax()]) + 1
            note(row, "K0", K0, at, f"no gap above max_gap = {sample.max_gap:g} Gyr, this one is {gap:.2f} Gyr long")
    if t_cool is not None:
        for row, at in np.argwhere(t_cool <= 0):
            note(row, "t_cool", t_cool, at, "above 0 Gyr, or NaN")
    if flags is not None:
        for row, at in np.argwhere(~(np.isin(flags, (0, 1, 2)) | np.isnan(flags))):
            note(row, "flags", flags, at, "0, 1, 2 or NaN")
    return found


def warn_if_implausible(
    name: str, values, plausible: Mapping[str, tuple[float, float, str]] = PLAUSIBLE, names: np.ndarray | None = None
) -> None:
    """Warn if the median is far from what cluster cores have, as after a mistake in units by 1e3; with the `names` (n,) of
    clusters, if that of any cluster (row of values) is."""
    low, high, unit = plausible[name]
    rows = np.asarray(values, float).reshape(1 if names is None else len(names), -1)
    some = np.isfinite(rows).any(axis=1)
    medians = np.nanmedian(rows[some], axis=1)
    wrong = np.flatnonzero(~((medians >= low) & (medians <= high)))
    if wrong.size:
        who = "" if names is None else f" in {wrong.size} of {len(names)} clusters, first {names[some][wrong[0]]}"
        wanted = f"expected {low:g} to {high:g} {unit}"
        warnings.warn(f"{name}: typical value {medians[wrong[0]]:.3g}{who}, {wanted}; wrong units?", stacklevel=3)


def _require_numbers(name: str, values: np.ndarray) -> None:
    if values.dtype.kind not in "fiu":
        raise ParameterError.of(name, values.dtype.name, "an array of real numbers")
