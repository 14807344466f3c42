"""A production of two small products, so that lineage is tested without oceanography.

``toy/base`` is made of one input; ``toy/sum`` [month] of one input per month and of the base.
"""

from pathlib import Path

from dor_ecco_assets.errors import InputUnusable
from dor_ecco_assets.lineage.product import Content, Partitioning, Product, by_key
from dor_ecco_assets.lineage.workspace import Workspace
from dor_ecco_assets.storage import Directory, Storage

MONTHS = ("1992-01", "1992-02", "1992-03")


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

    def content(key: str, value: int) -> Content:
        return Content(key, lambda path: path.write_text(str(value)) and None, {"value": value})

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


def make_everything(space: Workspace) -> None:
    for month in MONTHS:
        space.make("toy/sum", month)


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".cache" not in path.parts
    }
