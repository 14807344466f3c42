"""Known faults planted into written history files, one at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import netCDF4
import numpy as np
from numpy.typing import NDArray

__all__ = ["FAULTS", "Fault", "plant"]

Fault = Literal[
    "missing month",
    "duplicate month",
    "month out of range",
    "truncated",
    "not netcdf",
    "misnamed month",
    "wrong calendar",
    "wrong epoch",
    "no bounds",
    "bounds of a day",
    "wrong title",
    "wrong kmt",
    "wrong area",
    "no area",
    "no field",
    "nan in a wet cell",
    "infinity in a wet cell",
    "fill in a wet cell",
    "value on land",
    "no forcing",
    "forcing of the wrong sign",
]


def plant(path: Path, fault: Fault) -> Path:
    """Spoil one history file, or the set it belongs to.

    Parameters
    ----------
    path : Path
        A file of `SampleCase.write`; changed in place, renamed, copied or removed.
    fault : str

    Returns
    -------
    Path
        The file that holds the fault; `path` itself where it is gone.
    """
    return FAULTS[fault](path)


def _remove(path: Path) -> Path:
    path.unlink()
    return path


def _copied(change: Callable[[int, int], tuple[int, int]]) -> Callable[[Path], Path]:
    """Copies the file under another month's name, its own bounds unchanged."""

    def copy(path: Path) -> Path:
        other = _renamed(path, change)
        other.write_bytes(path.read_bytes())
        return other

    return copy


def _renamed(path: Path, change: Callable[[int, int], tuple[int, int]]) -> Path:
    stem, date = path.stem.rsplit(".", 1)
    year, month = change(*(int(part) for part in date.split("-")))
    return path.with_name(f"{stem}.{year:04d}-{month:02d}.nc")


def _misname(path: Path) -> Path:
    return path.rename(_renamed(path, lambda year, month: (year + 100, month)))


def _duplicate(path: Path) -> Path:
    """The month once more, as some file systems' copies are called."""
    other = path.with_name(f"{path.stem}.copy.nc")
    other.write_bytes(path.read_bytes())
    return other


def _truncate(path: Path) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    return path


def _overwrite(path: Path) -> Path:
    path.write_bytes(b"<html>not found</html>" * 100)
    return path


def _edited(change: Callable[[Any], None]) -> Callable[[Path], Path]:
    def edit(path: Path) -> Path:
        with netCDF4.Dataset(path, "r+") as file:
            file.set_auto_maskandscale(False)
            change(file)
        return path

    return edit


def _attribute(variable: str, name: str, value: str) -> Callable[[Path], Path]:
    return _edited(lambda file: file[variable].setncattr(name, value))


def _rename(variable: str) -> Callable[[Path], Path]:
    return _edited(lambda file: file.renameVariable(variable, f"{variable}_absent"))


def _first_wet(file: Any) -> NDArray[Any]:
    kmt = file["KMT"][:]
    return np.argwhere((kmt > 0) & (kmt < 1e6))[0]


def _in_wet_cell(value: float, variable: str = "FG_CO2") -> Callable[[Path], Path]:
    def change(file: Any) -> None:
        j, i = _first_wet(file)
        file[variable][0, j, i] = np.float32(value)

    return _edited(change)


def _on_land(file: Any) -> None:
    j, i = np.argwhere(file["KMT"][:] == 0)[0]
    file["FG_CO2"][0, j, i] = np.float32(1.0)


def _other_kmt(file: Any) -> None:
    j, i = _first_wet(file)
    file["KMT"][j, i] = file["KMT"][j, i] + 1


def _other_area(file: Any) -> None:
    j, i = _first_wet(file)
    file["TAREA"][j, i] = file["TAREA"][j, i] * 1.5


def _one_day(file: Any) -> None:
    start = file["time_bound"][0, 0]
    file["time_bound"][0, :] = (start, start + 1)


def _scaled_forcing(factor: float) -> Callable[[Path], Path]:
    def change(file: Any) -> None:
        for name in ("DIC_FLUX", "ALK_FLUX"):
            values = file[name][:]
            file[name][:] = np.where(values < 1e30, values * np.float32(factor), values)

    return _edited(change)


#: How each fault is planted.
FAULTS: dict[Fault, Callable[[Path], Path]] = {
    "missing month": _remove,
    "duplicate month": _duplicate,
    "month out of range": _copied(lambda year, month: (year - 1, month)),
    "truncated": _truncate,
    "not netcdf": _overwrite,
    "misnamed month": _misname,
    "wrong calendar": _attribute("time", "calendar", "gregorian"),
    "wrong epoch": _attribute("time", "units", "days since 0001-01-01 00:00:00"),
    "no bounds": _rename("time_bound"),
    "bounds of a day": _edited(_one_day),
    "wrong title": _edited(lambda file: file.setncattr("title", "another.run.001")),
    "wrong kmt": _edited(_other_kmt),
    "wrong area": _edited(_other_area),
    "no area": _rename("TAREA"),
    "no field": _rename("FG_CO2"),
    "nan in a wet cell": _in_wet_cell(float("nan")),
    "infinity in a wet cell": _in_wet_cell(float("inf")),
    "fill in a wet cell": _in_wet_cell(9.969209968386869e36),
    "value on land": _edited(_on_land),
    "no forcing": _scaled_forcing(0.0),
    "forcing of the wrong sign": _scaled_forcing(-1.0),
}
