"""The conversation with simulated 0xEF01 modules: letting in, reading, writing with proof, and all that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from lockmigrate.errors import (
    ConfigError,
    ConnectError,
    LinkError,
    LinkLost,
    LockmigrateError,
    NoAnswer,
    ProfileError,
    RefusedError,
    Unsupported,
    WrongCredential,
)
from lockmigrate.formats.ef01_tables import COUNT, INDEX, INFOPAGE, NOTEPAD, PRODINFO, SYSPARAMS, TEMPLATES
from lockmigrate.formats.ef01_tables import split_templates as split
from lockmigrate.model.document import Gap, Table
from lockmigrate.model.steps import Done, Step
from lockmigrate.profiles import load_all, load_profile
from lockmigrate.protocols import EVERYTHING, QUICK, Scope, Section
from lockmigrate.protocols.ef01 import Ef01Lock
from lockmigrate.protocols.ef01_door import Ef01Door, open_module
from lockmigrate.sim import open_unit
from lockmigrate.sim.unit import SimulatedUnit
from lockmigrate.transports import Outgoing
from lockmigrate.transports.memory import LinkFaults, MemoryLink

PROFILES: Final = [profile.name for profile in load_all("ef01")]
DIALECTS: Final = ["as608", "hlk-zw101"]
ONLY_TEMPLATES: Final = frozenset({Section.CREDENTIALS})
FORBIDDEN: Final = {0x17, 0x1A, 0x3B, 0xE0}
STORE, DOWN_CHAR, UP_CHAR, LOAD_CHAR, DELETE, SET_PARA, VERIFY = 0x06, 0x09, 0x08, 0x07, 0x0C, 0x0E, 0x13
CLEAR_WITHIN_S: Final = 600.0
"""Virtual time: nothing may take longer, whatever goes wrong."""


def unit_of(profile: str = "as608", preset: str = "full", **options: str) -> SimulatedUnit:
    return open_unit(load_profile(profile), preset, {name.rstrip("_"): value for name, value in options.items()})


def small(profile: str = "as608", preset: str = "full", **options: str) -> SimulatedUnit:
    """Make a module of 8 slots with templates of three packets, 5 of them in use unless it is empty."""
    settled = {"slots": "8", "template_size": "300", **options}
    if preset != "empty":
        settled.setdefault("fill", "5")
    return unit_of(profile, preset, **settled)


async def opened(unit: SimulatedUnit, *, faults: LinkFaults | None = None, named: bool = True, **door: Any) -> Ef01Lock:
    paced = unit.line.paced
    link = MemoryLink.open(unit.device, faults=faults, instant=not paced)
    if named and "profile" not in door and unit.profile.name != "ef01":
        door["profile"] = unit.profile
    try:
        async with asyncio.timeout(CLEAR_WITHIN_S):
            return await open_module(link, Ef01Door(target="sim", port_id="here", simulated=True, **door))
    except BaseException:
        await link.close()
        raise


async def read_all(lock: Ef01Lock, sections: frozenset[Section] = EVERYTHING, *, twice: bool = False) -> list[Any]:
    async with asyncio.timeout(CLEAR_WITHIN_S):
        return [item async for item in lock.read(sections, twice=twice)]


def tables_of(items: list[Any]) -> dict[str, bytes]:
    return {item.name: item.data for item in items if isinstance(item, Table)}


def gaps_of(items: list[Any]) -> list[Gap]:
    return [item for item in items if isinstance(item, Gap)]


def templates_of(items: list[Any]) -> dict[int, bytes]:
    raw = tables_of(items)[TEMPLATES]
    return {slot: raw[at : at + size] for slot, at, size in split(raw) if size}


async def written(lock: Ef01Lock, *steps: Step) -> list[Done]:
    async with asyncio.timeout(CLEAR_WITHIN_S):
        return [done async for done in lock.write(steps)]


async def drained(events: AsyncIterator[Any]) -> list[Any]:
    async with asyncio.timeout(CLEAR_WITHIN_S):
        return [item async for item in events]


def put(slot: int, template: bytes, *, was_empty: bool = True) -> Step:
    return Step(
        key=f"fingerprint/{slot}",
        kind="fingerprint",
        action="put",
        origin={"credential_index": slot},
        value=template,
        was_empty=was_empty,
    )


def setting(name: str, value: bytes | int, **origin: int) -> Step:
    return Step(key=f"setting/ef01.{name}", kind="setting", action="put", origin=origin, value=value, was_empty=False)


def remove(slot: int) -> Step:
    origin = {"credential_index": slot}
    return Step(key=f"fingerprint/{slot}", kind="fingerprint", action="remove", origin=origin, was_empty=False)


class Scripted:
    """A device that says what it is told to, whatever it hears; not a module."""

    def __init__(self, says: bytes = b"") -> None:
        self.says = says
        self.heard = bytearray()

    def opened(self, now_s: float) -> list[Outgoing]:
        return []

    def receive(self, data: bytes, now_s: float) -> list[Outgoing]:
        self.heard += data
        return [Outgoing(at_s=now_s + 0.01, data=self.says)] if self.says else []

    def set_host_baud(self, baud: int | None) -> None: ...

    def closed(self) -> None: ...


async def open_scripted(device: Scripted, **door: Any) -> Ef01Lock:
    link = MemoryLink.open(device)
    try:
        async with asyncio.timeout(CLEAR_WITHIN_S):
            return await open_module(link, Ef01Door(target="the port", port_id="here", **door))
    finally:
        await link.close()


# ---- finding and letting in -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("baud", [9600, 19200, 57600, 67200, 115200])
@pytest.mark.parametrize("profile", DIALECTS)
async def test_the_speed_of_a_module_is_found(profile: str, baud: int) -> None:
    unit = small(profile, baud=str(baud))
    lock = await opened(unit)
    assert (await lock.identify()).details["baud"] == baud
    assert templates_of(await read_all(lock)) == unit.flash.templates
    assert unit.flash.speed_n == baud // 9600


async def test_an_explicit_speed_is_the_only_one_tried() -> None:
    lock = await opened(small(baud="9600"), explicit_baud=9600)
    assert (await lock.identify()).details["baud"] == 9600
    with pytest.raises(NoAnswer, match="9600 baud"):
        await opened(small(baud="115200"), explicit_baud=9600)


async def test_a_silent_port_is_no_answer_and_says_what_to_check() -> None:
    device = Scripted()
    with pytest.raises(NoAnswer, match="the port") as caught:
        await open_scripted(device)
    assert "TX and RX" in (caught.value.hint or "")
    codes = {device.heard[at + 9] for at in range(len(device.heard)) if device.heard[at : at + 2] == b"\xef\x01"}
    assert codes == {VERIFY}


@pytest.mark.parametrize(
    "says",
    [
        b"login: \r\npassword?",
        bytes(range(0x20, 0x60)),
        bytes.fromhex("55aa0100deadbeef0000300001010305"),
        bytes.fromhex("ef01ffffffff0700030000ff"),
        bytes.fromhex("ef01ffffffff02000300000500"),
        bytes.fromhex("f11fe22eb66ba88a") * 2,
    ],
    ids=["a console", "text", "another protocol", "frames with a wrong sum", "data packets for ever", "m-series"],
)
@pytest.mark.parametrize("baud", [None, 57600])
async def test_something_else_that_talks_is_named_so(says: bytes, baud: int | None) -> None:
    device = Scripted(says)
    with pytest.raises(ConnectError) as caught:
        await open_scripted(device, explicit_baud=baud)
    assert caught.value.code == "unknown-unit"


async def test_an_echoing_port_is_not_a_module() -> None:
    class Echo(Scripted):
        def receive(self, data: bytes, now_s: float) -> list[Outgoing]:
            return [Outgoing(at_s=now_s, data=data)]

    with pytest.raises(ConnectError) as caught:
        await open_scripted(Echo())
    assert caught.value.code == "unknown-unit"


@pytest.mark.parametrize("profile", DIALECTS)
async def test_the_password_of_the_credential_file_opens(profile: str) -> None:
    unit = small(profile, password="01020304")
    lock = await opened(unit, password=bytes.fromhex("01020304"))
    assert lock.sent_password == bytes.fromhex("01020304")
    assert templates_of(await read_all(lock)) == unit.flash.templates


async def test_a_wrong_password_is_tried_exactly_once() -> None:
    unit = small(password="01020304")
    with pytest.raises(WrongCredential) as caught:
        await opened(unit, password=b"nope")
    assert unit.log == [VERIFY]
    assert "nope" not in str(caught.value) + str(caught.value.hint)
    assert b"nope".hex() not in str(caught.value) + str(caught.value.hint)


async def test_a_protected_module_without_a_credential_is_a_matter_of_configuration() -> None:
    unit = small(password="01020304")
    with pytest.raises(ConfigError) as caught:
        await opened(unit)
    assert caught.value.code == "no-credential"
    assert unit.log == [VERIFY]


@pytest.mark.parametrize("door", [{"password": b"12345"}, {"password": b""}, {"address": 1 << 32}, {"address": -1}])
async def test_a_credential_that_no_module_can_have_is_not_sent(door: dict[str, Any]) -> None:
    unit = small()
    with pytest.raises(ConfigError):
        await opened(unit, **door)
    assert unit.log == []


async def test_another_address_answers_only_to_its_own() -> None:
    unit = small(address="12345678")
    with pytest.raises(NoAnswer) as caught:
        await opened(unit)
    assert "--credential-file" in (caught.value.hint or "")
    lock = await opened(unit, address=0x12345678)
    assert templates_of(await read_all(lock)) == unit.flash.templates


@pytest.mark.parametrize(
    ("profile", "wrong"), [("as608", "hlk-zw101"), ("hlk-zw101", "as608"), ("r503", "hlk-zw101"), ("r503", "r502-a")]
)
async def test_a_profile_that_the_module_contradicts_is_refused(profile: str, wrong: str) -> None:
    unit = unit_of(profile)
    with pytest.raises(ProfileError) as caught:
        await opened(unit, profile=load_profile(wrong))
    assert caught.value.code == "wrong-profile"
    assert not set(unit.log) & (FORBIDDEN | {STORE, DOWN_CHAR, DELETE, SET_PARA, 0x0D})


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_module_is_recognised_without_help(profile: str) -> None:
    unit = unit_of(profile, "half")
    lock = await opened(unit, named=False)
    found = await lock.identify()
    assert found.details["dialect"] == ("hilink" if profile.startswith("hlk") else "classic")
    if unit.profile.match != load_profile("ef01").match:
        assert found.profile == profile
    assert found.counts["fingerprints"] == len(unit.flash.templates)
    assert found.serial == unit.serial


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("named", [True, False])
async def test_nothing_above_1f_is_sent_before_the_dialect_is_known(profile: str, named: bool) -> None:
    unit = unit_of(profile, "half", slots="20" if not profile.startswith("hlk") else "40")
    before = unit.image()
    lock = await opened(unit, named=named)
    await lock.identify()
    await read_all(lock)
    await lock.close()
    assert unit.log[:2] == [VERIFY, 0x0F]
    assert not set(unit.log) & FORBIDDEN
    if unit.profile.variant.get("dialect", unit.profile.simulated.get("dialect")) == "hilink":
        assert not set(unit.log) & {0x3B, 0x3C, 0x35, 0x3D, 0x39, 0x3A}
    else:
        assert not set(unit.log) & {0x34, 0x35, 0x3B, 0x3D}
    assert unit.image() == before, "reading leaves the module as it was"


@pytest.mark.parametrize("frame", [1, 2, 3, 4])
@pytest.mark.parametrize("fault", ["flip", "lose"])
@pytest.mark.parametrize("profile", DIALECTS)
async def test_a_bad_start_never_leads_to_a_guess_about_the_dialect(profile: str, fault: str, frame: int) -> None:
    for side in ("in", "out"):
        unit = small(profile, **{fault: f"{side}:frame:{frame}"})
        lock = await opened(unit, named=False)
        assert templates_of(await read_all(lock)) == unit.flash.templates
        assert not set(unit.log) & FORBIDDEN
        first_high = next(at for at, code in enumerate(unit.log) if code > 0x1F)
        assert 0x0F in unit.log[:first_high]


@pytest.mark.parametrize("fault", ["flip=in", "flip=out"])
async def test_one_flipped_bit_does_not_hide_a_module_at_another_speed(fault: str) -> None:
    kind, side = fault.split("=")
    unit = small(baud="115200", **{kind: f"{side}:frame:1"})
    lock = await opened(unit)
    assert (await lock.identify()).details["baud"] == 115200


async def test_a_module_that_refuses_the_password_command_is_named_so() -> None:
    with pytest.raises(RefusedError, match="code 01"):
        await open_scripted(Scripted(bytes.fromhex("ef01ffffffff07000301000b")))


async def test_parameters_that_fit_no_dialect_are_not_guessed_and_nothing_more_is_sent() -> None:
    unit = small(system_id="64")
    with pytest.raises(ConnectError) as caught:
        await opened(unit, named=False)
    assert caught.value.code == "unknown-unit"
    assert unit.log == [VERIFY, 0x0F]
    lock = await opened(unit, profile=load_profile("r502-a"))
    assert templates_of(await read_all(lock)) == unit.flash.templates


@pytest.mark.parametrize("blank", [bytes(512), b"\xff" * 512, bytes(20) + b"\0\7" + bytes(490)])
async def test_an_information_page_without_its_mark_is_no_word_on_encryption(blank: bytes) -> None:
    unit = small("hlk-zw101")
    unit.device.commands._information = lambda: blank  # type: ignore[attr-defined]
    lock = await opened(unit)
    assert templates_of(await read_all(lock)) == unit.flash.templates


# ---- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["full", "half"])
@pytest.mark.parametrize("profile", PROFILES)
async def test_every_profile_reads_byte_for_byte(profile: str, preset: str) -> None:
    unit = unit_of(profile, preset)
    lock = await opened(unit)
    await lock.identify()
    items = await read_all(lock)
    tables = tables_of(items)
    assert tables[TEMPLATES] == unit.flash.template_image()
    assert tables[NOTEPAD] == unit.flash.notepad_image()
    assert int.from_bytes(tables[COUNT], "big") == len(unit.flash.templates)
    assert gaps_of(items) == []


@pytest.mark.parametrize("packet", ["32", "64", "128", "256"])
@pytest.mark.parametrize("size", ["512", "768", "810", "1536"])
async def test_any_template_size_in_any_packet_size_is_read_and_written(size: str, packet: str) -> None:
    old = unit_of("ef01", slots="3", template_size=size, packet=packet, headers="1")
    got = templates_of(await read_all(await opened(old)))
    assert got == old.flash.templates
    new = unit_of("ef01", "empty", slots="3", template_size=size, packet=packet)
    lock = await opened(new)
    assert await lock.rehearse_write(got[0]) is True
    done = await written(lock, *(put(slot, data) for slot, data in got.items()))
    assert [(item.status, item.proof) for item in done] == [("written", "V4")] * 3
    assert new.flash.template_image() == old.flash.template_image()


async def test_a_paced_module_is_read_and_written_over_slow_flash() -> None:
    old, new = (small(preset=preset, pace="1", flash="slow", baud="9600") for preset in ("full", "empty"))
    got = templates_of(await read_all(await opened(old)))
    assert got == old.flash.templates
    await written(await opened(new), *(put(slot, data) for slot, data in got.items()))
    assert new.flash.templates == old.flash.templates


async def test_the_identity_tables_are_the_modules_own_words() -> None:
    r503 = tables_of(await read_all(await opened(unit_of("r503", fill="1")), QUICK))
    assert {SYSPARAMS, PRODINFO, INDEX, COUNT, NOTEPAD} <= set(r503)
    hilink = small("hlk-zw101")
    tables = tables_of(await read_all(await opened(hilink), QUICK))
    assert len(tables[INFOPAGE]) == 512
    assert TEMPLATES not in tables


@pytest.mark.parametrize("profile", DIALECTS)
async def test_reading_twice_gives_the_same(profile: str) -> None:
    unit = small(profile)
    lock = await opened(unit)
    assert templates_of(await read_all(lock, twice=True)) == unit.flash.templates
    assert unit.log.count(UP_CHAR) == 10


async def swept_read(profile: str, fault: str, value: str) -> tuple[SimulatedUnit, list[Any] | None]:
    """Read under one fault: None stands for a clear error, anything else is right or a gap."""
    unit = small(profile, **{fault: value})
    before = unit.image()
    items: list[Any] | None = None
    try:
        lock = await opened(unit)
        await lock.identify()
        items = await read_all(lock)
    except LinkError:
        items = None
    assert unit.image() == before, f"{fault}={value} changed the module"
    assert not set(unit.log) & FORBIDDEN
    if items is not None:
        got = templates_of(items)
        for slot, data in got.items():
            assert data == unit.flash.templates[slot], f"{fault}={value} put something else into slot {slot}"
        missing = {f"fingerprint/{slot}" for slot in set(unit.flash.templates) - set(got)}
        assert missing == {gap.record for gap in gaps_of(items)}, f"{fault}={value} lost a slot in silence"
    return unit, items


async def clean_counts(profile: str) -> tuple[int, int, int, int]:
    unit = small(profile)
    lock = await opened(unit)
    await lock.identify()
    await read_all(lock)
    return unit.frames_in, unit.frames_out, unit.wire_bytes_in, unit.wire_bytes_out


def some(total: int, wanted: int) -> list[int]:
    """Numbers from 1 to `total`, `wanted` of them, spread so that they do not fall on the same place of every frame."""
    step = max(1, total // wanted)
    return list(range(1, total + 1, step + (step > 4 and step % 2 == 0)))


async def sweep_read(profile: str, *, frames: int, flips: int) -> None:
    frames_in, frames_out, bytes_in, bytes_out = await clean_counts(profile)
    for side, count in (("in", frames_in), ("out", frames_out)):
        for number in some(count, frames):
            for fault in ("flip", "lose"):
                _, items = await swept_read(profile, fault, f"{side}:frame:{number}")
                assert items is not None, f"one {fault} of frame {number} {side} is got over"
                assert gaps_of(items) == []
            await swept_read(profile, "reboot", f"{side}:frame:{number}")
    for side, count in (("in", bytes_in), ("out", bytes_out)):
        for number in some(count, flips):
            for fault in ("flip", "lose"):
                _, items = await swept_read(profile, fault, f"{side}:byte:{number}")
                assert items is not None, f"one {fault} of byte {number} {side} is got over"
                assert gaps_of(items) == []


@pytest.mark.parametrize("profile", DIALECTS)
async def test_damage_on_the_line_never_damages_what_is_read(profile: str) -> None:
    await sweep_read(profile, frames=12, flips=25)


@pytest.mark.sweep
@pytest.mark.parametrize("profile", [*DIALECTS, "r503"])
async def test_damage_anywhere_on_the_line_never_damages_what_is_read(profile: str) -> None:
    await sweep_read(profile, frames=10_000, flips=500)


async def sweep_late(profile: str, delays_s: tuple[float, ...], step: int) -> None:
    _, frames_out, _, _ = await clean_counts(profile)
    for number in range(1, frames_out + 1, step):
        for delay_s in delays_s:
            _, items = await swept_read(profile, "delay", f"out:frame:{number}:{delay_s}")
            if delay_s < 1.5 and items is not None:
                assert gaps_of(items) == []


@pytest.mark.parametrize("profile", DIALECTS)
async def test_a_late_answer_never_puts_one_template_into_anothers_slot(profile: str) -> None:
    await sweep_late(profile, (0.05, 0.29, 1.0, 1.05, 2.3), 2)


@pytest.mark.sweep
@pytest.mark.parametrize("profile", [*DIALECTS, "r503"])
async def test_no_delay_of_any_answer_ever_puts_one_template_into_anothers_slot(profile: str) -> None:
    delays_s = (0.001, 0.1, 0.19, 0.2, 0.21, 0.3, 0.5, 0.9, 0.999, 1.0, 1.001, 1.05, 1.1, 1.2, 1.5, 2.0, 2.2, 3.3, 4.5)
    await sweep_late(profile, delays_s, 1)


async def late_line(profile: str, chunk: int, delay_s: float) -> None:
    """From one answer on every answer is late, as behind a stalled converter."""
    unit = small(profile)
    try:
        lock = await opened(unit, faults=LinkFaults(delay_chunk=chunk, delay_s=delay_s))
        await lock.identify()
        items = await read_all(lock)
    except LockmigrateError:
        return
    got = templates_of(items)
    assert all(data == unit.flash.templates[slot] for slot, data in got.items()), f"chunk {chunk} late by {delay_s}"
    assert len(got) + len(gaps_of(items)) == 5


@pytest.mark.parametrize("profile", DIALECTS)
async def test_a_line_that_becomes_slow_never_mixes_templates(profile: str) -> None:
    for chunk in range(1, 75, 6):
        for delay_s in (0.15, 0.95, 1.3, 2.05):
            await late_line(profile, chunk, delay_s)


@pytest.mark.sweep
@pytest.mark.parametrize("profile", DIALECTS)
async def test_a_line_that_becomes_slow_anywhere_never_mixes_templates(profile: str) -> None:
    for chunk in range(1, 75):
        for tenths in range(1, 50, 3):
            await late_line(profile, chunk, tenths / 10 + 0.003)


async def test_a_lost_data_packet_of_the_only_template_shows() -> None:
    """Nothing tells the size beforehand, packets carry no number: it is read until it comes twice alike."""
    whole = small(fill="1")
    lock = await opened(whole)
    await lock.identify()
    start = whole.frames_out
    await read_all(lock, ONLY_TEMPLATES)
    for number in range(start + 1, start + 7):
        unit = small(fill="1", lose=f"out:frame:{number}")
        lock = await opened(unit)
        await lock.identify()
        assert templates_of(await read_all(lock, ONLY_TEMPLATES)) == unit.flash.templates, f"frame {number}"


async def test_a_module_that_states_a_wrong_size_is_read_all_the_same() -> None:
    unit = unit_of("r503", slots="8", fill="5")
    for slot in unit.flash.templates:
        unit.flash.templates[slot] = unit.flash.templates[slot][:768]
    lock = await opened(unit)
    await lock.identify()
    assert templates_of(await read_all(lock)) == unit.flash.templates
    assert unit.log.count(UP_CHAR) == 6, "only the first is read twice"
    details = (await lock.identify()).details
    assert (details["template_bytes_stated"], details["template_bytes_measured"]) == (1536, 768)


async def test_reading_twice_outlives_one_damaged_copy() -> None:
    """A flip that the sum cannot show: two bytes of one packet change against each other."""
    unit = small()
    lock = await opened(unit)
    await lock.identify()
    commands = unit.device.commands  # type: ignore[attr-defined]
    upload, calls = commands.upload, 0

    def sometimes_wrong(code: int, parameters: bytes) -> Any:
        nonlocal calls
        data = upload(code, parameters)
        calls += code == UP_CHAR
        return data[:5] + bytes([data[5] ^ 1]) + data[6:] if code == UP_CHAR and calls in (1, 4) else data

    commands.upload = sometimes_wrong
    assert templates_of(await read_all(lock, twice=True)) == unit.flash.templates


@pytest.mark.parametrize("says", ["ef01ffffffff02000300000500", "ef01ffffffff08000300000b", "ef01", "55"])
async def test_a_module_that_begins_to_babble_never_hangs_us(says: str) -> None:
    unit = small()
    lock = await opened(unit)
    await lock.identify()

    def babble(data: bytes, now_s: float) -> list[Outgoing]:
        return [Outgoing(at_s=now_s + n * 0.9, data=bytes.fromhex(says)) for n in range(1000)]

    unit.device.receive = babble  # type: ignore[method-assign]
    with pytest.raises(LinkError):
        await read_all(lock)


async def test_a_module_without_an_index_is_asked_for_every_slot() -> None:
    unit = small(quirks="no-index")
    lock = await opened(unit)
    assert (await lock.identify()).counts["fingerprints"] == 5
    items = await read_all(lock)
    assert templates_of(items) == unit.flash.templates
    assert INDEX not in tables_of(items)
    assert gaps_of(items) == []
    assert any("no index table" in text for text in (await lock.identify()).warnings)


@pytest.mark.parametrize("quirk", ["no-index", "no-prodinfo", "no-algver"])
async def test_an_unknown_command_that_stays_unanswered_is_gone_without(quirk: str) -> None:
    unit = unit_of("r503", slots="8", fill="4", quirks=f"{quirk},silent-unknown")
    assert templates_of(await read_all(await opened(unit, named=False))) == unit.flash.templates


async def test_a_count_that_contradicts_the_index_is_a_warning() -> None:
    unit = small(quirks="count-zero")
    lock = await opened(unit)
    found = await lock.identify()
    assert found.counts["fingerprints"] == 5
    assert any("counts 0 templates" in text for text in found.warnings)
    assert templates_of(await read_all(lock)) == unit.flash.templates


async def test_a_module_without_parameters_needs_a_profile_that_knows_its_capacity() -> None:
    unit = small(quirks="no-sysparams")
    lock = await opened(unit, named=False)
    with pytest.raises(RefusedError) as caught:
        await read_all(lock)
    assert caught.value.code == "capacity-unknown"
    whole = unit_of("r502-a", "half", quirks="no-sysparams")
    lock = await opened(whole)
    assert (await lock.identify()).capabilities.basis == "profile"
    assert templates_of(await read_all(lock)) == whole.flash.templates


async def test_damage_without_parameters_to_ask_for_is_got_over_too() -> None:
    for number in range(20, 80, 7):
        unit = unit_of("r502-a", slots="200", fill="5", quirks="no-sysparams", flip=f"out:frame:{number}")
        lock = await opened(unit)
        await lock.identify()
        assert templates_of(await read_all(lock)) == unit.flash.templates, f"frame {number}"


async def test_a_slot_that_cannot_be_read_is_a_gap_and_the_others_are_read() -> None:
    victim = sorted(small().flash.templates)[2]
    unit = small(quirks=f"unreadable:{victim}")
    items = await read_all(await opened(unit))
    (gap,) = gaps_of(items)
    assert (gap.record, gap.code, gap.section) == (f"fingerprint/{victim}", "template-unreadable", "credentials")
    assert "0C" in gap.detail
    assert set(templates_of(items)) == set(unit.flash.templates) - {victim}
    assert {slot for slot, _, _ in split(tables_of(items)[TEMPLATES])} == set(unit.flash.templates)


async def test_a_template_of_another_size_is_kept_with_a_warning() -> None:
    unit = small()
    odd = sorted(unit.flash.templates)[3]
    unit.flash.templates[odd] = bytes(range(200))
    lock = await opened(unit)
    await lock.identify()
    assert templates_of(await read_all(lock)) == unit.flash.templates
    assert any(f"slot {odd} has 200 bytes" in text for text in (await lock.identify()).warnings)


async def test_a_module_that_restarts_behind_a_password_is_let_in_again() -> None:
    whole = small(password="01020304")
    lock = await opened(whole, password=bytes.fromhex("01020304"))
    await lock.identify()
    await read_all(lock)
    for number in range(2, whole.frames_in + 1, 3):
        unit = small(password="01020304", reboot=f"in:frame:{number}")
        lock = await opened(unit, password=bytes.fromhex("01020304"))
        await lock.identify()
        items = await read_all(lock)
        assert templates_of(items) == unit.flash.templates, f"frame {number}"
        assert gaps_of(items) == []


async def test_a_pulled_cable_is_a_lost_link() -> None:
    for number in range(1, 900, 97):
        unit = small(cut=f"out:byte:{number}")
        with pytest.raises(LinkLost):
            await read_all(await opened(unit))


async def test_a_module_that_falls_silent_ends_the_reading_soon() -> None:
    lock = await opened(small())
    await lock.identify()
    started = asyncio.get_running_loop().time()
    lock._wire.link._device.commands.ram.stopped = True  # type: ignore[attr-defined]
    with pytest.raises(NoAnswer):
        await read_all(lock)
    assert asyncio.get_running_loop().time() - started < 30


@pytest.mark.parametrize("level", ["1", "2", "3"])
async def test_an_encrypted_module_gives_out_nothing_and_is_not_pressed(level: str) -> None:
    unit = small("hlk-zw101", encryption=level)
    lock = await opened(unit)
    found = await lock.identify()
    assert any("encryption level" in text for text in found.warnings)
    with pytest.raises(Unsupported) as caught:
        await read_all(lock)
    assert caught.value.code == "encryption-level"
    assert not set(unit.log) & {UP_CHAR, LOAD_CHAR, DOWN_CHAR}
    assert NOTEPAD in tables_of(await read_all(lock, QUICK))
    before = unit.image()
    (done,) = await written(lock, put(0, bytes(300)))
    assert (done.status, done.code) == ("refused", "write-refused")
    assert unit.log.count(DOWN_CHAR) == 1
    assert STORE not in unit.log
    assert unit.image() == before


async def test_a_level_that_is_found_out_only_by_its_refusal_ends_the_reading_at_once() -> None:
    unit = small("hlk-zw101")
    lock = await opened(unit)
    unit.flash.encryption = 1
    with pytest.raises(Unsupported):
        await read_all(lock, ONLY_TEMPLATES)
    assert (unit.log.count(LOAD_CHAR), unit.log.count(UP_CHAR)) == (1, 1)


# ---- writing --------------------------------------------------------------------------------------------------------

WANTED: Final = bytes.fromhex("0301") + bytes(range(256)) + bytes.fromhex("ef01ffffffff07000300000a")
WANTED_300: Final = WANTED.ljust(300, b"\x7e")


def check_write(unit: SimulatedUnit, slot: int, done: Done | None, before: bytes | None, what: str) -> None:
    """The one rule of a write: proven and exactly right, or not there, or as before, and the Done says which."""
    lies = unit.flash.templates.get(slot)
    torn = slot in unit.flash.torn
    assert not set(unit.log) & FORBIDDEN
    if done is None:
        return  # a lost conversation: nothing was claimed
    if done.status == "written":
        assert (lies, torn, done.proof, done.code) == (WANTED_300, False, "V4", None), what
        return
    assert done.proof is None, what
    assert done.status in ("refused", "differs"), what
    assert done.code in ("write-refused", "read-back-differs"), what
    assert done.detail, what
    assert lies is None or (lies == before and not torn), f"{what}: something unproven was left"


def check_stores(unit: SimulatedUnit, what: str) -> None:
    """Every Store has a DownChar of its own before it: none is repeated blindly, none stores what was damaged."""
    since_down = False
    for code in unit.log:
        if code == DOWN_CHAR:
            since_down = True
        elif code == STORE:
            assert since_down, f"{what}: Store without a fresh DownChar: {unit.log}"
            since_down = False


async def swept_write(profile: str, *, was_empty: bool = True, **options: str) -> Done | None:
    unit = small(profile, "empty", **options)
    before = None if was_empty else unit.settings.made_up(3)  # type: ignore[attr-defined]
    if before is not None:
        unit.flash.templates[3] = before
    done: Done | None = None
    what = f"{profile} {options}"
    try:
        lock = await opened(unit)
        (done,) = await written(lock, put(3, WANTED_300, was_empty=was_empty))
    except LinkError:
        done = None
    check_write(unit, 3, done, before, what)
    check_stores(unit, what)
    assert set(unit.flash.templates) <= {3}, f"{what}: another slot was written"
    return done


async def write_counts(profile: str) -> tuple[int, int, int, int, int, int]:
    """Frames and bytes, before and after the write of one template."""
    unit = small(profile, "empty")
    lock = await opened(unit)
    start = (unit.frames_in, unit.frames_out, unit.wire_bytes_in, unit.wire_bytes_out)
    await written(lock, put(3, WANTED_300))
    return (start[0], unit.frames_in, start[1], unit.frames_out, start[2], unit.wire_bytes_in)


@pytest.mark.parametrize("profile", [*DIALECTS, "r503", "r502-a", "hlk-zw111"])
async def test_a_written_template_is_read_back(profile: str) -> None:
    done = await swept_write(profile)
    assert done is not None
    assert (done.status, done.proof) == ("written", "V4")
    done = await swept_write(profile, was_empty=False)
    assert done is not None
    assert (done.status, done.proof) == ("written", "V4")


async def sweep_write(profile: str, *, step: int, byte_step: int) -> None:
    in_from, in_to, out_from, out_to, byte_from, byte_to = await write_counts(profile)
    for side, low, high in (("in", in_from, in_to), ("out", out_from, out_to)):
        for number in range(low + 1, high + 1, step):
            for was_empty in (True, False):
                for fault in ("flip", "lose"):
                    done = await swept_write(profile, was_empty=was_empty, **{fault: f"{side}:frame:{number}"})
                    assert done is not None, f"one {fault} of frame {number} {side} is got over"
                    assert done.status == "written", f"one {fault} of frame {number} {side} is got over"
                await swept_write(profile, was_empty=was_empty, reboot=f"{side}:frame:{number}")
                for delay_s in (0.0105, 0.5, 1.01, 3.05):
                    await swept_write(profile, was_empty=was_empty, delay=f"{side}:frame:{number}:{delay_s}")
    for number in range(byte_from + 1, byte_to + 1, byte_step):
        for fault in ("flip", "lose"):
            done = await swept_write(profile, **{fault: f"in:byte:{number}"})
            assert done is not None, f"one {fault} of byte {number} is got over"
            assert done.status == "written", f"one {fault} of byte {number} is got over"


@pytest.mark.parametrize("profile", DIALECTS)
async def test_no_fault_on_the_line_leaves_an_unproven_template(profile: str) -> None:
    await sweep_write(profile, step=2, byte_step=41)


@pytest.mark.sweep
@pytest.mark.parametrize("profile", [*DIALECTS, "r503"])
async def test_no_fault_anywhere_on_the_line_leaves_an_unproven_template(profile: str) -> None:
    await sweep_write(profile, step=1, byte_step=1)


@pytest.mark.sweep
@pytest.mark.parametrize("profile", DIALECTS)
async def test_no_pair_of_faults_leaves_an_unproven_template(profile: str) -> None:
    in_from, in_to, _, _, _, _ = await write_counts(profile)
    for first in range(in_from + 1, in_to + 1):
        for second in range(first + 1, in_to + 12):
            for one, two in (("flip", "lose"), ("lose", "flip"), ("lose", "reboot"), ("flip", "reboot")):
                await swept_write(profile, **{one: f"in:frame:{first}", two: f"in:frame:{second}"})


@pytest.mark.parametrize("profile", DIALECTS)
@pytest.mark.parametrize("was_empty", [True, False])
@pytest.mark.parametrize(
    ("quirk", "status"),
    [
        ("torn-store:3", "written"),
        ("torn-store:3:2", "written"),
        ("torn-store:3:9", "differs"),
        ("readback-differs:3", "written"),
        ("readback-differs:3:2", "written"),
        ("readback-differs:3:9", "differs"),
        ("store-fails:3:1", "written"),
        ("store-fails:3:2", "written"),
        ("store-fails:3", "refused"),
        ("readback-differs:3:1,store-fails:3", "refused"),
        ("store-fails:3:1,readback-differs:3:9", "differs"),
    ],
)
async def test_awkward_flash_ends_proven_or_empty(profile: str, was_empty: bool, quirk: str, status: str) -> None:
    done = await swept_write(profile, was_empty=was_empty, quirks=quirk)
    assert done is not None
    assert done.status == status


async def test_a_slot_that_was_damaged_and_then_refused_is_emptied_although_somebody_was_there() -> None:
    unit = small("as608", "empty", quirks="readback-differs:3:1", lose="in:byte:100000")
    unit.flash.templates[3] = bytes(300)
    lock = await opened(unit)
    commands = unit.device.commands  # type: ignore[attr-defined]
    original = commands._down
    calls = 0

    def refuse_later(parameters: bytes) -> Any:
        nonlocal calls
        calls += 1
        return original(parameters) if calls == 1 else (0x0E, b"")

    commands.table[DOWN_CHAR] = (1, refuse_later)
    (done,) = await written(lock, put(3, WANTED_300, was_empty=False))
    assert (done.status, done.code) == ("refused", "write-refused")
    assert "left empty" in (done.detail or "")
    assert unit.flash.templates == {}


async def test_a_refusal_before_any_store_leaves_who_was_there() -> None:
    unit = small("as608", "empty")
    unit.flash.templates[3] = bytes(300)
    lock = await opened(unit)
    unit.device.commands.table[DOWN_CHAR] = (1, lambda _: (0x0E, b""))  # type: ignore[attr-defined]
    (done,) = await written(lock, put(3, WANTED_300, was_empty=False))
    assert (done.status, done.code) == ("refused", "write-refused")
    assert unit.flash.templates == {3: bytes(300)}
    assert not set(unit.log) & {STORE, DELETE}


@pytest.mark.parametrize("packet", [2, 3])
async def test_damage_on_the_way_down_is_sent_again_before_it_is_stored(packet: int) -> None:
    clean = small("as608", "empty")
    lock = await opened(clean)
    first = clean.frames_in + packet  # the frame behind DownChar
    unit = small("as608", "empty", flip=f"in:frame:{first}")
    lock = await opened(unit)
    before = len(unit.log)
    (done,) = await written(lock, put(3, WANTED_300))
    assert done.status == "written"
    said = [code for code in unit.log[before:] if code in (DOWN_CHAR, STORE)]
    assert said == [DOWN_CHAR, DOWN_CHAR, STORE]


async def test_a_module_that_forgot_both_password_and_template_is_not_told_to_store() -> None:
    """It restarts between the template and Store: 21 is answered by the password, and then from DownChar on again."""
    clean = small("as608", "empty", password="01020304")
    await opened(clean, password=b"\1\2\3\4")
    for number in range(clean.frames_in + 1, clean.frames_in + 6):
        unit = small("as608", "empty", password="01020304", reboot=f"in:frame:{number}")
        lock = await opened(unit, password=b"\1\2\3\4")
        (done,) = await written(lock, put(3, WANTED_300))
        assert done.status == "written", f"frame {number}"
        assert unit.flash.templates == {3: WANTED_300}
        check_stores(unit, f"frame {number}")


async def test_a_store_without_an_answer_is_judged_by_the_slot_and_not_repeated() -> None:
    clean = small("as608", "empty")
    lock = await opened(clean)
    answer = clean.frames_out + 2
    unit = small("as608", "empty", lose=f"out:frame:{answer}")
    lock = await opened(unit)
    (done,) = await written(lock, put(3, WANTED_300))
    assert (done.status, done.proof) == ("written", "V4")
    assert unit.log.count(STORE) == 1


@pytest.mark.parametrize("flash", ["none", "slow"])
@pytest.mark.parametrize("profile", DIALECTS)
async def test_a_late_word_on_damage_is_not_taken_for_the_answer_to_store(profile: str, flash: str) -> None:
    """The module's 01 comes after we stopped listening, as behind a converter that collects bytes."""
    clean = small(profile, "empty")
    await opened(clean)
    flip, word = f"in:frame:{clean.frames_in + 2}", clean.frames_out + 2
    for delay_s in (0.015, 0.03, 0.05, 0.11, 0.13, 0.5, 1.5, 3.5):
        options = {"flip": flip, "delay": f"out:frame:{word}:{delay_s}", "pace": "1", "flash": flash}
        done = await swept_write(profile, **options)
        assert done is not None
        assert done.status == "written", f"late by {delay_s}"


