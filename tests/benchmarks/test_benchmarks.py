"""Forms that other programs and people read: the rows, the table, the JSON, the exit codes."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import command_rows, running
from benchmarks.__main__ import main
from benchmarks.lines import LINES, Group, Setting, names_of
from benchmarks.measure import KEYS, has_limit, interleaved_costs, limit_row, missing_row, row
from benchmarks.processes import CHECKOUT, Children
from benchmarks.report import show, verdict, write_json

ECCO = [
    "mapping factors, 50 depth levels",
    "apply to one 3-D field",
    "write a two-variable 3-D lat-lon granule",
    "the same, native 13 tiles, values to published file",
    "native 3-D granule, read to published",
    "lat-lon 3-D granule, read to published",
    "peak memory of 3-D granules, 12 months in one run",
    "one month of all V4r4 monthly datasets, 2 workers against 1",
    "code location load",
    "dor-ecco --help",
    "one partition by dagster asset materialize, outside our own code",
    "dor-ecco stale ecco, every partition of V4r4",
]


def made_up(name: str = "a cost", *, ours: float = 2.0, target: float = 4.0):
    return row(line="ecco", name=name, ours=ours, baseline=10.0, target=target, note="made up")


def made_up_limit(ours: float, limit: float):
    return limit_row(
        line="ecco",
        name="a limit",
        ours=ours,
        baseline=1.0,
        limit=limit,
        peak_mb=70.0,
        note="made up",
    )


def printed(rows) -> str:
    console = Console(file=io.StringIO())
    show(rows, console)
    return console.file.getvalue()


def test_the_ecco_line_has_every_row():
    assert names_of("ecco") == ECCO


def test_rows_have_exactly_the_agreed_keys():
    for made in (made_up(), made_up_limit(1, 2), missing_row("ecco", "x", "broke")):
        assert tuple(made) == KEYS


def test_a_cost_is_judged_by_its_ratio():
    met, missed = made_up(ours=2.0), made_up(ours=5.0)
    assert (met["ratio"], met["met"]) == (5.0, True)
    assert (missed["ratio"], missed["met"]) == (2.0, False)
    assert not has_limit(met)


def test_a_limit_is_judged_by_ours_and_says_so():
    met, missed = made_up_limit(4.9, 5.0), made_up_limit(5.1, 5.0)
    assert met["met"]
    assert not missed["met"]
    assert met["target"] == 5.0
    assert met["note"].startswith("target is a limit on ours")


def test_the_first_pair_of_runs_is_a_warm_up():
    ours, theirs = iter([9.0, 1.0, 2.0, 3.0]), iter([9.0, 4.0, 5.0, 6.0])
    assert interleaved_costs(lambda: next(ours), lambda: next(theirs), runs=3) == (2.0, 5.0)


def test_the_table_fits_120_columns_and_says_what_must_hold():
    long = made_up("a benchmark with a name that is long enough to need a second line of the table")
    text = printed([long | {"note": "word " * 60}, made_up_limit(1, 2)])
    assert max(map(len, text.splitlines())) <= 120
    assert "ratio ≥ 4" in text
    assert "ours ≤ 2" in text
    assert text.count("word") == 60
    assert "2 of 2 targets met" in text


def test_a_missed_row_is_said():
    text = printed([made_up(ours=5.0), missing_row("ecco", "apply", "not measured: it broke")])
    assert "NO" in text
    assert "0 of 2 targets met; missed: ecco: a cost; ecco: apply" in " ".join(text.split())
    assert "it broke" in text


def test_nothing_missed_is_said_shortly():
    assert verdict([made_up()]) == "1 of 1 targets met"


def test_the_json_is_the_list_of_rows(tmp_path: Path):
    rows = [made_up(), made_up_limit(1, 2), missing_row("ecco", "x", "broke")]
    write_json(rows, tmp_path / "rows.json")
    found = json.loads((tmp_path / "rows.json").read_text())
    assert [tuple(each) for each in found] == [KEYS] * 3
    assert found[0]["ratio"] == 5.0
    assert found[2]["ours"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["atlas"], "no line atlas; lines are ecco"),
        (["--data", "nowhere"], "no llc90/XC.data"),
        (["--json", "nowhere/rows.json"], "no such folder"),
        (["--fast"], "--fast"),
    ],
)
def test_a_usage_error_ends_with_code_2_and_measures_nothing(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_broken_benchmark_counts_as_missed_and_hides_no_other(monkeypatch, tmp_path, capsys):
    def half(_setting, scratch: Path):
        (scratch / "file").write_text("left")
        yield made_up("one")
        raise RuntimeError("the disk is gone")

    monkeypatch.setitem(LINES, "ecco", (Group(("two", "one"), half),))
    rows = running.measure("ecco", 0, Setting(quick=True, data=None), tmp_path)
    assert [(found["name"], found["met"]) for found in rows] == [("two", False), ("one", True)]
    assert "the disk is gone" in rows[0]["note"]
    assert "ecco: two; one" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_group_whose_process_dies_counts_as_missed(tmp_path):
    rows = running._collect(("ecco", 0), -9, tmp_path)
    assert [found["name"] for found in rows] == ECCO[:2]
    assert not any(found["met"] for found in rows)
    assert "code -9" in rows[0]["note"]


def test_children_see_no_production_of_the_caller_and_keep_bytecode(tmp_path, monkeypatch):
    monkeypatch.setenv("DOR_ECCO_ROOT", "/nowhere")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    children = Children(tmp_path / "work", tmp_path / "bytecode", DAGSTER_HOME="/given")
    code = "import os, json, colorsys; print(json.dumps(dict(os.environ)))"
    seen = json.loads(children.run(["-c", code]).output)
    assert "DOR_ECCO_ROOT" not in seen
    assert seen["DAGSTER_HOME"] == "/given"
    assert list((tmp_path / "bytecode").rglob("colorsys*.pyc"))


def test_a_child_is_measured(tmp_path):
    children = Children(tmp_path / "work", tmp_path / "bytecode")
    ended = children.run(["-c", "import time\nwhile time.process_time() < 0.3: pass"])
    assert 0.3 <= ended.cpu_s < 3
    assert ended.peak_mb < 100


def test_a_child_that_fails_tells_why(tmp_path):
    children = Children(tmp_path / "work", tmp_path / "bytecode")
    with pytest.raises(RuntimeError, match="(?s)code 3.*it broke"):
        children.run(["-c", "import sys; print('it broke', file=sys.stderr); sys.exit(3)"])


def test_help_is_measured_against_a_bare_app(tmp_path):
    children = Children(tmp_path / "work", tmp_path / "bytecode")
    found = command_rows._help_row(children, quick=True)
    assert tuple(found) == KEYS
    assert found["name"] == "dor-ecco --help"
    assert found["met"]
    assert found["baseline"] > 0


@pytest.mark.slow
def test_a_quick_run_has_every_row_and_leaves_nothing_behind(tmp_path):
    scratch, file = tmp_path / "scratch", tmp_path / "rows.json"
    scratch.mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", "ecco", "--quick", "--json", str(file)],
        cwd=CHECKOUT,
        env=os.environ | {"TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    rows = json.loads(file.read_text())
    assert [found["name"] for found in rows] == ECCO
    assert all(tuple(found) == KEYS for found in rows)
    assert all(found["ours"] is not None for found in rows), ended.stderr
    assert "2 of 12 months" in rows[ECCO.index(ECCO[4])]["note"]
    assert "targets met" in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 120
    assert list(scratch.iterdir()) == []
