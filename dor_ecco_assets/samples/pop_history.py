"""History files of atlas cases whose efficiency, rings and column integrals are known exactly.

All removal happens in month 0. The excess uptake of month k is spread over the ocean with fixed
weights w, and in time so that the total after it is ``F e (1 - exp(-(k + 1) / tau))``; hence the
efficiency is ``e (1 - exp(-(k + 1) / tau))`` and the part inside a radius is the part of w inside.
Fluxes and tracers lie on dyadic lattices, so float32 holds them and their differences without
rounding; what a case must give is worked out from the lattice numbers, in extended precision.

The twin fields depend on grid, seed and model month only: every case and the control share them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.atlas.calendar import (
    CALENDAR,
    MODEL_TIME_UNITS,
    days_since_epoch,
    model_months,
    month_length_days,
)
from dor_ecco_assets.atlas.cases import Case
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.samples.classic_netcdf import ClassicLayout, ClassicVariable
from dor_ecco_assets.samples.pop_grid import DISTANCE_RADIUS_M

__all__ = [
    "Columns",
    "Oracle",
    "SampleCase",
    "SampleOcean",
    "history_folder",
    "history_name",
    "write_control_months",
    "write_series",
]

#: What the model writes on land and below the bottom.
FILL = np.float32(9.969209968386869e36)

#: Lattices: tracers (mmol/m³) below 4096, fluxes (nmol/cm²/s) below 2^-9, pH below 16, pCO2 (ppmv)
#: below 512, sea surface height (cm) below 256, each as the power of two of one step.
TRACER_BITS, FLUX_BITS, PH_BITS, PCO2_BITS, SSH_BITS = 12, 32, 20, 14, 8
_MOST_FLUX_STEPS = 2**23

#: Ring edges of the uptake by distance, m; beyond the last lies one more ring.
RING_WIDTH_M, N_RINGS = 50_000.0, 82
RADII_M = (500_000.0, 1_000_000.0, 2_000_000.0)

SECONDS_PER_DAY = 86_400.0

_PLANE = ("time", "nlat", "nlon")
_VOLUME = ("time", "z_t", "nlat", "nlon")

_UNITS = {
    **dict.fromkeys(("DIC", "DIC_ALT_CO2"), "mmol/m^3"),
    **dict.fromkeys(("ALK", "ALK_ALT_CO2"), "meq/m^3"),
    **dict.fromkeys(("FG_CO2", "FG_ALT_CO2"), "mmol/m^3 cm/s"),
    "DIC_FLUX": "nmol/cm^2/s",
    "ALK_FLUX": "neq/cm^2/s",
    **dict.fromkeys(("PH", "PH_ALT_CO2"), "1"),
    **dict.fromkeys(("pCO2SURF", "pCO2SURF_ALT_CO2"), "ppmv"),
    "ECOSYS_IFRAC": "fraction",
    "SSH": "centimeter",
}
_VOLUMES = ("DIC", "DIC_ALT_CO2", "ALK", "ALK_ALT_CO2")
_PLANES = tuple(name for name in _UNITS if name not in _VOLUMES)
_CONTROL = ("DIC", "ALK", "FG_CO2", "PH", "pCO2SURF", "ECOSYS_IFRAC", "SSH")

#: Constants that the model writes into every file; their values play no part in any result.
_SCALARS = {
    "days_in_norm_year": 365.0,
    "grav": 980.616,
    "omega": 7.292123625e-05,
    "radius": 637122000.0,
    "cp_sw": 39960000.0,
    "sound": 150000.0,
    "vonkar": 0.4,
    "cp_air": 1005.0,
    "rho_air": 1.2922,
    "rho_sw": 1.026,
    "rho_fw": 1.0,
    "stefan_boltzmann": 5.67e-08,
    "latent_heat_vapor": 2501000.0,
    "latent_heat_fusion": 3337000000.0,
    "latent_heat_fusion_mks": 333700.0,
    "ocn_ref_salinity": 34.7,
    "sea_ice_salinity": 4.0,
    "T0_Kelvin": 273.15,
    "salt_to_ppt": 1000.0,
    "ppt_to_salt": 0.001,
    "mass_to_Sv": 1e-12,
    "heat_to_PW": 4.186e-15,
    "salt_to_Svppt": 1e-09,
    "salt_to_mmday": 315360.0,
    "momentum_factor": 10.0,
    "hflux_factor": 2.439e-05,
    "fwflux_factor": 0.0001,
    "salinity_factor": -0.00347,
    "sflux_factor": 0.1,
}

Statics = Literal["all", "few"]


def history_name(case: str, model_year: int, month: int) -> str:
    """File name of one month of a run."""
    return f"{case}.pop.h.{model_year:04d}-{month:02d}.nc"


def history_folder(root: Path, case: str) -> Path:
    """Folder of a run's history files below the inputs."""
    return root / case / "ocn" / "hist"


