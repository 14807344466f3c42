"""The virtual stores as products: each collection's listing, references, store and exports.

Partitions grow with the listing, so they are read from its record when a product is used: nothing
here needs CMR, the archive or Dagster.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from dor_ecco_assets.errors import ConfigurationError, InputMissing
from dor_ecco_assets.lineage.product import (
    Content,
    Partitioning,
    Product,
    Published,
    RunSettings,
    Task,
)
from dor_ecco_assets.lineage.record import Record, listed_records, read_record
from dor_ecco_assets.settings import is_shipped
from dor_ecco_assets.storage.base import Readable, Storage
from dor_ecco_assets.virtual.collections import (
    OWN,
    StoreSpec,
    load_collections,
    own_collections,
)
from dor_ecco_assets.virtual.listing import PartitionFile, partition_files

__all__ = [
    "collection_products",
    "exports_key",
    "granules_key",
    "of_granules",
    "references_key",
    "store_key",
    "virtual_products",
]

#: Raised by hand when bytes of listings, shards, stores or exports would change.
LISTING_VERSION, REFERENCES_VERSION, STORE_VERSION, EXPORTS_VERSION = "1", "2", "1", "2"


def granules_key(name: str) -> str:
    """Key of a collection's listing."""
    return f"virtual/{name}/granules"


def references_key(name: str) -> str:
    """Key of a collection's reference shards."""
    return f"virtual/{name}/references"


def store_key(name: str) -> str:
    """Key of a collection's Icechunk store."""
    return f"virtual/{name}/store"


def exports_key(name: str) -> str:
    """Key of a collection's kerchunk files, catalogue entry and run record."""
    return f"virtual/{name}/exports"


def virtual_products(
    configs: str | None = None, known: Mapping[str, Product] | None = None
) -> tuple[Product, ...]:
    """The products of every configured collection.

    Parameters
    ----------
    configs : str, optional
        The user's overlay of ``configs/``.
    known : mapping of str to Product, optional
        Products that may stand in for a collection. One that the shipped configuration names and
        an overlay's catalogue lacks has no store.

    Raises
    ------
    ConfigurationError
        Code ``UnknownSource`` if an overlay names a product that there is not.
    """
    known = known or {}
    specs = list(load_collections(configs).values())
    for spec in own_collections(configs, of_granules(known)).values():
        source = str(spec.collection.product)
        if source in known:
            specs.append(spec)
        elif not is_shipped(f"{OWN}.yaml", configs):
            near = difflib.get_close_matches(source, known, n=1, cutoff=0.3)
            raise ConfigurationError(
                f"{OWN}.yaml: there is no product {source}"
                + (f"; did you mean {near[0]}?" if near else ""),
                code="UnknownSource",
            )
    return tuple(product for spec in specs for product in collection_products(spec))


def of_granules(known: Mapping[str, Product]) -> list[str]:
    """Keys of the products of one NetCDF granule per month or day."""
    return [
        key
        for key, product in known.items()
        if product.format == "netcdf" and product.partitioning.kind in ("month", "day")
    ]


def collection_products(spec: StoreSpec) -> tuple[Product, ...]:
    """Listing, references, store and exports of one collection."""
    name, title = spec.name, spec.title or spec.collection.short_name
    return (
        Product(
            key=granules_key(name),
            title=f"Granules as CMR lists them: {title}",
            code_version=LISTING_VERSION,
            layer="raw",
            format="files",
            make=partial(_make_listing, spec),
            gathers=() if spec.collection.product is None else (spec.collection.product,),
            config=lambda _settings: _scope(spec),
            bound=None if spec.collection.product is None else partial(_bound_listing, spec),
        ),
        Product(
            key=references_key(name),
            title=f"Byte ranges of every granule's chunks: {title}",
            code_version=REFERENCES_VERSION,
            layer="core",
            format="files",
            make=partial(_make_references, spec, {}),
            partitioning=Partitioning("listed", (), references_key(name)),
            upstream=(granules_key(name),),
            config=partial(_parsing, spec),
            bound=partial(_bound_references, spec),
        ),
        Product(
            key=store_key(name),
            title=f"Virtual store: {title}",
            code_version=STORE_VERSION,
            layer="out",
            format="icechunk",
            make=partial(_make_store, spec),
            gathers=(references_key(name),),
            config=partial(_storing, spec),
            bound=partial(_bound_store, spec),
            digest=partial(_digest_of_store, spec),
        ),
        Product(
            key=exports_key(name),
            title=f"Kerchunk files, catalogue entry and run record: {title}",
            code_version=EXPORTS_VERSION,
            layer="out",
            format="files",
            make=partial(_make_exports, spec),
            upstream=(store_key(name),),
            config=lambda _settings: _exporting(spec),
        ),
    )


