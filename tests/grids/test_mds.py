from dataclasses import replace

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dor_ecco_assets.ecco.times import FREQUENCIES
from dor_ecco_assets.errors import InputUnusable
from dor_ecco_assets.grids.llc import compact_from_tiles, tiles_from_compact
from dor_ecco_assets.grids.mds import (
    MdsMeta,
    MdsName,
    assumed_meta,
    check_pair,
    format_meta,
    looks_byte_swapped,
    match_mds_name,
    parse_mds_name,
    parse_meta,
    read_compact,
    read_field,
    write_grid_file,
    write_mds,
)
from tests.support.data import real_data

SSH_META = """\
 nDims = [   2 ];
 dimList = [
    90,    1,   90,
  1170,    1, 1170
 ];
 dataprec = [ 'float32' ];
 nrecords = [     1 ];
 timeStepNumber = [        732 ];
 timeInterval = [  3.600000000000E+03  2.635200000000E+06 ];
 missingValue = [ -9.99000000000000E+02 ];
 nFlds = [    1 ];
 fldList = {
 'SSH     '
 };
"""
SSH = MdsMeta(
    dims=((90, 1, 90), (1170, 1, 1170)),
    precision="float32",
    step=732,
    time_interval_s=(3600.0, 2635200.0),
    missing_value=-999.0,
    fields=("SSH",),
)
FIELDS = ["SSH", "GM_PsiX", "ADVx_SLT", "Um_dPHdx", "oceTAUX"]
PERIODS = [token for spec in FREQUENCIES.values() for token in spec.periods]

#: A LLC grid of side 2, as its .meta describes it.
TINY = assumed_meta(side=2, field="SSH", step=732)
CHECK = {"name": "SSH.data", "n_bytes": 416, "field": "SSH", "step": 732, "side": 90}


@st.composite
def metas(draw):
    sizes = draw(st.lists(st.integers(1, 9999), min_size=1, max_size=3))
    whole = st.integers(0, 10**9).map(float)
    fields = draw(st.lists(st.sampled_from(FIELDS), max_size=4, unique=True))
    return MdsMeta(
        dims=tuple((n, draw(st.integers(1, n)), n) for n in sizes),
        precision=draw(st.sampled_from(["float32", "float64"])),
        n_records=draw(st.integers(1, 99999)),
        step=draw(st.none() | st.integers(0, 10**9)),
        time_interval_s=tuple(draw(st.lists(whole, max_size=2))),
        missing_value=draw(st.none() | st.sampled_from([-999.0, -9999.0, 0.0])),
        fields=tuple(fields),
    )


def tiles(seed, *lead, side=4, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal((*lead, 13, side, side)).astype(dtype)


def refusal(call, *args, **kwargs):
    with pytest.raises(InputUnusable) as error:
        call(*args, **kwargs)
    return error.value


# --- names


@given(
    # A field named ..._day would be ambiguous with the period token day_snap.
    field=st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,12}(?<!_day)(?<!_mon)", fullmatch=True),
    period=st.sampled_from(PERIODS),
    step=st.integers(0, 10**10 - 1),
    ext=st.sampled_from(["data", "meta"]),
)
def test_every_name_round_trips(field, period, step, ext):
    name = MdsName(field, period, step, ext)
    assert parse_mds_name(f"s3://bucket/V4r4/{name}") == name


@pytest.mark.parametrize(
    ("text", "field", "period", "step"),
    [
        ("GM_PsiX_mon_mean.0000000732.data", "GM_PsiX", "mon_mean", 732),
        ("Um_dPHdx_day_mean.0000000012.data", "Um_dPHdx", "day_mean", 12),
        ("day_mean_mon_snap.0000227904.data", "day_mean", "mon_snap", 227904),
        ("SSH_snap.0000000100.data", "SSH", "snap", 100),
        ("SSH_day_snap.0000000100.data", "SSH", "day_snap", 100),
    ],
)
def test_the_period_is_found_from_the_right(text, field, period, step):
    assert parse_mds_name(text) == MdsName(field, period, step)


@pytest.mark.parametrize(
    "text",
    [
        "XC.data",
        "SSH_mon_mean.732.data",
        "SSH_mon_mean.0000000732.data.gz",
        "SSH_year_mean.0000000732.data",
        "_mon_mean.0000000732.data",
        "SSH_mon_mean.0000000732.001.001.data",
    ],
)
def test_what_is_no_record_has_no_name(text):
    assert match_mds_name(text) is None
    error = refusal(parse_mds_name, text)
    assert error.code == "NotAnMdsName"
    assert text in str(error)
    assert "mon_snap" in str(error)


