"""Modules and dumps at their worst: a device of its own for each family of slot modules, and layouts out to harm.

The devices are written from the wire references alone; neither the simulator nor our framers are asked for a byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from lockmigrate import profiles
from lockmigrate.errors import LinkError, NoAnswer, ProfileError
from lockmigrate.formats import decode
from lockmigrate.formats.f5_tables import TEMPLATES as F5_TEMPLATES
from lockmigrate.formats.f5_tables import split_templates as split_f5
from lockmigrate.formats.f5_tables import text_of
from lockmigrate.formats.gt511_tables import SETTINGS as GT_SETTINGS
from lockmigrate.formats.manifest import MAX_INTEGER
from lockmigrate.formats.tables import compile_tables, read_image, recognises
from lockmigrate.model.document import Gap, Table
from lockmigrate.model.records import CardData, PinData
from lockmigrate.model.steps import Done, Step
from lockmigrate.protocols import EVERYTHING, Section
from lockmigrate.protocols.door import Door, door_of
from lockmigrate.transports import Outgoing
from lockmigrate.transports.memory import MemoryLink

PATIENCE_S: Final = 1200.0
"""Virtual time: nothing may take longer."""
F5_TEMPLATE: Final = bytes((3 * index + 0xF5) % 256 for index in range(193))
GT_TEMPLATE: Final = bytes((7 * index + 1) % 256 for index in range(498))


async def opened(device: Any, family: str, **more: Any) -> Any:
    link = MemoryLink.open(device)
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await door_of(family).open_unit(link, Door(target="the port", port_id="here", **more))
    except BaseException:
        await link.close()
        raise


async def items_of(events: AsyncIterator[Any]) -> list[Any]:
    async with asyncio.timeout(PATIENCE_S):
        return [item async for item in events]


async def written(lock: Any, *steps: Step) -> list[Done]:
    return await items_of(lock.write(steps))


def put(slot: int, data: bytes) -> Step:
    return Step(
        key=f"fingerprint/{slot}", kind="fingerprint", action="put", origin={"credential_index": slot}, value=data
    )


def setting(key: str, value: int) -> Step:
    return Step(key=f"setting/{key}", kind="setting", action="put", origin={}, value=value, was_empty=False)


def tables_of(items: list[Any]) -> dict[str, bytes]:
    return {item.name: item.data for item in items if isinstance(item, Table)}


# ---- 0xF5 -----------------------------------------------------------------------------------------------------------


def xor(data: bytes) -> int:
    found = 0
    for byte in data:
        found ^= byte
    return found


def short(code: int, number: int = 0, result: int = 0) -> bytes:
    body = bytes([code, number >> 8, number & 0xFF, result, 0])
    return b"\xf5" + body + bytes([xor(body)]) + b"\xf5"


def long(code: int, data: bytes) -> bytes:
    return short(code, len(data)) + b"\xf5" + data + bytes([xor(data)]) + b"\xf5"


@dataclass
class F5Device:
    """A 0xF5 module that takes bytes by their number and never gives up waiting for the rest."""

    users: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    duplicates: int = 0
    unknown_user: int = 0x05
    """What 31 answers where there is no user: 01 or 05 (reference, Commands)."""
    has_list: bool = True
    version: bytes = b"V1"
    delay_s: dict[int, float] = field(default_factory=dict)
    """Command to how long its answer takes."""
    refuses: dict[tuple[int, int], int] = field(default_factory=dict)
    """(command, P2) to a result, before anything is done."""
    mute: frozenset[int] = frozenset()
    """Commands that are never answered."""
    lies: dict[int, int] = field(default_factory=dict)
    """User to a permission that only 31 tells of."""
    heard: list[bytes] = field(default_factory=list)
    wake_at: Callable[[bytes], bool] = lambda frame: False
    """Which frame sets `woken`, after it was obeyed."""
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    waits_for: int = 0
    """Bytes of data that are due."""
    buffer: bytearray = field(default_factory=bytearray)

    def opened(self, now_s: float) -> list[Outgoing]:
        return []

    def closed(self) -> None: ...

    def set_host_baud(self, baud: int | None) -> None: ...

    def receive(self, data: bytes, now_s: float) -> list[Outgoing]:
        self.buffer += data
        out: list[Outgoing] = []
        while True:
            if not self.waits_for:
                at = self.buffer.find(b"\xf5")
                del self.buffer[: at if at >= 0 else len(self.buffer)]
            size = self.waits_for or 8
            if len(self.buffer) < size:
                return out
            frame = bytes(self.buffer[:size])
            del self.buffer[:size]
            code = 0x41 if self.waits_for else frame[1]
            answer = self.stored(frame) if self.waits_for else self.asked(frame)
            if self.wake_at(frame):
                self.woken.set()
            if answer:
                out.append(Outgoing(at_s=now_s + self.delay_s.get(code, 0.002), data=answer))

    def stored(self, frame: bytes) -> bytes:
        self.waits_for = 0
        data = frame[1:-2]
        if frame[0] != 0xF5 or frame[-1] != 0xF5 or xor(data) != frame[-2]:
            return short(0x41, 0, 1)
        user = data[0] << 8 | data[1]
        if self.duplicates and any(held[1] == data[3:] for held in self.users.values()):
            return short(0x41, user, 7)
        self.users[user] = (data[2], data[3:])
        return short(0x41, user)

    def asked(self, frame: bytes) -> bytes:
        if frame[-1] != 0xF5 or xor(frame[1:6]) != frame[6]:
            return b""
        self.heard.append(frame)
        code, number, third = frame[1], frame[2] << 8 | frame[3], frame[4]
        if (code, number) in self.refuses and third == 0:
            return short(code, number, self.refuses[code, number])
        held = self.users.get(number)
        if code in self.mute:
            return b""
        if code == 0x09:
            return short(code, len(self.users))
        if code == 0x0A:
            return short(code, 0, held[0] if held else 0x05)
        if code == 0x04:
            return short(code, 0, 0 if self.users.pop(number, None) else 0x05)
        if code == 0x26:
            return long(code, self.version)
        if code == 0x28:
            return short(code, 5)
        if code == 0x2B and self.has_list:
            entries = b"".join(user.to_bytes(2, "big") + bytes([its[0]]) for user, its in sorted(self.users.items()))
            return long(code, len(self.users).to_bytes(2, "big") + entries)
        if code == 0x2D:
            self.duplicates = number if third == 0 else self.duplicates
            return short(code, self.duplicates)
        if code == 0x31:
            if held is None:
                return short(code, 0, self.unknown_user)
            permission = self.lies.get(number, held[0])
            return long(code, number.to_bytes(2, "big") + bytes([permission]) + held[1])
        if code == 0x41:
            self.waits_for = number + 3
            return b""
        return short(code, 0, 1)


def with_slots(family: str, slots: int) -> profiles.Profile:
    """Return the generic profile, stating how many fingers a module holds."""
    profile = profiles.load_profile(family)
    held = profile.capabilities.credentials
    assert held.fingerprint is not None
    stated = replace(held, fingerprint=replace(held.fingerprint, slots=slots))
    return replace(profile, capabilities=replace(profile.capabilities, credentials=stated))


def f5_templates(items: list[Any]) -> dict[int, bytes]:
    raw = tables_of(items)[F5_TEMPLATES]
    return {user: raw[at : at + size] for user, at, size in split_f5(raw)}


async def test_without_a_list_an_id_that_answers_failed_is_asked_for_its_permission() -> None:
    """The reference allows 01 for an id that nobody has: four thousand gaps would bury the one that is real."""
    device = F5Device({7: (2, F5_TEMPLATE), 4095: (1, F5_TEMPLATE[::-1])}, unknown_user=0x01, has_list=False)
    items = await items_of((await opened(device, "f5")).read(frozenset({Section.CREDENTIALS})))
    assert f5_templates(items) == {7: b"\2" + F5_TEMPLATE, 4095: b"\1" + F5_TEMPLATE[::-1]}
    assert not [item for item in items if isinstance(item, Gap)]


async def test_how_many_users_a_module_holds_says_nothing_about_their_ids() -> None:
    """Ids go to 4095 whatever the capacity; the host chose them."""
    device = F5Device({300: (3, F5_TEMPLATE)}, has_list=False)
    lock = await opened(device, "f5", profile=with_slots("f5", 8))
    assert f5_templates(await items_of(lock.read())) == {300: b"\3" + F5_TEMPLATE}
    (done,) = await written(lock, put(4095, b"\1" + F5_TEMPLATE[::-1]))
    assert (done.status, done.proof) == ("written", "V4")
    assert device.users[4095] == (1, F5_TEMPLATE[::-1])


async def test_without_a_list_the_permission_has_a_second_witness_too() -> None:
    device = F5Device({5: (3, F5_TEMPLATE), 6: (2, F5_TEMPLATE)}, has_list=False, lies={5: 1})
    items = await items_of((await opened(device, "f5")).read(frozenset({Section.CREDENTIALS})))
    assert f5_templates(items) == {5: b"", 6: b"\2" + F5_TEMPLATE}
    assert [item.record for item in items if isinstance(item, Gap)] == ["fingerprint/5"]


async def test_a_module_that_never_speaks_of_permissions_is_read_all_the_same() -> None:
    device = F5Device({5: (3, F5_TEMPLATE)}, has_list=False, mute=frozenset({0x0A}))
    items = await items_of((await opened(device, "f5")).read(frozenset({Section.CREDENTIALS})))
    assert f5_templates(items) == {5: b"\3" + F5_TEMPLATE}


async def test_a_rule_that_could_not_be_set_goes_back_to_what_it_was() -> None:
    device = F5Device(duplicates=1)
    lock = await opened(device, "f5")
    device.refuses = {(0x2D, 1): 1}
    events = lock.write([put(1, b"\1" + F5_TEMPLATE), setting("f5.duplicates", 1)])
    done = [await anext(events), await anext(events)]
    assert [item.status for item in done] == ["written", "refused"]
    device.refuses = {}
    with pytest.raises(StopAsyncIteration):
        await anext(events)
    await lock.close()
    assert device.duplicates == 1


async def test_a_rule_is_put_back_where_setting_it_was_cancelled() -> None:
    device = F5Device(duplicates=1)
    lock = await opened(device, "f5")
    device.delay_s = {0x2D: 0.5}

    async def work() -> None:
        async for _ in lock.write([put(1, b"\1" + F5_TEMPLATE), setting("f5.duplicates", 0)]):
            pass

    task = asyncio.ensure_future(work())
    device.wake_at = lambda frame: len(device.users) == 1 and frame == short(0x2D)
    await device.woken.wait()
    assert device.duplicates == 0, "this is what it is being set to"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await lock.close()
    assert device.duplicates == 1


async def test_a_slow_module_keeps_its_version() -> None:
    """Without a version two modules look alike, and nobody is asked whether their templates fit."""
    device = F5Device(delay_s=dict.fromkeys((9, 38, 40, 43, 45, 46), 0.6))
    assert (await (await opened(device, "f5")).identify()).firmware == "V1"


def test_a_version_is_never_the_sign_for_any_version() -> None:
    assert text_of(b"*") == "2a"
    assert text_of(b"*\0\0") == "2a"


# ---- GT-511 ---------------------------------------------------------------------------------------------------------


def packet(parameter: int, code: int) -> bytes:
    body = b"\x55\xaa\x01\x00" + parameter.to_bytes(4, "little") + code.to_bytes(2, "little")
    return body + (sum(body) & 0xFFFF).to_bytes(2, "little")


def data_packet(data: bytes) -> bytes:
    body = b"\x5a\xa5\x01\x00" + data
    return body + (sum(body) & 0xFFFF).to_bytes(2, "little")


@dataclass
class GtDevice:
    """A GT-511 that takes bytes by their number and never gives up waiting for the rest."""

    ids: dict[int, bytes] = field(default_factory=dict)
    slots: int = 200
    level: int | None = None
    delay_s: dict[int, float] = field(default_factory=dict)
    checks_data: bool = True
    """False: whatever comes is stored."""
    dumb: frozenset[int] = frozenset()
    """Commands whose first answer never arrives."""
    heard: list[tuple[int, int]] = field(default_factory=list)
    storing: int | None = None
    buffer: bytearray = field(default_factory=bytearray)

    def opened(self, now_s: float) -> list[Outgoing]:
        return []

    def closed(self) -> None: ...

    def set_host_baud(self, baud: int | None) -> None: ...

    def receive(self, data: bytes, now_s: float) -> list[Outgoing]:
        self.buffer += data
        out: list[Outgoing] = []
        while True:
            if self.storing is None:
                at = self.buffer.find(0x55)
                del self.buffer[: at if at >= 0 else len(self.buffer)]
            size = 12 if self.storing is None else 504
            if len(self.buffer) < size:
                return out
            frame = bytes(self.buffer[:size])
            del self.buffer[:size]
            code = int.from_bytes(frame[8:10], "little")
            if self.storing is not None:
                answer = self.stored(frame)
            else:
                answer = (
                    self.asked(int.from_bytes(frame[4:8], "little"), code)
                    if frame == packet(int.from_bytes(frame[4:8], "little"), code)
                    else b""
                )
                answer = b"" if code in self.dumb else answer
            if answer:
                out.append(Outgoing(at_s=now_s + self.delay_s.get(code, 0.002), data=answer))

    def stored(self, frame: bytes) -> bytes:
        slot, self.storing = self.storing, None
        assert slot is not None
        if self.checks_data and frame != data_packet(frame[4:-2]):
            return packet(0x1006, 0x31)
        self.ids[slot] = frame[4:-2]
        return packet(0, 0x30)

    def asked(self, parameter: int, code: int) -> bytes:
        self.heard.append((code, parameter))
        slot = parameter & 0xFFFF
        if code == 0x01:
            info = bytes.fromhex("10041320 00000000") + bytes(range(1, 17))
            return packet(0, 0x30) + (data_packet(info) if parameter else b"")
        if code == 0x20:
            return packet(len(self.ids), 0x30)
        if code in (0x21, 0x40, 0x70, 0x71) and slot >= self.slots:
            return packet(0x1003, 0x31)
        if code in (0x21, 0x70) and slot not in self.ids:
            return packet(0x1004, 0x31)
        if code == 0x21:
            return packet(0, 0x30)
        if code == 0x40:
            self.ids.pop(slot, None)
            return packet(0, 0x30)
        if code == 0x70:
            return packet(0, 0x30) + data_packet(self.ids[slot])
        if code == 0x71:
            self.storing = slot
            return packet(0, 0x30)
        if code == 0xF1 and self.level is not None:
            return packet(self.level, 0x30)
        return packet(0x100E, 0x31)


async def test_a_slow_module_keeps_its_level() -> None:
    device = GtDevice(level=4, delay_s={0xF1: 0.6})
    tables = tables_of(await items_of((await opened(device, "gt511")).read(frozenset({Section.SETTINGS}))))
    assert tables[GT_SETTINGS] == b"\4\0\0\0"


async def test_what_a_module_made_of_our_fill_does_not_stay() -> None:
    """An ACK that is lost leaves it waiting for data; what gets it out of that may be stored for a template."""
    device = GtDevice(checks_data=False)
    lock = await opened(device, "gt511")
    device.dumb = frozenset({0x71})
    (done,) = await written(lock, put(0, GT_TEMPLATE))
    assert (done.status, done.proof) == ("refused", None)
    await lock.close()
    assert (device.ids, device.storing) == ({}, None)


@pytest.mark.parametrize("family", ["gt511", "f5"])
async def test_a_write_that_is_cancelled_leaves_no_module_waiting_for_the_rest(family: str) -> None:
    """A module that waits takes the next command, the lock's own too, for data."""
    device: Any = GtDevice() if family == "gt511" else F5Device()
    lock = await opened(device, family, explicit_baud=9600 if family == "gt511" else None)
    step = put(1, GT_TEMPLATE) if family == "gt511" else put(1, b"\1" + F5_TEMPLATE)
    send = lock._wire.link.write

    async def cut(data: bytes) -> None:
        if len(data) > 100:
            await send(data[:100])
            raise asyncio.CancelledError
        await send(data)

    lock._wire.link.write = cut
    with pytest.raises(asyncio.CancelledError):
        await written(lock, step)
    lock._wire.link.write = send
    await lock.close()
    assert not (device.storing if family == "gt511" else device.waits_for)
    assert device.buffer == b""
    again = await opened(device, family)
    assert [item.proof for item in await written(again, step)] == ["V4"]


