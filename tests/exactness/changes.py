"""Seeded one-byte changes of a production, and an independent walk of what depends on them.

The tables here are written by hand from what the datasets are, not taken from the products, so that
they and the products can disagree.
"""

import random
from dataclasses import dataclass, replace
from pathlib import Path

from dor_ecco_assets.lineage.product import Product
from dor_ecco_assets.settings import config_path
from tests.exactness.small import DAYS, MONTHS, overlay

GRID, TARGET = "grids/llc90", "grids/latlon_0p50deg"
FACTORS = "mapping/llc90_to_latlon_0p50deg"

type Pair = tuple[str, str]

HEIGHTS = {"SSH", "SSHIBC", "SSHNOIBC"}
STRESSES = {"EXFtaux", "EXFtauy", "oceTAUX", "oceTAUY"}
#: Part of a dataset's short name, and the model fields that go into its granules.
FIELDS = {
    "SSH_LLC0090GRID": HEIGHTS | {"ETAN"},
    "SSH_05DEG": HEIGHTS,
    "STRESS_LLC0090GRID": STRESSES,
    "STRESS_05DEG": STRESSES,
}
#: Frequency in the short name, with the partitions that have input.
OFTEN = {"MONTHLY": MONTHS, "DAILY": DAYS}
#: What products are made from, besides model fields.
MADE_FROM = {
    FACTORS: {GRID, TARGET},
    **{
        f"ecco/ECCO_L4_{name}_{often}_V4R4": {GRID, TARGET, FACTORS} if "DEG" in name else {GRID}
        for name in FIELDS
        for often in OFTEN
    },
}


def granules(*words: str) -> set[Pair]:
    """Partitions of the datasets whose short name holds all of some words."""
    return {
        (key, partition)
        for key in MADE_FROM
        if key.startswith("ecco/") and all(word in key for word in words)
        for often, partitions in OFTEN.items()
        if often in key
        for partition in partitions
    }


def walk(roots: set[Pair]) -> set[Pair]:
    """Those partitions and everything that is made from them."""
    found = set(roots)
    for product, sources in MADE_FROM.items():  # factors come before what is made with them
        if any((source, "") in found for source in sources):
            found |= {(product, "")} if product == FACTORS else granules(product)
    return found


@dataclass(frozen=True)
class Change:
    """One byte that is another, in one place.

    Parameters
    ----------
    what : str
    roots : set of (product, partition)
        What it concerns at first hand.
    file : Path, optional
        The input that changes.
    place, flip : int
        The byte of that file, and the bits of it that change.
    config : (str, str), optional
        Name of a configuration file, and its text.
    product : str, optional
        Whose code version changes.
    """

    what: str
    roots: frozenset[Pair]
    file: Path | None = None
    place: int = 0
    flip: int = 0
    config: tuple[str, str] | None = None
    product: str | None = None

    def apply(self) -> None:
        """Change the input, if it is one; twice restores it."""
        if self.file is not None:
            data = bytearray(self.file.read_bytes())
            data[self.place] ^= self.flip
            self.file.write_bytes(data)

    def configs(self, folder: Path) -> str:
        """The overlay, with the changed file in it if it is a change of configuration."""
        return overlay(folder, {**BASE, **dict([self.config] if self.config else [])})

    def products(self, products: dict[str, Product]) -> dict[str, Product]:
        """The products, one of them with another code version if that is the change."""
        if self.product is None:
            return products
        changed = replace(products[self.product], code_version="9")
        return {**products, self.product: changed}


def random_changes(seed: int, count: int, inputs: Path) -> list[Change]:
    """Changes of every kind in turn: of model output, grid, configuration, code version."""
    draw = random.Random(seed)
    kinds = {
        "field": lambda: _of_a_field(draw, inputs),
        "grid": lambda: _of_the_grid(draw, inputs),
        "config": lambda: _of_the_configuration(draw),
        "code": lambda: _of_the_code(draw),
    }
    order = ("field", "config", "grid", "field", "config", "code")
    return [kinds[order[n % len(order)]]() for n in range(count)]


def _of_a_field(draw: random.Random, inputs: Path) -> Change:
    file = draw.choice(sorted((inputs / "V4r4").rglob("*_mean.*")))
    field, _, rest = file.name.partition("_")
    often = "MONTHLY" if rest.startswith("mon") else "DAILY"
    steps = sorted({path.name.split(".")[1] for path in file.parent.iterdir()})
    partition = OFTEN[often][steps.index(file.name.split(".")[1])]
    datasets = [name for name, fields in FIELDS.items() if field in fields]
    roots = {p for name in datasets for p in granules(name, often) if p[1] == partition}
    return _of_a_byte(draw, file, roots)