# --- .meta


def test_a_meta_of_the_model_is_read_and_written_back_to_the_byte():
    assert parse_meta(SSH_META, "SSH.meta") == SSH
    assert parse_meta(SSH_META.encode(), "SSH.meta") == SSH
    assert format_meta(SSH) == SSH_META
    assert SSH.shape == (1170, 90)
    assert SSH.n_bytes == 421_200
    assert not SSH.is_profile


@given(meta=metas())
def test_every_meta_round_trips(meta):
    assert parse_meta(format_meta(meta), "x.meta") == meta


@given(meta=metas(), data=st.data())
def test_white_space_line_breaks_and_trailing_commas_do_not_matter(meta, data):
    blank = data.draw(st.sampled_from(["", "\n", "\r\n", "\t", "   \n  "]))
    text = format_meta(meta).replace("\n ];", ",\n ];").replace("\n", " ").replace("=", f"{blank}=")
    text = text.replace(";", f"{blank};{blank}").replace("[", f"[{blank}")
    assert parse_meta(text, "x.meta") == meta


def test_comments_unknown_keys_and_fortran_exponents_are_read_over():
    text = "/* global ocean [1] */ simulation = { 'x' };" + SSH_META.replace("E+06", "D+06")
    assert parse_meta(text, "SSH.meta") == SSH


def test_static_files_leave_most_keys_out():
    meta = parse_meta("nDims=[1];dimList=[5,1,5];dataprec=['float64'];", "x.meta")
    assert meta == MdsMeta(dims=((5, 1, 5),), precision="float64")
    assert meta.n_bytes == 40


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("dataprec = [ 'float32' ];", "", "dataprec is missing"),
        ("1170,    1, 1170\n", "1170,    1\n", "three positive numbers"),
        ("    90,", "    9O,", "not numbers"),
        ("    90,", "    90.5,", "not whole numbers"),
        ("    90,    1,", "    90,    0,", "three positive numbers"),
        ("nFlds = [    1 ]", "nFlds = [    2 ]", "nFlds is 2"),
        ("nrecords = [     1 ]", "nrecords = [     1 2 ]", "expected one number"),
        (" 'SSH     '\n };\n", " 'SSH", 'no statement can be read from "fldList = { \'SSH" on'),
        ("nDims = [", "nDims [", "no statement can be read from 'nDims [ 2 ]"),
    ],
)
def test_an_unreadable_meta_says_why(before, after, why):
    assert before in SSH_META
    error = refusal(parse_meta, SSH_META.replace(before, after), "s3://b/SSH.meta")
    assert error.code == "MetaUnreadable"
    assert error.uri == "s3://b/SSH.meta"
    assert why in str(error)


@pytest.mark.parametrize("text", ["", "  \n", b"\xff\xfe\x00"])
def test_an_empty_or_binary_meta_is_unreadable(text):
    assert refusal(parse_meta, text, "x.meta").code == "MetaUnreadable"


def test_an_unknown_precision_is_named():
    error = refusal(parse_meta, SSH_META.replace("float32", "real*4"), "SSH.meta")
    assert error.code == "PrecisionMismatch"
    assert "dataprec is real*4, expected float32 or float64" in str(error)


@pytest.mark.parametrize(
    ("parts", "sizes", "precision"),
    [
        (("llc90", "XC.meta"), (90, 1170), "float64"),
        (("llc90", "basins.meta"), (90, 1170), "float32"),
        (("llc90", "RF.meta"), (1, 1, 51), "float64"),
        (("llc90", "meta_only", "hFacC.meta"), (90, 1170, 50), "float64"),
    ],
)
def test_real_metas_are_read(parts, sizes, precision):
    meta = parse_meta(real_data(*parts).read_text(), parts[-1])
    assert tuple(size for size, _, _ in meta.dims) == sizes
    assert meta.precision == precision


# --- checks before reading


def test_a_true_pair_passes():
    check_pair(SSH, **CHECK | {"n_bytes": 421_200})
    volume = replace(SSH, dims=(*SSH.dims, (50, 1, 50)))
    check_pair(volume, **CHECK | {"n_bytes": 21_060_000, "levels": 50})
    check_pair(replace(SSH, step=None), **CHECK | {"n_bytes": 421_200, "step": None})


