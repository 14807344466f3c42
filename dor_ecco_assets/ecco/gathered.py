"""Products gathered from the granules of a month: deliveries and quality reports."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import pairwise

from dor_ecco_assets.ecco.catalogue import Catalogue, load_catalogue
from dor_ecco_assets.ecco.products import ecco_products, production_date
from dor_ecco_assets.lineage.product import Content, Partitioning, Product, Task
from dor_ecco_assets.settings import Strict, load_config

DELIVERY = "ecco/delivery"
QUALITY_REPORT = "ecco/quality_report"

#: Raised when the bytes of a delivery or a report would change for the same granules.
DELIVERY_CODE_VERSION = "1"
REPORT_CODE_VERSION = "1"


class DeliverySettings(Strict):
    """``configs/ecco/delivery.yaml``: how deliveries are announced."""

    provider: str
    notification_version: str
    uri_base: str | None = None

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
    catalogue = load_catalogue(configs)
    settings = load_config(DeliverySettings, "ecco/delivery.yaml", configs)
    datasets = ecco_products(configs)
    months = Partitioning("month", tuple(catalogue.clock.partition_keys("AVG_MON")))
    of_month = partial(_members, lru_cache(maxsize=1)(lambda: _by_month(datasets)))
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
                "settings": settings.model_dump(),
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


type ByMonth = Callable[[], dict[str, list[tuple[str, str]]]]


def _by_month(datasets: Sequence[Product]) -> dict[str, list[tuple[str, str]]]:
    """Key and partition of every granule by the month it lies in, ``""`` for those of none."""
    found: dict[str, list[tuple[str, str]]] = {}
    for product in datasets:
        for partition in product.partitioning.keys:
            found.setdefault(partition[:7], []).append((product.key, partition))
    return found


def _members(by_month: ByMonth, month: str) -> list[tuple[str, str]]:
    return by_month().get(month, [])


def _delivered(
    of_month: Callable[[str], list[tuple[str, str]]], first: str, month: str
) -> list[tuple[str, str]]:
    """Granules of one month; those of none go with the first."""
    return [*of_month(month), *(of_month("") if month == first else ())]