@dataclass(frozen=True)
class Columns:
    """Exact column integrals of one month, mmol/m²: ``numerator / denominator``.

    Parameters
    ----------
    dic, delta : ndarray of int64, shape (nlat, nlon)
        Numerators of DIC and of DIC minus its twin; 0 on land.
    denominator : int
    """

    dic: NDArray[np.int64]
    delta: NDArray[np.int64]
    denominator: int


@dataclass(frozen=True)
class Oracle:
    """What the products of a case must give.

    Parameters
    ----------
    dt_days : ndarray of float64, shape (months,)
    uptake_mol : ndarray of float64, shape (months,)
        Extra uptake since the injection (DIC_ADD_TOTAL).
    forcing_mol : ndarray of float64, shape (months,)
        DIC_FLUX (DOR, negative) or ALK_FLUX since the injection.
    efficiency : ndarray of float64, shape (months,)
    closed_form : ndarray of float64, shape (months,)
        The efficiency before fluxes were put on their lattice.
    ring_uptake_mmol : ndarray of float64, shape (months, 82)
        Uptake since the injection per ring of 50 km, the last beyond 4050 km.
    uptake_percent : ndarray of float64, shape (months, 3)
        Inside 500, 1000 and 2000 km, of the case's last total.
    """

    dt_days: NDArray[np.float64]
    uptake_mol: NDArray[np.float64]
    forcing_mol: NDArray[np.float64]
    efficiency: NDArray[np.float64]
    closed_form: NDArray[np.float64]
    ring_uptake_mmol: NDArray[np.float64]
    uptake_percent: NDArray[np.float64]