@pytest.mark.parametrize("slot", [8, 4000, 65535])
async def test_a_slot_beyond_the_library_is_refused(slot: int) -> None:
    unit = small("as608", "empty")
    before = unit.image()
    (done,) = await written(await opened(unit), put(slot, WANTED_300))
    assert (done.status, done.code) == ("refused", "write-refused")
    assert unit.image() == before


@pytest.mark.parametrize(
    "step",
    [
        put(70000, WANTED_300),
        put(-1, WANTED_300),
        put(3, b""),
        setting("notepad.0", bytes(31), page=0),
        setting("notepad.0", bytes(32)),
        setting("notepad.256", bytes(32), page=256),
        setting("notepad.16", bytes(32), page=16),
        setting("security_level", 0),
        setting("security_level", 6),
        setting("security_level", 300),
        setting("address", -1),
        setting("address", 1 << 32),
        setting("baud", 115200),
        setting("encryption_level", 1),
        Step(key="access_key/ef01.password", kind="access_key", action="put", origin={}, value=b"123", was_empty=False),
        Step(key="fingerprint/3", kind="fingerprint", action="remove", origin={}, was_empty=False),
    ],
    ids=lambda step: f"{step.key} {step.origin}",
)
async def test_a_step_that_cannot_be_is_refused_and_changes_nothing(step: Step) -> None:
    unit = small("as608")
    before = unit.image()
    (done,) = await written(await opened(unit), step)
    assert done.status == "refused"
    assert done.proof is None
    assert unit.image() == before


