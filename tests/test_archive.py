"""The canonical archive: own vectors, other tar programs, and everything a tar may hold that ours may not."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path
from shutil import which

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockmigrate.errors import BackupError
from lockmigrate.formats import archive
from lockmigrate.formats.archive import entry_header, padded_size, read_archive, write_archive

NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=100).filter(
    lambda name: not name.endswith("/")
)
ENTRIES = [("manifest.json", b"{}\n"), ("raw/0001-index.bin", bytes(range(256)) * 3), ("raw/0002-empty.bin", b"")]

needs_tar = pytest.mark.skipif(which("tar") is None, reason="the program `tar` is not installed")


def refused(plain: bytes) -> BackupError:
    with pytest.raises(BackupError) as caught:
        read_archive(plain)
    return caught.value


def pad(raw: bytes) -> bytes:
    return raw + bytes(padded_size(len(raw)) - len(raw))


def by_tarfile(entry: tarfile.TarInfo, data: bytes = b"", form: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()[: 512 * 4]


def test_the_header_of_manifest_json_is_the_documented_one() -> None:
    digest = hashlib.sha256(entry_header("manifest.json", 1234)).hexdigest()
    assert digest == "a92ed3519d7f44d504c7cb904be7a467a5bb90408e000149150a111b56997368"


def test_the_smallest_archive_is_the_documented_one() -> None:
    plain = write_archive([("manifest.json", b"{}\n")])
    assert len(plain) == 65_536
    assert hashlib.sha256(plain).hexdigest() == "028b3ab2672cea26d95131016e3af963c61b281ce296b84f97f7e85c896d1e27"


@given(st.lists(st.tuples(NAMES, st.binary(max_size=1100)), max_size=6))
def test_what_was_archived_comes_out_again(entries: list[tuple[str, bytes]]) -> None:
    assert read_archive(write_archive(entries)) == entries


@given(st.binary(max_size=2000))
def test_garbage_is_refused_with_our_error(raw: bytes) -> None:
    assert refused(raw + b"x").code == "malformed"
    assert refused(b"x" + pad(raw)[1:]).code == "malformed"


@given(NAMES, st.integers(0, 1 << 28))
def test_python_s_tar_reader_understands_every_header(name: str, size: int) -> None:
    entry = tarfile.TarInfo.frombuf(entry_header(name, size), "ascii", "strict")
    assert (entry.name, entry.size, entry.isreg(), entry.mode) == (name, size, True, 0o600)


@pytest.mark.parametrize(
    ("size", "padded"),
    [
        (0, 65_536),
        (65_536, 65_536),
        (65_537, 131_072),
        (131_073, 262_144),
        (4 << 20, 4 << 20),
        ((4 << 20) + 1, 5 << 20),
        ((5 << 20) + 1, 6 << 20),
    ],
)
def test_padding_has_few_classes(size: int, padded: int) -> None:
    assert padded_size(size) == padded
    assert len({padded_size(each) for each in range(0, (4 << 20) + 1, 1000)}) == 7


def test_every_changed_byte_outside_the_data_is_refused() -> None:
    plain = write_archive(ENTRIES)
    data = range(512, 515), range(1536, 1536 + 768)
    for at in range(6000):
        changed = plain[:at] + bytes([plain[at] ^ 1]) + plain[at + 1 :]
        if any(at in each for each in data):
            assert read_archive(changed) != ENTRIES
        else:
            assert refused(changed).code == "malformed"


def test_another_length_is_refused() -> None:
    plain = write_archive(ENTRIES)
    for other in (plain[:-1], plain[:-512], plain + bytes(512), plain * 2, plain + bytes(65_536), plain[:1024], b""):
        assert refused(other).code == "malformed"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_folders_and_devices_are_refused(kind: bytes) -> None:
    entry = tarfile.TarInfo("raw/x")
    entry.type, entry.linkname = kind, "/etc/passwd"
    assert refused(pad(by_tarfile(entry))).code == "malformed"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_other_programs_are_refused(form: int) -> None:
    entry = tarfile.TarInfo("raw/" + "x" * (110 if form != tarfile.USTAR_FORMAT else 10))
    entry.size = 3
    assert refused(pad(by_tarfile(entry, b"abc", form))).code == "malformed"


@pytest.mark.parametrize(
    "field", [b"7777777777\0 ", b"       1234\0", b"\x80" + bytes(10) + b"\x03", b"0000000_003\0", b"-0000000001\0"]
)
def test_odd_sizes_are_refused(field: bytes) -> None:
    header = bytearray(entry_header("raw/x", 3))
    header[124:136] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert refused(pad(bytes(header) + b"abc" + bytes(509 + 1024))).code == "malformed"


@pytest.mark.parametrize("name", ["", "x" * 101, "a\0b", "a b", "ä", "a\n", "raw/"])
def test_names_that_do_not_fit_are_not_written(name: str) -> None:
    with pytest.raises(BackupError):
        write_archive([(name, b"")])


def test_a_name_with_a_zero_inside_is_not_read() -> None:
    header = bytearray(entry_header("a.b", 0))
    header[1] = 0
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert refused(pad(bytes(header) + bytes(1024))).code == "malformed"


def test_too_many_entries_are_refused_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [(f"raw/{number}", b"") for number in range(5)]
    plain = write_archive(entries)
    monkeypatch.setattr(archive, "MAX_ENTRIES", 4)
    with pytest.raises(BackupError) as caught:
        write_archive(entries)
    assert caught.value.code == "too-large"
    assert refused(plain).code == "malformed"


def test_too_much_data_is_refused_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = write_archive([("raw/x", bytes(70_000))])
    monkeypatch.setattr(archive, "MAX_ARCHIVE_BYTES", 100_000)
    assert refused(plain).code == "too-large"
    with pytest.raises(BackupError) as caught:
        write_archive([("raw/x", bytes(70_000))])
    assert caught.value.code == "too-large"


@pytest.mark.peer
@needs_tar
def test_the_tar_program_extracts_it(tmp_path: Path) -> None:
    subprocess.run(["tar", "-x", "-C", tmp_path], input=write_archive(ENTRIES), check=True, timeout=30)
    found = {each.relative_to(tmp_path).as_posix(): each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()}
    assert found == dict(ENTRIES)