class SampleOcean:
    """The unperturbed ocean of a grid: what control and twins hold, month by month.

    Parameters
    ----------
    grid : Dataset
        With ``KMT``; see `with_sample_kmt` for a real grid that has none.
    seed : int
        Of the small-scale texture.

    Raises
    ------
    ConfigurationError
        ``SampleGridKmt``, if the grid has no ``KMT``.
    """

    def __init__(self, grid: xr.Dataset, seed: int = 0) -> None:
        if "KMT" not in grid:
            raise ConfigurationError(
                f"grid {grid.attrs.get('name')} has no KMT; give it one by with_sample_kmt",
                code="SampleGridKmt",
            )
        self.grid, self.seed = grid, seed
        self.kmt = grid["KMT"].values.astype(np.int64)
        self.wet = self.kmt > 0
        self.dz_cm = grid["dz"].values.astype(np.float32)
        self.wet_levels = np.arange(self.dz_cm.size)[:, None, None] < self.kmt
        self._lat = np.nan_to_num(grid["TLAT"].values)
        self._lon = np.nan_to_num(grid["TLONG"].values)

    @cached_property
    def pattern(self) -> NDArray[np.float64]:
        """Smooth pattern between -1 and 1 on the sphere."""
        phi, lam = np.deg2rad(self._lat), np.deg2rad(self._lon)
        return np.sin(3 * lam) * np.cos(phi) ** 3 * np.cos(2 * phi)

    @cached_property
    def _rough(self) -> NDArray[np.int64]:
        """Texture of one layer, -1024 to 1023."""
        return np.random.default_rng(self.seed).integers(-1024, 1024, self.wet.shape)

    @cached_property
    def _base(self) -> dict[str, NDArray[np.int32]]:
        """Mean tracers in lattice steps, with texture in the low bits as in real output."""
        rng = np.random.default_rng(self.seed + 1)
        middle = np.cumsum(self.dz_cm, dtype=np.float64) - self.dz_cm / 2
        near_surface = np.exp(-middle / 1.5e5)
        layers = self.wet_levels.shape
        made: dict[str, NDArray[np.int32]] = {}
        for name, deep, less, wave in (("DIC", 2260.0, 230.0, 35.0), ("ALK", 2400.0, 60.0, 30.0)):
            base = rng.integers(-(2**15), 2**15, layers, dtype=np.int32)
            base += np.round(wave * self.pattern * 2.0**TRACER_BITS).astype(np.int32)
            level = np.round((deep - less * near_surface) * 2.0**TRACER_BITS).astype(np.int32)
            made[name] = base + level[:, None, None]
        return made

    def tracer_steps(self, name: str, level: int, model_year: int, month: int) -> NDArray[np.int32]:
        """DIC or ALK of one depth level and month, in steps of 2^-12."""
        season = 8 * (month - 6) + (model_year % 16)
        amount = np.int32(season * 256 >> min(level, 12))
        return self._base[name][level] + amount

    def flux_steps(self, model_year: int, month: int) -> NDArray[np.int64]:
        """Air-sea flux of CO2, in steps of 2^-32 and below 2^22 of them."""
        season = np.cos(2 * np.pi * (month - 1) / 12)
        smooth = 0.6 * self.pattern + 0.3 * season * np.sin(np.deg2rad(self._lat))
        year = 64 * (model_year % 16)
        return np.round(smooth * 2.0**22).astype(np.int64) + 8 * self._rough + year

    def plane(self, name: str, model_year: int, month: int) -> NDArray[np.float64]:
        """One unperturbed surface field, exact in float32; anything on land."""
        season = float(np.cos(2 * np.pi * (month - 1) / 12))
        if name == "FG_CO2":
            return self.flux_steps(model_year, month).astype(np.float64) * 2.0**-FLUX_BITS
        if name == "PH":
            values, bits = 8.08 + 0.05 * self.pattern + 0.02 * season, PH_BITS
        elif name == "pCO2SURF":
            values, bits = 360.0 + 35.0 * self.pattern + 15.0 * season, PCO2_BITS
        elif name == "SSH":
            values = 60.0 * self.pattern + 10.0 * season + (model_year % 16) / 4 + self._rough / 512
            bits = SSH_BITS
        elif name == "ECOSYS_IFRAC":
            values, bits = np.clip((np.abs(self._lat) - 62 + 4 * season) / 10, 0, 1), 16
        else:
            raise ConfigurationError(f"there is no sample field {name!r}", code="UnknownField")
        texture = self._rough // 16 if name in ("PH", "pCO2SURF") else 0
        steps = np.round(values * 2.0**bits).astype(np.float64) + texture
        return steps * 2.0**-bits

    def distance_m(self, centre: tuple[float, float]) -> NDArray[np.float64]:
        """Great-circle distance of T points from a centre (lon, lat in degrees), m."""
        lon, lat = np.deg2rad(centre)
        phi, lam = np.deg2rad(self.grid["TLAT"].values), np.deg2rad(self.grid["TLONG"].values)
        half = (
            np.sin((phi - lat) / 2) ** 2 + np.cos(phi) * np.cos(lat) * np.sin((lam - lon) / 2) ** 2
        )
        return 2 * DISTANCE_RADIUS_M * np.arcsin(np.sqrt(np.minimum(half, 1.0)))


