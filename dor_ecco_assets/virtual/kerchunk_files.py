"""A virtual store as kerchunk's readers take it: one JSON file, or a folder of Parquet files.

Both say the same in Zarr version 2: metadata of groups and arrays, and for every chunk either where
it lies in a granule or, for what the store keeps by value, its bytes.
"""

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

__all__ = [
    "INLINE_BYTES",
    "ArrayExport",
    "StoreExport",
    "as_written",
    "inlined",
    "v2_array",
    "write_json",
    "write_parquet",
]

#: Bytes of a chunk that stands in the files itself, at most.
INLINE_BYTES = 32_000


@dataclass
class ArrayExport:
    """One array.

    Parameters
    ----------
    path : str
    zarray, zattrs : dict
        Zarr version 2 metadata.
    files : ndarray of int32
        For each chunk in C order the number of its file in `StoreExport.files`, -1 for none.
    offsets, lengths : ndarray of int64, in bytes
    inline : dict of int to bytes
        Chunks by value.
    """

    path: str
    zarray: dict[str, Any]
    zattrs: dict[str, Any]
    files: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    inline: dict[int, bytes] = field(default_factory=dict[int, bytes])

    @classmethod
    def without_chunks(
        cls, path: str, zarray: dict[str, Any], zattrs: dict[str, Any]
    ) -> "ArrayExport":
        """An array all of whose chunks are nowhere yet."""
        sizes = zip(zarray["shape"], zarray["chunks"], strict=True)
        count = math.prod(-(-n // c) for n, c in sizes)
        none = np.zeros(count, np.int64)
        return cls(path, zarray, zattrs, np.full(count, -1, np.int32), none, none.copy())

    @property
    def grid(self) -> tuple[int, ...]:
        """Chunks along each axis."""
        shape, chunks = self.zarray["shape"], self.zarray["chunks"]
        return tuple(-(-n // c) for n, c in zip(shape, chunks, strict=True))

    @property
    def count(self) -> int:
        """Chunks that are somewhere."""
        return int(np.count_nonzero(self.files >= 0)) + len(self.inline)


@dataclass
class StoreExport:
    """Groups with their attributes, arrays, and the files that hold the chunks.

    Parameters
    ----------
    groups : dict of str to dict
        Attributes by path; the root's is ``""``.
    arrays : list of ArrayExport
    files : list of (str, str)
        Name of the place, and key relative to it.
    left_out : dict of str to str
        Arrays that these formats cannot hold, and why.
    """

    groups: dict[str, dict[str, Any]]
    arrays: list[ArrayExport]
    files: list[tuple[str, str]]
    left_out: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def count(self) -> int:
        """Chunks that are somewhere."""
        return sum(array.count for array in self.arrays)

    def metadata(self) -> dict[str, Any]:
        """Zarr version 2 documents by key."""
        found: dict[str, Any] = {}
        for path, attributes in sorted(self.groups.items()):
            found[f"{path}/.zgroup".lstrip("/")] = {"zarr_format": 2}
            found[f"{path}/.zattrs".lstrip("/")] = attributes
        for array in self.arrays:
            found[f"{array.path}/.zarray"] = array.zarray
            found[f"{array.path}/.zattrs"] = array.zattrs
        return found


def v2_array(
    shape: Sequence[int],
    chunks: Sequence[int],
    dtype: str,
    codecs: Sequence[Mapping[str, Any]],
    fill_value: Any,
) -> dict[str, Any]:
    """A ``.zarray`` document.

    Parameters
    ----------
    shape, chunks : sequence of int
    dtype : str
        As NumPy writes it, byte order included; ``|O`` for text.
    codecs : sequence of mapping
        Zarr v3 codecs after ``bytes``.
    fill_value : scalar or None
        What readers take for missing; None for nothing.
    """
    filters: list[dict[str, Any]] = [
        {"id": codec["name"].removeprefix("numcodecs."), **codec.get("configuration", {})}
        for codec in codecs
    ]
    compressor = filters.pop() if filters and filters[-1]["id"] in ("zlib", "zstd") else None
    return {
        "zarr_format": 2,
        "shape": list(shape),
        "chunks": list(chunks),
        "dtype": dtype,
        "order": "C",
        "fill_value": _json_number(fill_value),
        "filters": filters or None,
        "compressor": compressor,
        "dimension_separator": ".",
    }


def _json_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def inlined(
    path: str, values: npt.NDArray[Any], attributes: dict[str, Any], fill_value: Any
) -> ArrayExport:
    """An array by value, in chunks that are small enough to stand in the files."""
    import numcodecs

    text = values.dtype.kind == "T"
    chunks = _small_chunks(values.shape, 64 if text else values.dtype.itemsize)
    codecs = [] if text else [{"name": "numcodecs.zlib", "configuration": {"level": 4}}]
    zarray = v2_array(values.shape, chunks, "|O" if text else values.dtype.str, codecs, fill_value)
    if text:
        zarray["filters"] = [{"id": "vlen-utf8"}]
    grid = tuple(-(-n // c) for n, c in zip(values.shape, chunks, strict=True))
    found = ArrayExport.without_chunks(path, zarray, attributes)
    for number, place in enumerate(np.ndindex(grid)):
        part = values[tuple(slice(i * c, (i + 1) * c) for i, c in zip(place, chunks, strict=True))]
        whole = np.full(chunks, "" if text else 0, object if text else values.dtype)
        whole[tuple(slice(0, n) for n in part.shape)] = part
        encoded: Any = numcodecs.VLenUTF8().encode(whole.ravel()) if text else whole.tobytes()
        found.inline[number] = bytes(encoded) if text else numcodecs.Zlib(4).encode(encoded)
    return found


def _small_chunks(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Chunks of at most `INLINE_BYTES`, whole along the last axes."""
    chunks = [max(n, 1) for n in shape]
    for axis in range(len(chunks)):
        rest = math.prod(chunks[axis + 1 :]) * itemsize
        chunks[axis] = max(1, min(chunks[axis], INLINE_BYTES // max(rest, 1)))
        if chunks[axis] > 1:
            break
    return tuple(chunks)


def as_written(root: str, key: str) -> str:
    """A file's key as it follows the root of its place: of a URL's it escapes what URLs reserve."""
    return quote(key, safe="/:=+,;@!$&()*~.-_") if root.startswith("http") else key


def write_json(path: Path, export: StoreExport, roots: Mapping[str, str]) -> None:
    """Write the references in kerchunk's JSON, version 1.

    Parameters
    ----------
    path : Path
    export : StoreExport
    roots : mapping of str to str
        URL of each place, slash included: files of two ways of access differ in these lines only.
    """
    names = {place: f"u{n or ''}" for n, place in enumerate(sorted(roots))}
    templates = {name: roots[place] for place, name in names.items()}
    files = [
        json.dumps(f"{{{{{names[place]}}}}}{as_written(roots[place], key)}")
        for place, key in export.files
    ]
    with path.open("w") as file:
        file.write('{"version": 1,\n"templates": ' + json.dumps(templates, sort_keys=True))
        file.write(',\n"refs": {\n')
        lines = _metadata_lines(export)
        file.write(next(lines))
        for line in lines:
            file.write(",\n" + line)
        for array in export.arrays:
            for key, number in _keys(array):
                where = int(array.files[number])
                if where >= 0:
                    told = f"[{files[where]}, {array.offsets[number]}, {array.lengths[number]}]"
                else:
                    told = f'"base64:{base64.b64encode(array.inline[number]).decode()}"'
                file.write(f',\n"{array.path}/{key}": {told}')
        file.write("\n}}\n")


def _metadata_lines(export: StoreExport) -> Iterator[str]:
    for key, document in export.metadata().items():
        yield f"{json.dumps(key)}: {json.dumps(json.dumps(document, sort_keys=True))}"


def _keys(array: ArrayExport) -> Iterator[tuple[str, int]]:
    """Key and number of every chunk that is somewhere, in C order."""
    there = array.files >= 0
    there[list(array.inline)] = True
    numbers = np.flatnonzero(there)
    if not array.grid:
        yield from (("0", 0) for _ in numbers)
        return
    places = np.stack(np.unravel_index(numbers, array.grid), axis=1).tolist()
    for number, place in zip(numbers.tolist(), places, strict=True):
        yield ".".join(map(str, place)), number


def write_parquet(
    folder: Path, export: StoreExport, url_of: Callable[[str, str], str], record_size: int
) -> None:
    """Write the references as kerchunk's folder of Parquet files.

    Parameters
    ----------
    folder : Path
        Made here.
    export : StoreExport
    url_of : callable
        URL of a file by place and key.
    record_size : int
        Chunks of one file.
    """
    folder.mkdir(parents=True)
    urls = np.array([url_of(place, key) for place, key in export.files], object)
    for array in export.arrays:
        inside = folder / array.path
        inside.mkdir(parents=True, exist_ok=True)
        for record, start in enumerate(range(0, len(array.files), record_size)):
            part = slice(start, start + record_size)
            raw = {
                number - start: data
                for number, data in array.inline.items()
                if start <= number < start + record_size
            }
            _write_record(inside / f"refs.{record}.parq", array, part, urls, raw)
    told = {"metadata": export.metadata(), "record_size": record_size}
    (folder / ".zmetadata").write_text(json.dumps(told, sort_keys=True))


def _write_record(
    path: Path, array: ArrayExport, part: slice, urls: npt.NDArray[Any], raw: Mapping[int, bytes]
) -> None:
    import fastparquet
    import pandas as pd

    numbers = array.files[part]
    used, codes = np.unique(numbers[numbers >= 0], return_inverse=True)
    places = np.full(len(numbers), -1, np.int64)
    places[numbers >= 0] = codes
    data = np.full(len(numbers), None, object)
    for number, each in raw.items():
        data[number] = each
    frame = pd.DataFrame(
        {
            # Many chunks of few files: each URL stands once.
            "path": pd.Categorical.from_codes(places, categories=list(urls[used])),
            "offset": array.offsets[part],
            "size": array.lengths[part],
            "raw": data,
        }
    )
    options: Any = {
        "object_encoding": {"raw": "bytes", "path": "utf8"},
        "has_nulls": ["path", "raw"],
        "stats": False,
    }
    fastparquet.write(str(path), frame, compression="ZSTD", write_index=False, **options)