@pytest.mark.parametrize("profile", DIALECTS)
async def test_a_rehearsal_stores_nothing_and_finds_another_size_out(profile: str) -> None:
    unit = small(profile, "empty")
    before = unit.image()
    lock = await opened(unit)
    wanted = None if profile.startswith("hlk") else True
    assert await lock.rehearse_write(WANTED_300) is wanted
    assert await lock.rehearse_write(bytes(512)) is (None if wanted is None else False)
    assert unit.image() == before
    assert not set(unit.log) & {STORE, DELETE}


async def test_a_rehearsal_gets_over_a_damaged_and_a_lost_packet() -> None:
    clean = small("as608", "empty")
    await opened(clean)
    for fault in ("flip", "lose"):
        for side, start in (("in", clean.frames_in), ("out", clean.frames_out)):
            for number in range(start + 1, start + 6):
                unit = small("as608", "empty", **{fault: f"{side}:frame:{number}"})
                assert await (await opened(unit)).rehearse_write(WANTED_300) is True, f"{fault} {side} {number}"


# ---- removing, settings, erasing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [*DIALECTS, "r503"])
async def test_a_removed_slot_is_proven_empty(profile: str) -> None:
    unit = small(profile)
    victim = sorted(unit.flash.templates)[1]
    others = {slot: data for slot, data in unit.flash.templates.items() if slot != victim}
    (done,) = await written(await opened(unit), remove(victim))
    assert (done.status, done.proof) == ("removed", "V4")
    assert unit.flash.templates == others


