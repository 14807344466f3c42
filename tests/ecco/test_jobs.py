"""Job files: every form of a line, every way a line can be wrong, and what lines mean."""

import pytest

from dor_ecco_assets.ecco.jobs import (
    Job,
    choose_jobs,
    every_job,
    format_job,
    load_numbered,
    parse_jobs,
    parse_steps,
    resolve,
    stems_on,
)
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.products import all_products
from tests.support.data import real_data

SSH = "ecco/ECCO_L4_SSH_05DEG_MONTHLY_V4R4"
SSH_DAILY = "ecco/ECCO_L4_SSH_05DEG_DAILY_V4R4"
SSH_SNAP = "ecco/ECCO_L4_SSH_LLC0090GRID_SNAPSHOT_V4R4"
MIXING = "ecco/ECCO_L4_OCEAN_3D_MIX_COEFFS_LLC0090GRID_V4R4"


def meaning(text: str, there: int = 4) -> list[tuple[str, tuple[str, ...]]]:
    """Products and partitions of a job file where the first few partitions have input."""
    partitionings = {key: product.partitioning for key, product in all_products().items()}
    works = resolve(
        parse_jobs(text),
        load_numbered(),
        partitionings,
        lambda key: partitionings[key].keys[:there],
    )
    return [(work.product, work.partitions) for work in works]


def complaint(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        meaning(text)
    assert caught.value.code == "JobError"
    return caught.value.message


@pytest.mark.parametrize(
    ("line", "partitions"),
    [
        ("0,latlon,AVG_MON,2", ("1992-01", "1992-02")),
        (" 0 , lat-lon , avg_mon , all ", ("1992-01", "1992-02", "1992-03", "1992-04")),
        ("[0,'latlon','AVG_MON','all']", ("1992-01", "1992-02", "1992-03", "1992-04")),
        ('[0,"latlon","AVG_MON",1]', ("1992-01",)),
        ("[0,'latlon','AVG_MON',[1428, 732]]", ("1992-01", "1992-02")),
        ("0,latlon,AVG_MON,[732]", ("1992-01",)),
        ("0,latlon,AVG_MON,1993-05", ("1993-05",)),
        ("0,latlon,AVG_MON,1992-11/1993-01", ("1992-11", "1992-12", "1993-01")),
        ("0,latlon,AVG_MON,@1:3", ("1992-02", "1992-03")),
        ("0,latlon,AVG_MON,@2:", ("1992-03", "1992-04")),
        ("0,latlon,AVG_MON,[732, 1992-03, @0:2]", ("1992-01", "1992-02", "1992-03")),
    ],
)
def test_every_form_of_steps_means_its_partitions(line, partitions):
    assert meaning(line) == [(SSH, partitions)]


def test_a_month_stands_for_its_days_and_a_range_of_days_crosses_months():
    assert meaning("0,latlon,AVG_DAY,1992-02")[0] == (
        SSH_DAILY,
        tuple(f"1992-02-{day:02d}" for day in range(1, 30)),
    )
    assert meaning("0,latlon,AVG_DAY,1992-01-30/1992-02-01")[0][1] == (
        "1992-01-30",
        "1992-01-31",
        "1992-02-01",
    )


def test_spellings_of_snapshots_and_time_invariant_fields_mean_the_same():
    assert {meaning(f"0,native,{word},1")[0][0] for word in ("SNAP", "SNAPSHOT", "snap")} == {
        SSH_SNAP
    }
    for word in ("TI", "TIME-INVARIANT", "TIME_INVARIANT"):
        assert meaning(f"20,native,{word},all") == [(MIXING, ("",))]


def test_native_and_latlon_count_their_own_groupings_and_series_theirs():
    catalogue = load_numbered()
    assert [stems_on(catalogue, grid)[9] for grid in ("native", "latlon")] == [
        "SEA_ICE_HORIZ_VOLUME_FLUX",
        "OCEAN_TEMPERATURE_SALINITY",
    ]
    assert stems_on(catalogue, "native")[20] == "OCEAN_3D_MIXING_COEFFS"
    assert stems_on(catalogue, "1D")[2] == "SBO_CORE_PRODUCTS"
    (job,) = parse_jobs("2,1d,SNAP,all").jobs
    assert job == Job(1, 2, "1D", "SNAP", "all")


def test_done_ends_the_reading_and_comments_and_blank_lines_say_nothing():
    found = parse_jobs("# a\n\n0,native,AVG_MON,1\ndone\nthis is no job\n# nor this\n\n")
    assert (len(found.jobs), found.done, found.unread) == (1, 4, 1)


def test_all_is_every_dataset_with_the_slow_ones_first():
    catalogue = load_numbered()
    partitionings = {key: product.partitioning for key, product in all_products().items()}
    jobs = every_job(catalogue, partitionings)
    assert [key for key, _ in meaning("5,native,AVG_MON,1\nall\n")] == [
        work.product
        for work in resolve(
            parse_jobs("\n".join(map(format_job, jobs))), catalogue, partitionings, lambda _: ()
        )
    ]
    assert len(set(jobs)) == len(jobs) > 60
    dimension = {found.stem: found.dimension for found in catalogue.groupings}
    kinds = [(dimension.get(stems_on(catalogue, j.grid)[j.grouping], "1D"), j.grid) for j in jobs]
    assert list(dict.fromkeys(kinds))[:4] == [
        ("3D", "native"),
        ("3D", "latlon"),
        ("2D", "native"),
        ("2D", "latlon"),
    ]


def test_one_bad_line_is_one():
    assert complaint("x,latlon,AVG_MON,all").splitlines()[0] == "job file: 1 bad line"


def test_all_bad_lines_are_told_at_once_with_what_may_stand_there():
    message = complaint(
        "\n".join(
            [
                "x,latlon,AVG_MON,all",
                "0,latlong,AVG_MON,all",
                "0,latlon,AVG_MONTH,all",
                "0,latlon,AVG_MON",
                "0,latlon,AVG_MON,some",
                "[0,'latlon','AVG_MON'",
                "[0,'latlon','AVG_MON']",
                "[0,'latlon','AVG_MON',[]]",
                "0,latlon,AVG_MON,0000000732",
                "0,latlon,AVG_DAY,[1992-01-02T000000]",
                "0,latlon,AVG_DAY,1992-01-02T00:00:00/1992-01-03T00:00:00",
                "0,latlon,AVG_MON,2",
            ]
        )
    )
    lines = message.splitlines()
    assert lines[0] == "job file: 11 bad lines"
    assert [line.split(",")[0] for line in lines[1:]] == [f"line {n}" for n in range(1, 12)]
    for line, words in zip(
        lines[1:],
        (
            *("'x'", "native, latlon or 1D", "AVG_DAY", "3 items", "@0:12", "no list", "four"),
            *("empty", "did you mean the model step [732]?", "partitions are whole days: "),
            "partitions are whole days: 1992-01-02/1992-01-03",
        ),
        strict=True,
    ):
        assert words in line


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("40,latlon,AVG_MON,all", "has no grouping 40; it has 0 SEA_SURFACE_HEIGHT"),
        ("0,latlon,SNAP,all", "not published as SNAP; it is as AVG_DAY, AVG_MON"),
        ("0,latlon,AVG_MON,[15, 16]", "@15:16"),
        ("0,latlon,AVG_MON,2031-01", "1992-01 to 2017-12"),
        ("0,latlon,AVG_MON,@2:9", "4 partitions have input"),
        ("20,native,TI,[732]", "one file for the whole run"),
    ],
)
def test_a_job_that_means_nothing_says_what_there_is(line, words):
    message = complaint(f"0,native,AVG_MON,1\n{line}")
    assert words in message
    assert "line 2, " in message


