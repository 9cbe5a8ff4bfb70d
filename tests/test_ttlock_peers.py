"""ttlock-ble, as it is published, against our simulated TTLock locks, and its frames against ours.

ttlock-ble (0.1.2, roquerodrigo/ttlock-ble) was written against real locks by somebody we do not know, and Home
Assistant installations open doors with it. Nothing of it is changed: only bleak is told that Bumble is this system's
Bluetooth. Its table is the witness of our checksum: the package itself never checks one, our simulated lock always
does. Section numbers are those of the wire reference of the family; what the package lacks stands in section 19.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import bleak
import pytest
from hypothesis import given
from hypothesis import strategies as st
from on_air import Air, on_air

from lockmigrate.formats.lists import split_list
from lockmigrate.formats.ttlock import (
    DEFAULT_KEY,
    HEAD_BYTES,
    MAX_PLAIN,
    PLAIN_TABLE,
    TABLE,
    TERMINATOR,
    VENDOR,
    Cmd,
    Framer,
    build_frame,
    checksum,
    decrypt,
    encrypt,
    parse_answer,
)
from lockmigrate.formats.ttlock_keys import decode_lock_data, decode_secret, encode_secret
from lockmigrate.formats.ttlock_log import log_entry
from lockmigrate.formats.ttlock_records import ONE_TIME, PERIOD, PERMANENT, PERMANENT_FROM, PERMANENT_UNTIL, Passcode
from lockmigrate.formats.ttlock_settings import set_request
from lockmigrate.formats.ttlock_tables import LOG_TABLE
from lockmigrate.operations.journal import MemoryJournal
from lockmigrate.operations.lock_keys import export_keys
from lockmigrate.operations.on_paper import source_in_memory
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.operations.restore import execute, prepare
from lockmigrate.planning.policy import Policy
from lockmigrate.profiles import load_profile
from lockmigrate.protocols.credentials import TtlockCredential
from lockmigrate.protocols.door import Door
from lockmigrate.protocols.ttlock_door import pair_unit
from lockmigrate.protocols.ttlock_pair import local_bytes
from lockmigrate.sim import open_unit
from lockmigrate.sim.ttlock_frames import CRC_TABLE
from lockmigrate.sim.ttlock_frames import checksum as checksum_of_the_lock
from lockmigrate.sim.ttlock_records import log_record
from lockmigrate.targets import Target, open_on_unit
from lockmigrate.transports.bumble import BumbleClient, BumbleScanner
from lockmigrate.transports.memory_ble import MemoryConnection

pytestmark = pytest.mark.peer

peer = pytest.importorskip("ttlock_ble", reason="ttlock-ble is not installed")

KEY: Final = bytes.fromhex("a0b1c2d3e4f5061728394a5b6c7d8e9f")
UTC: Final = "2026-11-25T12:00:00"
NOW: Final = dt.datetime(2026, 11, 25, 12, 0)  # noqa: DTZ001 - such a lock knows no zone
APP: Final = peer.LockVersion(5, 3, 1, 1, 1)
"""Scene, group and organisation as the vendor's app writes them, and we do (section 3)."""
ALWAYS: Final = {"start_date": "0001010000", "end_date": "9912312359"}
MOVED: Final = {"passcodes": "14", "cards": "9", "fingers": "3", "passage": "4", "log": "49"}
"""How much is in the lock that moves: of every kind something, and every type of log record once."""
LINES: Final = (Path(__file__).parent / "vectors" / "ttlock" / "frames.txt").read_text(encoding="utf-8").splitlines()
ROWS: Final = [[part.strip() for part in line.split(" | ")] for line in LINES if not line.startswith("#")]
WORKED: Final = [row for row in ROWS if row[0] in ("app", "lock")]
CAPTURED: Final = [row for row in ROWS if row[0] == "captured"]


@pytest.fixture(autouse=True)
def bumble_is_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """ttlock-ble makes its bleak client through bleak-retry-connector, which names no back end."""
    monkeypatch.setattr(bleak, "get_platform_client_backend_type", lambda: (BumbleClient, BumbleClient.__name__))