# What decides the bytes


def _scope(spec: StoreSpec) -> dict[str, Any]:
    """What decides which granules there are, and how they are listed."""
    told = spec.model_dump(
        mode="json",
        include={"collection", "temporal", "granule_name", "identity", "swath", "access"},
    )
    for place in told["access"]:
        # Where a copy lies on this machine is no property of the granules.
        place.pop("local")
    return {**told, "split_by": spec.split_by}


def _parsing(spec: StoreSpec, _settings: RunSettings) -> dict[str, Any]:
    from dor_ecco_assets.virtual.referencing import parsing_of

    return {"parsing": parsing_of(spec)}


def _storing(spec: StoreSpec, _settings: RunSettings) -> dict[str, Any]:
    told = spec.model_dump(mode="json", exclude={"exports", "title", "interval_s"})
    for place in told["access"]:
        place.pop("local")
    return told


def _exporting(spec: StoreSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", include={"exports", "access", "title", "collection"})


# What the listing decides


def _listed(storage: Readable, spec: StoreSpec) -> dict[str, PartitionFile]:
    return partition_files(read_record(storage, granules_key(spec.name), ""))


def _bound_listing(spec: StoreSpec, storage: Readable) -> Product:
    listing, *_ = collection_products(spec)
    (source,) = listing.gathers
    members = [(source, partition) for partition, _ in listed_records(storage, source)]

    def of_listing(_partition: str) -> Sequence[tuple[str, str]]:
        return members

    return replace(listing, members=of_listing)


def _bound_references(spec: StoreSpec, storage: Readable) -> Product:
    folder, files = granules_key(spec.name), _listed(storage, spec)
    found = next(p for p in collection_products(spec) if p.key == references_key(spec.name))

    def published(partition: str) -> Mapping[str, Published]:
        file = files.get(partition)
        if file is None:
            return {}
        return {"granules": Published(f"{folder}/{file.name}", file.bytes, file.sha256)}

    def require(
        _inputs: Readable, partition: str, _keys: Mapping[str, str | None], _partial: bool
    ) -> None:
        if partition not in files:
            raise InputMissing(
                f"{found.key} {partition}: no granule of it is listed; list what CMR has by "
                f"`dor-ecco virtual build {spec.name}`",
                code="NotListed",
            )

    return replace(
        found,
        make=partial(_make_references, spec, files),
        partitioning=Partitioning("listed", tuple(files), found.key),
        published=published,
        require=require,
    )


def _bound_store(spec: StoreSpec, storage: Readable) -> Product:
    found = next(p for p in collection_products(spec) if p.key == store_key(spec.name))
    members = [(references_key(spec.name), partition) for partition in _listed(storage, spec)]

    def of_store(_partition: str) -> Sequence[tuple[str, str]]:
        return members

    return replace(found, members=of_store)


# Making them: imported late, what only looks at products should not wait for it


def _make_listing(spec: StoreSpec, task: Task) -> Content:
    from dor_ecco_assets.virtual.making import make_listing

    return make_listing(_located(spec, task), granules_key(spec.name), task)


def _make_references(spec: StoreSpec, files: Mapping[str, PartitionFile], task: Task) -> Content:
    from dor_ecco_assets.virtual.making import make_references

    file, granules = files[task.partition], granules_key(spec.name)
    return make_references(_located(spec, task), references_key(spec.name), granules, file, task)


def _make_store(spec: StoreSpec, task: Task) -> Content:
    from dor_ecco_assets.virtual.making import make_store

    return make_store(_located(spec, task), store_key(spec.name), references_key(spec.name), task)


def _digest_of_store(spec: StoreSpec, storage: Storage, record: Record) -> tuple[int, str]:
    from dor_ecco_assets.virtual.making import digest_of_store
    from dor_ecco_assets.virtual.published import located

    return digest_of_store(located(spec, storage), storage, record)


def _make_exports(spec: StoreSpec, task: Task) -> Content:
    from dor_ecco_assets.virtual.exports import make_exports

    versions = {
        "listing code": LISTING_VERSION,
        "reference code": REFERENCES_VERSION,
        "store code": STORE_VERSION,
        "export code": EXPORTS_VERSION,
    }
    key, store = exports_key(spec.name), store_key(spec.name)
    return make_exports(_located(spec, task), key, store, versions, task)


def _located(spec: StoreSpec, task: Task) -> StoreSpec:
    from dor_ecco_assets.virtual.published import located

    assert task.storage is not None
    return located(spec, task.storage)
