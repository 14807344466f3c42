"""What assets are split by, as Dagster partitions: days and months of a model run."""

import datetime

import dagster as dg

from dor_ecco_assets.lineage.product import Partitioning


def partitions_of(partitioning: Partitioning) -> dg.PartitionsDefinition | None:
    """The Dagster partitions with exactly the keys of `partitioning`; None where there are none.

    Parameters
    ----------
    partitioning : Partitioning
        Its keys are consecutive days ``YYYY-MM-DD`` or months ``YYYY-MM``.
    """
    if partitioning.kind == "none":
        return None
    first, last = partitioning.keys[0], partitioning.keys[-1]
    if partitioning.kind == "month":
        year, month = map(int, last.split("-"))
        end = f"{year + month // 12:04d}-{month % 12 + 1:02d}"
        return dg.MonthlyPartitionsDefinition(start_date=first, end_date=end, fmt="%Y-%m")
    end = str(datetime.date.fromisoformat(last) + datetime.timedelta(days=1))
    return dg.DailyPartitionsDefinition(start_date=first, end_date=end)