@dataclass
class Site:
    """A lock on a radio, and ttlock-ble that comes to it."""

    unit: Any
    air: Air
    events: list[Any] = field(default_factory=list)

    def key(self, version: Any = None, **changed: str) -> Any:
        """Return the lock's keys as ttlock-ble wants them."""
        flash, place = self.unit.flash, self.unit.settings.place
        given: dict[str, Any] = {
            "keyId": 1, "lockId": 1, "lockMac": self.unit.id, "lockAlias": "", "lockName": self.unit.settings.name,
            "lockVersion": version or peer.LockVersion(5, 3, place.scene, place.group, place.org),
            "aesKeyStr": ",".join(f"{byte:02x}" for byte in flash.aes_key), "unlockKey": str(flash.unlock_key),
            "adminPs": str(flash.admin_ps), "lockFlagPos": flash.lock_flag_pos, "timezoneRawOffSet": 0,
        }  # fmt: skip
        return peer.VirtualKey(**{**given, **changed})

    @contextlib.asynccontextmanager
    async def theirs(self, key: Any = None, **options: Any) -> AsyncIterator[Any]:
        """ttlock-ble's client, connected."""
        device = await self.air.find(self.unit.id)
        async with peer.TTLockClient.from_ble_device(device, key or self.key(), **options) as client:
            client.add_event_listener(self.events.append)
            yield client


@contextlib.asynccontextmanager
async def site(*, damaged: bool = False, **options: str) -> AsyncIterator[Site]:
    """Put a full lock on the air. Unless damage is the subject, it must find every frame intact."""
    unit: Any = open_unit(load_profile("ttlock"), "full", {"utc": UTC, **options})
    async with on_air(unit.gatt_device) as air:
        yield Site(unit, air)
    if not damaged:
        assert (unit.rejected, unit.lock.unreadable) == (0, 0)


# ---- over the radio --------------------------------------------------------------------------------------------------


async def test_ttlock_ble_opens_and_locks_the_door_and_is_told_of_it() -> None:
    async with site() as there, there.theirs() as client:
        assert not there.unit.flash.unlocked
        await client.unlock()
        assert there.unit.flash.unlocked
        await asyncio.sleep(0.2)
        assert [(event.lock_state, event.battery) for event in there.events] == [(1, 84)]
        assert (await client.query_state()) == (peer.commands.UNLOCKED, 84)
        await client.lock()
        assert not there.unit.flash.unlocked
        await asyncio.sleep(0.2)
        assert [event.lock_state for event in there.events] == [1, 0]
        assert (await client.query_state()) == (peer.commands.LOCKED, 84)
        assert there.unit.actions == ["unlock", "lock"]


async def test_ttlock_ble_stays_until_the_lock_locks_itself() -> None:
    async with site() as there, there.theirs() as client:
        await client.unlock()
        await asyncio.sleep(there.unit.flash.settings.auto_lock_s + 2.5)
        assert client.is_connected
        assert [event.lock_state for event in there.events] == [1, 0]


async def test_ttlock_ble_reads_in_the_long_push_who_opened_and_when() -> None:
    async with site(push_form="long") as there, there.theirs() as client:
        await client.unlock()
        await asyncio.sleep(0.2)
        (event,) = there.events
        line = there.unit.flash.log[-1]
        assert (event.uid, event.record_id) == (0, int.from_bytes(line.tail[4:8], "big"))
        assert event.timestamp == dt.datetime(2000 + line.date[0], *line.date[1:]).isoformat(" ")  # noqa: DTZ001
        assert event.lock_state is None


async def test_with_another_unlock_key_the_door_stays_shut() -> None:
    async with site() as there, there.theirs(there.key(unlockKey="12345")) as client:
        with pytest.raises(peer.TTLockError, match="error=08"):
            await client.unlock()
        assert there.unit.actions == []


async def test_ttlock_ble_finds_the_lock_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as there:
        scanner = functools.partial(BumbleScanner, host=there.air.host)
        monkeypatch.setattr(bleak, "get_platform_scanner_backend_type", lambda: (scanner, BumbleScanner.__name__))
        for address in (there.unit.id, "00:00:00" + there.unit.id[8:]):  # macOS tells none: the name has its end
            async with peer.TTLockClient(there.key(lockMac=address)) as client:
                assert (await client.query_state()) == (peer.commands.LOCKED, 84)


