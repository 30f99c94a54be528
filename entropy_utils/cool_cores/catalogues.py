"""Readers of the tables of notebook 03: the TNG-Cluster catalogue (extract and full text), ACCEPT, and snapshot times.

All check every row. `on_error="skip"` leaves bad rows out; `attrs["skipped"]` of the table then names them with the reason.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from entropy_utils.lab.errors import ParameterError

from .histories import PLAUSIBLE, warn_if_implausible

ANY, ABOVE_0, FROM_0 = -np.inf, np.nextafter(0, 1), 0.0  # smallest value of a column
TNG = {
    "halo_id": FROM_0,
    "log10_m500c_msun": ABOVE_0,
    "r500c_mpc": ABOVE_0,
    "log10_m_smbh_msun": ABOVE_0,
    "z_form": FROM_0,
    "t_cool0_gyr": ABOVE_0,
    "k0_kev_cm2": ABOVE_0,
    "log10_ne0_cm3": ANY,
    "ne_slope": ANY,
}
ACCEPT = {"n_bins": FROM_0, "r_max_mpc": FROM_0} | {
    name + end: FROM_0 for name in ("k0_flat", "k100_flat", "alpha_flat") for end in ("", "_err")
}
ACCEPT["k0_extr"] = FROM_0
SNAPSHOTS = {"snap": FROM_0, "redshift": FROM_0, "age_gyr": ABOVE_0}
TEXT_NAMES = {  # of the project's table, as they are called in the extract
    "haloID": "halo_id",
    "mhalo_500c": "log10_m500c_msun",
    "r500c": "r500c_mpc",
    "mass_smbh": "log10_m_smbh_msun",
    "zform": "z_form",
    "coolcore_flag": "cc_flag",
    "coolcore_tcool": "t_cool0_gyr",
    "coolcore_entropy": "k0_kev_cm2",
    "coolcore_ne": "log10_ne0_cm3",
    "coolcore_ne_slope": "ne_slope",
}
FLAGS = {"CC": 0, "WCC": 1, "NCC": 2, "0": 0, "1": 1, "2": 2}
SIZES = PLAUSIBLE | {
    "r500c_mpc": (0.2, 5.0, "Mpc"),
    "r_max_mpc": (0.01, 10.0, "Mpc"),
    "log10_m500c_msun": (12.0, 17.0, "log10 Msun"),
    "kT_kev": (0.1, 50.0, "keV"),
}


def read_tng_catalogue(path, on_error: str = "raise") -> pd.DataFrame:
    """The ten columns of the extract (CSV), and `cc_class` (0 SCC, 1 WCC, 2 NCC) and `kT_kev` = K0 n_e^(2/3), derived."""
    return _clusters(_read_csv(path, ["cc_flag", *TNG]), path, on_error)


def read_tng_text(path, on_error: str = "raise") -> pd.DataFrame:
    """The project's text table: as `read_tng_catalogue`, with the table's other columns under their own names.

    Its comment lines name the columns, ``# [2] haloID: ...``; columns may be added and moved. nan is kept in those others.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    found = [match.groups() for line in lines if (match := re.match(r"#\s*\[(\d+)\]\s*([^\s:]+):", line))]
    names = [TEXT_NAMES.get(name, name) for _, name in found]
    if [int(number) for number, _ in found] != list(range(1, len(found) + 1)):
        raise ParameterError(f"{Path(path).name}: the columns are not numbered from 1 on in its comment lines")
    _require(names, ["cc_flag", *TNG], path)
    rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    short = {f"line {number}": f"{len(row)} values, allowed: {len(names)}" for number, row in rows if len(row) != len(names)}
    _report(short, path, on_error)
    table = pd.DataFrame([row for _, row in rows if len(row) == len(names)], columns=names)
    others = [name for name in names if name != "cc_flag" and name not in TNG]
    table[others] = table[others].apply(pd.to_numeric, errors="coerce")
    return _clusters(table, path, on_error, short)


def read_accept(path, on_error: str = "raise") -> pd.DataFrame:
    """ACCEPT's fits, one row per cluster: K0, K100 (keV cm²) and alpha with errors, for a flat central temperature; K0 of
    the fit with an extrapolated one (`k0_extr`)."""
    table = _read_csv(path, ["cluster", *ACCEPT])
    table = _checked(table, ACCEPT, table["cluster"], path, on_error)
    warn_if_implausible("K0", table["k0_flat"])
    warn_if_implausible("r_max_mpc", table["r_max_mpc"], SIZES)
    return table