@pytest.mark.parametrize("profile", DIALECTS)
@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize("index", [True, False])
async def test_a_removal_that_did_nothing_is_not_proven(profile: str, readable: bool, index: bool) -> None:
    if not readable and not index:
        return  # nothing on such a module tells an unreadable slot from an empty one
    unit = small(profile, quirks="" if index else "no-index")
    victim = sorted(unit.flash.templates)[1]
    if not readable:
        unit.flash.torn.add(victim)
    lock = await opened(unit)
    unit.device.commands.table[DELETE] = (4, lambda _: (0, b""))  # type: ignore[attr-defined]
    (done,) = await written(lock, remove(victim))
    assert (done.status, done.proof) == ("differs", None)
    assert victim in unit.flash.templates


@pytest.mark.parametrize("profile", DIALECTS)
async def test_faults_around_a_removal_never_claim_what_is_not(profile: str) -> None:
    for side in ("in", "out"):
        for fault in ("flip", "lose", "reboot"):
            for number in range(1, 20):
                unit = small(profile, **{fault: f"{side}:frame:{number}"})
                victim = sorted(unit.flash.templates)[1]
                try:
                    (done,) = await written(await opened(unit), remove(victim))
                except LinkError:
                    continue
                assert (done.status == "removed") == (victim not in unit.flash.templates)
                assert len(unit.flash.templates) >= 4