class SampleCase:
    """One case: its files and what they must give.

    Parameters
    ----------
    ocean : SampleOcean
    case : Case
        Gives name, injection month, forcing and length.
    centre : tuple of float
        Longitude and latitude of the polygon's centre, degrees.
    cells : ndarray of bool, shape (nlat, nlon), optional
        The polygon's wet cells, where the forcing goes; 600 km around the centre if not given.
    amount_mol : float
        Removed (DOR) or added (OAE, ERW) in month 0.
    final_efficiency, tau_months : float
        e and tau of the closed form.
    ssh : bool
        Whether the files hold the optional SSH.
    statics : {"all", "few"}
        All of the model's static fields, or only coordinates, areas and depths.

    Raises
    ------
    ConfigurationError
        ``SampleOffLattice``, if the excess is too strong for exact float32 differences;
        ``SampleNoCells``, if the forcing has no wet cell.
    """

    def __init__(
        self,
        ocean: SampleOcean,
        case: Case,
        centre: tuple[float, float],
        *,
        cells: NDArray[np.bool_] | None = None,
        amount_mol: float = 2e12,
        final_efficiency: float = 0.85,
        tau_months: float = 24.0,
        ssh: bool = True,
        statics: Statics = "all",
    ) -> None:
        self.ocean, self.case, self.centre = ocean, case, centre
        self.amount_mol, self.e, self.tau = amount_mol, final_efficiency, tau_months
        self.ssh = ssh
        self.statics: Statics = statics
        self.distance_m = ocean.distance_m(centre)
        near = np.nan_to_num(self.distance_m, nan=np.inf)
        self.cells = (near < 6e5 if cells is None else cells) & ocean.wet
        if not self.cells.any():
            raise ConfigurationError(
                f"{case.name}: no wet cell takes the forcing around {centre}; name other cells",
                code="SampleNoCells",
            )
        self._area_cm2 = np.where(ocean.wet, ocean.grid["TAREA"].values, 0.0)
        # The far field varies: equal weights would all be rounded the same way.
        far = 0.02 * (1 + 0.5 * ocean.pattern)
        weight = np.where(ocean.wet, np.exp(-near / 9e5) + far, 0.0)
        self._weight = weight / (weight * self._area_cm2).sum()
        self._check_lattice()

    @cached_property
    def months(self) -> list[tuple[int, int]]:
        """Model year and month of every month of the case."""
        return list(model_months(self.case.injection_month, self.case.months))

    @cached_property
    def dt_days(self) -> NDArray[np.float64]:
        """Length of every month, days."""
        return np.array([month_length_days(month) for _, month in self.months], np.float64)

    def excess_steps(self, k: int) -> NDArray[np.int64]:
        """Extra flux into the ocean in month k, in steps of 2^-32 nmol/cm²/s."""
        decay = np.exp(-k / self.tau) - np.exp(-(k + 1) / self.tau)
        nmol = self.amount_mol * self.e * decay * 1e9
        rate = nmol / (self.dt_days[k] * SECONDS_PER_DAY)
        return np.round(rate * self._weight * 2.0**FLUX_BITS).astype(np.int64)

    def _check_lattice(self) -> None:
        most = max(int(self.excess_steps(k).max()) for k in range(min(12, len(self.months))))
        base = int(np.abs(self.ocean.flux_steps(*self.months[0])[self.ocean.wet]).max())
        if most + max(base, 2**22) >= _MOST_FLUX_STEPS:
            raise ConfigurationError(
                f"{self.case.name}: an excess of {most * 2.0**-FLUX_BITS:.1e} nmol/cm2/s leaves "
                "the lattice on which float32 differences are exact; lower amount_mol, or raise "
                "tau_months",
                code="SampleOffLattice",
            )

    def forcing_flux(self, k: int) -> NDArray[np.float32]:
        """DIC_FLUX of a DOR case, ALK_FLUX of the others, nmol/cm²/s."""
        flux = np.zeros(self.cells.shape, np.float32)
        if k == 0:
            sign = -1.0 if self.case.forcing == "DOR" else 1.0
            area = self._area_cm2[self.cells].sum()
            rate = self.amount_mol * 1e9 / (self.dt_days[0] * SECONDS_PER_DAY) / area
            flux[self.cells] = np.float32(sign * rate)
        return flux

    def plume_steps(self, k: int) -> NDArray[np.int32]:
        """Tracer anomaly of the top level in month k, in steps of 2^-12; 0 outside the plume."""
        reach = 4e5 + 4e4 * min(k, 60)
        shape = np.exp(-np.minimum((self.distance_m / reach) ** 2, 700.0))
        return np.nan_to_num(2.0**15 / (1 + 0.15 * k) * shape).astype(np.int32)

    def level_plume(self, plume: NDArray[np.int32], level: int) -> NDArray[np.int32]:
        """The anomaly of one depth level: at least one step wherever the top one has any."""
        return np.where(plume > 0, np.maximum(plume >> min(level, 31), 1), 0).astype(np.int32)

    # What is written

    @cached_property
    def layout(self) -> ClassicLayout:
        """The bytes of a month, statics and attributes in place."""
        planes = tuple(name for name in _PLANES if self.ssh or name != "SSH")
        return _layout(self.ocean, self.case.name, (*_VOLUMES, *planes), self.statics)

    def fill_month(self, k: int) -> Mapping[str, NDArray[Any]]:
        """Put month k into the layout; returns the layout's big-endian views by name."""
        views, ocean = self.layout.views, self.ocean
        year, month = self.months[k]
        _put_time(views, year, month)
        plume = self.plume_steps(k)
        step, dor = np.float32(2.0**-TRACER_BITS), self.case.forcing == "DOR"
        for level in range(ocean.dz_cm.size):
            wet = ocean.wet_levels[level]
            change = self.level_plume(plume, level)
            for name in ("DIC", "ALK"):
                twin = ocean.tracer_steps(name, level, year, month)
                moved = {("DIC", True): -change, ("ALK", False): change}.get((name, dor))
                run = twin if moved is None else twin + moved
                _put(views[f"{name}_ALT_CO2"][0, level], twin * step, wet)
                _put(views[name][0, level], run * step, wet)
        flux, excess = ocean.flux_steps(year, month), self.excess_steps(k)
        forcing, none = self.forcing_flux(k), np.zeros(self.cells.shape, np.float32)
        ph, pco2 = (ocean.plane(name, year, month) for name in ("PH", "pCO2SURF"))
        shift = np.minimum(plume, 2**10) * 2.0**-PCO2_BITS
        planes = {
            "FG_CO2": (flux + excess) * 2.0**-FLUX_BITS,
            "FG_ALT_CO2": flux * 2.0**-FLUX_BITS,
            "DIC_FLUX": forcing if dor else none,
            "ALK_FLUX": none if dor else forcing,
            "PH": ph + np.minimum(plume, 2**10) * 2.0**-PH_BITS,
            "PH_ALT_CO2": ph,
            "pCO2SURF": pco2 - shift,
            "pCO2SURF_ALT_CO2": pco2,
            "ECOSYS_IFRAC": ocean.plane("ECOSYS_IFRAC", year, month),
        }
        if self.ssh:
            planes["SSH"] = ocean.plane("SSH", year, month)
        for name, values in planes.items():
            _put(views[name][0], values, ocean.wet)
        return views

    def file_name(self, k: int) -> str:
        """File name of month k."""
        return history_name(self.case.name, *self.months[k])

    def write_month(self, root: Path, k: int) -> Path:
        """Write month k where the model puts it below `root`."""
        folder = history_folder(root, self.case.name)
        folder.mkdir(parents=True, exist_ok=True)
        self.fill_month(k)
        return self.layout.write(folder / self.file_name(k))

    def write(self, root: Path, months: Sequence[int] | None = None) -> list[Path]:
        """Write all months, or those named, below `root`."""
        chosen = range(len(self.months)) if months is None else months
        return [self.write_month(root, k) for k in chosen]

    # What it must give

    def oracle(self) -> Oracle:
        """Exact sums of the fluxes on their lattice, in extended precision."""
        seconds = self.dt_days * SECONDS_PER_DAY
        area = self._area_cm2[self.ocean.wet].astype(np.longdouble)
        ring = np.searchsorted(
            RING_WIDTH_M * np.arange(1, N_RINGS), self.distance_m[self.ocean.wet], side="left"
        )
        order = np.argsort(ring, kind="stable")
        present, first = np.unique(ring[order], return_index=True)
        rings = np.zeros((len(self.months), N_RINGS), np.longdouble)
        forcing = np.zeros(len(self.months), np.longdouble)
        area_in_rings = area[order]
        for k in range(len(self.months)):
            excess = self.excess_steps(k)[self.ocean.wet][order].astype(np.longdouble)
            sums = np.add.reduceat(excess * area_in_rings, first)
            rings[k, present] = sums * np.longdouble(2) ** -FLUX_BITS * seconds[k]
            if k == 0:
                flux = self.forcing_flux(k)[self.ocean.wet].astype(np.longdouble)
                forcing[:] = (flux * area).sum() * seconds[k]
        uptake_nmol = np.cumsum(rings.sum(axis=1))
        cumulative = np.cumsum(rings, axis=0)
        within = [int(radius / RING_WIDTH_M) for radius in RADII_M]
        percent = np.stack([cumulative[:, :n].sum(axis=1) for n in within], axis=1)
        percent = 100 * percent / uptake_nmol[-1]
        sign = -1 if self.case.forcing == "DOR" else 1
        k = np.arange(1, len(self.months) + 1)
        return Oracle(
            dt_days=self.dt_days,
            uptake_mol=(uptake_nmol / np.longdouble(1e9)).astype(np.float64),
            forcing_mol=(forcing / np.longdouble(1e9)).astype(np.float64),
            efficiency=(sign * uptake_nmol / forcing).astype(np.float64),
            closed_form=self.e * -np.expm1(-k / self.tau),
            ring_uptake_mmol=(cumulative / np.longdouble(1e6)).astype(np.float64),
            uptake_percent=percent.astype(np.float64),
        )

    def columns(self, k: int) -> Columns:
        """Exact column integrals of month k, the free-surface layer included where SSH is."""
        ocean, (year, month) = self.ocean, self.months[k]
        bits = max(_fraction_bits(ocean.dz_cm), SSH_BITS)
        thickness = np.round(ocean.dz_cm.astype(np.float64) * 2.0**bits).astype(np.int64)
        plume = self.plume_steps(k)
        dic, delta = np.zeros(ocean.wet.shape, np.int64), np.zeros(ocean.wet.shape, np.int64)
        for level, dz in enumerate(thickness):
            wet = ocean.wet_levels[level]
            change = np.zeros(wet.shape, np.int64)
            if self.case.forcing == "DOR":
                change = -self.level_plume(plume, level).astype(np.int64)
            value = ocean.tracer_steps("DIC", level, year, month).astype(np.int64) + change
            height: Any = dz
            if level == 0 and self.ssh:
                height = dz + np.round(ocean.plane("SSH", year, month) * 2.0**bits).astype(np.int64)
            dic += np.where(wet, value * height, 0)
            delta += np.where(wet, change * height, 0)
        return Columns(dic, delta, 100 * 2 ** (TRACER_BITS + bits))


