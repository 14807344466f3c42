"""Which atlas a production makes, and where its history files lie: ``configs/dor.yaml``."""

from functools import lru_cache

from pydantic import Field

from dor_ecco_assets.atlas.cases import Case, cases_of
from dor_ecco_assets.atlas.specification import DEFAULT_ATLAS, Atlas, load_atlas
from dor_ecco_assets.settings import Strict, load_config

__all__ = ["CASE_CODE_VERSION", "Line", "LineFile", "case_partitions", "load_line"]


#: Raised by hand when the bytes of any product of a case would change.
CASE_CODE_VERSION = "1"


class LineFile(Strict):
    """``configs/dor.yaml``."""

    atlas: str = Field(DEFAULT_ATLAS, description="a file of configs/atlases, without .yaml")
    history: str = Field(description="folder below the inputs that holds a folder per case")
    sea_level: str | None = Field(
        None, description="key of the monthly SSH series of the shared run, if any"
    )
    published_efficiency: str | None = Field(
        None, description="key of the regions that carry published efficiencies, if any"
    )


class Line(LineFile):
    """The same with the atlas it names."""

    specification: Atlas

    def __hash__(self) -> int:
        """Lets what is computed of a line be kept; equality compares every field."""
        return hash((self.atlas, self.history))

    def history_folder(self, case: str) -> str:
        """Key of the folder of a run's history files."""
        return f"{self.history}/{case}/ocn/hist"


def load_line(configs: str | None = None) -> Line:
    """The configured atlas with the places of its inputs.

    Parameters
    ----------
    configs : str, optional
        The user's overlay of ``configs/``.
    """
    found = load_config(LineFile, "dor.yaml", configs)
    return Line(**found.model_dump(), specification=load_atlas(found.atlas, configs))


@lru_cache(maxsize=8)
def case_partitions(atlas: Atlas) -> dict[str, Case]:
    """Every case by its partition key, injection months first, then polygons."""
    return dict(sorted((case.partition, case) for case in cases_of(atlas)))