@pytest.mark.parametrize(
    ("meta", "changes", "code", "said"),
    [
        (replace(SSH, step=1428), {}, "StepMismatch", ["timeStepNumber 1428", "expected 732"]),
        (replace(SSH, step=None), {}, "StepMismatch", ["timeStepNumber None"]),
        (
            SSH,
            {"n_bytes": 421_196},
            "SizeMismatch",
            ["has 421196 bytes", "expected 421200", "(1170, 90) x 4 bytes x 1", "0 whole records"],
        ),
        (
            replace(SSH, n_records=3, fields=("SSH", "ETAN", "OBP")),
            {"n_bytes": 1_000_000},
            "SizeMismatch",
            ["expected 1263600", "2 whole records"],
        ),
        (SSH, {"n_bytes": 500_000}, "SizeMismatch", ["has 500000 bytes", "1 whole records"]),
        (SSH, {"n_bytes": 842_400}, "PrecisionMismatch", ["float64 would fit"]),
        (
            replace(SSH, precision="float64"),
            {"n_bytes": 421_200},
            "PrecisionMismatch",
            ["float32 would fit"],
        ),
        (
            replace(SSH, dims=((90, 1, 30), (1170, 1, 1170))),
            {},
            "ShapeMismatch",
            ["indices 1 to 30 of 90", "llc90"],
        ),
        (
            replace(SSH, dims=((270, 1, 270), (3510, 1, 3510))),
            {},
            "ShapeMismatch",
            ["(3510, 270)", "expected (1170, 90) for llc90"],
        ),
        (SSH, {"levels": 50}, "ShapeMismatch", ["expected (50, 1170, 90)"]),
        (
            replace(SSH, fields=("SSHIBC", "ETAN"), n_records=2),
            {},
            "FieldNotInFile",
            ["holds SSHIBC, ETAN, expected SSH"],
        ),
        (replace(SSH, n_records=12), {}, "RecordMismatch", ["12 records", "lists SSH"]),
        (replace(SSH, n_records=2, fields=()), {}, "RecordMismatch", ["lists no fields"]),
    ],
)
def test_a_pair_that_cannot_be_used_is_refused_before_it_is_read(meta, changes, code, said):
    error = refusal(check_pair, meta, **CHECK | {"n_bytes": meta.n_bytes} | changes)
    assert error.code == code
    assert error.uri == "SSH.data"
    assert all(part in str(error) for part in ("SSH.data: ", *said))


# --- reading and writing


@pytest.mark.parametrize("lead", [(), (3,)])
@pytest.mark.parametrize("dtype", [">f4", "<f8"])
def test_what_is_written_is_read_back_bit_for_bit(tmp_path, lead, dtype):
    field = tiles(1, *lead)
    path = write_mds(tmp_path / "new", "GM_PsiX", "mon_mean", 732, field, dtype=dtype)
    meta = parse_meta((tmp_path / "new" / "GM_PsiX_mon_mean.0000000732.meta").read_text(), "x.meta")
    assert path.name == "GM_PsiX_mon_mean.0000000732.data"
    assert path.stat().st_size == meta.n_bytes == field.size * np.dtype(dtype).itemsize
    assert (meta.step, meta.fields) == (732, ("GM_PsiX",))
    for data in (path, path.read_bytes(), memoryview(path.read_bytes())):
        found = read_field(data, meta, field="GM_PsiX")
        assert found.dtype == np.float32
        assert found.dtype.isnative
        npt.assert_array_equal(found, field)


def test_the_bytes_on_disk_are_the_compact_layout_big_endian(tmp_path):
    field = tiles(1)
    path = write_mds(tmp_path, "SSH", "mon_mean", 732, field)
    assert path.read_bytes() == compact_from_tiles(field).astype(">f4").tobytes()
    compact = write_mds(tmp_path / "2", "SSH", "mon_mean", 732, compact_from_tiles(field))
    assert compact.read_bytes() == path.read_bytes()