def write_control_months(
    ocean: SampleOcean,
    root: Path,
    name: str,
    months: Sequence[tuple[int, int]],
    statics: Statics = "all",
) -> list[Path]:
    """Write history files of the control run: the fields that the twins of every case hold.

    Parameters
    ----------
    ocean : SampleOcean
    root : Path
    name : str
        The control's case name.
    months : sequence of (model year, month)
    statics : {"all", "few"}
    """
    layout = _layout(ocean, name, _CONTROL, statics)
    folder = history_folder(root, name)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for year, month in months:
        _put_time(layout.views, year, month)
        for field, values in _control_fields(ocean, year, month):
            wet = ocean.wet_levels if values.ndim == 3 else ocean.wet
            _put(layout.views[field][0], values, wet)
        written.append(layout.write(folder / history_name(name, year, month)))
    return written


def _control_fields(
    ocean: SampleOcean, year: int, month: int
) -> Iterator[tuple[str, NDArray[Any]]]:
    for name in _CONTROL:
        if name in _VOLUMES:
            levels = [ocean.tracer_steps(name, k, year, month) for k in range(ocean.dz_cm.size)]
            yield name, np.stack(levels) * np.float32(2.0**-TRACER_BITS)
        else:
            yield name, ocean.plane(name, year, month)