def read_snapshots(path) -> pd.DataFrame:
    """Number, redshift and age (Gyr) of each snapshot, in order of time."""
    table = _read_csv(path, list(SNAPSHOTS))
    table = _checked(table, SNAPSHOTS, table["snap"], path, "raise")
    for name, sign in (("snap", 1), ("redshift", -1), ("age_gyr", 1)):
        wrong = np.flatnonzero(sign * np.diff(table[name]) <= 0)
        if wrong.size:
            word = "rising" if sign > 0 else "falling"
            raise ParameterError(f"{Path(path).name}: {name} is not {word} after snap {table['snap'][wrong[0]]:g}")
    warn_if_implausible("t", table["age_gyr"])
    return table.astype({"snap": np.int64})


def _clusters(table: pd.DataFrame, path, on_error: str, skipped: dict | None = None) -> pd.DataFrame:
    wrong = ~table["cc_flag"].isin(FLAGS)
    flags = {
        f"halo_id {row.halo_id}": f"cc_flag = {row.cc_flag}, allowed: CC, WCC, NCC" for row in table[wrong].itertuples()
    }
    _report(flags, path, on_error)
    table = table[~wrong].reset_index(drop=True)
    table = _checked(table, TNG, table["halo_id"], path, on_error, {**(skipped or {}), **flags})
    if table["halo_id"].duplicated().any():
        raise ParameterError(f"{Path(path).name}: halo_id {table['halo_id'][table['halo_id'].duplicated()].iloc[0]:g} twice")
    for name, column in (("K0", "k0_kev_cm2"), ("t_cool", "t_cool0_gyr"), ("r500c_mpc", ""), ("log10_m500c_msun", "")):
        warn_if_implausible(name, table[column or name], SIZES)
    number = table["cc_flag"].map(FLAGS)
    kT = table["k0_kev_cm2"] * (10 ** table["log10_ne0_cm3"]) ** (2 / 3)
    warn_if_implausible("kT_kev", kT, SIZES)
    names = number.map(dict(enumerate(("CC", "WCC", "NCC"))))
    return table.assign(halo_id=table["halo_id"].astype(np.int64), cc_flag=names, cc_class=number, kT_kev=kT)


def _read_csv(path, columns: list[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ParameterError(
            f"{Path(path).name}: not a CSV table with a header line ({' '.join(str(error).split())})"
        ) from None
    _require(table.columns, columns, path)
    return table[columns]


def _require(found, columns, path) -> None:
    missing = [name for name in columns if name not in set(found)]
    if missing:
        raise ParameterError(f"{Path(path).name}: column {missing[0]} missing, allowed: {', '.join(columns)}")


def _checked(table, lowest: dict[str, float], names, path, on_error: str, skipped: dict | None = None) -> pd.DataFrame:
    """The columns as numbers, without rows that hold something else or a number that is too small."""
    numbers = table[list(lowest)].apply(pd.to_numeric, errors="coerce").astype(float)  # an empty column has no type
    wrong = ~(np.isfinite(numbers) & (numbers >= pd.Series(lowest)))
    bad = {}
    for row in np.flatnonzero(wrong.any(axis=1)):
        column = wrong.columns[wrong.iloc[row]][0]
        allowed = {ANY: "a finite number", ABOVE_0: "a number above 0", FROM_0: "a number from 0 on"}[lowest[column]]
        bad[f"{names.name} {names.iloc[row]}"] = f"{column} = {table[column].iloc[row]}, allowed: {allowed}"
    _report(bad, path, on_error)
    good = table.assign(**numbers)[~wrong.any(axis=1)].reset_index(drop=True)
    if good.empty:
        rows = len(table) + len(skipped or {})
        raise ParameterError(f"{Path(path).name}: no row is left, {rows} of {rows} are bad")
    good.attrs["skipped"] = {**(skipped or {}), **bad}
    return good


def _report(bad: dict[str, str], path, on_error: str) -> None:
    if on_error not in ("raise", "skip"):
        raise ParameterError.of("on_error", on_error, "'raise' or 'skip'")
    if bad and on_error == "raise":
        name, problem = next(iter(bad.items()))
        raise ParameterError(f"{Path(path).name}: {name}: {problem}; on_error='skip' leaves such rows out")