@pytest.mark.parametrize("options", [{"service": "6e40"}, {"read_first": "1"}, {"piece": "7", "pace": "5"}])
async def test_ttlock_ble_lives_with_other_radios_of_the_family(options: dict[str, str]) -> None:
    async with site(**options) as there, there.theirs() as client:
        await client.unlock()
        assert there.unit.flash.unlocked


async def test_ttlock_ble_adds_and_deletes_passcodes_and_touches_no_other() -> None:
    kinds = peer.KeyboardPwdType
    async with site() as there, there.theirs() as client:
        before = dict(there.unit.flash.passcodes)
        await client.add_passcode("424242")
        await client.add_passcode("0909", pwd_type=kinds.PERIOD, start_date="2611010830", end_date="2712312359")
        await client.add_passcode("990099009", pwd_type=kinds.COUNT, start_date="2611010830", end_date="2712312359")
        made = {row.code: row for place, row in there.unit.flash.passcodes.items() if place not in before}
        assert {code: (row.kind, row.original, row.start, row.end) for code, row in made.items()} == {
            "424242": (PERMANENT, "424242", bytes([0, 1, 31, 14, 0]), b""),
            "0909": (PERIOD, "0909", bytes([26, 11, 1, 8, 30]), bytes([27, 12, 31, 23, 59])),
            "990099009": (ONE_TIME, "990099009", bytes([26, 11, 1, 8, 30]), bytes([27, 12, 31, 23, 59])),
        }
        with pytest.raises(peer.TTLockError, match="error=1402"):  # exists
            await client.add_passcode("424242")
        await client.delete_passcode("424242")
        with pytest.raises(peer.TTLockError, match="error=1503"):  # unknown
            await client.delete_passcode("424242")
        for code in ("0909", "990099009"):
            await client.delete_passcode(code)
        assert there.unit.flash.passcodes == before
        await client.clear_passcodes()
        assert there.unit.flash.passcodes == {}


async def test_a_code_that_ttlock_ble_added_opens_the_door_until_it_deletes_it() -> None:
    async with site() as there:
        assert not there.unit.keypad("424242")
        async with there.theirs() as client:
            await client.add_passcode("424242")
        assert there.unit.keypad("424242")
        async with there.theirs() as client:
            await client.delete_passcode("424242")
        assert not there.unit.keypad("424242")


async def test_ttlock_ble_reads_and_sets_auto_lock_and_leaves_the_door_sensor() -> None:
    async with site() as there, there.theirs() as client:
        switches = there.unit.flash.settings
        sensor = switches.door_sensor
        assert (await client.get_auto_lock_time()) == switches.auto_lock_s == 15
        for seconds in (300, 0):
            await client.set_auto_lock_time(seconds)
            assert (switches.auto_lock_s, switches.door_sensor) == (seconds, sensor)
            assert (await client.get_auto_lock_time()) == seconds


async def test_ttlock_ble_sets_the_clock() -> None:
    async with site() as there, there.theirs() as client:
        moment = dt.datetime(2031, 2, 3, 4, 5, 6)  # noqa: DTZ001
        await client.calibrate_time(moment)
        assert dt.timedelta(0) <= there.unit.lock.clock() - moment < dt.timedelta(seconds=2)


BY_APP, CODE_PAIRS, CARDS, FINGERS = {1}, {4, 5, 6, 9, 10, 11, 12, 13, 34}, {15, 17, 18, 35}, {20, 21, 22, 23}
PLAIN: Final = {14, 16, 24, 25, 27, 29, 30, 31, 32, 42, 48, 51, 74, 39, 40, 56, 75, 77, 93}
"""Types of which the package reads no more than the head."""
OTHERWISE: Final = {26, 28, 33, 36, 37, 38, 41, 52, 55}
"""Types that the package numbers otherwise than section 11 (its later versions do not): only their heads agree."""