def write_series(
    ocean: SampleOcean,
    path: Path,
    variable: str,
    months: Sequence[tuple[int, int]],
    title: str = "smyle.physics",
) -> Path:
    """Write one surface field as a monthly series, stamped with the end of each month.

    Parameters
    ----------
    ocean : SampleOcean
    path : Path
    variable : str
        Such as ``SSH``.
    months : sequence of (model year, month)
    title : str
    """
    layout = _layout(ocean, title, (variable,), "few", records=len(months))
    for record, (year, month) in enumerate(months):
        _put_time(layout.views, year, month, record)
        _put(layout.views[variable][record], ocean.plane(variable, year, month), ocean.wet)
    path.parent.mkdir(parents=True, exist_ok=True)
    return layout.write(path)


def _fraction_bits(values: NDArray[np.float32]) -> int:
    """Fewest binary digits after the point that hold every value exactly."""
    for bits in range(32):
        scaled = values.astype(np.float64) * 2.0**bits
        if (scaled == np.round(scaled)).all():
            return bits
    raise ConfigurationError(
        f"level thicknesses {values} need more than 31 binary digits after the point",
        code="SampleOffLattice",
    )


def _put(view: NDArray[Any], values: NDArray[Any], wet: NDArray[np.bool_]) -> None:
    """Assign wet cells; land keeps the fill that the layout was made with."""
    np.copyto(view, values.astype(np.float32, copy=False), where=wet)