async def test_closing_a_module_that_is_gone_does_not_take_long() -> None:
    device = GtDevice()
    lock = await opened(device, "gt511")
    device.receive = lambda data, now_s: []  # type: ignore[method-assign]
    loop = asyncio.get_running_loop()
    with pytest.raises(NoAnswer):
        await written(lock, put(1, GT_TEMPLATE))
    before = loop.time()
    await lock.close()
    assert loop.time() - before < 15


@pytest.mark.parametrize("frame", ["gt511", "f5"])
async def test_no_bit_of_an_answer_can_change_unnoticed(frame: str) -> None:
    """Each byte of each answer to each question of a read is changed once; what is read is true, or a clear error."""
    device: Any = GtDevice({0: GT_TEMPLATE}, slots=2) if frame == "gt511" else F5Device({1: (2, F5_TEMPLATE)})
    lock = await opened(device, frame)
    truth = tables_of(await items_of(lock.read(EVERYTHING)))
    receive, state = device.receive, {"left": -1, "bit": 0}

    def damaged(data: bytes, now_s: float) -> list[Outgoing]:
        pieces = []
        for piece in receive(data, now_s):
            body = bytearray(piece.data)
            if 0 <= state["left"] < len(body):
                body[state["left"]] ^= 1 << state["bit"]
            state["left"] -= len(body)
            pieces.append(Outgoing(at_s=piece.at_s, data=bytes(body)))
        return pieces

    device.receive = damaged
    for at in range(0, sum(map(len, truth.values())) + 200, 11):
        state.update(left=at, bit=at % 8)
        with contextlib.suppress(LinkError):
            assert tables_of(await items_of(lock.read(EVERYTHING))) == truth, at


