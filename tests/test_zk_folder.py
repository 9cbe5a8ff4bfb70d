"""USB-disk folders of ZKTeco terminals: read as a terminal wrote them, cut at every byte, and written anew.

The folders are built here from the public layouts, without the package's own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lockmigrate.errors import FileTrouble, ImageError, ProfileError, TargetError, Unsupported
from lockmigrate.formats.zk_files import log_entries
from lockmigrate.model.document import Gap, Table
from lockmigrate.model.results import RestoreResult, WipeResult
from lockmigrate.model.steps import Done, Step
from lockmigrate.operations.journal import MemoryJournal
from lockmigrate.operations.on_paper import source_in_memory
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.operations.restore import Prepared, execute, prepare
from lockmigrate.operations.units import wipe
from lockmigrate.planning.policy import Answer, Decisions, Policy
from lockmigrate.profiles import Profile, load_profile
from lockmigrate.protocols import Scope, Section
from lockmigrate.protocols import zk_folder_disk as disk
from lockmigrate.protocols.door import Door
from lockmigrate.protocols.zk_folder import FolderLock, open_folder
from lockmigrate.targets import Access, open_target, parse_target

V10_NAMES = ("template.fp10.1", "template.fp10")
GBK_NAME = "王芳".encode("gbk")
UTF8_NAME = "陈静".encode()


# ---- a builder of our own -------------------------------------------------------------------------------------------


def user72(
    uid: int, name: bytes = b"", *, pin: bytes = b"", card: int = 0, tail: bytes = b"", ident: bytes = b""
) -> bytes:
    """72 bytes: number, privilege, password 8, name 24, card, then group, flag and zones (9), id 24."""
    tail = tail or bytes([1]) + bytes(8)
    ident = ident or str(90000 + uid).encode()
    return (
        struct.pack("<HB", uid, 0)
        + pin.ljust(8, b"\0")
        + name.ljust(24, b"\0")
        + struct.pack("<I", card)
        + tail
        + ident.ljust(24, b"\0")
    )


def user28(uid: int, name: bytes = b"", *, pin: bytes = b"", card: int = 0, group: int = 1) -> bytes:
    """28 bytes: number, privilege, password 5, name 8, card 5, group, zone bits, id as a number."""
    head = struct.pack("<HB", uid, 0) + pin.ljust(5, b"\0") + name.ljust(8, b"\0")
    return head + struct.pack("<IBBHI", card, 0, group, 0, 70000 + uid)


def template(seed: int, size: int) -> bytes:
    return Random(f"template {seed}").randbytes(size - 1) + b"\x5a"


def entry10(uid: int, finger: int, flag: int, data: bytes) -> bytes:
    return struct.pack("<HHBB", len(data) + 6, uid, finger, flag) + data


def entry9(uid: int, finger: int, flag: int, data: bytes) -> bytes:
    return struct.pack("<HHBB", len(data), uid, finger, flag) + data.ljust(602, b"\0")


USERS_72 = [
    user72(1, b"Ada Nord", pin=b"1234", card=1234567),
    user72(7, GBK_NAME, pin=b"87654321"),
    user72(3, UTF8_NAME, tail=bytes.fromhex("020100010002000000")),
]
USERS_28 = [user28(1, b"Ada", pin=b"123", card=4711), user28(7, b"Musterpe"), user28(3, b"Eli", group=2)]
FINGERS = [(1, 0, 1), (7, 4, 3), (3, 9, 1), (1, 1, 1)]
V10 = b"".join(entry10(*place, template(n, 30 + n)) for n, place in enumerate(FINGERS))
V9 = b"".join(entry9(*place, template(n, 310 + n)) for n, place in enumerate(FINGERS))
FILES_10 = {"user.dat": b"".join(USERS_72), "template.fp10.1": V10}
FILES_9 = {"user.dat": b"".join(USERS_28), "template.dat": V9}
IN_ORDER_10 = {**FILES_10, "user.dat": b"".join(sorted(USERS_72))}
IN_ORDER_9 = {**FILES_9, "user.dat": b"".join(sorted(USERS_28))}
"""A restore appends users by their number."""


def put(folder: Path, files: dict[str, bytes], *, sums: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    if sums:
        (folder / "SHA256SUMS").write_bytes(sums_of(files))
    return folder


def sums_of(files: dict[str, bytes]) -> bytes:
    return b"".join(
        b"%b  %b\n" % (hashlib.sha256(data).hexdigest().encode(), name.encode()) for name, data in files.items()
    )


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


async def opened(folder: Path, *, profile: str | Profile | None = None, encoding: str | None = None) -> FolderLock:
    named = load_profile(profile) if isinstance(profile, str) else profile
    door = Door(target=f"image://{folder.name}", port_id=folder.name, profile=named)
    return await open_folder(folder, door, encoding=encoding)


async def last(events: AsyncIterator[Any]) -> Any:
    found = None
    async for found in events:  # noqa: B007  # the last one is what counts
        pass
    return found


async def read(folder: Path, **how: Any) -> Reading:
    reading = await last(read_unit(await opened(folder, **how)))
    assert isinstance(reading, Reading)
    return reading


async def tables(lock: FolderLock, *sections: Section) -> dict[str, Table]:
    return {item.name: item async for item in lock.read(frozenset(sections)) if isinstance(item, Table)}


async def refused(folder: Path, **how: Any) -> ImageError:
    with pytest.raises(ImageError) as caught:
        await opened(folder, **how)
    assert caught.value.exit_code == 6
    assert caught.value.hint
    assert str(folder.parent) not in caught.value.message
    return caught.value


async def restore(source: Path, target: Path, *, existing: Any = None, profile: str | None = None) -> RestoreResult:
    lock = await opened(target, profile=profile)
    reading = await read(source)
    prepared = await last(prepare(lock, source_in_memory(reading), Policy(existing=existing), MemoryJournal()))
    assert isinstance(prepared, Prepared)
    result = await last(execute(prepared, MemoryJournal()))
    assert isinstance(result, RestoreResult)
    return result


async def written(lock: FolderLock, steps: Iterable[Step]) -> list[Done]:
    return [done async for done in lock.write(steps)]


def put_user(record: bytes, **origin: Any) -> Step:
    uid = struct.unpack_from("<H", record)[0]
    return Step(
        key=f"user/{uid}", kind="user", action="put", origin={"user_index": uid, "verify": None} | origin, value=record
    )


def put_finger(uid: int, finger: int, data: bytes, flag: int = 1) -> Step:
    origin = {"user_index": uid, "finger": finger, "flag": flag}
    return Step(key=f"fingerprint/{uid}.{finger}", kind="fingerprint", action="put", origin=origin, value=data)


def remove_user(uid: int) -> Step:
    return Step(key=f"user/{uid}", kind="user", action="remove", origin={"user_index": uid})


# ---- reading --------------------------------------------------------------------------------------------------------


async def test_a_folder_is_read_byte_for_byte(tmp_path: Path) -> None:
    folder = put(tmp_path / "usb", FILES_10)
    lock = await opened(folder)
    unit = await lock.identify()
    assert (unit.id, unit.serial, unit.family, unit.profile) == ("usb", None, "zk", "zk")
    assert unit.counts == {"users": 3, "fingerprints": 4}
    assert unit.details == {
        "medium": "file",
        "record_bytes": 72,
        "fp_version": "10",
        "files": ["template.fp10.1", "user.dat"],
        "verified_length": False,
    }
    assert unit.capabilities.user_records
    assert any(text.startswith("unverifiable-length") for text in unit.warnings)
    assert any("unencrypted" in text for text in unit.warnings)
    found = await tables(lock, *Section)
    assert found["0004-users"].data == FILES_10["user.dat"]
    assert found["0005-templates"].data == V10
    assert found["0001-options"].data == b"~ZKFPVersion=10"
    assert [found[name].rows for name in ("0004-users", "0005-templates")] == [3, 4]
    assert held(folder) == FILES_10, "reading changed the folder"


async def test_what_it_means_is_what_the_terminal_would_have_said(tmp_path: Path) -> None:
    snapshot = (await read(put(tmp_path / "usb", FILES_10))).snapshot
    assert [(user.key, user.user_name) for user in snapshot.users] == [
        ("user/1", "Ada Nord"),
        ("user/7", "王芳"),
        ("user/3", "陈静"),
    ]
    fingers = [item for item in snapshot.credentials if item.credential_type == "Fingerprint"]
    assert [(item.key, item.user, item.duress) for item in fingers] == [
        ("fingerprint/1.0", "user/1", False),
        ("fingerprint/7.4", "user/7", True),
        ("fingerprint/3.9", "user/3", False),
        ("fingerprint/1.1", "user/1", False),
    ]
    for number, item in enumerate(fingers):
        assert item.template is not None
        assert snapshot.bytes_of(item.template.template) == template(number, 30 + number)
        assert item.template.template_format == "zk/zkfinger/10"
    assert {item.key for item in snapshot.credentials} >= {"pin/1", "pin/7", "card/1"}
    assert snapshot.losses == ()
    assert all(gap.announced for gap in snapshot.gaps)
    assert {gap.section for gap in snapshot.gaps} == {
        "schedules", "groups", "combinations", "lock_schedules", "verify_styles",
    }  # fmt: skip
    assert "not_asked" not in {snapshot.coverage[name].state for name in ("users", "credentials", "schedules")}


async def test_a_black_and_white_terminal_s_folder_is_told_by_its_content(tmp_path: Path) -> None:
    folder = put(tmp_path / "usb", FILES_9, sums=True)
    lock = await opened(folder)
    unit = await lock.identify()
    assert (unit.profile, unit.details["record_bytes"], unit.details["fp_version"]) == ("zk-bw", 28, "9")
    assert unit.details["verified_length"] is True
    assert not any("unverifiable" in text for text in unit.warnings)
    found = await tables(lock, *Section)
    assert found["0004-users"].data == FILES_9["user.dat"]
    # On the wire an entry of version 9 has no padding, and its size counts the six bytes before the template.
    assert found["0005-templates"].data == b"".join(
        entry10(*place, template(n, 310 + n)) for n, place in enumerate(FINGERS)
    )
    snapshot = (await read(folder)).snapshot
    assert {item.template.template_format for item in snapshot.credentials if item.template} == {"zk/zkfinger/9"}


@pytest.mark.parametrize("width", [72, 28])
async def test_of_a_length_that_both_widths_divide_the_content_decides(tmp_path: Path, width: int) -> None:
    make = user72 if width == 72 else user28
    data = b"".join(make(uid, b"N%d" % uid) for uid in range(1, 504 // width + 1))
    assert len(data) == 504
    unit = await (await opened(put(tmp_path / "usb", {"user.dat": data}))).identify()
    assert (unit.details["record_bytes"], unit.counts["users"]) == (width, 504 // width)


async def test_names_of_a_chinese_terminal_are_read_as_the_target_says(tmp_path: Path) -> None:
    name = "测试".encode("gbk")  # also reads as UTF-8? no: but the other way round some do
    both = "ÖÐ".encode()  # UTF-8 that is GBK as well
    folder = put(tmp_path / "usb", {"user.dat": user72(1, name) + user72(2, both)})
    plain = (await read(folder)).snapshot
    gbk = await read(folder, encoding="GBK")
    assert [user.user_name for user in plain.users] == ["测试", "ÖÐ"]
    assert [user.user_name for user in gbk.snapshot.users] == ["测试", both.decode("gbk")]
    assert gbk.unit.details["encoding"] == "gbk"
    assert gbk.snapshot.users[1].user_name_raw == both.hex()
    with pytest.raises(TargetError, match="klingon"):
        await opened(folder, encoding="klingon")


async def test_the_switchboard_opens_a_folder(tmp_path: Path) -> None:
    put(tmp_path / "usb", FILES_10)
    lock = await open_target(parse_target(f"image://{tmp_path / 'usb'}?encoding=gbk"), Access())
    unit = await lock.identify()
    assert (unit.id, unit.details["encoding"]) == ("usb", "gbk")
    assert await lock.rehearse_write(b"x") is None
    assert lock.given == ()
    await lock.close()
    await lock.close()


async def test_a_named_profile_has_a_word_in_it(tmp_path: Path) -> None:
    folder = put(tmp_path / "usb", FILES_10)
    assert (await (await opened(folder, profile="zk")).identify()).profile == "zk"
    with pytest.raises(ProfileError, match="28 bytes"):
        await opened(folder, profile="zk-bw")
    with pytest.raises(ProfileError, match="family"):
        await opened(folder, profile="r503")
    short = put(tmp_path / "short", {"user.dat": struct.pack("<HB5s8sIBBHI", 1, 0, b"", b"", 5, 9, 1, 0, 8)})
    assert "zk-bw" in ((await refused(short)).hint or ""), (
        "a card of five bytes, in one record, may be half of a longer one"
    )
    assert (await (await opened(short, profile="zk-bw")).identify()).counts["users"] == 1


# ---- cuts -----------------------------------------------------------------------------------------------------------


def whole_at(name: str) -> set[int]:
    """Where a cut leaves whole records."""
    if name == "user.dat":
        return {0, 72, 144, 216}
    if name == "template.dat":
        return set(range(0, len(V9) + 1, 608))
    ends, at = {0}, 0
    for number in range(len(FINGERS)):
        at += 6 + 30 + number
        ends.add(at)
    return ends


@pytest.mark.parametrize("name", ["user.dat", "template.fp10.1", "template.dat"])
async def test_a_cut_without_sums_is_refused_or_said_to_be_unverifiable(tmp_path: Path, name: str) -> None:
    files = {"user.dat": b"".join(USERS_72)}
    if name != "user.dat":
        files[name] = V10 if name == "template.fp10.1" else V9
    folder = put(tmp_path / "usb", files)
    for size in range(len(files[name])):
        if name == "template.dat" and size % 608 not in (0, 1, 5, 6, 7, 316, 607):
            continue
        (folder / name).write_bytes(files[name][:size])
        if size in whole_at(name):
            unit = await (await opened(folder)).identify()
            assert any("unverifiable-length" in text for text in unit.warnings), size
            assert unit.details["verified_length"] is False
            continue
        error = await refused(folder)
        start = max(end for end in whole_at(name) if end < size)
        assert name in error.message, size
        assert f"at byte {start}" in error.message or name == "user.dat", (size, error.message)


@pytest.mark.parametrize("users", [USERS_72, USERS_28, [user72(1, b"Maximilian Musterperson", pin=b"12345678")]])
async def test_half_a_record_never_passes_for_one_of_the_other_width(tmp_path: Path, users: list[bytes]) -> None:
    width = len(users[0])
    data = b"".join(users * 1)
    folder = put(tmp_path / "usb", {"user.dat": data})
    for size in range(1, len(data)):
        (folder / "user.dat").write_bytes(data[:size])
        if size % width:
            assert "user.dat" in (await refused(folder)).message, size
        else:
            assert (await (await opened(folder)).identify()).details["record_bytes"] == width


async def test_users_cut_off_leave_templates_of_nobody(tmp_path: Path) -> None:
    folder = put(tmp_path / "usb", FILES_10)
    for size in range(len(FILES_10["user.dat"])):
        (folder / "user.dat").write_bytes(FILES_10["user.dat"][:size])
        error = await refused(folder)
        if size % 72 == 0:
            assert error.code == "image-mismatch"
            assert "swap identities" in (error.hint or "")


@pytest.mark.parametrize("files", [FILES_10, FILES_9])
async def test_with_sums_every_cut_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = put(tmp_path / "usb", files, sums=True)
    assert (await (await opened(folder)).identify()).details["verified_length"] is True
    for name, data in held(folder).items():
        for size in range(len(data)):
            if len(data) > 1000 and size % 19 and size % 608:
                continue
            (folder / name).write_bytes(data[:size])
            await refused(folder)
        (folder / name).write_bytes(data)
        (folder / name).unlink()
        if name != "SHA256SUMS":
            await refused(folder)
        (folder / name).write_bytes(data)
    await opened(folder)


async def test_a_file_that_the_sums_do_not_name_is_refused(tmp_path: Path) -> None:
    folder = put(tmp_path / "usb", FILES_10, sums=True)
    (folder / "1_attlog.dat").write_bytes(b"")
    error = await refused(folder)
    assert "1_attlog.dat" in error.message
    assert "SHA256SUMS" in (error.hint or "")
    (folder / "1_attlog.dat").unlink()
    (folder / "holiday.jpg").write_bytes(b"not a terminal's")
    await opened(folder)


async def test_whatever_the_sums_name_has_to_be_there_and_right(tmp_path: Path) -> None:
    files = {**FILES_10, "readme.txt": b"of the technician"}
    folder = put(tmp_path / "usb", files, sums=True)
    await opened(folder)
    (folder / "readme.txt").write_bytes(b"of somebody else")
    await refused(folder)
    (folder / "readme.txt").unlink()
    await refused(folder)
    (folder / "readme.txt").write_bytes(b"of the technician")
    with (folder / "SHA256SUMS").open("ab") as file:
        file.write(b"0" * 64 + b"  " + "名".encode() * 255 + b"\n")
    await refused(folder)


@pytest.mark.parametrize(
    "line",
    [
        b"../outside", b"sub/user.dat", b"..\\outside", b"C:outside", b"..", b"SHA256SUMS", b"\\user.dat", b"user.dat",
        b"\xff",
    ],
)  # fmt: skip
async def test_sums_that_no_sha256sum_writes_are_refused(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "outside").write_bytes(b"")
    folder = put(tmp_path / "usb", FILES_10, sums=True)
    empty = hashlib.sha256(b"").hexdigest().encode()
    with (folder / "SHA256SUMS").open("ab") as file:
        file.write(empty + b"  " + line + b"\n")
    assert "SHA256SUMS" in (await refused(folder)).message


async def test_sums_without_their_last_end_of_line_or_with_a_name_twice_are_refused(tmp_path: Path) -> None:
    users = {"user.dat": FILES_10["user.dat"]}
    folder = put(tmp_path / "usb", users, sums=True)
    for damaged in (sums_of(users)[:-1], sums_of(users) * 2, b"", b"\n"):
        (folder / "SHA256SUMS").write_bytes(damaged)
        assert "SHA256SUMS" in (await refused(folder)).message
    (folder / "SHA256SUMS").write_bytes(sums_of(users).replace(b"  ", b" *").replace(b"\n", b"\r\n"))
    await opened(folder)


# ---- files that do not belong together ------------------------------------------------------------------------------


async def test_templates_beside_another_terminal_s_users_are_refused(tmp_path: Path) -> None:
    others = b"".join(user72(uid, b"Other %d" % uid) for uid in (1, 3, 8))
    error = await refused(put(tmp_path / "usb", {**FILES_10, "user.dat": others}))
    assert error.code == "image-mismatch"
    assert "number 7" in error.message
    assert "swap identities" in (error.hint or "")


@pytest.mark.parametrize("name", ["template.fp10", "template.fp10.1", "template.dat"])
async def test_templates_without_users_are_refused(tmp_path: Path, name: str) -> None:
    error = await refused(put(tmp_path / "usb", {name: V9 if name == "template.dat" else V10}))
    assert (error.code, "no user.dat" in error.message) == ("image-mismatch", True)


@pytest.mark.parametrize("uid", [0, 7])
async def test_a_number_that_is_not_one_user_s_own_is_refused(tmp_path: Path, uid: int) -> None:
    users = b"".join([*USERS_72, user72(uid, b"Twin")])
    for profile in (None, "zk"):
        error = await refused(put(tmp_path / "usb", {"user.dat": users}), **({"profile": profile} if profile else {}))
    assert (error.code, "byte 216" in error.message or "byte 0" in error.message) == ("image-mismatch", True)


async def test_both_names_of_version_10(tmp_path: Path) -> None:
    other = b"".join(entry10(*place, template(50 + n, 30)) for n, place in enumerate(FINGERS))
    users = {"user.dat": FILES_10["user.dat"]}
    cases: list[tuple[bytes, bytes, bytes | None, str]] = [
        (V10, V10, V10, ""),
        (V10[:-1], V10, V10, "template.fp10 was read"),
        (V10, V10[:-1], V10, "template.fp10.1 was read"),
        (V10, b"", V10, "template.fp10 is empty"),
        (b"", V10, V10, "template.fp10.1 is empty"),
        (V10, other, None, "both whole"),
        (V10[:-1], other[:-1], None, "cut"),
        (V10[: 6 + 30], V10, None, "both whole"),
    ]
    for first, second, wanted, text in cases:
        folder = put(tmp_path / "usb", {**users, "template.fp10.1": first, "template.fp10": second})
        if wanted is None:
            assert text in (await refused(folder)).message
            continue
        lock = await opened(folder)
        assert (await tables(lock, Section.CREDENTIALS))["0005-templates"].data == wanted
        warnings = (await lock.identify()).warnings
        assert not text or any(text in item for item in warnings), warnings
    put(tmp_path / "usb", {"template.fp10.1": V10, "template.fp10": V10, "template.dat": V9})
    assert "version 9" in (await refused(tmp_path / "usb")).message


@pytest.mark.parametrize("length", [0, 603, 0xFFFF])
async def test_an_entry_of_a_length_that_cannot_be_is_refused(tmp_path: Path, length: int) -> None:
    users = {"user.dat": FILES_10["user.dat"]}
    broken = V9[:608] + struct.pack("<H", length) + V9[610:]
    assert "byte 608" in (await refused(put(tmp_path / "nine", {**users, "template.dat": broken}))).message
    for size in (0, 5, 6):
        tail = struct.pack("<HHBB", size, 1, 5, 1)
        assert "byte 36" in (await refused(put(tmp_path / "ten", {**users, "template.fp10": V10[:36] + tail}))).message


# ---- other things under the same names ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["user.dat", "template.fp10.1", "template.dat"])
@pytest.mark.parametrize(
    "data", [b"PIN=1\tName=Ada\tPri=0\r\n" * 30, "1\t王芳\t0\n".encode() * 72, b"SQLite format 3\0" + bytes(200)]
)
async def test_exports_of_newer_terminals_are_refused_politely(tmp_path: Path, name: str, data: bytes) -> None:
    error = await refused(put(tmp_path / "usb", {**FILES_10, name: data}))
    assert (error.code, name in error.message) == ("unsupported", True)
    assert "newer terminals" in error.message


async def test_only_known_names_and_ordinary_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(tmp_path / "usb", FILES_10)
    for name in ("user.dat.bak", "template.fp9", "xuser.dat", "attlog.txt", "template.fp10.2"):
        (folder / name).write_bytes(b"\xff" * 100)
    (folder / "sub").mkdir()
    assert (await (await opened(folder)).identify()).details["files"] == ["template.fp10.1", "user.dat"]
    (folder / "template.dat").mkdir()
    assert "no ordinary file" in (await refused(folder)).message
    (folder / "template.dat").rmdir()
    (folder / "template.dat").symlink_to(folder / "user.dat.bak")
    assert "no ordinary file" in (await refused(folder)).message
    (folder / "template.dat").unlink()
    monkeypatch.setattr(disk, "MAX_FILE_BYTES", 215)
    error = await refused(folder)
    assert (error.code, "user.dat" in error.message) == ("too-large", True)


async def test_a_disk_that_knows_no_lower_case_is_read_and_written(tmp_path: Path) -> None:
    folder = put(tmp_path / "usb", {"USER.DAT": FILES_10["user.dat"], "Template.FP10": V10, "1_ATTLOG.DAT": b""})
    lock = await opened(folder)
    assert (await lock.identify()).details["files"] == ["1_attlog.dat", "template.fp10", "user.dat"]
    (done,) = await written(lock, [put_user(user72(9, b"New"))])
    assert done.proof == "V4"
    assert set(held(folder)) == {"user.dat", *V10_NAMES, "1_ATTLOG.DAT", "SHA256SUMS"}
    check_sums(folder)
    (folder / "SHA256SUMS").rename(folder / "sha256sums")
    await written(await opened(folder), [put_user(user72(10, b"Ten"))])
    assert sorted(name for name in held(folder) if "sums" in name.lower()) == ["SHA256SUMS"]
    check_sums(folder)
    shutil.copy(folder / "user.dat", folder / "USER.dat")
    if len(held(folder)) == 6:
        assert "upper and lower case" in (await refused(folder)).message


async def test_any_bytes_are_ours_to_refuse(tmp_path: Path) -> None:
    random = Random(4)
    names = ("user.dat", *V10_NAMES, "template.dat", "SHA256SUMS", "1_attlog.dat", "ssrface.dat")
    for _ in range(150):
        folder = put(
            tmp_path / "usb", {name: random.randbytes(random.choice((0, 28, 72, 144, 608, 99))) for name in names}
        )
        for name in random.sample(names, 4):
            (folder / name).unlink()
        with contextlib.suppress(ImageError):
            await read(folder)


async def test_nothing_prints_what_people_keep_secret(tmp_path: Path) -> None:
    lock = await opened(put(tmp_path / "usb", FILES_10))
    seen = lock.load()
    text = repr(seen) + repr(seen.found) + repr(seen.entries[0]) + repr(await lock.identify())
    for secret in (b"87654321", template(0, 30)[:8], b"Ada"):
        assert repr(secret)[2:-1] not in text
    error = await refused(put(tmp_path / "odd", {"user.dat": FILES_10["user.dat"][:-1]}))
    assert "87654321" not in f"{error.message} {error.hint}"


# ---- logs, faces, messages ------------------------------------------------------------------------------------------

LOG = (
    b"SN=1234\tCHECKSUM=99\r\n"
    b"        7\t2024-02-29 08:30:01\t1\t0\t1\t0\r\n"
    b"90001\t2024-03-01 17:00:59\t1\t1\t15\n"
    b"\r\n"
    b"3\t2024-03-01 17:01:00\t2\t5\t2\t42\r\n"
)


async def test_the_lines_of_a_log_are_read_and_strange_ones_are_a_gap(tmp_path: Path) -> None:
    entries, strange = log_entries(LOG)
    assert strange == []
    assert [(item.user, item.time_local, item.operation, item.source) for item in entries] == [
        ("7", "2024-02-29T08:30:01", "in", "fingerprint"),
        ("90001", "2024-03-01T17:00:59", "out", "face"),
        ("3", "2024-03-01T17:01:00", "overtime-out", "card"),
    ]
    assert entries[2].vendor["zk"] == {"state": 5, "verify": 2, "device": 2, "work_code": 42}
    bad = b"7\t2023-02-29 08:30:01\t1\t0\t1\n7\t2024-02-28\t1\t0\t1\n\xff\xfe\0\t\n7 8 9\n"
    folder = put(tmp_path / "usb", {**FILES_10, "1_attlog.dat": LOG, "2_ATTLOG.dat": bad[:-1]})
    found = [item async for item in (await opened(folder)).read(frozenset({Section.LOG}))]
    (table,) = [item for item in found if isinstance(item, Table)]
    (gap,) = [item for item in found if isinstance(item, Gap)]
    assert (table.name, table.rows) == ("0012-attlog-text", 3)
    assert table.data == LOG + bad[:-1] + b"\r\n"
    assert (gap.section, gap.announced) == ("log", False)
    assert "4 lines" in gap.detail
    assert "first line 6" in gap.detail


async def test_a_log_of_lines_is_the_log_of_the_backup(tmp_path: Path) -> None:
    snapshot = (await read(put(tmp_path / "usb", {**FILES_10, "1_attlog.dat": LOG}))).snapshot
    assert [item.user for item in snapshot.log] == ["7", "90001", "3"]
    assert (snapshot.coverage["log"].state, snapshot.coverage["log"].read_count) == ("full", 3)
    assert snapshot.losses == ()


async def test_what_nobody_can_decode_is_kept_and_said(tmp_path: Path) -> None:
    extra = {"ssrface.dat": b"F" * 50, "sms.dat": b"S" * 332, "udata.dat": b"UUUU", "7_AttEncryptLog.dat": b"E" * 256}
    reading = await read(put(tmp_path / "usb", {**FILES_10, **extra}))
    gaps = {gap.record: gap for gap in reading.snapshot.gaps if gap.record}
    assert {name: (gap.code, gap.announced) for name, gap in gaps.items()} == {
        "ssrface.dat": ("no-public-layout", True),
        "sms.dat": ("no-public-layout", False),
        "udata.dat": ("no-public-layout", False),
        "7_attencryptlog.dat": ("log", True),
    }
    kept = {table.data for table in reading.snapshot.tables}
    assert set(extra.values()) <= kept
    assert reading.unit.counts == {"users": 3, "fingerprints": 4}


async def test_faces_would_go_to_others_so_nothing_is_written_beside_them(tmp_path: Path) -> None:
    folder = put(tmp_path / "usb", {**FILES_10, "ssrface.dat": b"F" * 50})
    lock = await opened(folder)
    assert any("bound to the numbers" in text for text in (await lock.identify()).warnings)
    assert (await written(lock, [put_user(USERS_72[0])]))[0].proof == "V4", "nothing changes, so nothing is in danger"
    with pytest.raises(Unsupported, match="faces"):
        await written(lock, [put_user(user72(9))])
    assert held(folder) == {**FILES_10, "ssrface.dat": b"F" * 50}


# ---- writing --------------------------------------------------------------------------------------------------------


def check_sums(folder: Path) -> None:
    """Hold SHA256SUMS against the files, by the program of that name where there is one."""
    named = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    files = held(folder)
    files.pop("SHA256SUMS")
    assert named == {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name in named}
    assert set(named) >= {name for name in files if name.lower().endswith((".dat", ".fp10", ".fp10.1"))}
    program = shutil.which("sha256sum")
    if program:
        subprocess.run([program, "-c", "--strict", "SHA256SUMS"], cwd=folder, check=True, capture_output=True)


async def test_a_folder_restored_into_a_new_one_is_the_same(tmp_path: Path) -> None:
    source, target = put(tmp_path / "old", IN_ORDER_10), tmp_path / "new"
    result = await restore(source, target)
    assert result.exit_code == 0, result.losses
    assert {(record.outcome, record.proof) for record in result.records} == {("copy", "V4"), ("skip", None)}
    assert {record.kind for record in result.records if record.outcome == "skip"} == {"schedule"}
    assert GBK_NAME in (target / "user.dat").read_bytes()
    files = held(target)
    check_sums(target)
    assert files.pop("SHA256SUMS")
    assert files == {"user.dat": IN_ORDER_10["user.dat"], **dict.fromkeys(V10_NAMES, V10)}
    if sys.platform != "win32":
        assert {stat.S_IMODE(path.stat().st_mode) for path in target.iterdir()} == {0o600}
    assert result.unit.details["verified_length"] is True
    assert any("unencrypted" in text for text in result.warnings)
    before = {path.name: path.stat().st_mtime_ns for path in target.iterdir()}
    again = await restore(source, target)
    assert (again.exit_code, again.written) == (0, 0)
    assert {path.name: path.stat().st_mtime_ns for path in target.iterdir()} == before, "a second run wrote something"


async def test_what_a_terminal_gives_over_the_network_goes_into_a_folder_and_back(tmp_path: Path) -> None:
    over_the_wire = await open_target(parse_target("sim://zk/full?users=12&fingers=2&names=gbk"), Access())
    source = source_in_memory(await last(read_unit(over_the_wire)))
    await over_the_wire.close()
    answers = [
        # What was refused is overridden record by record only (decision 21).
        *(Answer(key=key, choice="override") for key in ("user/3", "user/9")),
        Answer(reason="zone-table-unknown", choice="write"),
    ]
    undecided = await last(prepare(await opened(tmp_path / "usb"), source, Policy(), MemoryJournal()))
    refusals = {
        item.key for item in undecided.plan.records if "rule-unsupported" in item.reasons and item.kind == "user"
    }
    assert refusals == {"user/3", "user/9"}, "a folder does not carry the users' own ways of verifying"
    policy = Policy(decisions=Decisions(answer=tuple(answers)))
    prepared = await last(prepare(await opened(tmp_path / "usb"), source, policy, MemoryJournal()))
    result = await last(execute(prepared, MemoryJournal()))
    assert result.exit_code == 0, result.losses
    back = await read(tmp_path / "usb")
    for name in ("0004-users", "0005-templates"):
        assert tables_of(back)[name] == tables_of(source)[name]
    terminal = await open_target(parse_target("sim://zk/empty"), Access())
    prepared = await last(prepare(terminal, source_in_memory(back), policy, MemoryJournal()))
    result = await last(execute(prepared, MemoryJournal()))
    assert result.exit_code == 0, result.losses
    assert tables_of(await last(read_unit(terminal)))["0005-templates"] == tables_of(source)["0005-templates"]
    await terminal.close()


def tables_of(reading: Any) -> dict[str, bytes]:
    return {table.name: table.data for table in reading.snapshot.tables}


async def test_version_9_comes_back_byte_for_byte(tmp_path: Path) -> None:
    source, target = put(tmp_path / "old", IN_ORDER_9), tmp_path / "new"
    result = await restore(source, target, profile="zk-bw")
    assert result.exit_code == 0, result.losses
    check_sums(target)
    assert {name: data for name, data in held(target).items() if name != "SHA256SUMS"} == IN_ORDER_9


async def test_bytes_behind_a_version_9_template_stay_where_they_are_and_are_kept(tmp_path: Path) -> None:
    odd = bytearray(V9)
    odd[607] = 0x77
    folder = put(tmp_path / "usb", {**FILES_9, "template.dat": bytes(odd)})
    reading = await read(folder)
    assert any("behind their template" in text for text in reading.unit.warnings)
    assert bytes(odd) in {table.data for table in reading.snapshot.tables}
    await written(await opened(folder), [put_user(user28(9, b"New"))])
    assert (folder / "template.dat").read_bytes() == bytes(odd)


async def test_untouched_records_keep_their_place_and_other_files_are_left_alone(tmp_path: Path) -> None:
    photo = {"holiday.jpg": b"\xff\xd8", "1_attlog.dat": LOG}
    folder = put(tmp_path / "usb", {**FILES_10, **photo})
    lock = await opened(folder)
    ada = user72(1, b"Ada West")
    steps = [
        remove_user(7),
        put_user(user72(9, b"Nine")),
        put_user(ada),
        put_user(user72(5, b"Five")),
        put_finger(9, 0, template(90, 40), flag=3),
        put_finger(1, 0, template(91, 41)),
    ]
    done = await written(lock, steps)
    assert [(item.key, item.status, item.proof) for item in done] == [
        ("user/7", "removed", "V4"),
        *((step.key, "written", "V4") for step in steps[1:]),
    ]
    files = held(folder)
    assert files["user.dat"] == ada + USERS_72[2] + user72(9, b"Nine") + user72(5, b"Five")
    wanted = entry10(1, 0, 1, template(91, 41)) + entry10(3, 9, 1, template(2, 32)) + entry10(1, 1, 1, template(3, 33))
    assert files["template.fp10"] == files["template.fp10.1"] == wanted + entry10(9, 0, 3, template(90, 40))
    assert {name: files[name] for name in photo} == photo
    check_sums(folder)
    assert (await lock.identify()).counts == {"users": 4, "fingerprints": 4}
    await opened(folder)


async def test_what_a_folder_cannot_hold_is_refused_step_by_step(tmp_path: Path) -> None:
    folder = put(tmp_path / "usb", FILES_10, sums=True)
    before = held(folder)
    lock = await opened(folder)
    zone = Step(key="schedule/2", kind="schedule", action="put", origin={"number": 2}, value=bytes(28))
    steps = [
        zone,
        put_user(user28(9)),
        put_user(user72(9), user_index=8),
        put_user(user72(0)),
        put_user(user72(9), verify=0x81),
        put_finger(9, 0, b"x"),
        put_finger(1, 0, b""),
        put_finger(1, 0, bytes(0xFFFF)),
        put_finger(1, 300, b"x"),
        put_finger(1, 0, b"x", flag=256),
    ]
    done = await written(lock, steps)
    assert [(item.status, item.code) for item in done] == [
        ("refused", code)
        for code in (
            "schedule-unsupported", "write-refused", "write-refused", "capacity", "rule-unsupported", "user-missing",
            "template-size", "template-size", "capacity", "write-refused",
        )
    ]  # fmt: skip
    assert held(folder) == before
    nine = await opened(put(tmp_path / "nine", FILES_9))
    (item,) = await written(nine, [put_finger(1, 0, bytes(603))])
    assert item.code == "template-size"


async def test_others_on_the_target_are_kept_or_removed_as_was_decided(tmp_path: Path) -> None:
    source = put(tmp_path / "old", IN_ORDER_10)
    others = {"user.dat": user72(20, b"Other"), "template.fp10": entry10(20, 1, 1, template(20, 44))}
    merged = await restore(source, put(tmp_path / "merged", others), existing="merge")
    assert merged.exit_code == 0
    assert held(tmp_path / "merged")["user.dat"] == others["user.dat"] + IN_ORDER_10["user.dat"]
    replaced = await restore(source, put(tmp_path / "replaced", others), existing="replace")
    assert (replaced.exit_code, replaced.removed) == (0, ("user/20", "fingerprint/20.1"))
    assert held(tmp_path / "replaced")["user.dat"] == IN_ORDER_10["user.dat"]
    assert held(tmp_path / "replaced")["template.fp10"] == V10


async def test_an_empty_or_missing_folder_opens_as_one_without_users(tmp_path: Path) -> None:
    for folder, profile, width, version in (
        (tmp_path / "missing", None, 72, "10"),
        (put(tmp_path / "empty", {}), "zk", 72, "10"),
        (put(tmp_path / "empty", {}), "zk-bw", 28, "9"),
        (put(tmp_path / "zero", {"user.dat": b"", "template.dat": b""}), None, 72, "9"),
    ):
        unit = await (await opened(folder, profile=profile)).identify()
        assert unit.counts == {"users": 0, "fingerprints": 0}
        assert (unit.details["record_bytes"], unit.details["fp_version"]) == (width, version)
        assert unit.details.get("exists", True) is (folder.name != "missing")
    assert not (tmp_path / "missing").exists(), "looking made a folder"
    with pytest.raises(FileTrouble) as caught:
        await opened(tmp_path / "nowhere" / "usb")
    assert caught.value.code == "no-folder"
    with pytest.raises(FileTrouble):
        await opened(tmp_path / ("x" * 300))


async def test_removing_everybody_leaves_no_file_of_ours(tmp_path: Path) -> None:
    folder = put(tmp_path / "usb", {**FILES_9}, sums=True)
    (folder / "holiday.jpg").write_bytes(b"x")
    lock = await opened(folder)
    await written(lock, [remove_user(uid) for uid in (1, 3, 7)])
    assert held(folder) == {"holiday.jpg": b"x"}
    unit = await lock.identify()
    assert (unit.details["record_bytes"], unit.details["fp_version"]) == (28, "9"), "it stays what it was"
    (done,) = await written(lock, [put_user(user28(4))])
    assert done.proof == "V4"


async def test_wiping_deletes_what_is_of_people(tmp_path: Path) -> None:
    extra = {"1_attlog.dat": LOG, "ssrface.dat": b"F", "holiday.jpg": b"x"}
    folder = put(tmp_path / "usb", {**FILES_10, **extra})
    (folder / ".lockmigrate-new").mkdir()
    (folder / ".lockmigrate-new" / "user.dat").write_bytes(b"x")
    lock = await opened(folder)
    result = await last(wipe(lock, await lock.identify(), scope=Scope.PEOPLE, backup=None))
    assert isinstance(result, WipeResult)
    assert result.erased == {"users": 3, "fingerprints": 4}
    assert [path.name for path in folder.iterdir()] == ["holiday.jpg"]
    with pytest.raises(Unsupported):
        await last(lock.erase(Scope.FACTORY))
    with pytest.raises(Unsupported):
        await lock.touch(1.0)


# ---- interrupted writes ---------------------------------------------------------------------------------------------


class PowerLost(BaseException):
    """The machine is off: nothing that follows happens, no clearing up either."""


@dataclass
class Disk:
    """Counts every change of the disk's contents and lets one of them fail."""

    fail_at: int
    error: Callable[[], BaseException]
    stays_off: bool
    changes: int = 0
    log: list[str] = field(default_factory=list)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for owner, name in [
            (Path, "mkdir"), (Path, "rename"), (Path, "replace"), (Path, "unlink"), (Path, "rmdir"), (os, "link"),
        ]:  # fmt: skip
            patch.setattr(owner, name, self._wrapped(getattr(owner, name), name))
        write = os.fdopen
        patch.setattr(os, "fdopen", self._wrapped(write, "write"))

    def _wrapped(self, act: Callable[..., Any], name: str) -> Callable[..., Any]:
        def change(*args: Any, **kwargs: Any) -> Any:
            self.changes += 1
            if self.changes == self.fail_at or (self.stays_off and self.changes > self.fail_at):
                raise self.error()
            self.log.append(name)
            return act(*args, **kwargs)

        return change