def _of_the_grid(draw: random.Random, inputs: Path) -> Change:
    return _of_a_byte(draw, draw.choice(sorted((inputs / "llc90").iterdir())), {(GRID, "")})


def _of_a_byte(draw: random.Random, file: Path, roots: set[Pair]) -> Change:
    place, flip = draw.randrange(file.stat().st_size), draw.randrange(1, 256)
    what = f"{file.name}[{place}] ^= {flip}"
    return Change(what, frozenset(roots), file=file, place=place, flip=flip)


def _of_the_code(draw: random.Random) -> Change:
    key = draw.choice([GRID, TARGET, *MADE_FROM])
    roots = granules(key) if key.startswith("ecco/") else {(key, "")}
    return Change(f"code version of {key}", frozenset(roots), product=key)


def _of_the_configuration(draw: random.Random) -> Change:
    name, before, after, roots = draw.choice(CONFIGURATION)
    text = BASE.get(name) or config_path(name).read_text()
    assert text.count(before) == 1, f"{before!r} is not in {name} once"
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1
    what = f"{name}: {before!r} -> {after!r}"
    return Change(what, frozenset(roots), config=(name, text.replace(before, after)))


TARGET_FILE, FACTORS_FILE = f"{TARGET}.yaml", f"{FACTORS}.yaml"
#: The overlay that nothing has been changed in: a grid and factors that take little time.
BASE = {
    TARGET_FILE: "# A coarse grid.\nresolution_degrees: 2.0\nsouth: -90.0\n",
    FACTORS_FILE: f"source: {GRID}\ntarget: {TARGET}\n"
    "radius: {method: fixed, radius_m: 600000}\n",
}

VARIABLES, RELEASE, WORDS = "ecco/variables.yaml", "ecco/release.yaml", "ecco/coordinates.yaml"
#: File, text that is in it once, the same with another byte, and what that concerns.
CONFIGURATION: list[tuple[str, str, str, set[Pair]]] = [
    (VARIABLES, "Free-surface height", "Free-Surface height", granules("SSH_LLC")),
    (VARIABLES, "Response of the sea surface", "response of the sea surface", granules("SSH")),
    (VARIABLES, "Wind stress in the model +x", "Wind stress in the Model +x", granules("STRESS")),
    (VARIABLES, "name: Eastward wind", "name: eastward wind", granules("STRESS_05DEG")),
    (VARIABLES, "# What each model", "# what each model", set()),
    ("ecco/groupings.yaml", "the field to compare", "the Field to compare", granules("SSH")),
    ("ecco/groupings.yaml", "Ocean and Sea-Ice", "Ocean and Sea_Ice", granules("STRESS")),
    (RELEASE, '"2021-02-26', '"2021-02-27', granules("")),
    (RELEASE, "author: ECCO Consortium", "author: ECCO consortium", granules("")),
    (RELEASE, "Version 4, Release 4", "Version 4, release 4", granules("")),
    (RELEASE, "on the native lat-lon-cap", "on the Native lat-lon-cap", granules("LLC0090")),
    (RELEASE, "Mapping does not conserve", "mapping does not conserve", granules("05DEG")),
    (RELEASE, "title: Monthly Mean", "title: Monthly mean", granules("MONTHLY")),
    (RELEASE, "head: daily", "head: Daily", granules("DAILY")),
    (RELEASE, "# One release", "# one release", set()),
    (WORDS, "start and end of the averaging", "Start and end of the averaging", granules("")),
    (WORDS, "lat-lon-cap tile index", "lat-lon-cap tile Index", granules("LLC0090")),
    (WORDS, "latitude of grid cell", "Latitude of grid cell", granules("05DEG")),
    (TARGET_FILE, "degrees: 2.0", "degrees: 2.5", {(TARGET, "")}),
    (TARGET_FILE, "south: -90.0", "south: -80.0", {(TARGET, "")}),
    (TARGET_FILE, "# A coarse", "# a coarse", set()),
    (FACTORS_FILE, "radius_m: 600000", "radius_m: 700000", {(FACTORS, "")}),
]
