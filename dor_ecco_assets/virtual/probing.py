"""Whether values read through a virtual store are those of the original files."""

import hashlib
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
from dor_ecco_assets.virtual.listing import key_urls, read_listing
from dor_ecco_assets.virtual.products import granules_key

if TYPE_CHECKING:
    from dor_ecco_assets.lineage.ledger import Entry
    from dor_ecco_assets.stores.icechunk_store import IcechunkStore
    from dor_ecco_assets.virtual.access import Way

__all__ = ["Compared", "archives_of", "probe", "readable_store"]


@dataclass(frozen=True)
class Compared:
    """One array of one granule, as the store gives it and as the file has it.

    Parameters
    ----------
    key, granule, variable : str
        Concept id and name of the granule, and the array.
    access : str
    values : int
        Stored numbers that were compared.
    problem : str
        What is wrong; empty if every one is the same.
    """

    key: str
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
    archives: Archives | None = None,
    *,
    version: str | None = None,
    **options: Any,
) -> list[Compared]:
    """Compare every referenced array of some granules with the original files, bit for bit.

    Parameters
    ----------
    storage : Storage
    spec : StoreSpec
    granules : int
        Drawn at random, of the same content the same ones.
    access : sequence of str, optional
        Ways to read the store; the one that is used from here if not given.
    archives : Archives, optional
        Where the originals are read, if it is open already.
    version : str, optional
        Of the store; the newest if not given.
    options
        As `reading.containers_of` takes them; the environment's login if not given.

    Returns
    -------
    list of Compared
        In which what could not be read is a problem too.
    """
    archives = archives or archives_of(storage, spec)
    found: list[Compared] = []
    for way in access or (chosen_way(spec.access[0]),):
        store = readable_store(storage, spec, way, archives, **options)
        session = store.reading(version)
        ledger = read_ledger(session.store)
        rows = ledger.rows_in("published")
        chosen = ledger.at(rows[_drawn(ledger.index, len(rows), granules)])
        epochs = [
            (each["path"], Layout.decode(each["layout"]))
            for each in read_state(session.store).get("epochs", [])
        ]
        for entry in chosen:
            path, layout = epochs[entry.epoch]
            found += _compared(session, spec, archives, entry, path, layout, way)
    return found


def archives_of(storage: Storage, spec: StoreSpec) -> Archives:
    """The places of a collection, with the keys that its granules name."""
    listing = read_listing(storage, granules_key(spec.name))
    return Archives(spec, key_urls=key_urls(listing))


def readable_store(
    storage: Storage,
    spec: StoreSpec,
    access: "Way | None" = None,
    archives: Archives | None = None,
    **options: Any,
) -> "IcechunkStore":
    """A collection's store, whose values are read with the login of the environment.

    Parameters
    ----------
    storage : Storage
    spec : StoreSpec
    access : str, optional
        The way that is used from here, if not given.
    archives : Archives, optional
        With the login.
    options
        As `reading.containers_of` takes them, instead of the login.
    """
    from dor_ecco_assets.virtual.reading import virtual_store

    store = virtual_store(storage, spec, access, **options)
    if not options:
        known = archives or archives_of(storage, spec)
        store.containers = tuple(known.authorised(store.containers))
    return store


def _drawn(index: Any, count: int, wanted: int) -> Any:
    """Some of so many places in their order, drawn by what the ledger's index holds."""
    seed = int.from_bytes(hashlib.sha256(np.ascontiguousarray(index).tobytes()).digest()[:8])
    return np.sort(np.random.default_rng(seed).permutation(count)[:wanted])


def _compared(
    session: Any,
    spec: StoreSpec,
    archives: Archives,
    entry: "Entry",
    path: str,
    layout: Layout,
    way: str,
) -> list[Compared]:
    import zarr
    from obstore.exceptions import BaseError

    parts = layout.of_kind("virtual")
    try:
        originals = _originals(spec, archives, entry, [part.source for part in parts])
    except (DorEccoError, OSError, KeyError, BaseError) as error:
        problem = f"the original cannot be read: {error}"
        return [Compared(entry.key, entry.name, "", way, 0, problem)]
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
            problem = f"cannot be read: {text}"
            found.append(Compared(entry.key, entry.name, part.target, way, 0, problem))
            continue
        unlike = int(np.count_nonzero(~_same(given, wanted)))
        problem = f"{unlike} of {wanted.size} values differ" if unlike else ""
        found.append(Compared(entry.key, entry.name, part.target, way, int(wanted.size), problem))
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


def _originals(
    spec: StoreSpec, archives: Archives, entry: "Entry", names: Sequence[str]
) -> dict[str, Any]:
    """Stored numbers of the original file, read by the library of its format."""
    import io

    import h5py
    import netCDF4
    import obstore

    from dor_ecco_assets.virtual.formats import granule_format

    store = archives.store(entry.container)
    data = bytes(obstore.get(store, entry.location).bytes())
    found: dict[str, Any] = {}
    if granule_format(data[:512]) == "netcdf3":
        with netCDF4.Dataset(entry.location, memory=data) as file:
            file.set_auto_maskandscale(False)
            return {name: file[name][...] for name in names if name in file.variables}
    with h5py.File(io.BytesIO(data), "r") as file:
        place: Any = file[spec.group] if spec.group else file
        for name in names:
            if name in place:
                found[name] = place[name][...]
    return found
