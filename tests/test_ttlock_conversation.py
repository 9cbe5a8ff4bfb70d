"""Talking to TTLock locks: pairing, login, reading, and everything that may go wrong in between.

The locks are simulated ones, behind a radio that some tests meddle with; what a test forges is built by the simulator's
own frames, by no line of the driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import convert
from msgspec.structs import replace

from lockmigrate.errors import (
    ConfigError,
    ConnectError,
    FrameError,
    LinkError,
    LockmigrateError,
    NoAnswer,
    RefusedError,
    UnexpectedReply,
    WrongCredential,
)
from lockmigrate.formats.lists import split_list
from lockmigrate.operations import pairing, units
from lockmigrate.operations.lock_keys import import_keys
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.profiles import load_profile
from lockmigrate.protocols import Lock, Scope, Section
from lockmigrate.protocols.credentials import TtlockCredential, read_credentials
from lockmigrate.protocols.door import Door
from lockmigrate.protocols.ttlock_door import pair_unit
from lockmigrate.sim import open_unit
from lockmigrate.sim.ttlock_frames import ANSWERED, NOTIFY, PUSHED, Code, frame, seal, unseal
from lockmigrate.sim.ttlock_records import dated_record, passcode_record
from lockmigrate.targets import Access, Target, open_on_unit, parse_target
from lockmigrate.transports.gatt import Emitted
from lockmigrate.transports.memory_ble import ConnectionFaults, MemoryConnection

TARGET = Target(text="sim://unit", scheme="sim", address="unit")
SMALL = {"passcodes": 23, "cards": 9, "fingers": 11, "passage": 4, "log": 9}
KEYS_WRONG = {0x03, 0x06, 0x08, 0x0D, 0x0E}
ERRORS = (0x02, 0x03, 0x05, 0x06, 0x07, 0x08, 0x0A, 0x0B, 0x0D, 0x0E, 0x0F, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16,
          0x17, 0x18, 0x1A, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F, 0x20, 0x21, 0x77)  # fmt: skip


# ---- units, and the radio in front of them --------------------------------------------------------------------------


def unit_of(preset: str = "full", profile: str = "ttlock", **options: Any) -> Any:
    return open_unit(load_profile(profile), preset, {name: str(value) for name, value in options.items()})


def small(**options: Any) -> Any:
    return unit_of("full", **{**SMALL, **options})


async def last(events: AsyncIterator[Any]) -> Any:
    item = None
    async for item in events:  # noqa: B007  # the last one is what counts
        pass
    return item


def credential_of(unit: Any, /, **changes: Any) -> TtlockCredential:
    return replace(convert(unit.credential, TtlockCredential), **changes)


async def opened(unit: Any, credential: TtlockCredential | None = None, **faults: Any) -> Lock:
    given = ConnectionFaults(**faults) if faults else None
    return await open_on_unit(unit, TARGET, credential=credential, faults=given)


async def read(unit: Any, credential: TtlockCredential | None = None, **faults: Any) -> Reading:
    lock = await opened(unit, credential, **faults)
    try:
        reading: Reading = await last(read_unit(lock))
    finally:
        await lock.close()
    return reading


def rows_of(reading: Reading, name: str) -> list[bytes]:
    (table,) = (table for table in reading.snapshot.tables if table.name == name)
    return [raw for _, raw in split_list(table.data)]


def whole(unit: Any, reading: Reading) -> None:
    """Insist that everything was read, each record once."""
    flash = unit.flash
    assert sorted(rows_of(reading, "0003-passcodes")) == sorted(
        passcode_record(r)[1:] for r in flash.passcodes.values()
    )
    assert sorted(rows_of(reading, "0004-cards")) == sorted(dated_record(r) for r in flash.cards.values())
    assert sorted(rows_of(reading, "0005-fingers")) == sorted(dated_record(r) for r in flash.fingers.values())
    assert len(rows_of(reading, "0007-passage")) == len(flash.passage)
    numbers = [int.from_bytes(raw[:4], "big") for raw in rows_of(reading, "0008-log")]
    assert numbers == [entry.number for entry in flash.log]


Meddle = Callable[[int, bytes, list[Emitted], float], list[Emitted]]


class Meddler:
    """Stands between a lock and its radio: sees each whole request, and says what leaves in answer to it."""

    def __init__(self, unit: Any, meddle: Meddle) -> None:
        self._device, self._unit, self._meddle = unit.gatt_device, unit, meddle
        self._buffer = b""
        self.connections = 0
        self.heard: list[int] = []
        unit.gatt_device = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def connected(self, at_s: float) -> list[Emitted]:
        self.connections += 1
        self._buffer = b""
        return list(self._device.connected(at_s))

    def write(self, uuid: str, data: bytes, at_s: float) -> list[Emitted]:
        said: list[Emitted] = self._device.write(uuid, data, at_s)
        self._buffer += data
        if len(self._buffer) < 12 or len(self._buffer) < 15 + self._buffer[11]:
            return said
        raw, self._buffer = self._buffer, b""
        self.heard.append(raw[9])
        plain = (unseal(self._unit.flash.aes_key or bytes(16), raw[12:-3]) or b"") if raw[11] else b""
        return self._meddle(raw[9], plain, said, at_s)


def saying(unit: Any, plain: bytes, at_s: float, *, how: int = ANSWERED, key: bytes = b"") -> list[Emitted]:
    """A frame from the lock, in notifications."""
    payload = seal(key or unit.flash.aes_key or bytes(16), plain) if plain else b""
    return pieces(frame(unit.settings.place, Code.RESPONSE, how, payload), at_s)


def pieces(raw: bytes, at_s: float) -> list[Emitted]:
    return [Emitted(at_s=at_s, uuid=NOTIFY, data=raw[at : at + 20]) for at in range(0, len(raw), 20)]


# ---- pairing --------------------------------------------------------------------------------------------------------


async def introduced(unit: Any, kept: list[TtlockCredential], given: Any = None, **faults: Any) -> TtlockCredential:
    connection = MemoryConnection.open(unit.gatt_device, faults=ConnectionFaults(**faults) if faults else None)
    try:
        return await pair_unit(
            connection,
            Door(target="sim://unit", port_id="x", credential=given),
            keep=kept.append,  # type: ignore[arg-type]
        )
    finally:
        await connection.close()


@pytest.mark.parametrize("options", [{}, {"makes_code": 0}, {"features": "17"}, {"login": "strict"}, {"piece": 3}])
async def test_a_lock_as_from_the_factory_is_paired_with_and_its_keys_are_kept_before_it_keeps_us(options: Any) -> None:
    unit = unit_of("fresh", **options)
    states: list[bool] = []
    connection = MemoryConnection.open(unit.gatt_device)
    door = Door(target="sim://unit", port_id="x")
    made = await pair_unit(connection, door, keep=lambda _: states.append(unit.flash.paired))
    await connection.close()
    assert states == [False]
    flash = unit.flash
    assert (made.aes_key, made.admin_ps, made.unlock_key) == (flash.aes_key.hex(), flash.admin_ps, flash.unlock_key)
    assert made.admin_passcode == flash.admin_passcode != ""
    assert made.unit == unit.id
    assert abs((unit.lock.clock() - unit.settings.local).total_seconds()) < 120
    reading = await read(unit, made)
    assert reading.unit.id == unit.id


async def test_a_link_that_is_lost_at_any_moment_of_pairing_leaves_a_fresh_lock_or_one_whose_keys_we_have() -> None:
    counted = unit_of("fresh")
    connection = MemoryConnection.open(counted.gatt_device)
    await pair_unit(connection, Door(target="x", port_id="x"), keep=lambda _: None)
    requests = connection.requests
    await connection.close()
    fates = set()
    for number in range(1, 2 * requests):
        # From the first half on a write, from the second on a notification is the last that passes.
        unit, kept = unit_of("fresh"), list[TtlockCredential]()
        with contextlib.suppress(LinkError):
            cut = {"cut_after_requests": number} if number < requests else {"cut_after_chunks": number - requests}
            await introduced(unit, kept, **cut)
        fates.add((unit.flash.paired, bool(kept)))
        if unit.flash.paired:
            assert (await read(unit, kept[0])).unit.id == unit.id
        else:
            with pytest.raises(RefusedError) as caught:
                await read(unit, kept[0] if kept else credential_of(small(), unit=unit.id, address=unit.id))
            assert caught.value.code == "not-paired"
            again = await introduced(unit, kept, given=kept[0] if kept else None)
            assert (await read(unit, again)).unit.id == unit.id, "with the same file it is tried again"
    assert fates == {(False, False), (False, True), (True, True)}


async def test_pairing_never_writes_over_the_keys_of_another_lock() -> None:
    unit, kept = unit_of("fresh"), list[TtlockCredential]()
    with pytest.raises(ConfigError) as caught:
        await introduced(unit, kept, given=credential_of(small(seed=5)))
    assert caught.value.code == "credential-file"
    assert not kept
    assert not unit.flash.paired


async def test_an_administrators_code_of_ones_own_is_set_and_an_impossible_one_is_an_error_before_a_word() -> None:
    unit, kept = unit_of("fresh"), list[TtlockCredential]()
    for code in ("12a4", "123", "1234567890", "٣٤٥٦"):
        with pytest.raises(ConfigError):
            await introduced(unit, kept, given=TtlockCredential(admin_passcode=code))
    assert unit.log == []
    made = await introduced(unit, kept, given=TtlockCredential(admin_passcode="86420"))
    assert made.admin_passcode == unit.flash.admin_passcode == "86420"


async def test_a_lock_that_has_an_administrator_is_not_paired_with() -> None:
    unit, kept = small(), list[TtlockCredential]()
    with pytest.raises(RefusedError) as caught:
        await introduced(unit, kept)
    assert (caught.value.code, kept) == ("not-pairing", [])
    advertised = unit_of("fresh")
    device = advertised.gatt_device
    seen = device.advertisement()
    advertised.flash.aes_key = bytes(16)
    device.advertisement = lambda: seen  # what was heard is older than what somebody else has done since
    with pytest.raises(RefusedError) as caught:
        await introduced(advertised, kept)
    assert (caught.value.code, kept) == ("not-pairing", [])


@pytest.mark.parametrize("command", [0x45, 0x19, 0x56, 0x01, 0x53, 0x57])
@pytest.mark.parametrize("error", ["13", "1d", "0a"])
async def test_a_step_of_pairing_that_is_refused_leaves_the_lock_as_it_was(command: int, error: str) -> None:
    unit, kept = unit_of("fresh", makes_code=0, refuse=f"{command:02x}:{error}"), list[TtlockCredential]()
    with pytest.raises(LockmigrateError):
        await introduced(unit, kept)
    assert not unit.flash.paired
    assert bool(kept) == (command == 0x57)


async def test_an_empty_answer_to_the_last_step_is_no_promise() -> None:
    unit, kept = unit_of("fresh"), list[TtlockCredential]()

    def meddle(command: int, _: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        return saying(unit, b"", at_s) if command == Code.FINISHED else said

    Meddler(unit, meddle)
    with pytest.raises(UnexpectedReply):
        await introduced(unit, kept)
    assert kept, "whatever it means, the keys are on the disk"


async def test_what_pairing_made_is_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    path, state = tmp_path / "door.toml", tmp_path / "unit.state"
    target = parse_target(f"sim://ttlock/fresh?state={state}")
    cautions: list[str] = []
    result = await pairing.pair(target, Access(), path, agree=cautions.append)
    assert path.stat().st_mode & 0o777 == 0o600
    held = read_credentials(path)["ttlock"]
    assert isinstance(held, TtlockCredential)
    assert held.unit == result.unit.id
    assert "one administrator" in cautions[0]
    assert held.aes_key is not None
    assert held.aes_key not in repr(result)


# ---- letting ourselves in -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_key", ["empty", "foreign", "silent"])
async def test_keys_that_the_lock_does_not_know_are_told_as_such_and_nothing_is_read(on_key: str) -> None:
    unit = small(on_key=on_key)
    with pytest.raises(NoAnswer if on_key == "silent" else WrongCredential):
        await read(unit, credential_of(unit, aes_key="00" * 16))
    unit = small(on_key=on_key)
    for changes in ({"admin_ps": 1}, {"unlock_key": 1}):
        with pytest.raises(WrongCredential) as caught:
            await read(unit, credential_of(unit, **changes))
        assert caught.value.hint is not None
    unit = small(lock_flag_pos=7)
    with pytest.raises(WrongCredential):
        await read(unit, credential_of(unit, lock_flag_pos=6))


async def test_the_keys_of_another_lock_are_refused_before_a_word_is_said() -> None:
    unit = small()
    with pytest.raises(RefusedError) as caught:
        await read(unit, credential_of(small(seed=9)))
    assert caught.value.code == "credential-of-other-unit"
    assert unit.log == []


async def test_keys_of_a_guest_and_no_keys_at_all_are_told_apart_and_nothing_is_asked() -> None:
    unit = small()
    for held, word in ((TtlockCredential(), "no keys"), (credential_of(unit, admin_ps=None), "do not manage")):
        with pytest.raises(ConfigError, match=word) as caught:
            await read(unit, held)
        assert caught.value.code == "no-credential"
    assert unit.log == []


async def test_a_lock_in_setting_mode_has_nothing_to_give_out() -> None:
    unit = unit_of("fresh")
    with pytest.raises(RefusedError) as caught:
        await read(unit, credential_of(small(), unit=unit.id, address=unit.id))
    assert caught.value.code == "not-paired"


async def test_a_lock_that_sleeps_is_not_found_until_it_is_touched() -> None:
    unit = small(awake=0)
    with pytest.raises(ConnectError) as caught:
        await read(unit)
    assert caught.value.code == "not-found"
    unit.touch()
    whole(unit, await read(unit))


@pytest.mark.parametrize("no_login", ["02", "12"])
async def test_a_login_that_the_lock_forgets_is_made_again(no_login: str) -> None:
    unit = small(login="strict", no_login=no_login)
    heard: list[int] = []

    def meddle(command: int, _: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        heard.append(command)
        if len(heard) % 9 == 0:
            unit.lock.session.end()
        return said

    Meddler(unit, meddle)
    whole(unit, await read(unit))
    assert heard.count(Code.CHECK_ADMIN) > 2


@pytest.mark.parametrize("what", ["idle_s", "rest"])
async def test_a_lock_that_hung_up_or_that_we_let_go_is_dialled_again(what: str) -> None:
    unit = small(login="strict", **({"idle_s": 15} if what == "idle_s" else {}))
    radio = Meddler(unit, lambda _, __, said, ___: said)
    lock: Any = await opened(unit)
    if what == "rest":
        await lock.rest()
    await asyncio.sleep(60)
    reading = await last(read_unit(lock))
    await lock.close()
    whole(unit, reading)
    assert radio.connections == 2
    with pytest.raises(LinkError):
        await lock.look()


# ---- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["empty", "ffff", "zero"])
@pytest.mark.parametrize("cursors", ["opaque", "index"])
@pytest.mark.parametrize("size", [0, 1, 3])
async def test_lists_are_read_to_their_end_however_they_are_paged(end: str, cursors: str, size: int) -> None:
    pages = {f"page_{name}": size for name in ("passcodes", "cards", "fingers")}
    unit = small(end_of_list=end, cursors=cursors, page_passage=size or 5, page_log=size or 4, **pages)
    whole(unit, await read(unit))


@pytest.mark.parametrize(
    "options",
    [
        {"pushes": 1}, {"pushes": 1, "joined": 1}, {"pushes": 3, "push_form": "long"}, {"force_crlf": 1},
        {"piece": 1}, {"max_mtu": 247, "piece": 244}, {"service": "6e40"}, {"read_first": 1}, {"adv": 15},
        {"scene": 4, "group": 10, "org": 12}, {"log_first": 700}, {"login": "strict"}, {"think": 5000}, {"volume": 0},
        {"passcodes": 0, "cards": 0, "fingers": 0, "passage": 0, "log": 0},
    ],
    ids=str,
)  # fmt: skip
async def test_every_form_of_lock_is_read_whole(options: Any) -> None:
    unit = small(**options)
    unread = unit.flash.next_unread
    reading = await read(unit)
    whole(unit, reading)
    assert unit.flash.next_unread == unread, "the app still finds its news"
    assert unit.actions == []
    assert {key: reading.unit.counts[key] for key in ("pins", "cards", "fingerprints")} == {
        "pins": len(unit.flash.passcodes), "cards": len(unit.flash.cards), "fingerprints": len(unit.flash.fingers),
    }  # fmt: skip
    mine = vars(unit.flash.settings)
    held = {item.key.removeprefix("setting/ttlock."): item.value for item in reading.snapshot.settings}
    assert {name: held[name] for name in ("auto_lock_s", "audio", "show_passcode", "remote_unlock", "lamp_s")} == {
        name: mine[name] for name in ("auto_lock_s", "audio", "show_passcode", "remote_unlock", "lamp_s")
    }
    (code,) = (item for item in reading.snapshot.access_keys if item.key == "access_key/ttlock.admin_code")
    assert str(code.secret.reveal()) == unit.flash.admin_passcode


@pytest.mark.parametrize("profile", ["ttlock-keypad", "ttlock-cards", "ttlock-deadbolt", "ttlock-cyclic"])
async def test_a_lock_is_known_by_its_features_and_what_it_has_not_is_said(profile: str) -> None:
    unit = unit_of("full", profile, **dict.fromkeys(("passcodes", "log"), 3))
    reading = await read(unit)
    assert reading.unit.profile == profile
    coverage = reading.snapshot.coverage
    assert coverage["cards"].state == ("full" if unit.settings.has(1) else "unsupported")
    assert coverage["fingerprints"].state == ("full" if unit.settings.has(2) else "unsupported")
    assert coverage["schedules"].state == ("partial" if unit.settings.has(34) else "full")
    gaps = {gap.section for gap in reading.snapshot.gaps}
    assert "app_keys" in gaps
    assert ("weekly_limits" in gaps) == unit.settings.has(34)
    assert any("generated" in gap.detail and "unconfirmed" in gap.detail for gap in reading.snapshot.gaps)


@pytest.mark.parametrize("number", [1, 3, 4, 9, 14, 20, 25])
async def test_one_answer_with_a_wrong_checksum_costs_nothing(number: int) -> None:
    unit = small(crc_wrong=number, login="strict")
    whole(unit, await read(unit))


@pytest.mark.parametrize("part", range(6))
@pytest.mark.parametrize("fault", ["lose_write", "lose_chunk", "late"])
async def test_one_packet_that_is_lost_or_late_cuts_no_list_and_doubles_no_record(part: int, fault: str) -> None:
    """An answer that comes after its time would look like the next page with a cursor already seen: the list's end."""
    unit = small(page_passcodes=2, page_fingers=2)
    number = 9 + 23 * part
    faults = {"delay_chunk": number, "delay_s": 6.5 + part} if fault == "late" else {fault: number}
    whole(unit, await read(unit, **faults))