@pytest.mark.parametrize("profile", DIALECTS)
async def test_a_notepad_page_is_written_and_read_back(profile: str) -> None:
    unit = small(profile, "empty")
    page = bytes(range(32))
    (done,) = await written(await opened(unit), setting("notepad.5", page, page=5))
    assert (done.status, done.proof) == ("written", "V4")
    assert unit.flash.notepad[5] == page
    assert sum(any(other) for other in unit.flash.notepad) == 1


async def test_a_notepad_page_that_stops_being_readable_is_a_gap() -> None:
    unit = small(notepad="full")
    lock = await opened(unit)
    read = unit.device.commands._read_page  # type: ignore[attr-defined]
    unit.device.commands.table[0x19] = (1, lambda p: (0x18, b"") if p[0] == 4 else read(p))  # type: ignore[attr-defined]
    items = await read_all(lock, QUICK)
    assert tables_of(items)[NOTEPAD] == unit.flash.notepad_image()[: 4 * 32]
    (gap,) = gaps_of(items)
    assert gap.record == "setting/ef01.notepad.4"


@pytest.mark.parametrize(("profile", "level"), [("as608", 5), ("hlk-zw101", 28), ("r503", 1)])
async def test_the_level_is_written_and_read_back(profile: str, level: int) -> None:
    unit = small(profile, "empty")
    (done,) = await written(await opened(unit), setting("security_level", level))
    assert (done.status, done.proof) == ("written", "V4")
    assert unit.flash.level == level
    assert unit.log.count(SET_PARA) == 1
    assert unit.flash.speed_n == 6