# ---- raw dumps ------------------------------------------------------------------------------------------------------


def cards(**more: Any) -> dict[str, Any]:
    table: dict[str, Any] = {
        "offset": 0, "record_bytes": 4, "count": 2, "kind": "card", "first_slot": 1,
        "fields": [{"name": "card", "offset": 0, "type": "u32be", "role": "card"}],
    }  # fmt: skip
    return {**table, **more}


LENGTH_AND_CARD: Final = [
    {"name": "size", "offset": 0, "type": "u8"},
    {"name": "card", "offset": 1, "type": "bytes", "size": 4, "role": "card", "number_rule": "u32be", "length": "size"},
]


def numbers_of(layout: Any, image: bytes) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for item in read_image(layout, image).sections.credentials:
        data = item.data
        found[item.key] = data.number.reveal_bytes().decode() if isinstance(data, CardData) else None
        if isinstance(data, PinData):
            found[item.key] = data.digits.reveal_bytes().decode()
    return found


def test_no_card_is_made_of_fewer_bytes_than_its_rule_has() -> None:
    """No bytes are no card, and three bytes are the number of another one."""
    layout = compile_tables({"cards": cards(record_bytes=5, count=3, fields=LENGTH_AND_CARD)})
    image = bytes([0, 1, 2, 3, 4, 3, 1, 2, 3, 4, 4, 1, 2, 3, 4])
    assert numbers_of(layout, image) == {"card/2": None, "card/3": "16909060"}
    assert [loss.code for loss in read_image(layout, image).sections.losses] == ["card-number-rule"]


