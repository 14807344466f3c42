"""Sample model output in MITgcm's layout: fields known in closed form, on any lat-lon-cap grid.

Sea-surface heights and wind stress on T-points are smooth functions of position and time; stress on
edges is that of a solid-body rotation, whose eastward and northward components are known exactly.
The other fields have the closed forms of `model_fields`. Land holds 0, as in the model's own
output. Two calls write the same bytes.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dor_ecco_assets.ecco.model_output import record_key
from dor_ecco_assets.ecco.times import FREQUENCIES, V4R4_CLOCK, Frequency, ModelClock
from dor_ecco_assets.ecco.vectors import to_centres
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.grids.llc import as_tiles
from dor_ecco_assets.grids.llc_geometry import canonical_fields, xyz_from_lonlat
from dor_ecco_assets.grids.mds import PeriodToken, write_grid_file, write_mds
from dor_ecco_assets.samples.llc_grid import sample_sea_surface_height_m, solid_body_flow
from dor_ecco_assets.samples.model_fields import (
    AXIS_LAT,
    AXIS_LON,
    CENTRE_VECTORS,
    EDGE_VECTORS,
    SCALARS,
    SampleGeometry,
    open_edges,
)

__all__ = [
    "EVERY_FIELD",
    "SAMPLE_FIELDS",
    "etan_m",
    "exf_stress_n_m2",
    "model_interval_s",
    "oce_stress_n_m2",
    "open_on_all_sides",
    "sample_record",
    "ssh_m",
    "sshibc_m",
    "sshnoibc_m",
    "write_sample_output",
]

#: What the demo publishes; cheap, and every kind of 2-D field.
SAMPLE_FIELDS = (
    *("SSH", "SSHIBC", "SSHNOIBC", "ETAN"),
    *("EXFtaux", "EXFtauy", "oceTAUX", "oceTAUY"),
)

#: Every field that a gridded dataset is made from; `SAMPLE_FIELDS` first.
EVERY_FIELD = (
    *SAMPLE_FIELDS,
    *SCALARS,
    *(name for pair in (*EDGE_VECTORS, *CENTRE_VECTORS) for name in pair),
)

#: Axis of the rotation that the stress on edges follows, degrees.
STRESS_AXIS_LON, STRESS_AXIS_LAT = AXIS_LON, AXIS_LAT
#: Stress a quarter turn away from that axis, N m⁻², in the mean over a year.
STRESS_N_M2 = 0.1
DAYS_PER_YEAR = 365.25


def ssh_m(
    longitude: ArrayLike, latitude: ArrayLike, step: int, *, clock: ModelClock = V4R4_CLOCK
) -> NDArray[np.float64]:
    """Sea-surface height of the record that ends at a step.

    Parameters
    ----------
    longitude, latitude : array_like, degrees
    step : int
    clock : ModelClock, optional

    Returns
    -------
    ndarray of float64, in the shape the arguments broadcast to, m
        `sample_sea_surface_height_m` at the record's end: within ±0.8.
    """
    return sample_sea_surface_height_m(longitude, latitude, 1.0 + 12.0 * _year(step, clock))


def sshibc_m(
    longitude: ArrayLike, latitude: ArrayLike, step: int, *, clock: ModelClock = V4R4_CLOCK
) -> NDArray[np.float64]:
    """Inverted-barometer correction, ``0.1 cos²φ sin(λ - 2π year)``, m; arguments as `ssh_m`."""
    lon, lat = np.radians(np.asarray(longitude)), np.radians(np.asarray(latitude))
    return 0.1 * np.cos(lat) ** 2 * np.sin(lon - 2 * np.pi * _year(step, clock))


def sshnoibc_m(
    longitude: ArrayLike, latitude: ArrayLike, step: int, *, clock: ModelClock = V4R4_CLOCK
) -> NDArray[np.float64]:
    """Height without that correction, ``SSH + SSHIBC``, m; arguments as `ssh_m`."""
    height = ssh_m(longitude, latitude, step, clock=clock)
    return height + sshibc_m(longitude, latitude, step, clock=clock)


def etan_m(
    longitude: ArrayLike, latitude: ArrayLike, step: int, *, clock: ModelClock = V4R4_CLOCK
) -> NDArray[np.float64]:
    """Model's sea level anomaly, ``0.9 SSH - 0.05 sin²φ``, m; arguments as `ssh_m`."""
    lat = np.radians(np.asarray(latitude, np.float64))
    return 0.9 * ssh_m(longitude, latitude, step, clock=clock) - 0.05 * np.sin(lat) ** 2