def tail_of(line: Any) -> dict[str, Any]:
    """Say what ttlock-ble should make of the tail of a record that a lock holds."""
    kind, tail = line.kind, line.tail
    if kind in BY_APP:
        return {"uid": int.from_bytes(tail[:4], "big"), "record_id": int.from_bytes(tail[4:8], "big")}
    if kind in CODE_PAIRS:
        original, current = tail[1 : 1 + tail[0]], tail[2 + tail[0] :]
        return {"password": original.decode(), "new_password": current.decode()}
    if kind == 7:
        return {"password": tail[1:].decode()}
    if kind == 8:
        return {"delete_date": "20" + "".join(f"{part:02}" for part in tail[:5])}
    if kind in CARDS | FINGERS:
        return {"password": str(int.from_bytes(tail, "big"))}
    if kind == 19:
        return {"password": ":".join(f"{part:02x}" for part in reversed(tail))}
    assert kind in PLAIN
    return {}


async def test_ttlock_ble_reads_the_log_as_the_lock_holds_it() -> None:
    async with site() as there, there.theirs() as client:
        flash = there.unit.flash
        flash.next_unread = 0
        read = []
        # It seeds each question with the number of the record it has, is told that one again and stops (section 11):
        # so it gets one unread record a time.
        while found := await client.get_operation_log():
            assert len(found) == 1
            read += found
        assert [entry.record_number for entry in read] == [line.number for line in flash.log] == list(range(60))
        assert {line.kind for line in flash.log} >= BY_APP | CODE_PAIRS | CARDS | FINGERS | {7, 8, 19}
        for entry, line in zip(read, flash.log, strict=True):
            date = "20" + "".join(f"{part:02}" for part in line.date)
            assert (entry.record_type, entry.operate_date, entry.lock_battery) == (line.kind, date, line.battery)
            ours = log_entry(line.number, log_record(line)[1:])
            assert ours.time_local == dt.datetime.strptime(date, "%Y%m%d%H%M%S").isoformat()  # noqa: DTZ007
            if line.kind in OTHERWISE:
                continue
            told = {name: getattr(entry, name) for name in ("uid", "record_id", "password", "new_password")}
            told["delete_date"] = entry.delete_date
            assert {name: value for name, value in told.items() if value is not None} == tail_of(line)
        assert not there.unit.lock.has_unread


async def test_what_was_just_done_stands_in_the_log() -> None:
    async with site(log="0") as there, there.theirs() as client:
        await client.unlock()
        await asyncio.sleep(0.2)
        (entry,) = await client.get_operation_log()
        assert (entry.record_type, entry.uid, entry.record_number) == (peer.LogOperate.MOBILE_UNLOCK, 0, 0)
        assert entry.operate_date.startswith("202611251200")


async def test_the_keys_that_we_export_open_the_lock_with_ttlock_ble() -> None:
    async with site() as there:
        text = export_keys(TtlockCredential(**there.unit.credential))
        known = {"keyId": 1, "lockId": 2, "lockName": "", "lockVersion": {"protocolType": 5, "protocolVersion": 3,
                 "scene": 2, "groupId": 1, "orgId": 1}}  # fmt: skip
        key = peer.VirtualKey.from_cloud({**decode_lock_data(text), **known}, uid=0)
        assert int(key.adminPs) == there.unit.flash.admin_ps
        async with there.theirs(key) as client:
            await client.unlock()
            assert there.unit.flash.unlocked


# ---- what only a strict lock shows, and what the package lacks -------------------------------------------------------


