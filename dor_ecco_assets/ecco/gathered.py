"""Products gathered from the granules of a month: deliveries and quality reports."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from dor_ecco_assets.ecco.catalogue import Catalogue
from dor_ecco_assets.ecco.products import catalogue_of, ecco_products, production_date
from dor_ecco_assets.lineage.product import Content, Partitioning, Product, Task
from dor_ecco_assets.settings import Strict, load_config

DELIVERY = "ecco/delivery"
QUALITY_REPORT = "ecco/quality_report"

#: Raised when the bytes of a delivery or a report would change for the same granules.
DELIVERY_CODE_VERSION = "2"
REPORT_CODE_VERSION = "2"


class DeliverySettings(Strict):
    """``configs/ecco/delivery.yaml``: how deliveries are announced."""

    provider: str
    notification_version: Annotated[
        str,
        Field(
            pattern=r"^1\.([6-9]|[1-9]\d+)(\.\d+)*$",
            description="1.6 or later, which takes the collection as an object",
        ),
    ]
    uri_base: str | None = None

    def at(self, root_url: str | None) -> "DeliverySettings":
        """The same, with the root's URL, if it has one, where no `uri_base` is configured."""
        return self.model_copy(update={"uri_base": self.uri_base or root_url})

    def uri_of(self, key: str) -> str:
        """Where the archive fetches what lies at `key` below the data root."""
        return key if self.uri_base is None else f"{self.uri_base.rstrip('/')}/{key}"


@lru_cache(maxsize=4)
def gathered_products(configs: str | None = None) -> tuple[Product, ...]:
    """The delivery and the quality report of every month of the run.

    Parameters
    ----------
    configs : str, optional
        The user's overlay of ``configs/``.
    """
    catalogue = catalogue_of(configs)
    settings = load_config(DeliverySettings, "ecco/delivery.yaml", configs)
    datasets = ecco_products(configs)
    months = Partitioning("month", tuple(catalogue.clock.partition_keys("AVG_MON")))
    of_month = lru_cache(maxsize=None)(partial(_of_month, datasets))
    grid = f"grids/{catalogue.release.grid_folder}"
    previous = dict(pairwise(reversed(months.keys)))
    return (
        Product(
            key=QUALITY_REPORT,
            title="What the granules of a month hold, against the month before: a page with maps",
            code_version=REPORT_CODE_VERSION,
            layer="out",
            format="html",
            make=partial(_make_report, {product.key: product.title for product in datasets}, grid),
            partitioning=months,
            upstream=(grid,),
            gathers=tuple(
                product.key for product in datasets if product.partitioning.keys != ("",)
            ),
            members=lambda month: [*of_month(month), *of_month(previous.get(month, "none"))],
        ),
        Product(
            key=DELIVERY,
            title="All granules of a month: manifest, checksums, notifications for an archive",
            code_version=DELIVERY_CODE_VERSION,
            layer="out",
            format="files",
            make=partial(_make_delivery, catalogue, settings),
            partitioning=months,
            gathers=tuple(product.key for product in datasets),
            members=partial(_delivered, of_month, months.keys[0]),
            config=lambda run: {
                "settings": settings.at(run.root_url).model_dump(),
                "incomplete": "delivered" if run.deliver_partial else "left out",
                "version": catalogue.release.version,
                "submitted": production_date(catalogue, run),
            },
        ),
    )


def _make_delivery(catalogue: Catalogue, settings: DeliverySettings, task: Task) -> Content:
    # Imported here: what only looks at products should not wait for xarray.
    from dor_ecco_assets.ecco.delivery import make_delivery

    return make_delivery(catalogue, settings, task)


def _make_report(titles: Mapping[str, str], grid: str, task: Task) -> Content:
    from dor_ecco_assets.ecco.quality_report import make_report

    return make_report(titles, grid, task)


def _of_month(datasets: Sequence[Product], month: str) -> list[tuple[str, str]]:
    """Key and partition of every granule that lies in a month, ``""`` for those of none."""
    return [
        (product.key, partition)
        for product in datasets
        for partition in _by_month(product.partitioning.keys).get(month, ())
    ]


@lru_cache(maxsize=8)
def _by_month(partitions: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for partition in partitions:
        found.setdefault(partition[:7], []).append(partition)
    return found


def _delivered(
    of_month: Callable[[str], list[tuple[str, str]]], first: str, month: str
) -> list[tuple[str, str]]:
    """Granules of one month; those of none go with the first."""
    return [*of_month(month), *(of_month("") if month == first else ())]
