"""The house keeps its walls: imports run one way, importing does nothing, help is instant."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DAGSTER_MODULES = {"assets", "checks", "sensors", "schedules", "definitions"}

#: Rooms in the order in which they may import: each only those before it, and itself.
ORDER = [
    {"constants", "errors", "settings"},
    {"storage"},
    {"lineage", "stores", "grids", "mapping", "atlas"},
    {"ecco", "dor", "pyramids", "virtual", "archives", "processors"},
    {"catalogue", "publish", "samples", "products"},
]
LINES = ORDER[3]


def modules() -> list[Path]:
    return [
        path
        for path in sorted((ROOT / "dor_ecco_assets").rglob("*.py"))
        if path.stem not in DAGSTER_MODULES and "cli" not in path.parts
    ]


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "dor_ecco_assets" else ""


def rank(name: str) -> int:
    return next((place for place, rooms in enumerate(ORDER) if name in rooms), -1)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_rooms_before_its_own(path):
    own = path.relative_to(ROOT / "dor_ecco_assets").parts[0].removesuffix(".py")
    for module in imported(path):
        assert not module.startswith(("dagster", "resources", "partitions")), module
        other = room(module)
        if other and own != "__init__" and other != own:
            assert rank(other) <= rank(own), f"{own} imports {other}"
            assert not (own in LINES and other in LINES), f"line {own} imports line {other}"


def run_python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **environment},
    )
    return done.stdout.strip()


def test_subject_modules_load_without_dagster():
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in modules()
    ]
    code = f"import importlib, sys\nfor n in {names!r}: importlib.import_module(n)\n"
    assert run_python(code + "print('dagster' in sys.modules)") == "False"


def test_what_answers_from_records_loads_neither_dagster_nor_xarray():
    heavy = {"dagster", "xarray", "numba"}
    code = f"import sys, dor_ecco_assets.products\nprint({heavy!r} & set(sys.modules))"
    assert run_python(code) == "set()"


def test_help_loads_nothing_heavy():
    code = (
        "import sys, dor_ecco_assets.cli\n"
        "print({'dagster', 'xarray', 'numpy', 'pydantic', 'rich.table', 'yaml'} & set(sys.modules))"
    )
    assert run_python(code) == "set()"


def test_loading_the_code_location_makes_no_file_and_asks_no_network(tmp_path):
    code = (
        "import os, socket, sys\n"
        f"os.chdir({str(tmp_path)!r}); sys.path.insert(0, {str(ROOT)!r})\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "import dor_ecco_assets.definitions as d\n"
        "print(*('/'.join(k.path) for k in d.defs.resolve_asset_graph().get_all_asset_keys()))"
    )
    from dor_ecco_assets.products import all_products

    found = run_python(code, HOME=str(tmp_path)).splitlines()[-1].split()
    products = all_products()
    given = {key for product in products.values() for key in product.external}
    assert set(found) == {*products, *given}
    assert list(tmp_path.iterdir()) == []