def test_a_pin_of_no_digits_is_none() -> None:
    fields = [
        {"name": "size", "offset": 0, "type": "u8"},
        {"name": "pin", "offset": 1, "type": "u16le", "role": "digits", "length": "size"},
    ]
    layout = compile_tables({"codes": cards(kind="pin", record_bytes=3, count=3, fields=fields)})
    image = bytes([0, 0, 0, 4, 7, 0, 1, 0, 0])
    assert numbers_of(layout, image) == {"pin/2": "0007", "pin/3": "0"}


def test_a_mark_of_no_bytes_recognises_nothing() -> None:
    for digits in ("  ", " "):
        with pytest.raises(ProfileError, match=r"magic\.0\.hex"):
            compile_tables({"image": {"magic": {"offset": 0, "hex": digits}}, "cards": cards()})
    assert not recognises(compile_tables({"cards": cards()}), b"anything")


@pytest.mark.parametrize("count", ["until-end", "until-mark", {"offset": 0, "type": "u8"}])
def test_a_table_of_settings_has_one_record_however_it_is_counted(count: Any) -> None:
    table = {
        "offset": 1, "record_bytes": 2, "count": count, "kind": "setting",
        "fields": [{"name": "volume", "offset": 0, "type": "u8", "role": "setting"}],
    }  # fmt: skip
    if count == "until-mark":
        table["end_mark"] = "ff"
    with pytest.raises(ProfileError, match=r"tables\.config\.count: a table of settings has one record"):
        compile_tables({"config": table})