@pytest.mark.parametrize("steps", ["all", "12", "[732, 1428]", "[1992-01/1992-03, @0:2]"])
def test_a_job_is_read_back_as_it_was_written(steps):
    job = Job(1, 3, "latlon", "AVG_MON", parse_steps(steps))
    assert parse_jobs(format_job(job)).jobs == (job,)


def test_jobs_are_chosen_by_stem_number_grid_and_frequency():
    partitionings = {key: product.partitioning for key, product in all_products().items()}
    catalogue = load_numbered()
    jobs = choose_jobs(
        catalogue,
        partitionings,
        groupings=["sea_surface_height", "9"],
        grids=["lat-lon"],
        frequencies=["AVG_MON"],
        steps="1992-01",
    )
    assert [(job.grouping, job.grid, job.steps) for job in jobs] == [
        (9, "latlon", ("1992-01",)),
        (0, "latlon", ("1992-01",)),
    ]
    for grids in ([], ["native", "latlon"]):  # a number is another grouping on each
        with pytest.raises(ConfigurationError, match="latlon SEA_SURFACE_HEIGHT, 1D GLOBAL_MEAN"):
            choose_jobs(catalogue, partitionings, groupings=["0"], grids=grids)
    with pytest.raises(ConfigurationError, match="NO_SUCH"):
        choose_jobs(catalogue, partitionings, groupings=["NO_SUCH"])


def test_the_released_job_file_stops_at_its_first_done_and_parses_whole_without_it():
    text = real_data("ecco_meta", "configs", "jobs.txt").read_text()
    found = parse_jobs(text)
    assert [format_job(job) for job in found.jobs] == ["10,latlon,AVG_MON,12"]
    assert (found.done, found.unread) == (4, 75)
    whole = "\n".join(
        line for line in text.splitlines() if line != "done" and not line.startswith("[")
    )
    assert len(meaning(whole)) == len(parse_jobs(whole).jobs) == 73
