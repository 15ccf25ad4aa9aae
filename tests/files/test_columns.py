"""Files of columns grow by whole blocks: what is in pieces is cut, what is damaged is said, what is mapped stays."""

import errno
import zlib

import numpy as np
import pytest

from faults.faulty_disk import Fault, FaultyDisk
from overfit_lab.errors import RunFolderError
from overfit_lab.files.columns import (
    HEADER,
    MAGIC,
    Column,
    Form,
    GrowingColumns,
    cut_columns,
    read_columns,
    write_columns,
)
from overfit_lab.files.disk import replace_disk

FORM = Form(5, (Column("margin", "<f2"), Column("wide", "<f4", 3), Column("class", "|u1")), {"view": "clean"})


def arrays(epoch, n=5):
    rows = np.arange(n)
    return {
        "margin": (rows + epoch / 4).astype("<f2"),
        "wide": (epoch * np.ones((n, 3)) + rows[:, None]).astype("<f4"),
        "class": (rows + epoch).astype("|u1"),
    }


def written(path, epochs=(1, 2, 5)):
    file = GrowingColumns(path, FORM)
    for epoch in epochs:
        file.append(epoch, arrays(epoch))
    return path


def assert_holds(path, epochs):
    found = read_columns(path)
    assert found.form == FORM
    assert found.epochs == tuple(epochs)
    for i, epoch in enumerate(epochs):
        for name, expected in arrays(epoch).items():
            assert found.arrays[name].dtype == expected.dtype
            np.testing.assert_array_equal(found.arrays[name][i], expected)
    return found


def test_what_was_appended_is_mapped(tmp_path):
    found = assert_holds(written(tmp_path / "below" / "a.columns"), (1, 2, 5))
    assert not any(array.flags.owndata or array.flags.writeable for array in found.arrays.values())
    assert (tmp_path / "below" / "a.columns").stat().st_size == HEADER + 3 * (16 + 16 + 64 + 8)


def test_another_writer_goes_on(tmp_path):
    path = written(tmp_path / "a.columns")
    GrowingColumns(path, FORM).append(6, arrays(6))
    assert_holds(path, (1, 2, 5, 6))
    with pytest.raises(ValueError, match="epoch 6 comes after epoch 6"):
        GrowingColumns(path, FORM).append(6, arrays(6))
    with pytest.raises(RunFolderError, match="other rows or columns"):
        GrowingColumns(path, Form(5, FORM.columns[:1], {})).append(7, {"margin": arrays(7)["margin"]})


@pytest.mark.parametrize("lost", range(1, 105, 13))
def test_a_last_block_in_pieces_is_passed_over_and_then_cut(lost, tmp_path):
    path = written(tmp_path / "a.columns")
    path.write_bytes(path.read_bytes()[:-lost])
    assert_holds(path, (1, 2))
    GrowingColumns(path, FORM).append(3, arrays(3))
    assert_holds(path, (1, 2, 3))


def test_a_power_cut_may_leave_the_length_without_the_content(tmp_path):
    path = written(tmp_path / "a.columns")
    path.write_bytes(path.read_bytes()[:-60] + bytes(60))
    assert_holds(path, (1, 2))


@pytest.mark.parametrize("at", [*range(0, HEADER, 500), HEADER - 1, HEADER, HEADER + 5, HEADER + 12, HEADER + 90])
def test_a_flipped_bit_is_said(at, tmp_path):
    path = written(tmp_path / "a.columns")
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)
    with pytest.raises(RunFolderError, match=r"a.columns: damaged.*(first bytes|checksum of block 1 of 3)"):
        read_columns(path)


def head(text):
    padded = (MAGIC + text.encode()).ljust(HEADER - 4)
    return padded + zlib.crc32(padded).to_bytes(4, "little")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"rows": 5, "columns": [["a", "|O", 1]], "notes": {}}',
        '{"rows": 5, "columns": [["a", "<f2", 1], ["a", "<f2", 1]], "notes": {}}',
        '{"rows": 5, "columns": [["../a", "<f2", 1]], "notes": {}}',
        '{"rows": 5, "columns": [["a", "<f2", 1.5]], "notes": {}}',
        '{"rows": 5, "columns": [["a", "<f2", 99999999999]], "notes": {}}',
        '{"rows": 1e300, "columns": [["a", "<f2", 1]], "notes": {}}',
        '{"rows": -5, "columns": [["a", "<f2", 1]], "notes": {}}',
        '{"rows": true, "columns": [["a", "<f2", 1]], "notes": {}}',
        '{"rows": 5, "columns": [], "notes": {}}',
        '{"rows": 5, "columns": 7, "notes": {}}',
        '{"rows": 5, "columns": [["a", "<f2", 1]]}',
        "[" * 3000,
    ],
)
def test_a_strangers_head_is_refused_in_a_line(text, tmp_path):
    path = tmp_path / "a.columns"
    path.write_bytes(head(text) + bytes(100))
    with pytest.raises(RunFolderError, match=r"a.columns: damaged, or no file of columns") as caught:
        read_columns(path)
    assert "\n" not in str(caught.value)


def test_rows_that_are_not_there_take_no_memory(tmp_path):
    path = tmp_path / "a.columns"
    path.write_bytes(head('{"rows": 2147483648, "columns": [["a", "<f4", 60000]], "notes": {}}'))
    found = read_columns(path)
    assert found.epochs == ()
    assert found.arrays["a"].nbytes == 0


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunFolderError, match="cannot be read"):
            read_columns(path)
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(RunFolderError, match="damaged"):
        read_columns(tmp_path / "empty")


def test_a_cut_leaves_what_somebody_has_mapped(tmp_path):
    path = written(tmp_path / "a.columns")
    before = read_columns(path)
    cut_columns(path, 4)
    assert_holds(path, (1, 2))
    np.testing.assert_array_equal(before.arrays["wide"][2], arrays(5)["wide"])
    cut_columns(path, 0)
    assert not path.exists()


def test_a_single_block_replaces_what_is_there(tmp_path):
    path = tmp_path / "below" / "a.columns"
    for epoch in (3, 4):
        write_columns(path, FORM, epoch, arrays(epoch))
        assert_holds(path, (epoch,))


@pytest.mark.parametrize(
    "changes", [{"margin": np.zeros(5)}, {"margin": np.zeros(4, "<f2")}, {"more": np.zeros(5, "<f2")}]
)
def test_arrays_that_do_not_fit_are_refused_and_nothing_is_written(changes, tmp_path):
    path = tmp_path / "a.columns"
    with pytest.raises(ValueError, match="expected"):
        GrowingColumns(path, FORM).append(1, {**arrays(1), **changes})
    assert not path.exists()


@pytest.mark.parametrize("kind", ["ENOSPC", "EIO"])
def test_a_disk_that_fails_leaves_the_file_as_it_was(kind, tmp_path):
    path = written(tmp_path / "a.columns")
    content = path.read_bytes()
    for n in range(10):
        file, failed = GrowingColumns(path, FORM), []
        before = replace_disk(FaultyDisk(tmp_path, Fault(kind, n)))
        try:
            file.append(6, arrays(6))
        except (OSError, RunFolderError) as error:
            failed.append(error)
        finally:
            replace_disk(before)
        if not failed:
            break
        assert str(path) in str(failed[0])
        assert isinstance(failed[0], RunFolderError) or failed[0].errno == getattr(errno, kind)
        assert path.read_bytes() == content
        file.append(6, arrays(6))  # the disk is well again
        assert_holds(path, (1, 2, 5, 6))
        path.write_bytes(content)
    assert 2 <= n < 9