async def test_with_the_usual_table_the_lock_refuses_what_the_changed_one_carries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worked frame 24: without this, nothing here would tell whether the lock checks at all."""
    async with site(aes_key=KEY.hex(), damaged=True) as there, there.theirs(there.key(APP)) as client:
        with monkeypatch.context() as patch:
            patch.setattr(peer.crypto, "_crc_func", functools.partial(checksum, table=PLAIN_TABLE))
            with pytest.raises(peer.TTLockError, match="error=01"):
                await client.add_passcode("100006", **ALWAYS)
        assert there.unit.gatt_device.assembler.rejected == {"checksum": 1}
        await client.add_passcode("100006", **ALWAYS)
        assert there.unit.rejected == 1
        assert any(row.code == "100006" for row in there.unit.flash.passcodes.values())


async def test_a_lock_that_insists_on_a_login_refuses_ttlock_bles_changes_and_not_ours() -> None:
    """Whether locks insist is unconfirmed (section 6); by default ours do not."""
    async with site(login="strict") as there, there.theirs() as client:
        with pytest.raises(peer.TTLockError, match="error=02"):
            await client.add_passcode("424242")
        await client.unlock()
        assert there.unit.flash.unlocked
        await asyncio.sleep(0.2)
        assert await client.get_operation_log()
    assert len((await read_ours(login="strict")).snapshot.tables) > 5


async def test_ttlock_ble_loses_a_frame_with_the_terminator_inside_and_we_do_not() -> None:
    async with site(force_crlf="1") as there, there.theirs() as client:
        with pytest.raises(ValueError, match="block length"):  # it cuts there and decrypts half a frame
            await client.unlock()
        assert there.unit.actions == []
    unit, said = small(force_crlf="1"), Said()
    said.listen_to(unit)
    await reading_of(unit)
    assert any(TERMINATOR in raw[:-2] for raw in said.frames(said.from_lock))


async def test_ttlock_ble_takes_what_comes_unasked_for_the_answer_and_we_do_not() -> None:
    async with site(pushes="1") as there, there.theirs() as client:
        assert (await client.get_auto_lock_time()) == -1, "it has read a status"
    assert tables_of(await read_ours(pushes="1")) == tables_of(await read_ours())


async def test_ttlock_ble_believes_a_wrong_checksum_and_we_ask_again() -> None:
    async with site(crc_wrong="1") as there, there.theirs() as client:
        assert (await client.query_state()) == (peer.commands.LOCKED, 84)
    unit = small(crc_wrong="4")
    plain = small()
    assert tables_of(await reading_of(unit)) == tables_of(await reading_of(plain))
    assert unit.log.count(Cmd.LOCK_TIME) == plain.log.count(Cmd.LOCK_TIME) + 1


# ---- the whole of our conversation -----------------------------------------------------------------------------------


@dataclass
class Said:
    """What went to a lock and what came from it."""

    to_lock: list[bytes] = field(default_factory=list)
    from_lock: list[bytes] = field(default_factory=list)

    def listen_to(self, unit: Any) -> None:
        """Note what is written to a lock and what it notifies of."""
        device = unit.gatt_device
        write, tick = device.write, device.tick

        def noted(emitted: Iterable[Any]) -> Any:
            emitted = list(emitted)
            self.from_lock += [one.data for one in emitted if one.data]
            return emitted

        def heard(uuid: str, data: bytes, now_s: float) -> Any:
            self.to_lock.append(bytes(data))
            return noted(write(uuid, data, now_s))

        device.write, device.tick = heard, lambda now_s: noted(tick(now_s))

    @staticmethod
    def frames(pieces: Iterable[bytes]) -> list[bytes]:
        """Cut by the length byte alone; every byte must belong to a frame."""
        rest, found = b"".join(pieces), []
        while rest:
            end = HEAD_BYTES + rest[HEAD_BYTES - 1] + 3
            assert rest.startswith(b"\x7f\x5a")
            assert rest[end - 2 : end] == TERMINATOR
            found.append(rest[:end])
            rest = rest[end:]
        return found


def small(preset: str = "full", **options: str) -> Any:
    return open_unit(load_profile("ttlock"), preset, {"utc": UTC, **MOVED, **options} if preset == "full" else options)


async def last(events: AsyncIterator[Any]) -> Any:
    async for item in events:  # noqa: B007 - the last one is what counts
        pass
    return item


async def reading_of(unit: Any) -> Reading:
    lock = await open_on_unit(unit, Target(text="sim://unit", scheme="sim", address="unit"))
    try:
        reading: Reading = await last(read_unit(lock))
    finally:
        await lock.close()
    return reading


async def read_ours(**options: str) -> Reading:
    return await reading_of(small(**options))


def tables_of(reading: Reading) -> dict[str, bytes]:
    return {table.name: table.data for table in reading.snapshot.tables}


def witnessed(raw: bytes, key: bytes) -> tuple[int, bytes]:
    """Hold a frame of ours against ttlock-ble's table, decoder and encoder; returns command and plaintext."""
    assert peer.crypto.crc_compute(raw[:-3]) == raw[-3]
    frame = peer.protocol.Frame.parse(raw[:-3])
    assert (frame.encrypt, len(frame.data)) == (peer.protocol.ENCRYPT_PLAIN, raw[HEAD_BYTES - 1])
    plain = peer.crypto.aes_decrypt(frame.data, key) if frame.data else b""
    assert theirs(frame.command, plain, key) == raw
    return frame.command, plain


