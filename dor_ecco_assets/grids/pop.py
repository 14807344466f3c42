"""POP grids: displaced-pole cells with T and U points, corners, areas, depth levels, wet masks.

Reads what a grid comes in: a grid or history file of the model (TLAT, TLONG, ...), a CMIP file on
the native grid (lat, lon and their bounds), or a SCRIP file (radians, cells in one row). What a
file lacks is derived where geometry allows it, and the dataset says so.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.errors import InputUnusable

__all__ = [
    "POP_RADIUS_M",
    "PopCells",
    "corners_from_u_points",
    "grid_summary",
    "parse_levels",
    "pop_grid_dataset",
    "read_pop_grid",
    "spherical_area",
    "u_points_from_t",
]

#: The Earth's radius in POP (``radius`` of a history file, 6.37122e8 cm), m.
POP_RADIUS_M = 6_371_220.0

#: Values above this are a fill that no attribute declares.
_UNDECLARED_FILL = 1e30

_CM2_PER_M2 = 1e4

type Field = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PopCells:
    """What is known of the horizontal cells of a POP grid; None for what is not.

    Parameters
    ----------
    tlat, tlong : ndarray of float64, shape (nlat, nlon), degrees
        NaN where the model leaves a land point undefined; such points stay NaN.
    wet : ndarray of bool, shape (nlat, nlon)
        Cells whose top level holds water.
    corner_lat, corner_lon : ndarray of float64, shape (nlat, nlon, 4), degrees, optional
        Corners in the order south-west, south-east, north-east, north-west.
    ulat, ulong : ndarray of float64, shape (nlat, nlon), degrees, optional
        U points: the north-east corner of each T cell.
    tarea_cm2 : ndarray of float64, shape (nlat, nlon), cm², optional
    kmt : ndarray of int32, shape (nlat, nlon), optional
        Number of wet levels; 0 on land.
    region_mask : ndarray of int32, shape (nlat, nlon), optional
    """

    tlat: Field
    tlong: Field
    wet: NDArray[np.bool_]
    corner_lat: Field | None = None
    corner_lon: Field | None = None
    ulat: Field | None = None
    ulong: Field | None = None
    tarea_cm2: Field | None = None
    kmt: NDArray[np.int32] | None = None
    region_mask: NDArray[np.int32] | None = None


def read_pop_grid(
    horizontal: bytes,
    *,
    name: str,
    shape: tuple[int, int, int],
    vertical: bytes | None = None,
    uri: str = "",
    vertical_uri: str = "",
) -> xr.Dataset:
    """Read one POP grid from the bytes of its files.

    Parameters
    ----------
    horizontal : bytes
        A NetCDF file in one of the three layouts.
    name : str
        Name of the grid, such as ``pop_gx1v7``.
    shape : tuple of int
        Expected ``(nlat, nlon, nz)``.
    vertical : bytes, optional
        Text with one line per depth level, thickness in cm first; needed where the other file
        holds no ``dz``.
    uri, vertical_uri : str, optional
        Where the bytes come from, for messages and for the ``source`` attribute.

    Returns
    -------
    Dataset
        As `pop_grid_dataset` makes it.

    Raises
    ------
    InputUnusable
        ``GridUnreadable``, ``GridVariableMissing``, ``GridSizes``, ``GridCoordinatesMasked`` (a
        wet cell without coordinates) or ``GridValues``.
    """
    opened = _open(horizontal, uri)
    levels = parse_levels(vertical, vertical_uri) if vertical is not None else None
    if levels is None:
        if "dz" not in opened:
            raise _missing("dz", uri, "give a file of depth levels, or a grid file that holds it")
        levels = _masked(opened, "dz", uri)
    if levels.shape != (shape[2],):
        raise InputUnusable(
            f"{vertical_uri or uri}: {levels.size} depth levels, {name} has {shape[2]}; "
            "name the file that belongs to this grid",
            code="GridSizes",
            uri=vertical_uri or uri,
        )
    found = _horizontal(opened, uri)
    if found.tlat.shape != shape[:2]:
        raise InputUnusable(
            f"{uri}: a grid of {found.tlat.shape} cells (nlat, nlon), {name} has {shape[:2]}; "
            "name the file that belongs to this grid",
            code="GridSizes",
            uri=uri,
        )
    return pop_grid_dataset(found, levels, name=name, source=uri.rsplit("/", 1)[-1], uri=uri)


def pop_grid_dataset(
    cells: PopCells, dz_cm: Field, *, name: str, source: str = "", uri: str = ""
) -> xr.Dataset:
    """Complete and check a POP grid.

    Parameters
    ----------
    cells : PopCells
    dz_cm : ndarray of float64, shape (nz,), cm
        Thickness of every depth level.
    name : str
    source, uri : str, optional
        File name kept in the dataset; whole URI for messages.

    Returns
    -------
    Dataset
        ``TLAT TLONG ULAT ULONG`` (degrees, longitudes in [0, 360)), ``corner_lat corner_lon``
        (degrees), ``TAREA`` (cm²), ``area_m2``, ``wet``, ``dz z_t z_w z_w_bot`` (cm), ``KMT`` and
        ``REGION_MASK`` where they are known. Attributes ``corner_source``, ``area_source`` and
        ``kmt_source`` say what was given and what was derived.

    Raises
    ------
    InputUnusable
        ``GridCoordinatesMasked`` or ``GridValues``.

    Notes
    -----
    Corners are those given, else follow from the U points, else from the T points by
    `u_points_from_t`. An absent area is the solid angle of the cell's spherical quadrilateral
    times the square of `POP_RADIUS_M`; see `spherical_area`.
    """
    _check_coordinates(cells.tlat, cells.tlong, cells.wet, uri)
    corners, u_points, corner_source = _corners(cells)
    area_cm2, area_source = cells.tarea_cm2, "TAREA of the file"
    if area_cm2 is None:
        area_source = "solid angle of the four corners x radius²"
        area_cm2 = spherical_area(*corners) * POP_RADIUS_M**2 * _CM2_PER_M2
    _check_values(cells, area_cm2, dz_cm, uri)
    plane = ("nlat", "nlon")
    levels, z_t = _levels(dz_cm)
    variables: dict[str, Any] = {
        **_places("corner_lat", "corner_lon", (*plane, "corner"), corners, "T-cell corners"),
        "TAREA": (plane, area_cm2, _about("area of T cells", "cm2")),
        "area_m2": (plane, area_cm2 / _CM2_PER_M2, _about("area of T cells", "m2")),
        "wet": (plane, cells.wet, {"long_name": "the top level holds water"}),
        **levels,
    }
    if cells.kmt is not None:
        variables["KMT"] = (plane, cells.kmt, _about("number of wet levels", "1"))
    if cells.region_mask is not None:
        about = {"long_name": "basin number; 0 on land, negative in marginal seas"}
        variables["REGION_MASK"] = (plane, cells.region_mask, about)
    return xr.Dataset(
        variables,
        {
            **_places("TLAT", "TLONG", plane, (cells.tlat, cells.tlong), "T points"),
            **_places("ULAT", "ULONG", plane, u_points, "U points"),
            "z_t": z_t,
        },
        {
            "name": name,
            "source": source,
            "radius_m": POP_RADIUS_M,
            "corner_source": corner_source,
            "area_source": area_source,
            "kmt_source": "none at hand; wet is known at the surface only"
            if cells.kmt is None
            else "KMT of the file",
        },
    )


def _corners(cells: PopCells) -> tuple[tuple[Field, Field], tuple[Field, Field], str]:
    """Latitude and longitude of corners and of U points, and where the corners come from."""
    source = "given"
    lat, lon, ulat, ulong = cells.corner_lat, cells.corner_lon, cells.ulat, cells.ulong
    if lat is None or lon is None:
        source = "U points"
        if ulat is None or ulong is None:
            source = "means of four T points"
            ulat, ulong = u_points_from_t(cells.tlat, cells.tlong)
        lat, lon = corners_from_u_points(ulat, ulong)
    if ulat is None or ulong is None:
        ulat, ulong = lat[..., 2], lon[..., 2]
    return (lat, lon), (ulat, ulong), source


def _check_values(cells: PopCells, area_cm2: Field, dz_cm: Field, uri: str) -> None:
    bad = int((cells.wet & ~((area_cm2 > 0) & np.isfinite(area_cm2))).sum())
    if bad:
        raise _bad_values(uri, "TAREA", bad, "areas above 0 in wet cells")
    if cells.kmt is not None:
        bad = int(((cells.kmt < 0) | (cells.kmt > dz_cm.size)).sum())
        if bad:
            raise _bad_values(uri, "KMT", bad, f"0 to {dz_cm.size} levels")
    bad = int((~(dz_cm > 0)).sum())
    if bad:
        raise _bad_values(uri, "dz", bad, "thicknesses above 0")


def _places(
    lat: str, lon: str, dims: tuple[str, ...], places: tuple[Field, Field], of: str
) -> dict[str, Any]:
    """Variables of latitude and longitude, longitudes in [0, 360)."""
    return {
        lat: (dims, places[0], _about(f"latitude of {of}", "degrees_north")),
        lon: (dims, _wrapped(places[1]), _about(f"longitude of {of}", "degrees_east")),
    }


def _levels(dz_cm: Field) -> tuple[dict[str, Any], Any]:
    """Variables of the depth levels, and their coordinate."""
    bottom = np.cumsum(dz_cm)
    top = np.append(0.0, bottom[:-1])
    variables = {
        "dz": ("z_t", dz_cm, _about("thickness of the level", "cm")),
        "z_w": ("z_t", top, _about("depth of the top of the level", "cm")),
        "z_w_bot": ("z_t", bottom, _about("depth of the bottom of the level", "cm")),
    }
    return variables, ("z_t", (top + bottom) / 2, _about("depth of the middle of the level", "cm"))


def parse_levels(text: bytes, uri: str = "") -> Field:
    """Thickness of every depth level from a vertical grid file of POP.

    Parameters
    ----------
    text : bytes
        One line per level, thickness in cm in the first column; further columns are ignored.
    uri : str, optional
        For the message.

    Returns
    -------
    ndarray of float64, shape (nz,), cm

    Raises
    ------
    InputUnusable
        ``GridUnreadable``, if a line holds no number.
    """
    try:
        levels = [float(line.split()[0]) for line in text.decode().splitlines() if line.strip()]
    except ValueError as error:
        raise InputUnusable(
            f"{uri}: {error}; expected one line per depth level with its thickness in cm first",
            code="GridUnreadable",
            uri=uri,
        ) from error
    return np.array(levels)


def spherical_area(lat: Field, lon: Field) -> Field:
    """Solid angle of quadrilaterals with great-circle edges.

    Parameters
    ----------
    lat, lon : ndarray of float64, shape (..., 4), degrees
        Corners counter-clockwise; NaN gives NaN. Longitudes may jump by 360.

    Returns
    -------
    ndarray of float64, shape (...), steradian

    Notes
    -----
    The sum over two triangles with corners a, b, c of
    ``2 atan2(a . (b x c), 1 + a . b + b . c + c . a)`` (Van Oosterom and Strackee, 1983), with
    the edges ``b - a`` and ``c - a`` in the product so that small cells lose no digits; no trouble
    at the poles or the date line. Cells that share
    edges add up to the area of their outline.
    """
    a, b, c, d = np.moveaxis(_xyz(lat, lon), -2, 0)
    return _triangle(a, b, c) + _triangle(a, c, d)


def _triangle(a: Field, b: Field, c: Field) -> Field:
    volume = np.sum(a * np.cross(b - a, c - a), axis=-1)
    return 2 * np.arctan2(volume, 1 + np.sum(a * b + b * c + c * a, axis=-1))


def corners_from_u_points(ulat: Field, ulong: Field) -> tuple[Field, Field]:
    """The four corners of every T cell from the U points, which are the north-east ones.

    Parameters
    ----------
    ulat, ulong : ndarray of float64, shape (nlat, nlon), degrees

    Returns
    -------
    lat, lon : ndarray of float64, shape (nlat, nlon, 4), degrees
        South-west, south-east, north-east, north-west; columns are cyclic. The southern corners
        of the first row continue the first two rows of U points.
    """
    lat, lon = (np.concatenate([np.zeros_like(u[:1]), u]) for u in (ulat, ulong))
    lat[:1], lon[:1] = _continued(ulat, ulong, (0, 1))
    west_lat, west_lon = np.roll(lat, 1, axis=1), np.roll(lon, 1, axis=1)
    return (
        np.stack([west_lat[:-1], lat[:-1], lat[1:], west_lat[1:]], axis=-1),
        np.stack([west_lon[:-1], lon[:-1], lon[1:], west_lon[1:]], axis=-1),
    )


def u_points_from_t(tlat: Field, tlong: Field) -> tuple[Field, Field]:
    """Estimate U points as the mean direction of the four T points around them.

    Parameters
    ----------
    tlat, tlong : ndarray of float64, shape (nlat, nlon), degrees

    Returns
    -------
    ulat, ulong : ndarray of float64, shape (nlat, nlon), degrees
        NaN beside an undefined T point. The last row continues the two before it.
    """
    points = _xyz(tlat, tlong)
    east = np.roll(points, -1, axis=1)
    lat, lon = _angles(points[:-1] + east[:-1] + points[1:] + east[1:])
    last_lat, last_lon = _continued(lat, lon, (-1, -2))
    return np.concatenate([lat, last_lat]), np.concatenate([lon, last_lon])


def _continued(lat: Field, lon: Field, rows: tuple[int, int]) -> tuple[Field, Field]:
    """The row beyond the first of two rows, as far from it as the second is on the other side."""
    near, far = (_xyz(lat[[row]], lon[[row]]) for row in rows)
    along = np.sum(near * far, axis=-1, keepdims=True)
    return _angles(2 * along * near - far)


def _xyz(lat: Field, lon: Field) -> Field:
    phi, lam = np.deg2rad(lat), np.deg2rad(lon)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def _angles(points: Field) -> tuple[Field, Field]:
    """Latitude and longitude of directions of any length, degrees."""
    x, y, z = np.moveaxis(points, -1, 0)
    return np.rad2deg(np.arctan2(z, np.hypot(x, y))), np.rad2deg(np.arctan2(y, x)) % 360.0


def _wrapped(lon: Field) -> Field:
    """Longitudes in [0, 360); what is there already keeps its bits."""
    return np.where((lon < 0) | (lon >= 360), lon % 360.0, lon)


def _about(long_name: str, units: str) -> dict[str, str]:
    return {"long_name": long_name, "units": units}


def _check_coordinates(lat: Field, lon: Field, wet: NDArray[np.bool_], uri: str) -> None:
    masked = np.isnan(lat) | np.isnan(lon)
    if (masked & wet).any():
        j, i = np.argwhere(masked & wet)[0]
        raise InputUnusable(
            f"{uri}: {int((masked & wet).sum())} wet cells have masked coordinates, the first at "
            f"nlat {j}, nlon {i}; only land points may be masked: take the coordinates from a grid "
            "file instead of one written with land blocks left out",
            code="GridCoordinatesMasked",
            uri=uri,
        )
    for what, values, low, high in (("TLAT", lat, -90, 90), ("TLONG", lon, -360, 720)):
        bad = int(((values < low) | (values > high)).sum())
        if bad:
            raise _bad_values(uri, what, bad, f"{low} to {high} degrees")


def _bad_values(uri: str, name: str, bad: int, expected: str) -> InputUnusable:
    return InputUnusable(
        f"{uri}: {bad} values of {name} are unusable, expected {expected}; fetch the file again",
        code="GridValues",
        uri=uri,
    )


def _missing(name: str, uri: str, do: str) -> InputUnusable:
    return InputUnusable(
        f"{uri}: there is no {name} in it; {do}", code="GridVariableMissing", uri=uri
    )


# The three layouts


def _open(data: bytes, uri: str) -> xr.Dataset:
    try:
        with xr.open_dataset(
            io.BytesIO(data), decode_times=False, mask_and_scale=False, decode_coords=False
        ) as opened:
            return opened.load()
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise InputUnusable(
            f"{uri}: not a NetCDF file that can be read ({error}); fetch it again",
            code="GridUnreadable",
            uri=uri,
        ) from error


def _horizontal(opened: xr.Dataset, uri: str) -> PopCells:
    if "grid_center_lat" in opened:
        return _scrip(opened, uri)
    return _cmip(opened, uri) if "lat" in opened and "TLAT" not in opened else _pop(opened, uri)


def _pop(opened: xr.Dataset, uri: str) -> PopCells:
    def optional(name: str) -> Field | None:
        return _masked(opened, name, uri) if name in opened else None

    def whole(name: str) -> NDArray[np.int32] | None:
        values = optional(name)
        return None if values is None else np.nan_to_num(values).astype(np.int32)

    kmt = whole("KMT")
    if kmt is None:
        raise _missing("KMT", uri, "a POP grid needs it for its wet mask")
    return PopCells(
        tlat=_masked(opened, "TLAT", uri),
        tlong=_masked(opened, "TLONG", uri),
        wet=kmt > 0,
        ulat=optional("ULAT"),
        ulong=optional("ULONG"),
        tarea_cm2=optional("TAREA"),
        kmt=kmt,
        region_mask=whole("REGION_MASK"),
    )


def _cmip(opened: xr.Dataset, uri: str) -> PopCells:
    """Native-grid CMIP output: its first field over (nlat, nlon) tells which cells are wet."""
    lat, lon = _masked(opened, "lat", uri), _masked(opened, "lon", uri)
    bounds = [str(opened[name].attrs.get("bounds", f"{name}_bnds")) for name in ("lat", "lon")]
    fields = [
        str(name)
        for name, field in opened.data_vars.items()
        if field.ndim >= 2 and field.shape[-2:] == lat.shape and name not in ("lat", "lon")
    ]
    if not fields:
        raise _missing("field on the grid", uri, "one is needed to tell wet cells from land")
    field = _masked(opened, fields[0], uri)
    return PopCells(
        tlat=lat,
        tlong=lon,
        wet=np.isfinite(field.reshape(-1, *lat.shape)[0]),
        corner_lat=_masked(opened, bounds[0], uri),
        corner_lon=_masked(opened, bounds[1], uri),
    )


def _scrip(opened: xr.Dataset, uri: str) -> PopCells:
    nlon, nlat = (int(size) for size in _masked(opened, "grid_dims", uri))

    def plane(name: str) -> Field:
        values = _masked(opened, name, uri)
        if str(opened[name].attrs.get("units", "")).lower().startswith("rad"):
            values = np.rad2deg(values)
        if values.shape[0] != nlat * nlon:
            raise InputUnusable(
                f"{uri}: {name} holds {values.shape[0]} cells, grid_dims says {nlat} x {nlon}; "
                "fetch the file again",
                code="GridSizes",
                uri=uri,
            )
        return values.reshape(nlat, nlon, *values.shape[1:])

    return PopCells(
        tlat=plane("grid_center_lat"),
        tlong=plane("grid_center_lon"),
        wet=plane("grid_imask") > 0,
        corner_lat=plane("grid_corner_lat"),
        corner_lon=plane("grid_corner_lon"),
    )


def _masked(opened: xr.Dataset, name: str, uri: str) -> Field:
    """A variable as float64, NaN at declared and undeclared fill."""
    if name not in opened:
        raise _missing(name, uri, "expected a POP grid or history file, CMIP output or SCRIP")
    variable = opened[name]
    values = variable.values.astype(np.float64)
    for attribute in ("_FillValue", "missing_value"):
        if attribute in variable.attrs:
            values[values == np.float64(variable.attrs[attribute])] = np.nan
    values[np.abs(values) > _UNDECLARED_FILL] = np.nan
    return values


def grid_summary(grid: xr.Dataset) -> Mapping[str, Any]:
    """What a materialisation says of a POP grid."""
    wet = grid["wet"].values
    return {
        "shape": [*wet.shape, grid.sizes["z_t"]],
        "wet_columns": int(wet.sum()),
        "ocean_area_m2": float(grid["area_m2"].values[wet].sum()),
        "undefined_points": int(np.isnan(grid["TLAT"].values).sum()),
        **{name: grid.attrs[name] for name in ("corner_source", "area_source", "kmt_source")},
    }