def exf_stress_n_m2(
    longitude: ArrayLike, latitude: ArrayLike, step: int, *, clock: ModelClock = V4R4_CLOCK
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wind stress that ``EXFtaux`` and ``EXFtauy`` hold: trades, westerlies and a meander.

    Parameters
    ----------
    longitude, latitude : array_like, degrees
    step : int
    clock : ModelClock, optional

    Returns
    -------
    east, north : ndarray of float64, in the shape the arguments broadcast to, N m⁻²
        ``-0.12 s cos φ cos 3φ`` and ``0.03 s cos²φ sin 2λ``, with s from 0.8 to 1.2 over the year.
        Both vanish at the poles, where east and north have no meaning.
    """
    lon, lat = np.radians(np.asarray(longitude)), np.radians(np.asarray(latitude))
    season = _season(step, clock)
    east = -0.12 * season * np.cos(lat) * np.cos(3 * lat) * np.ones_like(lon)
    return east, 0.03 * season * np.cos(lat) ** 2 * np.sin(2 * lon)


def oce_stress_n_m2(
    longitude: ArrayLike, latitude: ArrayLike, step: int, *, clock: ModelClock = V4R4_CLOCK
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ocean surface stress that ``oceTAUX`` and ``oceTAUY`` hold, a solid-body rotation.

    Parameters
    ----------
    longitude, latitude : array_like, degrees
    step : int
    clock : ModelClock, optional

    Returns
    -------
    east, north : ndarray of float64, in the shape the arguments broadcast to, N m⁻²
        ``s n × r`` with the axis n at 30° E, 60° N; s is 0.08 to 0.12 over the year. Rotated
        output comes near it where `open_on_all_sides`; along coasts closed edges count as 0.
    """
    lon, lat = np.broadcast_arrays(
        *(np.asarray(angle, np.float64) for angle in (longitude, latitude))
    )
    axis = xyz_from_lonlat(np.asarray(STRESS_AXIS_LON), np.asarray(STRESS_AXIS_LAT))
    flow = np.cross(axis, xyz_from_lonlat(lon, lat), axisb=0, axisc=0)
    lon, lat = np.radians(lon), np.radians(lat)
    sin_lon, cos_lon, sin_lat, cos_lat = np.sin(lon), np.cos(lon), np.sin(lat), np.cos(lat)
    scale = STRESS_N_M2 * _season(step, clock)
    east = -sin_lon * flow[0] + cos_lon * flow[1]
    north = -sin_lat * (cos_lon * flow[0] + sin_lon * flow[1]) + cos_lat * flow[2]
    return scale * east, scale * north


def open_on_all_sides(grid_fields: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Wet cells whose four neighbours are wet at the surface.

    Parameters
    ----------
    grid_fields : mapping of str to ndarray
        At least ``Depth``, compact or tiled.

    Returns
    -------
    ndarray of bool, shape (13, L, L)
    """
    # Averaged to the centre, open edges that count 1 give 1 only if both of an axis are open.
    west, south = open_edges(as_tiles(grid_fields["Depth"]) > 0)
    across_i, across_j = to_centres(west.astype(np.float32), south.astype(np.float32))
    return (across_i == 1) & (across_j == 1)


def sample_record(
    field: str,
    grid_fields: Mapping[str, NDArray[Any]],
    step: int,
    *,
    clock: ModelClock = V4R4_CLOCK,
    geometry: SampleGeometry | None = None,
) -> NDArray[np.float64]:
    """Values of one sample field as the model would write them.

    Parameters
    ----------
    field : str
        One of `EVERY_FIELD`.
    grid_fields : mapping of str to ndarray
        As `write_sample_output`.
    step : int
        The record's number.
    clock : ModelClock, optional
    geometry : SampleGeometry, optional
        Of the same grid, where several fields are asked for.

    Returns
    -------
    ndarray of float64, shape (13, L, L) or, of a 3-D field, (k, 13, L, L)
        On T-points, or on west (``oceTAUX``) or south (``oceTAUY``) edges; along the model's i or
        j axis for vectors; 0 on land and on closed edges.
    """
    if field not in SAMPLE_FIELDS:
        geometry = geometry or SampleGeometry.of(grid_fields)
        return geometry.record(field, _year(step, clock))
    raw = canonical_fields(grid_fields)
    lon, lat, wet = raw["XC"], raw["YC"], raw["Depth"] > 0
    if field in _HEIGHTS:
        return np.where(wet, _HEIGHTS[field](lon, lat, step, clock=clock), 0.0)
    if field in ("EXFtaux", "EXFtauy"):
        east, north = exf_stress_n_m2(lon, lat, step, clock=clock)
        cs, sn = raw["AngleCS"], raw["AngleSN"]
        along = cs * east + sn * north if field == "EXFtaux" else cs * north - sn * east
        return np.where(wet, along, 0.0)
    flow = solid_body_flow(
        grid_fields,
        axis_lon=STRESS_AXIS_LON,
        axis_lat=STRESS_AXIS_LAT,
        speed_m_s=STRESS_N_M2 * _season(step, clock),
    )
    west, south = open_edges(wet)
    return np.where(west, flow.u, 0.0) if field == "oceTAUX" else np.where(south, flow.v, 0.0)


def write_sample_output(
    folder: Path,
    grid_fields: Mapping[str, NDArray[Any]],
    *,
    months: Iterable[int] = (732, 1428),
    days: Iterable[int] = (12, 36),
    snapshots: Iterable[int] = (),
    fields: Iterable[str] = SAMPLE_FIELDS,
    version: str = "V4r4",
    clock: ModelClock = V4R4_CLOCK,
) -> list[Path]:
    """Write model output and the binaries of its grid.

    Parameters
    ----------
    folder : Path
        Gets ``<version>/diags_monthly``, ``diags_daily``, ``diags_inst`` and ``llc90``; made if it
        is not there. Files that are there already are written again.
    grid_fields : mapping of str to ndarray
        Under MITgcm's names, such as `sample_grid_fields` gives; all of them are written.
    months, days : iterable of int
        Steps at which the months and days end (`ModelClock.step_of` tells them); may be empty.
    snapshots : iterable of int
        Steps of snapshots.
    fields : iterable of str
        Of `EVERY_FIELD`.
    version : str
    clock : ModelClock, optional

    Returns
    -------
    list of Path
        Every ``.data`` file, in the order of writing.

    Raises
    ------
    ConfigurationError
        Code ``UnknownField``, if a field is not one of the sample's.
    InputUnusable
        Code ``TimeAlignment``, if no month or day ends at a step.
    """
    names = tuple(fields)
    unknown = [name for name in names if name not in EVERY_FIELD]
    if unknown:
        raise ConfigurationError(
            f"the sample has no field {', '.join(unknown)}; it has {', '.join(EVERY_FIELD)}",
            code="UnknownField",
        )
    steps: dict[Frequency, list[int]] = {
        "AVG_MON": list(months),
        "AVG_DAY": list(days),
        "SNAP": list(snapshots),
    }
    records: list[tuple[PeriodToken, int, tuple[float, ...]]] = [
        (FREQUENCIES[frequency].periods[0], step, model_interval_s(step, frequency, clock=clock))
        for frequency in steps
        for step in steps[frequency]
    ]
    written = [
        write_grid_file(folder / "llc90", name, values) for name, values in grid_fields.items()
    ]
    geometry = SampleGeometry.of(grid_fields) if set(names) - set(SAMPLE_FIELDS) else None
    for period, step, interval_s in records:
        for name in names:
            key = record_key(name, period, step, version=version)
            values = sample_record(name, grid_fields, step, clock=clock, geometry=geometry)
            written.append(
                write_mds(
                    (folder / key).parent, name, period, step, values, time_interval_s=interval_s
                )
            )
    return written


def model_interval_s(
    step: int, frequency: Frequency, *, clock: ModelClock = V4R4_CLOCK
) -> tuple[float, ...]:
    """Interval that the model states, s: the instant of a snapshot, start and end of an average.

    The first average of a run begins at the first step.
    """
    if frequency == "SNAP":
        clock.period_bounds(step, frequency)
        return (float(step * clock.step_s),)
    start = clock.period_bounds(step, frequency).start
    start_s = float((start - clock.start) / np.timedelta64(1, "s"))
    return max(start_s, float(clock.step_s)), float(step * clock.step_s)


_HEIGHTS: dict[str, Callable[..., NDArray[np.float64]]] = {
    "SSH": ssh_m,
    "SSHIBC": sshibc_m,
    "SSHNOIBC": sshnoibc_m,
    "ETAN": etan_m,
}


def _year(step: int, clock: ModelClock) -> float:
    """Years since the model's start."""
    return step * clock.step_s / (86400.0 * DAYS_PER_YEAR)


def _season(step: int, clock: ModelClock) -> float:
    return 1.0 + 0.2 * float(np.cos(2 * np.pi * _year(step, clock)))