@pytest.mark.parametrize("command", [Code.PASSCODES, Code.CARD, Code.FINGER, Code.PASSAGE, Code.LOG])
async def test_the_late_answer_to_a_first_try_does_not_end_a_list_in_silence(command: int) -> None:
    """Asked twice, the lock answers twice: the second of them is not the page that is asked for next."""
    unit = small(page_passcodes=2, page_fingers=2, page_passage=1)
    asked = 0

    def meddle(heard: int, _: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        nonlocal asked
        asked += heard == command
        late_s = {2: 6.5, 3: 1.0}.get(asked, 0.0) if heard == command else 0.0
        return [Emitted(at_s=item.at_s + late_s, uuid=item.uuid, data=item.data) for item in said]

    radio = Meddler(unit, meddle)
    whole(unit, await read(unit))
    assert radio.connections == 2


async def test_a_request_that_the_lock_misheard_is_said_again() -> None:
    unit = small(refuse="07:01:2,05:01:1,41:01:1")
    whole(unit, await read(unit))


@pytest.mark.parametrize("error", ERRORS)
async def test_every_error_in_the_middle_of_a_list_is_an_error_with_its_words_and_never_its_end(error: int) -> None:
    unit = small(refuse=f"07:{error:02x}:2,07:{error:02x}:3", page_passcodes=3)
    with pytest.raises(RefusedError) as caught:
        await read(unit)
    assert caught.value.status == error
    assert isinstance(caught.value, WrongCredential) == (error in KEYS_WRONG)


@pytest.mark.parametrize("command", ["36", "62", "59", "67"])
async def test_a_setting_that_the_lock_says_it_has_and_does_not_give_out_is_a_gap(command: str) -> None:
    unit = small(refuse=f"{command}:13")
    reading = await read(unit)
    (gap,) = (gap for gap in reading.snapshot.gaps if gap.section == "settings")
    assert not gap.announced
    whole(unit, reading)


@pytest.mark.parametrize("command", [Code.READ_SEEDS, Code.SWITCH, Code.GET_TIME])
async def test_a_lock_that_says_nothing_at_all_to_what_it_does_not_know_is_read_all_the_same(command: int) -> None:
    unit = small()
    Meddler(unit, lambda asked, _, said, __: [] if asked == command else said)
    whole(unit, await read(unit))


@pytest.mark.parametrize(("first", "bad"), [(0, 0), (0, 5), (0, 8)])
async def test_a_record_of_the_log_that_cannot_be_read_costs_that_record_alone(first: int, bad: int) -> None:
    unit = small(bad_record=bad, log_first=first)
    reading = await read(unit)
    numbers = [int.from_bytes(raw[:4], "big") for raw in rows_of(reading, "0008-log")]
    assert numbers == [number for number in range(9) if number != bad]
    (gap,) = (gap for gap in reading.snapshot.gaps if gap.section == "log")
    assert "1 or more" in gap.detail


async def test_a_log_that_breaks_off_is_kept_as_far_as_it_came_and_told() -> None:
    unit = small(refuse=",".join(f"25:13:{number}" for number in range(4, 10)))
    reading = await read(unit)
    assert len(rows_of(reading, "0008-log")) == 3
    assert [gap.section for gap in reading.snapshot.gaps if gap.code == "log"] == ["log"]


async def test_a_page_of_the_log_that_makes_no_sense_costs_that_page_alone() -> None:
    unit = small()

    def meddle(command: int, plain: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        if command == Code.LOG and plain == b"\0\2":
            return saying(unit, bytes([Code.LOG, 1, 0, 6, 0, 3, 99, 1, 2, 3]), at_s)
        return said

    Meddler(unit, meddle)
    reading = await read(unit)
    assert len(rows_of(reading, "0008-log")) == 8


async def test_a_lock_without_a_log_is_read_without_one() -> None:
    unit = small(refuse="25:1b")
    reading = await read(unit)
    assert reading.snapshot.coverage["log"].state == "unsupported"


async def test_a_lock_that_does_not_say_what_it_can_do_does_not_pass_for_an_empty_one() -> None:
    unit = small()

    def meddle(command: int, _: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        return saying(unit, bytes([1, 1, 80]), at_s) if command == Code.FEATURES else said

    Meddler(unit, meddle)
    with pytest.raises(FrameError):
        await read(unit)


# ---- what nobody asked for ------------------------------------------------------------------------------------------


async def test_what_is_said_unasked_is_no_answer_whatever_it_looks_like() -> None:
    unit = small()

    def meddle(command: int, _: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        if not said:
            return said
        pushes = [
            *saying(unit, bytes([command, 1, 80, 1, 0xFF, 0xFF]), at_s, how=PUSHED),
            *saying(unit, bytes([command, 0, 0x16]), at_s, how=PUSHED),
            *saying(unit, b"\x14\x01\x50\x00\x02", at_s),
            *saying(unit, b"\x14\x01\x50", at_s, how=PUSHED, key=bytes(16)),
        ]
        return [*pushes, *said]

    Meddler(unit, meddle)
    whole(unit, await read(unit))


async def test_a_damaged_push_before_an_answer_is_not_the_answer() -> None:
    unit = small()

    def meddle(_: int, __: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        if not said:
            return said
        raw = b"".join(item.data for item in saying(unit, b"\x14\x01\x50", at_s, how=PUSHED))
        return [*pieces(raw[:-3] + bytes([raw[-3] ^ 0x55]) + b"\r\n", at_s), *said]

    radio = Meddler(unit, meddle)
    whole(unit, await read(unit))
    assert radio.connections == 1


async def test_a_card_that_is_enrolled_meanwhile_is_no_page_of_the_list() -> None:
    unit = small()

    def meddle(command: int, plain: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        if command == Code.CARD and plain[:1] == b"\x01":
            told = bytes([Code.CARD, 1, 80, 2, 1]) + bytes(range(15))
            return saying(unit, told, at_s)
        return said

    Meddler(unit, meddle)
    with pytest.raises(UnexpectedReply):
        await read(unit)


async def test_a_list_that_goes_round_in_circles_ends_and_one_that_never_ends_is_not_believed() -> None:
    unit = small()
    turn = 0

    def meddle(command: int, plain: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        nonlocal turn
        if command != Code.PASSCODES:
            return said
        turn += 1
        return saying(unit, bytes([7, 1, 0, 2]) + (turn % 60_000 + 1).to_bytes(2, "big"), at_s)

    Meddler(unit, meddle)
    with pytest.raises(LinkError) as caught:
        await read(unit)
    assert caught.value.code == "torn-read"


async def test_checksums_of_the_unchanged_table_are_taken_and_told() -> None:
    def plain_crc(data: bytes) -> int:
        value = 0
        for byte in data:
            value ^= byte
            for _ in range(8):
                value = (value >> 1) ^ 0x8C if value & 1 else value >> 1
        return value

    unit = small()
    odd = 0

    def meddle(_: int, __: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        nonlocal odd
        raw = b"".join(item.data for item in said)
        if not raw:
            return said
        crc = plain_crc(raw[:-3])
        odd += crc != raw[-3]
        return pieces(raw[:-3] + bytes([crc]) + b"\r\n", at_s)

    Meddler(unit, meddle)
    reading = await read(unit)
    whole(unit, reading)
    assert odd
    assert any("checksum" in warning for warning in reading.unit.warnings)


# ---- clock, erasing, secrets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [-7200, 0, 86400 * 400])
async def test_how_wrong_the_clock_is_stands_in_the_backup(off: int) -> None:
    reading = await read(small(clock_off=off))
    assert abs(int(reading.snapshot.lock.clock_offset_s or 0) - off) < 60
    assert reading.snapshot.log[0].time_local is not None


async def test_wiping_clears_codes_cards_fingers_and_passage_and_the_factory_forgets_us() -> None:
    unit = small(login="strict", cyclic=1)
    lock = await opened(unit)
    async for _ in lock.erase(next(scope for scope in Scope if scope is not Scope.FACTORY)):
        pass
    flash = unit.flash
    assert not any((flash.passcodes, flash.cards, flash.fingers, flash.passage, flash.weekly_limits))
    assert flash.paired
    async for _ in lock.erase(Scope.FACTORY):
        pass
    await lock.close()
    assert not flash.paired


@pytest.mark.parametrize("answer", ["comes", "lost"])
async def test_wiping_to_the_factory_ends_well_and_what_the_lock_advertises_proves_it(answer: str) -> None:
    unit = small(login="strict")
    if answer == "lost":
        Meddler(unit, lambda command, _, said, __: [] if command == Code.RESET else said)
    lock = await opened(unit)
    result = await last(units.wipe(lock, await lock.identify(), scope=Scope.FACTORY, backup=None))
    await lock.close()
    assert (result.left, unit.flash.paired) == ({}, False)


async def test_a_lock_that_only_says_that_it_reset_itself_is_found_out() -> None:
    unit = small()
    unit.lock.factory_reset = lambda: None
    lock = await opened(unit)
    with pytest.raises(RefusedError, match="did not go back"):
        await last(units.wipe(lock, await lock.identify(), scope=Scope.FACTORY, backup=None))
    await lock.close()
    assert unit.flash.paired


async def test_count_reads_credentials_only_and_identify_knows_them() -> None:
    unit = small()
    lock: Any = await opened(unit)
    await lock.count()
    assert (await lock.identify()).counts == {"pins": 23, "cards": 9, "fingerprints": 11}
    assert Code.LOG not in unit.log
    assert [item async for item in lock.read(frozenset({Section.INDEX}))] == []
    await lock.close()


async def test_no_secret_is_in_a_log_an_error_or_a_repr(caplog: pytest.LogCaptureFixture) -> None:
    unit = small(refuse="05:13:3")
    caplog.set_level(logging.DEBUG)
    lock: Any = await opened(unit)
    with pytest.raises(RefusedError) as caught:
        await last(read_unit(lock))
    shown = caplog.text + repr(caught.value) + str(caught.value) + repr(lock) + repr(lock._wire) + repr(lock._found)
    await lock.close()
    flash = unit.flash
    secrets = [flash.aes_key.hex(), str(flash.admin_ps), str(flash.unlock_key), flash.admin_passcode]
    secrets += [row.code for row in flash.passcodes.values() if len(row.code) > 5]
    assert not [secret for secret in secrets if secret in shown]
    reading = await read(unit)
    shown = repr(reading.snapshot) + repr(reading.snapshot.log) + repr(reading.unit)
    assert not [secret for secret in secrets if secret in shown]


# ---- exports of other programs --------------------------------------------------------------------------------------


async def test_the_keys_of_an_export_open_the_lock(tmp_path: Path) -> None:
    unit = small()
    held = unit.credential
    keys = {"aesKey": held["aes_key"], "admin": {"adminPs": held["admin_ps"], "unlockKey": held["unlock_key"]}}
    (tmp_path / "lockData.json").write_text(json.dumps([{"address": held["address"], "privateData": keys}]))
    whole(unit, await read(unit, import_keys(tmp_path / "lockData.json")))


def test_two_sets_of_keys_that_cannot_be_told_apart_are_not_chosen_from(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    one = {"aesKey": "a0" * 16, "admin": {"adminPs": 1, "unlockKey": 2}}
    other = {"aesKey": "b1" * 16, "admin": {"adminPs": 1, "unlockKey": 2}}
    for pair in ([one, other], [{**one, "address": "C1:5E:AA:11:22:33"}, {**other, "address": "C1:5E:AA:11:22:33"}]):
        path.write_text(json.dumps(pair))
        with pytest.raises(ConfigError, match="two different sets"):
            import_keys(path)
    path.write_text(json.dumps([one, one]))
    assert import_keys(path).aes_key == "a0" * 16


def test_a_counter_that_no_lock_has_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"aesKeyStr": "a0" * 16, "adminPwd": "1", "lockKey": "2", "lockFlagPos": 1 << 24}))
    with pytest.raises(ConfigError):
        import_keys(path)


@pytest.mark.parametrize("text", ["[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900, '[{"aesKey": 5}]', "[1e999]"])
def test_an_export_that_makes_no_sense_is_an_error_of_ours(text: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(ConfigError):
        import_keys(path)
