"""A production of two small products, so that lineage is tested without oceanography.

``toy/base`` is made of one input; ``toy/sum`` [month] of one input per month and of the base;
``toy/total`` and the folder ``toy/years`` [month] gather what there is of ``toy/sum``.
"""

from pathlib import Path

from dor_ecco_assets.errors import InputUnusable
from dor_ecco_assets.lineage.product import Content, Partitioning, Product, by_key
from dor_ecco_assets.lineage.workspace import Workspace
from dor_ecco_assets.storage import Directory, Storage

MONTHS = ("1992-01", "1992-02", "1992-03")


def content(key: str, value: int) -> Content:
    return Content(key, lambda path: path.write_text(str(value)) and None, {"value": value})


def products(code_version: str = "1", factor: int = 2) -> dict[str, Product]:
    def number(storage: Storage, key: str | None) -> int:
        text = (storage.read(key or "") or b"").decode()
        if not text.isdigit():
            raise InputUnusable(
                f"{storage.locate(key or '')} is {text!r}, expected a number; write one",
                code="NotANumber",
                uri=storage.locate(key or ""),
            )
        return int(text)

    def make_sum(task):
        base = int((task.inputs.read("base") or b"0").decode())
        value = factor * (base + number(task.inputs, task.input_keys["month"]))
        return content(f"toy/sum/{task.partition}.txt", value)

    return by_key(
        [
            Product(
                key="toy/base",
                title="Base",
                code_version="1",
                layer="core",
                format="netcdf",
                make=lambda task: content("toy/base.txt", number(task.inputs, "base")),
                inputs=lambda storage, _: {"base": "base" if storage.stat("base") else None},
            ),
            Product(
                key="toy/sum",
                title="Sum",
                code_version=code_version,
                layer="out",
                format="netcdf",
                make=make_sum,
                partitioning=Partitioning("month", MONTHS),
                upstream=("toy/base",),
                inputs=lambda storage, month: {
                    "month": f"months/{month}" if storage.stat(f"months/{month}") else None
                },
                config=lambda _settings: {"factor": factor},
            ),
        ]
    )


def gathered() -> dict[str, Product]:
    def make_total(task):
        found = []
        for member in task.members():
            with member.read() as file:
                found.append(int(file.read()))
        return content("toy/total.txt", sum(found))

    def make_year(task):
        def write(path):
            path.mkdir()
            for member in task.members():
                with member.read() as file:
                    (path / f"{member.partition}.txt").write_bytes(file.read())

        return Content(f"toy/years/{task.partition}", write, {"members": "files"})

    return by_key(
        [
            Product(
                key="toy/total",
                title="Total",
                code_version="1",
                layer="out",
                format="netcdf",
                make=make_total,
                gathers=("toy/sum",),
                members=lambda _: [("toy/sum", month) for month in MONTHS],
            ),
            Product(
                key="toy/years",
                title="What there is up to a month",
                code_version="1",
                layer="out",
                format="files",
                make=make_year,
                partitioning=Partitioning("month", MONTHS),
                gathers=("toy/sum",),
                members=lambda last: [("toy/sum", month) for month in MONTHS if month <= last],
            ),
        ]
    )


def make_inputs(folder: Path) -> Path:
    (folder / "months").mkdir(parents=True)
    (folder / "base").write_text("100")
    for n, month in enumerate(MONTHS, 1):
        (folder / "months" / month).write_text(str(n))
    return folder


def workspace(folder: Path, storage: Storage | None = None, **kwargs) -> Workspace:
    inputs = folder / "inputs"
    if not inputs.exists():
        make_inputs(inputs)
    return Workspace(storage or Directory(folder / "root"), Directory(inputs), products(**kwargs))


def gathering(folder: Path, storage: Storage | None = None, **kwargs) -> Workspace:
    """The same production with what gathers its partitions."""
    space = workspace(folder, storage, **kwargs)
    return Workspace(space.storage, space.inputs, {**space.products, **gathered()})


def make_everything(space: Workspace) -> None:
    for month in MONTHS:
        space.make("toy/sum", month)


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".cache" not in path.parts
    }