OLD = {"user.dat": b"".join(USERS_72), "template.fp10": V10}
CHANGES = [
    remove_user(7),
    put_user(user72(1, b"Somebody else")),
    put_user(user72(8, b"Eight")),
    put_finger(1, 0, template(70, 50)),
    put_finger(8, 0, template(71, 51)),
]


def pair(folder: Path) -> tuple[bytes, tuple[bytes, ...]]:
    """What a terminal would find in the disk's root."""
    files = held(folder) if folder.is_dir() else {}
    return files.get("user.dat", b""), tuple(
        sorted({data for name, data in files.items() if name.startswith("template")})
    )


async def changed(folder: Path) -> tuple[bytes, tuple[bytes, ...]]:
    done = await written(await opened(folder), CHANGES)
    assert all(item.proof == "V4" for item in done)
    return pair(folder)


@pytest.mark.parametrize("sums", [True, False])
async def test_power_lost_at_any_moment_leaves_the_old_state_or_the_new_one(tmp_path: Path, sums: bool) -> None:
    new = await changed(put(tmp_path / "whole", OLD, sums=sums))
    old = pair(put(tmp_path / "untouched", OLD))
    seen: set[str] = set()
    for moment in range(1, 100):
        folder = put(tmp_path / f"usb{moment}", OLD, sums=sums)
        lock = await opened(folder)
        power = Disk(moment, PowerLost, stays_off=True)
        with pytest.MonkeyPatch.context() as patch:
            power.install(patch)
            try:
                await written(lock, CHANGES)
            except PowerLost:
                pass
            else:
                break
        users, templates = pair(folder)
        # The rule of the pair: never the users of one moment beside the templates of another.
        assert (users, templates) in (old, new, (old[0], ()), (new[0], ())), (moment, power.log)
        lock = await opened(folder)
        unit = await lock.identify()
        found = pair(folder)
        assert found in (old, new), (moment, power.log)
        seen.add("old" if found == old else "new")
        assert (found == new) == any("interrupted restore" in text for text in unit.warnings), (moment, power.log)
        assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == []
        assert await changed(folder) == new
        check_sums(folder)
    else:
        pytest.fail("the write never ended")
    assert moment > 15
    assert seen == {"old", "new"}