def test_the_record_of_a_multi_field_file_is_chosen_by_name(tmp_path):
    fields = {name: tiles(n, 2) for n, name in enumerate(FIELDS)}
    first = fields.pop("SSH")
    path = write_mds(tmp_path, "SSH", "day_mean", 12, first, others=fields)
    meta = parse_meta(path.with_suffix(".meta").read_text(), "x.meta")
    assert meta.n_records == 5
    for name, field in {"SSH": first, **fields}.items():
        for data in (path, path.read_bytes()):
            npt.assert_array_equal(read_field(data, meta, field=name), field)
    assert refusal(read_field, path, meta).code == "FieldNotInFile"
    assert refusal(read_field, path, meta, field="THETA").uri == str(path)


def test_a_profile_is_read_as_one_column(tmp_path):
    rf = np.linspace(0, -6000, 51)
    path = write_grid_file(tmp_path, "RF", rf)
    meta = parse_meta(path.with_suffix(".meta").read_text(), "RF.meta")
    assert meta == MdsMeta(dims=((1, 1, 1), (1, 1, 1), (51, 1, 51)), precision="float64")
    npt.assert_array_equal(read_field(path, meta, dtype=np.float64), rf)
    npt.assert_array_equal(read_compact(path, meta, name="RF"), rf)


def test_a_real_grid_file_is_read_as_tiles_and_written_back_byte_for_byte(tmp_path):
    path = real_data("llc90", "XC.data")
    meta = parse_meta(path.with_suffix(".meta").read_text(), "XC.meta")
    longitude = read_field(path, meta, dtype=np.float64)
    corner = [round(float(longitude[tile, 0, 0]), 2) for tile in (0, 6, 10)]
    assert corner == [-111.61, 52.0, -127.84]
    again = write_grid_file(tmp_path, "XC", longitude)
    assert again.read_bytes() == path.read_bytes()
    assert again.with_suffix(".meta").read_text() == path.with_suffix(".meta").read_text()


@given(cut=st.integers(0, 207))
def test_a_file_that_shrank_after_its_check_is_refused(cut):
    error = refusal(read_field, bytes(cut), TINY, name="SSH.data")
    assert error.code in ("SizeMismatch", "PrecisionMismatch")
    assert f"has {cut} bytes, expected 208" in str(error)


def test_values_beyond_float32_become_infinite_without_a_warning():
    values = np.r_[np.full(51, 1.0), 1e300].astype(">f8")
    found = read_field(values.tobytes(), replace(TINY, precision="float64"), field="SSH")
    assert np.isinf(found).sum() == 1


# --- byte order


@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([">f4", ">f8"]),
    scale=st.sampled_from([1e-9, 1e-3, 1.0, 35.0, 1e5, 1e9]),
    dry_share=st.floats(0, 0.8),
)
def test_swapped_noise_is_suspected_and_true_noise_is_not(seed, dtype, scale, dry_share):
    rng = np.random.default_rng(seed)
    field = (scale * rng.standard_normal(1300)).astype(dtype)
    field[rng.random(1300) < dry_share] = 0
    assert not looks_byte_swapped(field)
    assert looks_byte_swapped(field.byteswap())


@pytest.mark.parametrize("value", [1.0, 0.5, -2.0, 12.0])
@pytest.mark.parametrize("dtype", [">f4", ">f8"])
def test_one_swapped_value_of_few_bits_is_suspected(value, dtype):
    field = np.array([0, value], dtype)
    assert not looks_byte_swapped(field)
    assert looks_byte_swapped(field.byteswap())


def test_zeros_nans_and_small_numbers_are_not_suspected():
    assert not looks_byte_swapped(np.zeros(9, ">f4"))
    assert not looks_byte_swapped(np.full(99, np.nan, ">f4"))
    assert not looks_byte_swapped(np.logspace(-30, -20, 99).astype(">f4"))


def test_a_field_in_the_wrong_byte_order_or_of_fill_values_is_refused():
    little = np.ones(52, "<f4").tobytes()
    for data in (little, np.full(52, 9.96921e36, ">f4").tobytes()):
        error = refusal(read_field, data, TINY, field="SSH", name="SSH.data")
        assert error.code == "EndianSuspect"
        assert "convert it to big-endian" in str(error)
    real = np.fromfile(real_data("llc90", "SSH.bin"), ">f4")
    meta = assumed_meta(side=90)
    found = read_field(real.tobytes(), meta)
    npt.assert_array_equal(found, tiles_from_compact(real.reshape(1170, 90)))
    assert refusal(read_field, real.astype("<f4").tobytes(), meta).code == "EndianSuspect"