def _put_time(
    views: Mapping[str, NDArray[Any]], model_year: int, month: int, record: int = 0
) -> None:
    start = days_since_epoch(model_year, month)
    end = start + month_length_days(month)
    views["time"][record], views["time_bound"][record] = end, (start, end)


def _layout(
    ocean: SampleOcean, title: str, fields: Sequence[str], statics: Statics, records: int = 1
) -> ClassicLayout:
    sizes = ocean.grid.sizes
    dims: dict[str, int | None] = {
        "d2": 2,
        "time": None,
        "z_t": sizes["z_t"],
        "nlat": sizes["nlat"],
        "nlon": sizes["nlon"],
    }
    variables = [
        ClassicVariable(
            "time",
            "f8",
            ("time",),
            {
                "long_name": "time",
                "units": MODEL_TIME_UNITS,
                "bounds": "time_bound",
                "calendar": CALENDAR,
            },
        ),
        ClassicVariable(
            "time_bound",
            "f8",
            ("time", "d2"),
            {"long_name": "boundaries for time-averaging interval", "units": MODEL_TIME_UNITS},
        ),
        *_statics(ocean, statics),
    ]
    for name in fields:
        volume = name in _VOLUMES
        variables.append(
            ClassicVariable(
                name,
                "f4",
                _VOLUME if volume else _PLANE,
                {
                    "long_name": name.replace("_", " "),
                    "units": _UNITS[name],
                    "grid_loc": "3111" if volume else "2110",
                    "cell_methods": "time: mean",
                    "coordinates": "TLONG TLAT z_t time" if volume else "TLONG TLAT time",
                    "_FillValue": FILL,
                    "missing_value": FILL,
                },
                FILL,
            )
        )
    return ClassicLayout(dims, variables, {"title": title, **_GLOBAL}, records)