@pytest.mark.parametrize("fault", ["flip=in", "lose=in", "flip=out", "lose=out", "reboot=in", "reboot=out"])
@pytest.mark.parametrize("profile", DIALECTS)
async def test_faults_around_address_and_password_end_in_a_true_word(profile: str, fault: str) -> None:
    kind, side = fault.split("=")
    steps = [
        setting("address", 0x12345678),
        Step(key="access_key/ef01.password", kind="access_key", action="put", origin={}, value=b"\1\2\3\4"),
        setting("security_level", 2),
    ]
    for step in steps:
        clean = small(profile, "empty")
        await opened(clean)
        start = clean.frames_in if side == "in" else clean.frames_out
        for number in range(start + 1, start + 4):
            unit = small(profile, "empty", **{kind: f"{side}:frame:{number}"})
            lock = await opened(unit)
            (done,) = await written(lock, step)
            flash = unit.flash
            holds = {
                "setting/ef01.address": flash.address == bytes.fromhex("12345678"),
                "access_key/ef01.password": flash.password == b"\1\2\3\4",
                "setting/ef01.security_level": flash.level == 2,
            }[step.key]
            assert (done.status == "written") == holds, f"{step.key} {fault} {number}: {done}"
            assert (done.proof == "V4") == (done.status == "written")
            # Whatever came of it, the conversation goes on.
            (after,) = await written(lock, setting("notepad.0", b"\x11" * 32, page=0))
            assert after.status == "written"


