"""`Histories`: the central entropy of many clusters through time, from a simulation's file or from the population model."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from entropy_utils.lab.errors import ParameterError

PLAUSIBLE = {"t": (0.02, 20.0, "Gyr"), "K0": (0.5, 5000.0, "keV cm²"), "t_cool": (0.01, 100.0, "Gyr")}
PER_CLUSTER, PER_SNAPSHOT = ("m500c", "z_form"), ("K0", "t_cool", "flags")
MERGER = ["cluster", "t", "xi"]


def no_mergers() -> pd.DataFrame:
    """An empty list of mergers."""
    return pd.DataFrame({"cluster": np.empty(0, np.int64), "t": np.empty(0), "xi": np.empty(0)})


@dataclass(frozen=True)
class Histories:
    """Histories of n clusters at m snapshots; checked when made.

    `halo_id`: (n,) names of the clusters, all different. `t`: (m,) ages of the universe, Gyr, increasing; `z`: (m,)
    redshifts. `K0`: (n, m) central entropy, keV cm², NaN where it is missing. Optional: `t_cool`: (n, m) Gyr; `flags`:
    (n, m) classes by cooling time, 0 SCC, 1 WCC, 2 NCC; `m500c`: (n,) mass at z = 0, Msun; `z_form`: (n,) half-mass
    redshift; `pulses`: (n, m - 1) AGN injections (or their energy) between a snapshot and the next; `mergers`: one row
    per merger with `cluster` (a row number of K0), `t` (coalescence, Gyr) and `xi` (mass ratio, 0 to 1).
    A missing value is an error unless `allow_missing`; a time above `max_gap` (Gyr) without a value always is.
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
                object.__setattr__(self, name, np.asarray(values))
        self._check_axes()
        self._check_mergers()
        for name, reason in bad_clusters(self.halo_id, self.t, self.K0, self.allow_missing, self.max_gap).items():
            raise ParameterError(f"cluster {name}: {reason}; on_error='skip' leaves such clusters out")
        for name in ("K0", "t_cool"):
            if getattr(self, name) is not None:
                warn_if_implausible(name, getattr(self, name))

    @classmethod
    def of(cls, on_error: str = "raise", **fields) -> Histories:
        """`Histories(**fields)`; with on_error "skip" without the clusters that are bad, which `skipped` then names."""
        if on_error not in ("raise", "skip"):
            raise ParameterError.of("on_error", on_error, "'raise' or 'skip'")
        if on_error == "raise":
            return cls(**fields)
        K0 = np.asarray(fields["K0"])
        whole = cls(**{**fields, "K0": np.full(K0.shape, 100.0)})  # all but K0 is checked here
        bad = bad_clusters(whole.halo_id, whole.t, K0, whole.allow_missing, whole.max_gap)
        keep = ~np.isin(whole.halo_id, list(bad))
        if not keep.any():
            raise ParameterError(f"no cluster is left: {len(bad)} are bad, the first: {next(iter(bad.values()))}")
        return replace(whole.select(keep), K0=K0[keep], skipped={**whole.skipped, **bad})

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
        cluster, t, xi = (self.mergers[name].to_numpy() for name in MERGER)
        bad = ~((cluster >= 0) & (cluster < len(self)) & np.isfinite(t) & (xi > 0) & (xi <= 1))
        if bad.any():
            row = self.mergers[bad].iloc[0][MERGER].to_dict()
            raise ParameterError.of("mergers", row, f"cluster from 0 to {len(self) - 1}, finite t, 0 < xi <= 1")


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
    """
    path, snap = Path(path), snapshots["snap"].to_numpy()
    with _arrays(path) as file:
        wanted = CRITERIA | {name: theirs for name, theirs in MORE_CRITERIA.items() if theirs in file}
        missing = [theirs for theirs in wanted.values() if theirs not in file]
        if missing:
            raise ParameterError(f"{path.name}: dataset {missing[0]} missing, there are: {', '.join(file) or 'none'}")
        found = {name: np.asarray(file[theirs]) for name, theirs in wanted.items()}
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
    return Histories.of(on_error, t=t, z=z, allow_missing=allow_missing, max_gap=max_gap, **found)


def _arrays(path: Path):
    """The datasets of an HDF5 file, or the arrays of an .npz."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is not there")
    try:
        if path.suffix == ".npz":
            return np.load(path)
        import h5py

        return h5py.File(path, "r")
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ParameterError(f"{path.name}: not an HDF5 file or .npz ({' '.join(str(error).split())})") from None


def bad_clusters(halo_id, t, K0, allow_missing: bool, max_gap: float) -> dict[int, str]:
    """What is wrong with which clusters, by name: K0 that is not positive, missing, or missing for too long."""
    known, found = np.isfinite(K0) & (K0 > 0), {}
    for row in np.flatnonzero(~known.all(axis=1)):
        wrong = np.flatnonzero(~known[row] & ~np.isnan(K0[row]))
        gap = float(np.diff(np.concatenate([t[:1], t[known[row]], t[-1:]])).max())
        at = wrong[0] if wrong.size else np.flatnonzero(~known[row])[0]
        if wrong.size:
            allowed = "above 0 keV cm²"
        elif not allow_missing:
            allowed = "none missing, unless allow_missing=True"
        elif gap > max_gap:
            allowed = f"no gap above max_gap = {max_gap:g} Gyr, this one is {gap:.2f} Gyr long"
        else:
            continue
        place = f"at snapshot number {at} (t = {t[at]:.2f} Gyr)"
        found[halo_id[row].item()] = f"K0 = {K0[row, at]:g} {place}, allowed: {allowed}"
    return found


def warn_if_implausible(name: str, values, plausible: Mapping[str, tuple[float, float, str]] = PLAUSIBLE) -> None:
    """Warn if the median is far from what cluster cores have, as after a mistake in units by 1e3."""
    low, high, unit = plausible[name]
    median = float(np.nanmedian(values)) if np.isfinite(values).any() else low
    if not low <= median <= high:
        wanted = f"{low:g} to {high:g} {unit}"
        warnings.warn(f"{name}: typical value {median:.3g}, expected {wanted}; wrong units?", stacklevel=3)