async def test_finishing_may_be_interrupted_too(tmp_path: Path) -> None:
    new = await changed(put(tmp_path / "whole", OLD, sums=True))
    folder = put(tmp_path / "usb", OLD, sums=True)
    lock = await opened(folder)
    steps = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "_move", lambda *_: (_ for _ in ()).throw(PowerLost()))
        with pytest.raises(PowerLost):
            await written(lock, CHANGES)
    while True:
        with pytest.MonkeyPatch.context() as patch:
            Disk(2, PowerLost, stays_off=True).install(patch)
            try:
                await opened(folder)
            except PowerLost:
                steps += 1
                assert pair(folder)[0] in (OLD["user.dat"], new[0])
                continue
            break
    assert steps >= 4
    assert pair(folder) == new
    check_sums(folder)


async def test_a_disk_that_refuses_leaves_nothing_half_done(tmp_path: Path) -> None:
    new = await changed(put(tmp_path / "whole", OLD, sums=True))
    outcomes = set()
    for moment in range(1, 100):
        folder = put(tmp_path / f"usb{moment}", OLD, sums=True)
        before = held(folder)
        lock = await opened(folder)
        with pytest.MonkeyPatch.context() as patch:
            Disk(moment, lambda: OSError(28, "No space left on device"), stays_off=False).install(patch)
            try:
                await written(lock, CHANGES)
                trouble = None
            except FileTrouble as error:
                trouble = error
        if trouble is None and moment > 30:
            break
        if trouble is not None:
            outcomes.add(trouble.code)
            assert "no space left" in trouble.message
            if trouble.code == "interrupted-restore":
                assert "no terminal may read" in (trouble.hint or "")
            else:
                assert held(folder) == before
                assert [path.name for path in folder.iterdir() if path.is_dir()] == []
        assert await changed(folder) == new
    assert outcomes == {"file", "interrupted-restore"}