def test_lists_in_a_layout_are_short() -> None:
    """A list is looked at for every record: two long ones would keep a computer busy for days."""
    many = ["00"] * 100_000
    number = {"field": "card", "value": [*range(100_000)]}
    bytes_field = {"name": "card", "offset": 0, "type": "bytes", "size": 4, "role": "card", "none": many}
    for more in ({"empty": many}, {"empty": number}, {"fields": [bytes_field]}):
        with pytest.raises(ProfileError, match="more than 256"):
            compile_tables({"cards": cards(**more)})
    with pytest.raises(ProfileError, match="more than 256"):
        compile_tables({"cards": cards(count="until-mark", end_mark=many)})
    started = time.process_time()
    layout = compile_tables({"cards": cards(count=60_000, record_bytes=4, empty=["00", "ff"] * 128)})
    read_image(layout, bytes(3) + b"\1" + bytes(239_996))
    assert time.process_time() - started < 5


def test_a_layout_with_large_numbers_survives_the_manifest() -> None:
    """JSON has no integers above 2^53, and erased memory is full of them."""
    field_of = {"name": "card", "offset": 0, "type": "u64be", "role": "card", "none": [2**64 - 1]}
    tables = {"cards": cards(record_bytes=8, fields=[field_of])}
    image = b"\xff" * 8 + bytes(7) + b"\x09"
    profile = replace(profiles.load_profile("image"), tables=tables)
    from lockmigrate.protocols.dump import DumpLock

    lock = DumpLock(lambda: image, name="d", profile=profile, layout=compile_tables(tables), target="image://d")
    assert numbers_of(compile_tables(tables), image) == {"card/2": "9"}
    kept = lock.variant
    assert all(not isinstance(item, int) or abs(item) <= MAX_INTEGER for item in _leaves(kept))
    assert decode("image", {"0001-image": image}, kept) == read_image(compile_tables(tables), image).sections


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list | tuple) else [value]


def test_records_behind_a_damaged_counter_are_not_called_complete() -> None:
    """The counter stands in a record whose checksum fails: there may be more than it says."""
    example = profiles.load_profile("example-keypad-eeprom")
    layout = compile_tables(example.tables)
    image = bytearray((Path(__file__).parent.parent / "docs" / "examples" / "example-keypad.bin").read_bytes())
    whole = read_image(layout, bytes(image))
    assert whole.sections.coverage["credentials"].state == "full"
    assert image[24] == 2
    image[24] = 1
    cut = read_image(layout, bytes(image))
    assert len(cut.sections.credentials) == len(whole.sections.credentials) - 1
    assert cut.sections.coverage["credentials"].state == "partial"
    assert any(gap.record == "spare_cards" for gap in cut.gaps)
