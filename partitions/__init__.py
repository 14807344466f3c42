"""What assets are split by, as Dagster partitions: days and months of a model run, cases."""

import datetime

import dagster as dg

from dor_ecco_assets.lineage.product import Partitioning


def partitions_of(partitioning: Partitioning) -> dg.PartitionsDefinition | None:
    """The Dagster partitions with exactly the keys of `partitioning`; None where there are none.

    Parameters
    ----------
    partitioning : Partitioning
        Listed ones are told to the instance as they come. Others are consecutive days
        ``YYYY-MM-DD`` or months ``YYYY-MM``, injection months, or cases
        ``injection_month|polygon``, every month with the same polygons.
    """
    if partitioning.kind == "none":
        return None
    if partitioning.kind == "listed":
        return dg.DynamicPartitionsDefinition(name=partitioning.name)
    if partitioning.kind == "injection_month":
        return dg.StaticPartitionsDefinition(partitioning.keys)
    if partitioning.kind == "case":
        pairs = [key.split("|") for key in partitioning.keys]
        # Dagster sorts dimensions by name; so do the keys.
        return dg.MultiPartitionsDefinition(
            {
                "injection_month": dg.StaticPartitionsDefinition(sorted({m for m, _ in pairs})),
                "polygon": dg.StaticPartitionsDefinition(sorted({p for _, p in pairs})),
            }
        )
    first, last = partitioning.keys[0], partitioning.keys[-1]
    if partitioning.kind == "month":
        year, month = map(int, last.split("-"))
        end = f"{year + month // 12:04d}-{month % 12 + 1:02d}"
        return dg.MonthlyPartitionsDefinition(start_date=first, end_date=end, fmt="%Y-%m")
    end = str(datetime.date.fromisoformat(last) + datetime.timedelta(days=1))
    return dg.DailyPartitionsDefinition(start_date=first, end_date=end)