async def test_a_new_folder_that_could_not_be_filled_is_not_left_behind(tmp_path: Path) -> None:
    failed = 0
    for moment in range(1, 12):
        folder = tmp_path / f"usb{moment}"
        lock = await opened(folder)
        with pytest.MonkeyPatch.context() as patch:
            power = Disk(moment, lambda: OSError(5, "Input/output error"), stays_off=False)
            power.install(patch)
            try:
                await written(lock, [put_user(user72(1, b"Ada"))])
            except FileTrouble:
                failed += 1
                assert not folder.exists() or (folder / ".lockmigrate-ready").exists(), (moment, power.log)
    assert failed >= 5


async def test_a_disk_without_links_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: Any, **__: Any) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    new = await changed(put(tmp_path / "usb", OLD))
    assert new == pair(tmp_path / "usb")
    check_sums(tmp_path / "usb")


async def test_what_an_interrupted_run_left_is_believed_only_if_it_is_whole(tmp_path: Path) -> None:
    folder = put(tmp_path / "usb", OLD, sums=True)
    before = held(folder)
    ready = put(folder / ".lockmigrate-ready", {"user.dat": USERS_72[0], "SHA256SUMS": sums_of({"user.dat": b"other"})})
    error = await refused(folder)
    assert ".lockmigrate-ready" in (error.hint or "")
    assert held(folder) == before
    shutil.rmtree(ready)
    await opened(folder)


