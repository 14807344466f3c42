"""Whether values read through a virtual store are those of the original files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dor_ecco_assets.errors import DorEccoError
from dor_ecco_assets.storage.base import Storage
from dor_ecco_assets.stores.ledger_arrays import read_ledger, read_state
from dor_ecco_assets.virtual.access import Archives, chosen_way
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.layout import Layout, Part

if TYPE_CHECKING:
    from dor_ecco_assets.lineage.ledger import Entry
    from dor_ecco_assets.virtual.access import Way

__all__ = ["Compared", "probe"]


@dataclass(frozen=True)
class Compared:
    """One array of one granule, as the store gives it and as the file has it.

    Parameters
    ----------
    granule, variable : str
    access : str
    values : int
        Stored numbers that were compared.
    problem : str
        What is wrong; empty if every one is the same.
    """

    granule: str
    variable: str
    access: str
    values: int
    problem: str


def probe(
    storage: Storage,
    spec: StoreSpec,
    granules: int,
    access: "Sequence[Way]" = (),
    **options: Any,
) -> list[Compared]:
    """Compare every referenced array of some granules with the original files, bit for bit.

    Parameters
    ----------
    storage : Storage
    spec : StoreSpec
    granules : int
        Spread over the axis, the first and the last among them.
    access : sequence of str, optional
        Ways to read the store; the one that is used from here if not given.
    options
        As `reading.containers_of` takes them.

    Returns
    -------
    list of Compared
        In which what could not be read is a problem too.
    """
    from dor_ecco_assets.virtual.reading import virtual_store

    found: list[Compared] = []
    for way in access or (chosen_way(spec.access[0]),):
        store = virtual_store(storage, spec, way, **options)
        session = store.reading()
        ledger = read_ledger(session.store)
        rows = ledger.rows_in("published")
        places = np.unique(np.linspace(0, max(len(rows) - 1, 0), granules).round().astype(int))
        chosen = ledger.at(rows[places]) if len(rows) else []
        epochs = [
            (each["path"], Layout.decode(each["layout"]))
            for each in read_state(session.store).get("epochs", [])
        ]
        for entry in chosen:
            path, layout = epochs[entry.epoch]
            found += _compared(session, spec, entry, path, layout, way)
    return found


def _compared(
    session: Any, spec: StoreSpec, entry: "Entry", path: str, layout: Layout, way: str
) -> list[Compared]:
    import zarr

    parts = layout.of_kind("virtual")
    try:
        originals = _originals(spec, entry, [part.source for part in parts])
    except (DorEccoError, OSError, KeyError) as error:
        return [Compared(entry.name, "", way, 0, f"the original cannot be read: {error}")]
    found: list[Compared] = []
    for part in parts:
        wanted = originals.get(part.source)
        if wanted is None:
            continue  # the ledger's note says that it is missing
        array: Any = zarr.open_array(
            session.store, path=f"{path}/{part.target}".lstrip("/"), mode="r", zarr_format=3
        )
        try:
            given = _slot(array, part, entry.slot, wanted.shape)
        except Exception as error:  # noqa: BLE001 - whatever a reader would meet is the finding
            text = str(error).strip().partition("\n")[0][:200]
            found.append(Compared(entry.name, part.target, way, 0, f"cannot be read: {text}"))
            continue
        unlike = int(np.count_nonzero(~_same(given, wanted)))
        problem = f"{unlike} of {wanted.size} values differ" if unlike else ""
        found.append(Compared(entry.name, part.target, way, int(wanted.size), problem))
    return found


def _slot(array: Any, part: Part, slot: int, shape: tuple[int, ...]) -> Any:
    """Values of one granule; of a ragged one only as many as it has."""
    if part.new_axis:
        return array[(slot, *(slice(0, n) for n in shape))]
    index = [slice(0, n) for n in shape]
    index[part.axis] = slice(slot * part.span, (slot + 1) * part.span)
    return array[tuple(index)]


def _same(given: Any, wanted: Any) -> Any:
    if given.shape != wanted.shape:
        return np.zeros(wanted.shape, bool)
    if wanted.dtype.kind == "f":
        return (given == wanted) | (np.isnan(given) & np.isnan(wanted))
    return given == wanted


def _originals(spec: StoreSpec, entry: "Entry", names: Sequence[str]) -> dict[str, Any]:
    """Stored numbers of the original file, read by the HDF5 library."""
    import io

    import h5py
    import obstore

    store = Archives(spec).store(entry.container)
    data = bytes(obstore.get(store, entry.location).bytes())
    found: dict[str, Any] = {}
    with h5py.File(io.BytesIO(data), "r") as file:
        place: Any = file[spec.group] if spec.group else file
        for name in names:
            if name in place:
                found[name] = place[name][...]
    return found