async def test_address_and_password_are_written_and_open_from_then_on() -> None:
    unit = small("r503", "empty")
    lock = await opened(unit)
    password = Step(key="access_key/ef01.password", kind="access_key", action="put", origin={}, value=b"\1\2\3\4")
    done = await written(lock, setting("address", 0xA1B2C3D4), password, put(2, WANTED_300))
    assert [(item.status, item.proof) for item in done] == [("written", "V4")] * 3
    assert unit.credential == {"password": "01020304", "address": "a1b2c3d4"}
    await lock.close()
    again = await opened(unit, address=0xA1B2C3D4, password=b"\1\2\3\4")
    assert templates_of(await read_all(again)) == {2: WANTED_300}


@pytest.mark.parametrize("profile", DIALECTS)
async def test_erasing_takes_templates_and_notepad_and_leaves_the_settings(profile: str) -> None:
    unit = small(profile, notepad="full", level="2")
    lock = await opened(unit)
    await lock.identify()
    assert await drained(lock.erase(Scope.PEOPLE))
    assert unit.flash.templates == {}
    assert unit.flash.notepad == [bytes(32)] * 16
    assert unit.flash.level == 2
    assert not set(unit.log) & FORBIDDEN
    assert templates_of(await read_all(lock)) == {}


async def test_erasing_does_not_stop_at_a_page_that_cannot_be_read() -> None:
    unit = small(notepad="full")
    lock = await opened(unit)
    read = unit.device.commands._read_page  # type: ignore[attr-defined]
    unit.device.commands.table[0x19] = (1, lambda p: (0x18, b"") if p[0] == 4 else read(p))  # type: ignore[attr-defined]
    await drained(lock.erase(Scope.PEOPLE))
    assert unit.flash.notepad == [bytes(32)] * 16