async def test_a_disk_that_does_not_give_back_what_was_written_is_a_difference(tmp_path: Path) -> None:
    folder = put(tmp_path / "usb", OLD)
    lock = await opened(folder)

    def lies(folder: Path, files: dict[str, bytes], sums: bytes) -> None:
        del sums
        (folder / "user.dat").write_bytes(files["user.dat"][:-72])
        (folder / "template.fp10").write_bytes(files["template.fp10"].replace(template(70, 40), template(71, 40)))

    steps = [put_user(user72(1, b"New")), put_finger(1, 5, template(70, 40)), put_finger(1, 0, template(0, 30), flag=3)]
    steps += [put_user(user72(9)), remove_user(7)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lockmigrate.protocols.zk_folder.commit", lies)
        done = await written(lock, steps)
    wrong = ("differs", "read-back-differs", None)
    right = ("written", None, "V4")
    assert [(item.status, item.code, item.proof) for item in done] == [
        right, wrong, right, wrong, ("removed", None, "V4"),
    ]  # fmt: skip
    (folder / "template.fp10").write_bytes(OLD["template.fp10"].replace(entry10(7, 4, 3, template(1, 31)), b""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lockmigrate.protocols.zk_folder.commit", lambda *_: None)
        (flagged,) = await written(lock, [put_finger(1, 0, template(0, 30), flag=3)])
    assert (flagged.status, flagged.code) == ("differs", "read-back-differs"), "only the duress flag was lost"


async def test_a_lock_that_failed_half_way_can_be_told_to_write_again(tmp_path: Path) -> None:
    new = await changed(put(tmp_path / "whole", OLD, sums=True))
    lock = await opened(put(tmp_path / "usb", OLD, sums=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(FileTrouble) as caught:
            await written(lock, CHANGES)
    assert caught.value.code == "interrupted-restore"
    assert pair(tmp_path / "usb") == (OLD["user.dat"], ())
    assert all(done.proof == "V4" for done in await written(lock, CHANGES))
    assert pair(tmp_path / "usb") == new