def theirs(command: int, plain: bytes, key: bytes, version: Any = APP) -> bytes:
    """Build a frame with ttlock-ble's encoder; it would pad even nothing, and has no command without a payload."""
    frame = peer.protocol.Frame.for_lock(version, command, plain)
    built: bytes = (frame.encrypt_data(key) if plain else frame).build()
    return built


async def test_every_frame_of_our_backup_and_restore_is_one_of_ttlock_bles() -> None:
    old, new = small(), small("empty", seed="5")
    said_old, said_new = Said(), Said()
    said_old.listen_to(old)
    said_new.listen_to(new)
    reading = await reading_of(old)
    lock = await open_on_unit(new, Target(text="sim://unit", scheme="sim", address="unit"))
    try:
        journal = MemoryJournal()
        prepared = await last(prepare(lock, source_in_memory(reading), Policy(), journal))
        result = await last(execute(prepared, journal))
    finally:
        await lock.close()
    assert result.exit_code == 0
    assert len(new.flash.passcodes) == len([row for row in old.flash.passcodes.values() if row.kind != ONE_TIME])
    assert len(new.flash.cards) == 9
    for unit, said, least in ((old, said_old, 80), (new, said_new, 80)):
        frames = said.frames(said.to_lock)
        assert all(len(piece) <= 20 for piece in said.to_lock)
        commands = [witnessed(raw, unit.flash.aes_key)[0] for raw in frames]
        assert commands == unit.log, "the lock took every one"
        assert len(commands) >= least
        assert unit.rejected == 0
    changed = {command for command, plain in map(functools.partial(witnessed, key=new.flash.aes_key), frames)}
    assert changed >= {Cmd.PASSCODE, Cmd.CARD, Cmd.PASSAGE, Cmd.AUTO_LOCK, Cmd.AUDIO, Cmd.SWITCH, Cmd.CHECK_ADMIN}


async def test_every_frame_of_our_pairing_is_one_of_ttlock_bles() -> None:
    unit, said = small("fresh"), Said()
    said.listen_to(unit)
    connection = MemoryConnection.open(unit.gatt_device)
    given = await pair_unit(connection, Door(target="sim://unit", port_id="x"), keep=lambda _: None)
    await connection.close()
    key = bytes.fromhex(given.aes_key or "")
    assert unit.flash.aes_key == key
    frames = said.frames(said.to_lock)
    early = (Cmd.INITIALIZATION, Cmd.AES_KEY)
    told = [witnessed(raw, DEFAULT_KEY if raw[9] in early else key) for raw in frames]
    assert [command for command, _ in told] == unit.log
    assert told[:2] == [(Cmd.INITIALIZATION, b""), (Cmd.AES_KEY, VENDOR)]
    assert told[-1] == (Cmd.FINISHED, b"")
    assert unit.rejected == 0


