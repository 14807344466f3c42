"""Headers of granules as plain values, from CDL text and from files, and what differs in two."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

#: Types as CDL writes them.
_TYPES = {"float32": "float", "float64": "double", "int32": "int", "int64": "int64"}
#: Attributes of variables whose values decide how a reader takes the numbers. Texts for people
#: (long_name, comment) are each catalogue's own, and valid_min and valid_max follow the values.
COMPARED = (
    *("units", "standard_name", "calendar", "axis", "bounds", "positive", "coordinates"),
    *("coverage_content_type", "_FillValue"),
)


@dataclass
class Header:
    """Dimensions, variables with type, dimensions and attributes, and global attributes."""

    dimensions: dict[str, int] = field(default_factory=dict)
    variables: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_cdl(path: Path) -> Header:
    """The header that ``ncdump -h`` wrote."""
    text = path.read_text()
    found = Header(attributes={"": {}})
    for name, size in re.findall(r"^\t(\w+) = (\d+) ;$", text, re.MULTILINE):
        found.dimensions[name] = int(size)
    for kind, name, dims in re.findall(r"^\t(\w+) (\w+)\(([^)]*)\) ;$", text, re.MULTILINE):
        found.variables[name] = (kind, tuple(dims.split(", ")))
        found.attributes[name] = {}
    pattern = r"^\t\t(?:string )?(\w*):(\w+) = (.*) ;$"
    for variable, name, value in re.findall(pattern, text, re.MULTILINE):
        found.attributes[variable][name] = _value(value)
    return found


def _value(text: str) -> str | float:
    if text.startswith('"'):
        return text[1:-1].replace('\\"', '"').replace("\\'", "'")
    return float(text.rstrip("fdLs"))


def read_header(path: Path) -> Header:
    """The header of a file."""
    with netCDF4.Dataset(path) as file:
        return Header(
            {name: len(dim) for name, dim in file.dimensions.items()},
            {n: (_TYPES[str(v.dtype)], v.dimensions) for n, v in file.variables.items()},
            {"": {n: file.getncattr(n) for n in file.ncattrs()}}
            | {n: {a: v.getncattr(a) for a in v.ncattrs()} for n, v in file.variables.items()},
        )


def differences(ours: Header, theirs: Header) -> set[str]:
    """One line per difference, free of what changes from granule to granule."""
    lines = {
        f"dimension {name}: {ours.dimensions.get(name)}, there {theirs.dimensions.get(name)}"
        for name in ours.dimensions.keys() | theirs.dimensions.keys()
        if ours.dimensions.get(name) != theirs.dimensions.get(name)
    }
    lines |= _presence("variable", ours.variables.keys(), theirs.variables.keys())
    lines |= _presence("global attribute", ours.attributes[""].keys(), theirs.attributes[""].keys())
    for name in ours.variables.keys() & theirs.variables.keys():
        mine, other = ours.variables[name], theirs.variables[name]
        if mine != other:
            lines.add(f"{name}: {_typed(mine)}, there {_typed(other)}")
        for attribute in COMPARED:
            one = ours.attributes[name].get(attribute)
            two = theirs.attributes[name].get(attribute)
            if not _same(one, two):
                lines.add(f"{name}:{attribute} {_shown(one)}, there {_shown(two)}")
    return lines


def _presence(what: str, ours: Any, theirs: Any) -> set[str]:
    return {f"{what} {n} only here" for n in ours - theirs} | {
        f"{what} {n} only there" for n in theirs - ours
    }


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, str | None) or isinstance(two, str | None):
        return one == two
    return bool(np.isclose(float(one), float(two), rtol=1e-5))


def _typed(variable: tuple[str, tuple[str, ...]]) -> str:
    return f"{variable[0]} ({', '.join(variable[1])})"


def _shown(value: Any) -> str:
    if value is None:
        return "absent"
    # Each pre-release granule counts days from another date.
    return re.sub(r"^days since .*", "days since a date of the granule's own", str(value))


def read_storage(path: Path) -> dict[str, dict[str, Any]]:
    """How every variable of a file is stored."""
    with netCDF4.Dataset(path) as file:
        found: dict[str, dict[str, Any]] = {"": {"format": file.data_model}}
        for name, variable in file.variables.items():
            filters, chunks = variable.filters(), variable.chunking()
            found[name] = {
                "type": str(variable.dtype),
                "byte order": variable.endian(),
                "deflate": filters["complevel"] if filters["zlib"] else 0,
                "shuffle": filters["shuffle"],
                "checksum": filters["fletcher32"],
                "chunks": chunks if chunks == "contiguous" else tuple(chunks),
                "fill": float(variable._FillValue) if "_FillValue" in variable.ncattrs() else None,
            }
        return found


def storage_differences(ours: dict[str, Any], theirs: dict[str, Any]) -> set[str]:
    """One line per variable and property that is stored otherwise."""
    return {
        f"{name} {what}: {ours[name][what]}, there {theirs[name][what]}"
        for name in ours.keys() & theirs.keys()
        for what in ours[name]
        if ours[name][what] != theirs[name][what]
    }