_GLOBAL = {
    "history": "none",
    "Conventions": "CF-1.0",
    "time_period_freq": "month_1",
    "contents": "Diagnostic and Prognostic Variables",
    "source": "analytic sample in the layout of POP2",
    "calendar": "All years have exactly  365 days.",
}


def _statics(ocean: SampleOcean, statics: Statics) -> Iterator[ClassicVariable]:
    grid, kmt, fill = ocean.grid, ocean.kmt, np.float64(FILL)
    plane = ("nlat", "nlon")

    def horizontal(name: str, values: Any, units: str) -> ClassicVariable:
        about = {"long_name": name, "units": units, "_FillValue": fill, "missing_value": fill}
        return ClassicVariable(name, "f8", plane, about, np.nan_to_num(values, nan=float(fill)))

    def levels(name: str, values: Any, about: str) -> ClassicVariable:
        return ClassicVariable(
            name, "f4", ("z_t",), {"long_name": about, "units": "centimeters"}, values
        )

    dz = ocean.dz_cm.astype(np.float64)
    yield levels("z_t", np.cumsum(dz) - dz / 2, "depth from surface to midpoint of layer")
    yield levels("dz", dz, "thickness of layer k")
    for name, units in (
        ("TLAT", "degrees_north"),
        ("TLONG", "degrees_east"),
        ("TAREA", "centimeter^2"),
    ):
        yield horizontal(name, grid[name].values, units)
    yield horizontal("KMT", np.where(kmt > 0, kmt, 0).astype(np.float64), "1")
    if statics == "few":
        return
    below = np.concatenate([[0.0], np.cumsum(dz)])
    at_u = np.minimum(kmt, np.roll(kmt, -1, axis=1))
    at_u = np.minimum(at_u, np.concatenate([at_u[1:], np.zeros_like(at_u[:1])]))
    yield levels("dzw", np.append(dz[:1] / 2, (dz[1:] + dz[:-1]) / 2), "midpoint to midpoint")
    yield horizontal("ULAT", grid["ULAT"].values, "degrees_north")
    yield horizontal("ULONG", grid["ULONG"].values, "degrees_east")
    yield horizontal("UAREA", grid["TAREA"].values, "centimeter^2")
    yield horizontal("KMU", at_u.astype(np.float64), "1")
    yield horizontal("HT", below[kmt], "centimeter")
    yield horizontal("HU", below[at_u], "centimeter")
    side = np.sqrt(np.nan_to_num(grid["TAREA"].values))
    for name in ("DXT", "DYT", "DXU", "DYU", "HTN", "HTE", "HUS", "HUW"):
        yield horizontal(name, side, "centimeters")
    for name in ("ANGLE", "ANGLET"):
        yield horizontal(name, np.zeros(kmt.shape), "radians")
    region = grid["REGION_MASK"].values if "REGION_MASK" in grid else (kmt > 0).astype(np.int32)
    yield ClassicVariable("REGION_MASK", "i4", plane, {"long_name": "basin index"}, region)
    counts = {"nsurface_t": float((kmt > 0).sum()), "nsurface_u": float((at_u > 0).sum())}
    for name, value in (*_SCALARS.items(), *counts.items()):
        yield ClassicVariable(name, "f8", (), {"long_name": name.replace("_", " ")}, value)