async def test_ttlock_ble_reads_every_frame_that_the_lock_says_to_us() -> None:
    """By default no frame has the terminator inside, however long: ttlock-ble cuts there."""
    unit, said = small(), Said()
    said.listen_to(unit)
    reading = await reading_of(unit)
    reassembler, framer = peer.protocol.FrameReassembler(), Framer()
    got, ours = [], []
    for piece in said.from_lock:
        got += reassembler.feed(piece)
        framer.feed(piece)
        ours += [] if (one := framer.next()) is None else [one]
    assert len(got) == len(ours) == len(unit.log) > 80
    for raw, mine, frame in zip(said.frames(said.from_lock), ours, got, strict=True):
        assert peer.crypto.crc_compute(raw[:-3]) == raw[-3]
        assert not mine.odd_checksum
        assert frame == peer.protocol.Frame.parse(raw[:-3])
        assert (frame.command, frame.encrypt, frame.scene, frame.data) == (0x54, 0xAA, mine.scene, mine.payload)
        answer = parse_answer(mine, unit.flash.aes_key)
        assert answer is not None
        plain = peer.crypto.aes_decrypt(frame.data, unit.flash.aes_key)
        assert peer.commands.parse_response_status(plain) == (answer.command, answer.status, answer.data)
    log = split_list(tables_of(reading)[LOG_TABLE])
    pages = [frame for code, frame in zip(unit.log, got, strict=True) if code == Cmd.LOG]
    parsed = [peer.commands.parse_operate_log_response(peer.crypto.aes_decrypt(page.data, unit.flash.aes_key))
              for page in pages]  # fmt: skip
    numbers = [entry.record_number for entries, _ in parsed for entry in entries]
    assert numbers == [int.from_bytes(record[:4], "big") for _, record in log]
    assert len(numbers) == 49


# ---- frames and payloads ---------------------------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_the_three_tables_give_the_same_checksum(data: bytes) -> None:
    assert peer.crypto.crc_compute(data) == checksum(data) == checksum_of_the_lock(data)


def test_the_three_tables_are_one() -> None:
    assert bytes(peer.crypto.crc_compute(bytes([index])) for index in range(256)) == TABLE == CRC_TABLE


@given(st.sampled_from([*Cmd]), st.binary(max_size=MAX_PLAIN), st.binary(min_size=16, max_size=16))
def test_both_encode_the_same_and_read_each_other(command: Cmd, plain: bytes, key: bytes) -> None:
    raw = build_frame(command, plain, key)
    assert witnessed(raw, key) == (command, plain)
    framer = Framer()
    framer.feed(theirs(command, plain, key, peer.LockVersion(5, 3, 10, 700, 0xFFFF)))
    frame = framer.next()
    assert frame is not None
    assert (frame.command, frame.scene, frame.odd_checksum) == (command, 10, False)
    assert decrypt(key, frame.payload) == plain
    assert peer.crypto.aes_encrypt(plain, key)[: len(frame.payload)] == encrypt(key, plain)


@pytest.mark.parametrize("row", WORKED, ids=lambda row: row[1])
def test_ttlock_ble_builds_and_reads_every_worked_frame(row: list[str]) -> None:
    raw, plain = bytes.fromhex(row[3]) + TERMINATOR, bytes.fromhex(row[2])
    key = DEFAULT_KEY if "default key" in row[1] or "no payload" in row[1] else KEY
    (frame,) = peer.protocol.FrameReassembler().feed(raw)
    version = peer.LockVersion(frame.protocol_type, frame.sub_version, frame.scene, frame.group_id, frame.sub_org)
    assert frame.command == raw[9]
    assert (peer.crypto.aes_decrypt(frame.data, key) if frame.data else b"") == plain
    assert theirs(frame.command, plain, key, version) == raw
    assert version == (APP if row[0] == "app" else peer.LockVersion(5, 3, 2, 1, 1))


@pytest.mark.parametrize("row", CAPTURED, ids=lambda row: row[1])
def test_ttlock_bles_table_explains_every_captured_checksum(row: list[str]) -> None:
    raw = bytes.fromhex(row[3])
    assert peer.crypto.crc_compute(raw[:-1]) == raw[-1] == checksum(raw[:-1])


MINUTES: Final = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2099, 12, 31, 23, 59))  # noqa: DTZ001
CODES: Final = st.text("0123456789", min_size=4, max_size=9)