async def test_there_is_no_way_back_to_the_factory() -> None:
    unit = small("hlk-zw101")
    before = unit.image()
    lock = await opened(unit)
    with pytest.raises(Unsupported):
        await drained(lock.erase(Scope.FACTORY))
    assert unit.image() == before


async def test_what_was_written_is_what_is_read_next() -> None:
    unit = small("as608", "empty")
    lock = await opened(unit)
    await lock.identify()
    await written(lock, put(3, WANTED_300))
    assert templates_of(await read_all(lock)) == {3: WANTED_300}


# ---- a finger -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [*DIALECTS, "r503"])
async def test_a_finger_is_found_in_its_slot(profile: str) -> None:
    slot = sorted(small(profile).flash.templates)[2]
    unit = small(profile, finger=str(slot))
    touch = await (await opened(unit)).touch(10)
    assert (touch.matched, touch.slot) == (True, slot)
    assert touch.score


async def test_a_finger_that_nobody_enrolled_is_not_matched() -> None:
    for quirk in ("", "odd-search"):
        touch = await (await opened(small(preset="empty", finger="3", quirks=quirk))).touch(10)
        assert (touch.matched, touch.slot, touch.score) == (False, None, None)


async def test_without_a_finger_the_wait_ends_in_time() -> None:
    lock = await opened(small())
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(NoAnswer, match="a finger on the sensor"):
        await lock.touch(5)
    assert 4.9 < loop.time() - started < 7


async def test_closing_twice_is_harmless_and_later_use_is_an_error_of_ours() -> None:
    lock = await opened(small())
    await lock.close()
    await lock.close()
    with pytest.raises(LinkError):
        await lock.identify()