@given(CODES, st.sampled_from([PERMANENT, ONE_TIME, PERIOD]), MINUTES, MINUTES)
def test_both_add_and_delete_a_passcode_in_the_same_words(
    code: str, kind: int, start: dt.datetime, end: dt.datetime
) -> None:
    dates = [bytes([at.year % 100, at.month, at.day, at.hour, at.minute]) for at in (start, end)]
    ours = Passcode(kind=kind, code=code, original=code, start=dates[0], end=None if kind == PERMANENT else dates[1])
    words = [at.strftime("%y%m%d%H%M") for at in (start, end)]
    assert peer.commands.payload_passcode_add(kind, code, *words) == ours.added()
    assert peer.commands.payload_passcode_delete(kind, code) == ours.deleted()


def test_always_is_written_alike() -> None:
    row = Passcode(kind=PERIOD, code="1234", original="1234", start=PERMANENT_FROM, end=PERMANENT_UNTIL)
    assert peer.commands.payload_passcode_add(PERIOD, "1234", *ALWAYS.values()) == row.added()


@given(st.integers(0, 0xFFFF), st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2099, 12, 31)))  # noqa: DTZ001
def test_both_set_auto_lock_and_clock_and_ask_for_the_log_in_the_same_words(number: int, moment: dt.datetime) -> None:
    current = bytes.fromhex("000a00050384")
    assert peer.commands.payload_auto_lock_set(number) == set_request(Cmd.AUTO_LOCK, current, [("auto_lock_s", number)])
    assert peer.commands.payload_time_calibrate(moment) == local_bytes(moment)
    assert peer.commands.payload_operate_log_request(number) == number.to_bytes(2, "big")


async def test_both_log_in_as_administrator_in_the_same_words() -> None:
    """ttlock-ble can build the two requests and never sends them."""
    unit, said = small(lock_flag_pos="5"), Said()
    said.listen_to(unit)
    await reading_of(unit)
    flash, frames = unit.flash, said.frames(said.to_lock)
    at = unit.log.index(Cmd.CHECK_ADMIN)
    ident = peer.commands.payload_check_admin(0, str(flash.admin_ps), 5)
    assert frames[at] == theirs(Cmd.CHECK_ADMIN, ident, flash.aes_key)
    answer = said.frames(said.from_lock)[at]
    token = int.from_bytes(peer.crypto.aes_decrypt(answer[HEAD_BYTES:-3], flash.aes_key)[2:6], "big")
    proof = peer.commands.payload_check_random(token, flash.unlock_key)
    assert frames[at + 1] == theirs(Cmd.CHECK_RANDOM, proof, flash.aes_key)


@given(st.integers(0, 10**10 - 1), st.integers(1, 127), st.integers(3, 10))
def test_ttlock_ble_reads_the_secrets_that_we_write(number: int, seed: int, digits: int) -> None:
    text = encode_secret(number, seed=seed, digits=digits)
    assert int(peer.crypto.decode_password(text)) == number == decode_secret(text)


def test_ttlock_ble_knows_our_commands_by_the_same_numbers() -> None:
    same = {
        "SEARCH_DEVICE_FEATURE": Cmd.FEATURES, "CHECK_RANDOM": Cmd.CHECK_RANDOM, "CHECK_ADMIN": Cmd.CHECK_ADMIN,
        "TIME_CALIBRATE": Cmd.TIME_CALIBRATE, "GET_LOCK_TIME": Cmd.LOCK_TIME, "QUERY_STATE": Cmd.STATUS,
        "SWITCH": Cmd.SWITCH, "GET_AES_KEY": Cmd.AES_KEY, "RESPONSE": Cmd.RESPONSE, "AUTO_LOCK_MANAGE": Cmd.AUTO_LOCK,
        "MANAGE_KEYBOARD_PASSWORD": Cmd.PASSCODE, "GET_OPERATE_LOG": Cmd.LOG,
    }  # fmt: skip
    assert {name: getattr(peer.commands, f"CMD_{name}") for name in same} == same
    known = {value for name, value in vars(peer.commands).items() if name.startswith("CMD_")}
    assert known - set(same.values()) == {0x31, 0x47, 0x55, 0x58}, "seeds, unlock, user's login, lock: never ours"
