"""The conversation with simulated ZK terminals: letting in, reading, writing with proof, and all that fails."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import pytest

from lockmigrate.errors import (
    ConfigError,
    ConnectError,
    FrameError,
    LinkError,
    LinkLost,
    LockmigrateError,
    NoAnswer,
    ProfileError,
    RefusedError,
    UnexpectedReply,
    Unsupported,
    WrongCredential,
)
from lockmigrate.formats import decode
from lockmigrate.formats.zk import (
    Cmd,
    DatagramFramer,
    Packet,
    Reply,
    TcpFramer,
    build_packet,
    comm_key,
    wrapped,
)
from lockmigrate.formats.zk_records import split_templates, split_users
from lockmigrate.formats.zk_tables import ALL_TABLES
from lockmigrate.model.document import Gap, Table
from lockmigrate.model.records import LOSS_CODES
from lockmigrate.model.results import Progress
from lockmigrate.model.steps import Done, Step
from lockmigrate.profiles import Profile, load_profile, parse_profile
from lockmigrate.protocols import EVERYTHING, Scope, Section, zk_door
from lockmigrate.protocols.credentials import ZkCredential
from lockmigrate.protocols.door import Door, profiles_of
from lockmigrate.protocols.zk import BATCH, ZkLock
from lockmigrate.protocols.zk_door import check_variant
from lockmigrate.protocols.zk_door import open_unit as through_the_door
from lockmigrate.protocols.zk_open import OPTIONS, detect
from lockmigrate.sim import open_unit
from lockmigrate.sim.unit import SimulatedUnit
from lockmigrate.transports import Outgoing
from lockmigrate.transports.memory import LinkFaults, MemoryLink

WIDTHS: Final = {"zk": 72, "zk-bw": 28}
PROFILES: Final = {name: load_profile(name) for name in WIDTHS}
KNOWN: Final = profiles_of("zk", None)
FORBIDDEN: Final = {31, 1004, 1005, 1006, 20, 32}
CLEAR_WITHIN_S: Final = 900.0
"""Virtual time: nothing may take longer, whatever goes wrong."""
STYLES: Final = [
    {},
    {"bulk": "one"},
    {"bulk": "split"},
    {"dribble": 1},
    {"events": 3},
    {"small": 0},
    {"unasked": 1},
    {"closing_session": 1},
    {"capacity_bytes": 80},
    {"fp": 9},
    {"att": 8},
    {"att": 16},
    {"names": "junk"},
    {"quirks": "two-segments"},
    {"quirks": "stray-byte"},
    {"quirks": "repeat"},
    {"quirks": "no-seconds"},
    {"quirks": "no-options"},
    {"quirks": "no-1503"},
    {"quirks": "silent-unknown,no-1503"},
    {"quirks": "free-lost"},
]


@pytest.fixture(autouse=True)
def _profiles_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading every profile file for each of some thousand openings would be most of these tests' time."""
    monkeypatch.setattr(
        zk_door, "profiles_of", lambda family, named: KNOWN if named is None else profiles_of(family, named)
    )


def unit_of(profile: str = "zk", preset: str = "half", **options: Any) -> SimulatedUnit:
    return open_unit(PROFILES[profile], preset, {name.rstrip("_"): str(value) for name, value in options.items()})


def small(profile: str = "zk", preset: str = "half", **options: Any) -> SimulatedUnit:
    """Make a terminal with five users and no more lines in its logs than needed."""
    return unit_of(profile, preset, **{"users": 5, "attendance": 3, **options})


async def opened(
    unit: SimulatedUnit, *, faults: LinkFaults | None = None, key: int | None = None, **door: Any
) -> ZkLock:
    link = MemoryLink.open(unit.device, faults=faults, datagrams=unit.device is getattr(unit, "datagram_device", None))
    credential = None if key is None else ZkCredential(comm_key=key)
    try:
        async with asyncio.timeout(CLEAR_WITHIN_S):
            return await through_the_door(
                link, Door(target="sim", port_id="here", simulated=True, credential=credential, **door)
            )
    except BaseException:
        await link.close()
        raise


async def read_all(lock: ZkLock, sections: frozenset[Section] = EVERYTHING, *, twice: bool = False) -> list[Any]:
    async with asyncio.timeout(CLEAR_WITHIN_S):
        return [item async for item in lock.read(sections, twice=twice)]


def tables_of(items: Iterable[Any]) -> dict[str, bytes]:
    return {item.name: item.data for item in items if isinstance(item, Table)}


def gaps_of(items: Iterable[Any]) -> list[tuple[str, str]]:
    return [(item.section, item.code) for item in items if isinstance(item, Gap)]


def users_in(tables: dict[str, bytes], width: int) -> dict[int, bytes]:
    body = tables["0004-users"]
    return {int.from_bytes(body[at : at + 2], "little"): body[at : at + width] for at in range(0, len(body), width)}


def templates_in(tables: dict[str, bytes]) -> dict[tuple[int, int], tuple[int, bytes]]:
    body = tables["0005-templates"]
    return {
        (entry.uid, entry.finger): (entry.flag, body[entry.offset : entry.offset + entry.size])
        for entry in split_templates(body)
    }


async def written(lock: ZkLock, *steps: Step, batch: int = BATCH) -> list[Done]:
    dones: list[Done] = []
    async with asyncio.timeout(CLEAR_WITHIN_S):
        for at in range(0, len(steps), batch):
            dones += [done async for done in lock.write(steps[at : at + batch])]
    assert {done.code for done in dones} <= LOSS_CODES | {None}
    return dones


async def drained(events: AsyncIterator[Any]) -> list[Any]:
    async with asyncio.timeout(CLEAR_WITHIN_S):
        return [item async for item in events]


def put_user(
    uid: int, record: bytes, *, verify: int | None = None, was_empty: bool = True, also: tuple[str, ...] = ()
) -> Step:
    origin = {"user_index": uid, "verify": verify}
    return Step(
        key=f"user/{uid}", kind="user", action="put", origin=origin, value=record, was_empty=was_empty, also=also
    )


def put_finger(uid: int, finger: int, template: bytes, *, flag: int = 1, was_empty: bool = True) -> Step:
    origin = {"user_index": uid, "finger": finger, "flag": flag}
    key = f"fingerprint/{uid}.{finger}"
    return Step(key=key, kind="fingerprint", action="put", origin=origin, value=template, was_empty=was_empty)


def remove(key: str, kind: Any, **origin: int) -> Step:
    return Step(key=key, kind=kind, action="remove", origin=dict(origin), was_empty=False)


def people_of(unit: SimulatedUnit) -> list[Step]:
    """Everything of one terminal as steps for another, users first."""
    flash = unit.flash
    users = [
        put_user(uid, record, verify=flash.verify.get(uid, 0), also=(f"pin/{uid}",))
        for uid, record in flash.users.items()
    ]
    return users + [
        put_finger(uid, finger, template, flag=flag) for (uid, finger), (flag, template) in flash.templates.items()
    ]


def styles_in(unit: SimulatedUnit) -> dict[int, int]:
    return {uid: mode for uid, mode in unit.flash.verify.items() if mode}


# ---- letting in -----------------------------------------------------------------------------------------------------


class Scripted:
    """A device that answers by a function of the packets it hears; not a terminal."""

    def __init__(self, answer: Any, *, datagrams: bool = False) -> None:
        self.heard: list[Packet] = []
        self._answer = answer
        self._framer: TcpFramer | DatagramFramer = DatagramFramer() if datagrams else TcpFramer()
        self._build = build_packet if datagrams else wrapped

    def opened(self, now_s: float) -> list[Outgoing]:
        return []

    def receive(self, data: bytes, now_s: float) -> list[Outgoing]:
        self._framer.feed(data)
        out: list[Outgoing] = []
        while (packet := self._framer.next()) is not None:
            self.heard.append(packet)
            said = self._answer(packet)
            pieces = [said] if isinstance(said, bytes) else [self._build(item) for item in said or []]
            out += [Outgoing(at_s=now_s + 0.001, data=piece) for piece in pieces]
        return out

    def set_host_baud(self, baud: int | None) -> None: ...

    def closed(self) -> None: ...


async def open_scripted(device: Scripted, *, datagrams: bool = False, **door: Any) -> ZkLock:
    link = MemoryLink.open(device, datagrams=datagrams)
    try:
        async with asyncio.timeout(CLEAR_WITHIN_S):
            return await through_the_door(link, Door(target="the port", port_id="here", **door))
    except BaseException:
        await link.close()
        raise


@pytest.mark.parametrize("profile", list(WIDTHS))
async def test_a_terminal_says_who_it_is(profile: str) -> None:
    unit = unit_of(profile)
    lock = await opened(unit)
    found = await lock.identify()
    width = WIDTHS[profile]
    assert (found.family, found.serial, found.id) == ("zk", unit.serial, unit.serial)
    assert found.counts == {"users": len(unit.flash.users), "fingerprints": len(unit.flash.templates)}
    assert found.details["record_bytes"] == width
    assert found.details["record_bytes_measured"] is True
    held = found.capabilities
    assert held.user_records
    assert held.number_of_total_users_supported == unit.profile.simulated["user_capacity"]
    assert held.name is not None
    assert held.name.max_bytes == (23 if width == 72 else 8)
    assert held.credentials.pin is not None
    assert held.credentials.pin.max_len == (8 if width == 72 else 5)
    finger = held.credentials.fingerprint
    assert finger is not None
    assert finger.template_formats == (f"zk/zkfinger/{unit.profile.simulated['fp_version']}",)
    assert (finger.slots, finger.used) == (unit.profile.simulated["template_capacity"], len(unit.flash.templates))
    assert lock.given == ()
    await lock.close()
    assert unit.log[-1] == Cmd.EXIT
    assert not set(unit.log) & FORBIDDEN


@pytest.mark.parametrize("width", [72, 28])
async def test_the_width_of_an_empty_terminal_is_inferred(width: int) -> None:
    """A platform's name ending in _TFT normally means 72 bytes; otherwise they are narrow."""
    unit = unit_of("zk" if width == 72 else "zk-bw", "empty")
    lock = await opened(unit)
    found = await lock.identify()
    assert (found.details["record_bytes"], found.details["record_bytes_measured"]) == (width, False)
    assert Cmd.BUFFER_OPEN not in unit.log


async def test_the_width_is_measured_whatever_the_platform_says() -> None:
    unit = unit_of("zk", platform="SIM500")
    assert (await (await opened(unit)).identify()).details["record_bytes"] == 72
    unit = unit_of("zk-bw", platform="SIM760_TFT")
    assert (await (await opened(unit)).identify()).details["record_bytes"] == 28


async def test_the_comm_key_opens_and_is_kept() -> None:
    unit = small(comm_key=123456)
    lock = await opened(unit, key=123456)
    (given,) = lock.given
    assert (given.key, given.kind, given.secret.reveal()) == ("access_key/zk.comm_key", "given", "123456")
    assert "123456" not in repr(given)
    assert users_in(tables_of(await read_all(lock)), 72) == unit.flash.users


async def test_a_key_that_is_not_needed_is_not_sent_and_not_kept() -> None:
    unit = small()
    lock = await opened(unit, key=123456)
    assert lock.given == ()
    assert Cmd.AUTH not in unit.log


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_wrong_key_is_tried_exactly_once(transport: str) -> None:
    unit = small(comm_key=123456, transport=transport)
    with pytest.raises(WrongCredential) as caught:
        await opened(unit, key=654321)
    assert unit.log.count(Cmd.AUTH) == 1
    assert unit.log == [Cmd.CONNECT, Cmd.AUTH, Cmd.EXIT]
    assert "654321" not in str(caught.value) + str(caught.value.hint)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("key", [None, 0])
async def test_a_protected_terminal_without_a_key_is_a_matter_of_configuration(key: int | None) -> None:
    unit = small(comm_key=4)
    with pytest.raises(ConfigError) as caught:
        await opened(unit, key=key)
    assert (caught.value.code, caught.value.exit_code) == ("no-credential", 2)
    assert "comm_key = " in (caught.value.hint or "")
    assert unit.log == [Cmd.CONNECT, Cmd.EXIT]


@pytest.mark.parametrize("state", ["busy", "enrolling", "menu", "writing"])
async def test_a_terminal_that_somebody_uses_is_left_alone(state: str) -> None:
    unit = small(busy=state)
    with pytest.raises(RefusedError) as caught:
        await opened(unit)
    assert caught.value.code == "unit-busy"
    assert "leave the menu" in (caught.value.hint or "")
    assert unit.log[-1] == Cmd.EXIT


async def test_a_terminal_that_identifies_somebody_is_not_busy() -> None:
    assert (await (await opened(small(busy="identifying"))).identify()).serial


async def test_silence_is_no_answer_and_says_what_to_check() -> None:
    for datagrams in (False, True):
        device = Scripted(lambda _: None, datagrams=datagrams)
        with pytest.raises(NoAnswer, match="the port") as caught:
            await open_scripted(device, datagrams=datagrams)
        assert "4370" in (caught.value.hint or "")
        assert {packet.code for packet in device.heard} == {Cmd.CONNECT}
        assert len(device.heard) == (3 if datagrams else 1), "only a datagram can have been lost"


@pytest.mark.parametrize(
    "says",
    [b"HTTP/1.1 400 Bad Request\r\n", b"\x00", bytes.fromhex("ef01ffffffff0700030000") * 3],
    ids=["a web server", "too little", "another family"],
)
async def test_something_else_that_talks_is_named_so(says: bytes) -> None:
    with pytest.raises(ConnectError) as caught:
        await open_scripted(Scripted(lambda _: says))
    assert caught.value.code == "unknown-unit"


async def test_an_echoing_port_is_not_a_terminal() -> None:
    with pytest.raises(ConnectError) as caught:
        await open_scripted(Scripted(lambda packet: [packet]))
    assert caught.value.code == "unknown-unit"


async def test_a_terminal_that_refuses_a_connection_is_named_so() -> None:
    with pytest.raises(RefusedError, match="2001"):
        await open_scripted(Scripted(lambda packet: [Packet(Reply.ERROR, 0, packet.number)]))


async def test_a_profile_of_another_family_is_refused() -> None:
    with pytest.raises(ProfileError) as caught:
        await opened(small(), profile=load_profile("r503"))
    assert caught.value.code == "wrong-profile"


def profile_with(text: str) -> Profile:
    return parse_profile(
        'schema = 1\nname = "made-up"\ntitle = "t"\nfamily = "zk"\nevidence = "documented"\n'
        '[sources]\ns = "s"\n[cites]\n"' + ("match" if "[match]" in text else "variant") + '" = ["s"]\n' + text,
        where="here",
    )


@pytest.mark.parametrize(
    "variant",
    ["record_bytes = 71", "fp_version = 0", 'encoding = "latin-1"', "attlog_bytes = 41", "ticks = 256", "unknown = 1"],
)
def test_a_variant_that_no_terminal_has_is_named(variant: str) -> None:
    with pytest.raises(ProfileError, match="variant") as caught:
        check_variant(profile_with(f"[variant]\n{variant}\n"))
    assert variant.split(" ")[0] in str(caught.value)


def test_the_shipped_profiles_have_right_variants() -> None:
    for name in WIDTHS:
        check_variant(load_profile(name))


async def test_a_model_is_recognised_by_name_firmware_and_platform() -> None:
    lock = await opened(small())
    found = lock._found
    rules = (
        '[match]\nmodel = ["SIM-F*"]',
        '[match]\nfirmware = ["Ver 6.60*"]',
        '[match]\ndialect = "*_TFT"',
        '[match]\nmodel = ["SIM-F19"]\nfirmware = ["Ver 6*"]\ndialect = "SIM*"',
    )
    for rule in rules:
        profile = profile_with(rule)
        assert detect(found, [profile]) is profile
    for rule in ('[match]\nmodel = ["K20"]', '[match]\nmodel = ["SIM-F19"]\ndialect = "ZEM*"', ""):
        assert detect(found, [profile_with(rule or "[variant]\nticks = 1\n")]) is None
    assert detect(found, [profile_with(rules[0]), profile_with(rules[3])]) is None, "two that fit are none"


async def test_a_profile_can_say_what_an_empty_terminal_does_not() -> None:
    unit = unit_of("zk", "empty", platform="SIM500")
    profile = profile_with("[variant]\nrecord_bytes = 72\nfp_version = 10\n")
    with pytest.raises(ProfileError, match="variant"):
        await opened(unit, profile=profile_with("[variant]\nrecord_bytes = 5\n"))
    lock = await opened(unit, profile=profile)
    assert lock.variant["record_bytes"] == 72


async def test_options_that_a_terminal_lacks_are_left_out() -> None:
    unit = small(quirks="no-options")
    lock = await opened(unit)
    raw = tables_of(await read_all(lock, frozenset({Section.IDENTITY})))["0001-options"]
    names = {line.partition(b"=")[0].decode() for line in raw.split(b"\n") if line}
    assert names < set(OPTIONS)
    assert b"\0" not in raw


# ---- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", STYLES, ids=[str(style) for style in STYLES])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("profile", list(WIDTHS))
async def test_everything_is_read_in_whatever_style_it_comes(
    profile: str, transport: str, options: dict[str, Any]
) -> None:
    unit = unit_of(profile, transport=transport, **options)
    before = unit.image()
    lock = await opened(unit)
    identified = await lock.identify()
    items = await read_all(lock)
    after = await lock.identify()
    tables = tables_of(items)
    assert users_in(tables, WIDTHS[profile]) == unit.flash.users
    assert templates_in(tables) == unit.flash.templates
    assert tables["0010-attlog"] == b"".join(unit.flash.attlog)
    assert tables["0011-oplog"] == b"".join(unit.flash.oplog)
    assert identified.counts == after.counts
    assert set(tables) <= set(ALL_TABLES)
    found = decode("zk", tables, lock.variant)
    assert found.losses == ()
    assert found.coverage["users"].state == found.coverage["credentials"].state == found.coverage["log"].state == "full"
    assert len(found.log) == len(unit.flash.attlog)
    await lock.close()
    assert unit.image() == before, "reading leaves the terminal as it was"
    assert unit.flash.enabled
    assert not set(unit.log) & FORBIDDEN
    assert Cmd.CLEAR_DATA not in unit.log


async def test_the_small_tables_are_read_too() -> None:
    unit = unit_of()
    tables = tables_of(await read_all(await opened(unit)))
    flash = unit.flash
    assert [tables["0007-groups"][at : at + 8] for at in range(0, 800, 8)] == list(flash.groups.values())
    assert [tables["0008-combinations"][at : at + 8] for at in range(0, 80, 8)] == list(flash.combinations.values())
    assert len(tables["0006-zones"]) == 50 * 32
    styles = {
        int.from_bytes(tables["0009-verify"][at : at + 2], "little"): tables["0009-verify"][at + 2]
        for at in range(0, len(tables["0009-verify"]), 24)
    }
    assert sorted(styles) == sorted(flash.users)
    assert {uid: mode for uid, mode in styles.items() if mode} == styles_in(unit)


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({Section.IDENTITY}, {"0001-options", "0002-firmware", "0003-capacity"}),
        ({Section.INDEX}, {"0004-users"}),
        ({Section.CREDENTIALS}, {"0005-templates"}),
        ({Section.SETTINGS}, {"0006-zones", "0007-groups", "0008-combinations", "0009-verify"}),
        ({Section.LOG}, {"0010-attlog", "0011-oplog"}),
    ],
)
async def test_only_what_was_asked_for_is_read(sections: set[Section], expected: set[str]) -> None:
    unit = small()
    items = await read_all(await opened(unit), frozenset(sections))
    assert set(tables_of(items)) == expected
    assert (Cmd.DISABLE in unit.log) == (sections != {Section.IDENTITY})


async def test_what_cannot_be_read_is_a_gap() -> None:
    assert gaps_of(await read_all(await opened(small()))) == [("lock_schedules", "no-public-layout")]
    items = await read_all(await opened(small("zk-bw")))
    assert gaps_of(items) == [("verify_styles", "no-public-layout"), ("lock_schedules", "no-public-layout")]
    lock = await opened(small("zk-bw"))
    items = await read_all(lock)
    found = decode("zk", tables_of(items), lock.variant)
    assert found.coverage["schedules"].state == "unsupported"
    assert found.schedules == ()


async def test_faces_that_a_terminal_counts_are_a_gap() -> None:
    unit = small()
    lock = await opened(unit)
    raw = bytearray(lock._found.capacity_raw)
    raw[80:84] = (7).to_bytes(4, "little")

    async def counted(code: int, data: bytes = b"", **more: Any) -> Packet:
        answer = await asked(code, data, **more)
        return Packet(answer.code, answer.session, answer.number, bytes(raw)) if code == Cmd.CAPACITY else answer

    asked = lock._wire.ask
    lock._wire.ask = counted  # type: ignore[method-assign]
    items = await read_all(lock)
    assert ("faces", "no-public-layout") in gaps_of(items)
    face = (await lock.identify()).capabilities.credentials.face
    assert face is not None
    assert (face.used, face.readback, face.writable) == (7, "none", "enrol_only")


async def test_names_are_read_in_the_code_page_of_the_unit() -> None:
    for names, encoding in (("utf-8", "utf-8"), ("gbk", "gbk")):
        unit = unit_of(names=names)
        lock = await opened(unit)
        found = decode("zk", tables_of(await read_all(lock)), lock.variant)
        chinese = [user for user in found.users if user.user_name and not user.user_name.isascii()]
        assert {user.user_name_encoding for user in chinese} == {encoding}
        assert "张伟" in {user.user_name for user in chinese}


async def test_counters_that_lag_are_refreshed_before_they_are_believed() -> None:
    unit = unit_of(lag=1)
    record = next(iter(unit.flash.users.values()))
    unit.flash.users[60000] = (60000).to_bytes(2, "little") + record[2:48] + b"60000".ljust(24, b"\0")
    lock = await opened(unit)
    before = (await lock.identify()).counts["users"]
    found = decode("zk", tables_of(await read_all(lock)), lock.variant)
    assert (await lock.identify()).counts["users"] == len(unit.flash.users) == len(found.users)
    assert found.losses == ()
    assert before <= len(found.users)


async def test_counters_that_are_simply_wrong_are_a_loss() -> None:
    unit = small(count_off=2)
    lock = await opened(unit)
    items = await read_all(lock)
    found = decode("zk", tables_of(items), lock.variant)
    assert users_in(tables_of(items), 72) == unit.flash.users
    assert {loss.code for loss in found.losses} == {"count-differs"}
    assert any("counters do not confirm" in warning for warning in (await lock.identify()).warnings)


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        ({"duplicates": "uid"}, {"uid-duplicate"}),
        ({"duplicates": "userid"}, {"user-id-duplicate"}),
        ({"orphan": 1}, {"user-missing"}),
    ],
)
async def test_disorder_is_kept_and_told(options: dict[str, Any], codes: set[str]) -> None:
    unit = unit_of("zk", "full", **options)
    lock = await opened(unit)
    items = await read_all(lock)
    found = decode("zk", tables_of(items), lock.variant)
    assert codes <= {loss.code for loss in found.losses} <= codes | {"user-id-duplicate", "count-differs"}
    assert len(found.users) == len(unit.flash.users) + len(unit.flash.doubles)
    fingers = [item for item in found.credentials if item.credential_type == "Fingerprint"]
    assert len(fingers) == len(unit.flash.templates)
    if "orphan" in options:
        assert any(item.user is None for item in fingers)


async def test_a_table_that_comes_differently_is_read_again_when_asked() -> None:
    unit = small()
    lock = await opened(unit)
    once = tables_of(await read_all(lock))
    assert tables_of(await read_all(lock, twice=True)) == once
    assert unit.log.count(Cmd.BUFFER_OPEN) > 6


async def test_the_buffer_of_every_large_table_is_freed() -> None:
    unit = unit_of(small=0)
    await read_all(await opened(unit))
    assert unit.log.count(Cmd.FREE) == unit.log.count(Cmd.BUFFER_OPEN) > 3
    lock = await opened(unit)
    reading = lock.read(frozenset({Section.CREDENTIALS}))
    await anext(reading)
    del unit.log[:]
    await reading.aclose()  # type: ignore[attr-defined]
    assert unit.log == [Cmd.FREE, Cmd.ENABLE]


async def test_progress_runs_from_nothing_to_all() -> None:
    lock = await opened(unit_of())
    stages: dict[str, list[Progress]] = {}
    for item in await read_all(lock):
        if isinstance(item, Progress):
            stages.setdefault(item.stage, []).append(item)
    assert list(stages) == ["users", "settings", "verify styles", "fingerprints", "attendance log", "operation log"]
    for name, seen in stages.items():
        assert [item.done for item in seen] == sorted(item.done for item in seen), name
        assert all(0 <= item.done <= item.total for item in seen), name
        assert seen[-1].done == seen[-1].total, name


@pytest.mark.parametrize("lost", range(1, 30, 4))
async def test_on_udp_what_is_lost_is_asked_for_again(lost: int) -> None:
    """Losses in the middle of the bulk data, from either side."""
    whole = unit_of(transport="udp")
    lock = await opened(whole)
    expected = tables_of(await read_all(lock))
    for side in ("in", "out"):
        number = (whole.frames_out if side == "out" else whole.frames_in) - 2 * lost
        unit = unit_of(transport="udp", lose=f"{side}:frame:{number}")
        lock = await opened(unit)
        assert tables_of(await read_all(lock)) == expected
        await lock.close()
        assert unit.flash.enabled


@pytest.mark.parametrize("chunk", [1, 2, 40, 200, 205, 210, 215, 220, 260])
async def test_on_udp_a_late_datagram_is_not_taken_for_another_answer(chunk: int) -> None:
    unit = unit_of(transport="udp", delay=f"out:frame:{chunk}:2.5")
    expected = tables_of(await read_all(await opened(unit_of())))
    lock = await opened(unit)
    assert tables_of(await read_all(lock)) == expected


# ---- what comes over the wire and should not ------------------------------------------------------------------------


class Terminal:
    """A terminal as tests want it: answers by code, with what `says` overrides."""

    def __init__(self, forget_after: int = 10**6, forget_code: int = Reply.ERROR, **says: Any) -> None:
        self.says: dict[int, Any] = {
            Cmd.BUFFER_OPEN: lambda packet: bulk(packet, TABLE if packet.data[3] == 5 else bytes(4))
        }
        self.says |= {getattr(Cmd, name.upper()): value for name, value in says.items()}
        self.users = 3
        self.forget_after, self.forget_code = forget_after, forget_code
        self.device = Scripted(self.answer)

    def answer(self, packet: Packet) -> Any:
        if packet.code == Reply.OK:
            return None  # our word on an event
        if len(self.device.heard) > self.forget_after:
            return [Packet(self.forget_code, 1, packet.number)]
        said = self.says.get(packet.code)
        if callable(said):
            return said(packet)
        if said is not None:
            return said
        data = b""
        if packet.code == Cmd.CAPACITY:
            words = [0] * 20
            words[4], words[15] = self.users, 100
            data = b"".join(word.to_bytes(4, "little") for word in words)
        if packet.code in (Cmd.OPTION_READ, Cmd.ZONE_READ, Cmd.GROUP_READ, Cmd.COMBINATION_READ, Cmd.VERIFY_READ):
            return [Packet(Reply.ERROR, 1, packet.number)]
        return [Packet(Reply.OK, 0 if packet.code == Cmd.STATE else 1, packet.number, data)]


TABLE: Final = (3 * 28).to_bytes(4, "little") + bytes(3 * 28)


def bulk(packet: Packet, *parts: bytes, announced: int | None = None, closing: int = Reply.OK) -> list[Packet]:
    size = sum(map(len, parts)) if announced is None else announced
    head = Packet(Cmd.PREPARE, 1, packet.number, size.to_bytes(4, "little") + (1008).to_bytes(4, "little"))
    data = [Packet(Cmd.DATA, index, packet.number, part) for index, part in enumerate(parts)]
    return [head, *data, Packet(closing, 1, packet.number)]


@pytest.mark.parametrize(
    "opening",
    [
        lambda p: [Packet(Cmd.DATA, 1, p.number, TABLE)],
        lambda p: bulk(p, TABLE),
        lambda p: bulk(p, TABLE[:50], TABLE[50:]),
        lambda p: bulk(p, TABLE[:50], b"", TABLE[50:]),
        lambda p: [Packet(Cmd.EVENT, 1, 0, b"x"), *bulk(p, TABLE), Packet(Cmd.EVENT, 2, 0)],
        lambda p: [Packet(Cmd.DATA, 9, p.number - 1, b"late"), Packet(Cmd.DATA, 1, p.number, TABLE)],
    ],
    ids=["at once", "announced", "in two", "with nothing between", "between events", "behind a late packet"],
)
async def test_a_table_may_come_in_many_ways(opening: Any) -> None:
    terminal = Terminal(buffer_open=opening)
    lock = await open_scripted(terminal.device)
    tables = tables_of(await read_all(lock, frozenset({Section.INDEX})))
    assert tables["0004-users"] == TABLE[4:]
    events = [packet for packet in terminal.device.heard if packet.code == Reply.OK]
    assert all((packet.session, packet.number) == (1, 0) for packet in events), "an event is answered with OK"


@pytest.mark.parametrize(
    "opening",
    [
        lambda p: [Packet(Cmd.DATA, 1, p.number, TABLE[:-1])],
        lambda p: [Packet(Cmd.DATA, 1, p.number, b"\x01")],
        lambda p: [Packet(Cmd.DATA, 1, p.number, (71).to_bytes(4, "little") + bytes(71))],
        lambda p: bulk(p, TABLE[:50]),
        lambda p: bulk(p, TABLE, announced=50),
        lambda p: bulk(p, TABLE, announced=0xFFFFFFFF),
        lambda p: bulk(p, TABLE, closing=Reply.ERROR),
        lambda p: bulk(p, TABLE, announced=500),
        lambda p: [Packet(Cmd.PREPARE, 1, p.number, b"\x01")],
        lambda p: [Packet(Reply.OK, 1, p.number, b"\0\xff\xff\xff\xff")],
        lambda p: [Packet(Reply.OK, 1, p.number, b"\0\1")],
        lambda p: b"\x50\x50\x82\x7d\xff\xff\xff\xff",
        lambda p: b"nonsense",
        lambda p: None,
    ],
    ids=[
        "a byte short",
        "no length word",
        "no record fits",
        "data short",
        "more than announced",
        "4 GB",
        "refused at the end",
        "less than announced",
        "no size",
        "4 GB opened",
        "no size opened",
        "a wild wrapper",
        "out of step",
        "silence",
    ],
)
async def test_a_table_that_is_not_whole_is_our_error(opening: Any) -> None:
    turn = itertools.count()
    terminal = Terminal(
        buffer_open=lambda p: bulk(p, TABLE) if next(turn) == 0 else opening(p), read_table=lambda p: None
    )
    lock = await open_scripted(terminal.device)
    with pytest.raises((FrameError, UnexpectedReply, NoAnswer)):
        await read_all(lock, frozenset({Section.INDEX}))
    with contextlib.suppress(LinkError):
        async with asyncio.timeout(60):
            await lock.close()


async def test_events_without_end_do_not_keep_us() -> None:
    def flood(packet: Packet) -> list[Packet]:
        return [Packet(Cmd.EVENT, 1, 0)] * 2000

    lock = await open_scripted(Terminal(time_read=flood).device)
    assert (await lock.identify()).counts["users"] == 3


async def test_users_that_are_counted_and_not_given_out_are_refused() -> None:
    def no(packet: Packet) -> list[Packet]:
        return [Packet(Reply.ERROR, 1, packet.number)]

    terminal = Terminal(buffer_open=no, template_read=no)
    lock = await open_scripted(terminal.device)
    with pytest.raises(RefusedError, match="3 users"):
        await read_all(lock)
    await lock.close()
    assert [packet.code for packet in terminal.device.heard][-2:] == [Cmd.ENABLE, Cmd.EXIT]


async def test_a_terminal_without_users_may_refuse_their_table() -> None:
    def no(packet: Packet) -> list[Packet]:
        return [Packet(Reply.ERROR, 1, packet.number)]

    terminal = Terminal(buffer_open=no, template_read=no, read_table=no, attendance_read=no, operations_read=no)
    terminal.users = 0
    lock = await open_scripted(terminal.device)
    tables = tables_of(await read_all(lock))
    assert (tables["0004-users"], tables["0005-templates"]) == (b"", b"")
    found = decode("zk", tables, lock.variant)
    assert (found.coverage["users"].state, found.coverage["log"].state) == ("full", "unsupported")
    (done,) = await written(lock, remove("user/1", "user", user_index=1))
    assert done.status == "removed"


@pytest.mark.parametrize("code", [Reply.UNAUTH, Reply.ERROR])
async def test_a_terminal_that_forgets_us_is_a_lost_link(code: int) -> None:
    """It says UNAUTH or ERROR to everything; that is not to be taken for "no such table"."""
    whole = Terminal()
    lock = await open_scripted(whole.device)
    before = len(whole.device.heard)
    await read_all(lock)
    assert whole.device.heard[-1].code == Cmd.ENABLE
    for after in range(before, len(whole.device.heard) - 1):
        terminal = Terminal(forget_after=after, forget_code=code)
        lock = await open_scripted(terminal.device)
        with pytest.raises(LinkLost, match="does not know this connection"):
            await read_all(lock)


async def test_on_udp_a_single_packet_is_believed_when_it_always_comes_so() -> None:
    terminal = Terminal(template_fetch=lambda p: [Packet(Cmd.DATA, 1, p.number, b"template\1")])
    terminal.device = Scripted(terminal.answer, datagrams=True)
    lock = await open_scripted(terminal.device, datagrams=True)
    assert await lock._wire.fetch(Cmd.TEMPLATE_FETCH, b"\1\0\0") == b"template\1"
    assert lock._wire.retries == 2


async def test_a_datagram_that_comes_twice_counts_once() -> None:
    def doubled(packet: Packet) -> list[Packet]:
        head, first, second, ok = bulk(packet, TABLE[:50], TABLE[50:])
        return [head, second, first, first, ok, ok]

    terminal = Terminal(buffer_open=doubled)
    terminal.device = Scripted(terminal.answer, datagrams=True)
    lock = await open_scripted(terminal.device, datagrams=True)
    assert tables_of(await read_all(lock, frozenset({Section.INDEX})))["0004-users"] == TABLE[4:]


async def test_the_auth_packet_on_the_wire_is_the_scrambled_key() -> None:
    def connect(packet: Packet) -> list[Packet]:
        return [Packet(Reply.UNAUTH, 0x45CF, packet.number)]

    terminal = Terminal(connect=connect)
    await open_scripted(terminal.device, credential=ZkCredential(comm_key=45))
    first, second = terminal.device.heard[:2]
    assert (first.session, first.number, first.data) == (0, 0, b"")
    assert (second.code, second.session, second.number) == (Cmd.AUTH, 0x45CF, 1)
    assert second.data == comm_key(45, 0x45CF) == bytes.fromhex("61c9323c")


# ---- the terminal is given back -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"quirks": "no-seconds"}])
async def test_a_cancelled_reading_leaves_the_terminal_enabled(options: dict[str, Any]) -> None:
    unit = unit_of(**options)
    lock = await opened(unit)
    for items in (1, 5, 30, 120, 180):
        reading = lock.read()
        for _ in range(items):
            await anext(reading)
        assert not unit.flash.enabled or items == 1
        await reading.aclose()  # type: ignore[attr-defined]
        assert unit.flash.enabled
    task = asyncio.create_task(read_all(lock))
    for _ in range(60):
        await asyncio.sleep(0)
    assert not unit.flash.enabled
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert unit.flash.enabled
    assert users_in(tables_of(await read_all(lock)), 72) == unit.flash.users, "and the conversation goes on"
    await lock.close()


async def test_a_reading_that_is_just_dropped_leaves_the_terminal_enabled_at_the_close() -> None:
    unit = unit_of()
    lock = await opened(unit)
    reading = lock.read()
    for _ in range(20):
        await anext(reading)
    assert not unit.flash.enabled
    await lock.close()
    assert unit.flash.enabled
    with contextlib.suppress(LinkError):
        await reading.aclose()  # type: ignore[attr-defined]


async def test_the_terminal_is_disabled_for_a_limited_time_only() -> None:
    unit = unit_of()
    lock = await opened(unit)
    reading = lock.read()
    for _ in range(20):
        await anext(reading)
    assert unit.flash.disabled_until_s is not None
    await reading.aclose()  # type: ignore[attr-defined]


async def test_a_long_reading_renews_the_limit() -> None:
    unit = unit_of(quirks="silent-unknown", verify=0)
    lock = await opened(unit)
    await read_all(lock)
    slow = unit_of("zk", "huge", pace=200, bulk="split", users=100, attendance=10)
    lock = await opened(slow)
    await read_all(lock)
    assert slow.log.count(Cmd.DISABLE) > 1
    assert slow.flash.enabled


async def cut_readings(kind: str, options: dict[str, Any], wanted: int) -> None:
    whole = small(**options)
    lock = await opened(whole)
    expected = tables_of(await read_all(lock))
    link: Any = lock._wire.link
    total = {"cut_after_writes": link.writes, "cut_after_chunks": link.chunks}.get(kind, link._read_bytes)
    for point in points(total, wanted):
        unit = small(**options)
        before = unit.image()
        with pytest.raises(LockmigrateError) as caught:
            await open_read_close(unit, LinkFaults(**{kind: point}))
        assert isinstance(caught.value, LinkError | ConnectError), f"point {point}: {caught.value!r}"
        assert caught.value.hint
        assert unit.flash.enabled or unit.flash.disabled_until_s is not None, "no dead terminal stays behind"
        again = await opened(unit)
        assert tables_of(await read_all(again)) == expected
        await again.close()
        assert unit.flash.enabled
        assert unit.image() == before


async def open_read_close(unit: SimulatedUnit, faults: LinkFaults) -> None:
    lock = await opened(unit, faults=faults)
    try:
        await read_all(lock)
    finally:
        await lock.close()


def points(total: int, wanted: int) -> list[int]:
    """All points, or a sample of them that holds the first and the last."""
    if wanted >= total:
        return list(range(total))
    return sorted({round(index * (total - 1) / (wanted - 1)) for index in range(wanted)})


CUT_STYLES: Final = [{}, {"quirks": "no-1503"}, {"bulk": "split", "transport": "udp"}]


@pytest.mark.parametrize("options", CUT_STYLES, ids=str)
@pytest.mark.parametrize("kind", ["cut_after_writes", "cut_after_chunks", "cut_after_read_bytes"])
async def test_a_reading_cut_anywhere_is_a_clear_error_and_a_second_one_is_whole(
    kind: str, options: dict[str, Any]
) -> None:
    await cut_readings(kind, options, 8)


@pytest.mark.sweep
@pytest.mark.parametrize("options", CUT_STYLES, ids=str)
@pytest.mark.parametrize("kind", ["cut_after_writes", "cut_after_chunks"])
async def test_every_packet_of_a_reading_may_be_the_last(kind: str, options: dict[str, Any]) -> None:
    await cut_readings(kind, options, 10**6)


async def test_closing_a_terminal_that_is_gone_never_raises() -> None:
    unit = small()
    lock = await opened(unit, faults=LinkFaults(cut_after_chunks=100))
    with pytest.raises(LinkError):
        await read_all(lock)
    await lock.close()
    await lock.close()
    silent = await open_scripted(Terminal(exit=lambda p: None, buffer_open=lambda p: bulk(p, TABLE)).device)
    async with asyncio.timeout(10):
        await silent.close()


# ---- writing people -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("profile", list(WIDTHS))
async def test_people_are_written_and_proven(profile: str, transport: str) -> None:
    old, new = unit_of(profile, seed=3), unit_of(profile, "empty", transport=transport)
    lock = await opened(new)
    steps = people_of(old)
    dones = await written(lock, *steps)
    expected = [key for step in steps for key in (step.key, *step.also)]
    assert [done.key for done in dones] == expected
    assert {(done.status, done.proof, done.code) for done in dones} == {("written", "V4", None)}
    assert new.flash.users == old.flash.users
    assert new.flash.templates == old.flash.templates
    assert styles_in(new) == styles_in(old)
    assert {flag for flag, _ in new.flash.templates.values()} >= {1, 3}, "duress moves as duress"
    await lock.close()
    assert new.flash.enabled
    assert not set(new.log) & FORBIDDEN
    assert Cmd.SAVE_MANY not in new.log
    assert Cmd.REFRESH in new.log


async def test_a_user_with_a_way_of_their_own_is_disabled_until_the_way_is_set() -> None:
    """On the wire a right only grows."""
    old, new = unit_of("zk", "full"), unit_of("zk", "empty")
    uid, mode = next(iter(styles_in(old).items()))
    seen: list[tuple[int, int]] = []
    lock = await opened(new)
    asked = lock._wire.ask

    async def watched(code: int, data: bytes = b"", **more: Any) -> Packet:
        if code in (Cmd.USER_WRITE, Cmd.VERIFY_WRITE):
            seen.append((code, data[2]))
        return await asked(code, data, **more)

    lock._wire.ask = watched  # type: ignore[method-assign]
    record = old.flash.users[uid]
    (done,) = await written(lock, put_user(uid, record, verify=mode))
    assert (done.status, done.proof) == ("written", "V4")
    assert seen == [(8, record[2] | 1), (79, mode), (8, record[2])]
    (done,) = await written(lock, put_user(uid, record, verify=0, was_empty=False))
    assert done.status == "written"
    assert styles_in(new) == {}
    del seen[:]
    await written(lock, put_user(uid, record, verify=0, was_empty=False), put_user(uid, record, verify=None))
    assert [code for code, _ in seen] == [8, 8], "nothing is set that is so already"


async def test_a_way_of_verifying_that_does_not_stay_is_not_proven() -> None:
    old, new = unit_of("zk", "full"), unit_of("zk", "empty")
    uid, mode = next(iter(styles_in(old).items()))
    lock = await opened(new)
    asked = lock._wire.ask

    async def forgetful(code: int, data: bytes = b"", **more: Any) -> Packet:
        if code == Cmd.USER_WRITE and not data[2] & 1:
            new.flash.verify.pop(uid, None)  # the record as it shall stay resets the style
        return await asked(code, data, **more)

    lock._wire.ask = forgetful  # type: ignore[method-assign]
    (done,) = await written(lock, put_user(uid, old.flash.users[uid], verify=mode))
    assert (done.status, done.code, done.proof) == ("differs", "read-back-differs", None)
    assert new.flash.users == {}, "without the way it would open too easily"


async def test_where_a_way_of_verifying_cannot_be_set_the_user_does_not_stay() -> None:
    old, new = unit_of("zk", "full"), unit_of("zk", "empty", verify=0)
    uid, mode = next(iter(styles_in(old).items()))
    lock = await opened(new)
    (done,) = await written(lock, put_user(uid, old.flash.users[uid], verify=mode))
    assert (done.status, done.code, done.proof) == ("refused", "rule-unsupported", None)
    assert new.flash.users == {}
    other = next(uid for uid in old.flash.users if uid not in styles_in(old))
    (done,) = await written(lock, put_user(other, old.flash.users[other], verify=0))
    assert done.status == "written"
    (done,) = await written(lock, put_user(other, old.flash.users[other], verify=mode, was_empty=False))
    assert (done.status, done.code) == ("refused", "rule-unsupported")
    assert new.flash.users[other][2] & 1, "one that was there is left disabled: narrower, never wider"
    assert "disabled" in (done.detail or "")


async def test_users_are_removed_with_their_fingers_and_only_they() -> None:
    unit = unit_of()
    lock = await opened(unit)
    first, second, third = list(unit.flash.users)[:3]
    dones = await written(
        lock,
        remove(f"user/{first}", "user", user_index=first),
        remove(f"user/{third}", "user", user_index=third),
        remove("user/65000", "user", user_index=65000),
    )
    assert [(done.status, done.proof) for done in dones] == [("removed", "V4")] * 3
    assert first not in unit.flash.users
    assert second in unit.flash.users
    assert not any(uid in (first, third) for uid, _ in unit.flash.templates)


@pytest.mark.parametrize(
    ("value", "uid", "code"),
    [
        (bytes(28), 5, "write-refused"),
        (None, 5, "write-refused"),
        (bytes(72), 70000, "capacity"),
        (bytes(72), -1, "capacity"),
    ],
)
async def test_a_record_of_another_kind_is_refused_before_anything_is_sent(value: Any, uid: int, code: str) -> None:
    unit = small()
    before = unit.image()
    lock = await opened(unit)
    (done,) = await written(lock, put_user(uid, value))
    assert (done.status, done.code) == ("refused", code)
    assert Cmd.USER_WRITE not in unit.log
    assert unit.image() == before


async def test_a_full_terminal_says_so() -> None:
    old, new = unit_of(), unit_of("zk", "empty", capacity=5, template_capacity=3)
    lock = await opened(new)
    dones = await written(lock, *people_of(old))
    users = [done for done in dones if done.key.startswith("user/")]
    assert Counter((done.status, done.code) for done in users)[("written", None)] == 5
    assert {(done.status, done.code) for done in users[5:]} == {("refused", "capacity")}
    fingers = [done for done in dones if done.key.startswith("fingerprint/")]
    assert len([done for done in fingers if done.status == "written"]) == len(new.flash.templates) == 3
    assert {done.code for done in fingers} == {None, "capacity"}


async def test_a_refused_user_is_told_and_the_others_are_written() -> None:
    old = unit_of()
    first, second = list(old.flash.users)[:2]
    new = unit_of("zk", "empty", quirks=f"refuse-put:{first}")
    lock = await opened(new)
    steps = [put_user(uid, old.flash.users[uid], also=(f"card/{uid}",)) for uid in (first, second)]
    dones = await written(lock, *steps)
    assert [(done.key, done.status, done.code) for done in dones] == [
        (f"user/{first}", "refused", "write-refused"),
        (f"card/{first}", "refused", "write-refused"),
        (f"user/{second}", "written", None),
        (f"card/{second}", "written", None),
    ]


async def test_a_user_that_reads_back_differently_is_not_proven() -> None:
    old = unit_of()
    uid = next(iter(old.flash.users))
    new = unit_of("zk", "empty", quirks=f"user-differs:{uid}")
    lock = await opened(new)
    (done,) = await written(lock, put_user(uid, old.flash.users[uid]))
    assert (done.status, done.code, done.proof) == ("differs", "read-back-differs", None)
    assert "taken away again" in (done.detail or "")
    assert new.flash.users == {}, "what is there and not as wanted may have any rights"


async def test_a_write_whose_answer_is_lost_is_read_back_and_not_repeated() -> None:
    old = small()
    steps = [put_user(uid, record) for uid, record in old.flash.users.items()]
    whole = unit_of("zk", "empty", transport="udp")
    lock = await opened(whole)
    before_in, before_out = whole.frames_in, whole.frames_out
    await written(lock, *steps)
    for side, start in (("out", before_out), ("in", before_in)):
        for number in range(2, 2 + len(steps)):
            unit = unit_of("zk", "empty", transport="udp", lose=f"{side}:frame:{start + number}")
            lock = await opened(unit)
            dones = await written(lock, *steps)
            assert {(done.status, done.proof) for done in dones} == {("written", "V4")}
            assert unit.flash.users == old.flash.users
            assert unit.log.count(Cmd.USER_WRITE) == len(steps), "a lost request is sent again, a lost answer is not"


async def test_a_cancelled_writing_leaves_the_terminal_enabled() -> None:
    old, new = unit_of(), unit_of("zk", "empty")
    lock = await opened(new)
    task = asyncio.create_task(written(lock, *people_of(old)))
    for _ in range(40):
        await asyncio.sleep(0)
    assert not new.flash.enabled
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert new.flash.enabled
    dones = await written(lock, *people_of(old))
    assert {done.status for done in dones} == {"written"}, "and the conversation goes on"
    assert new.flash.users == old.flash.users


async def test_reply_numbers_start_anew_before_the_last_one() -> None:
    unit = small()
    lock = await opened(unit)
    lock._wire._number = 65530
    assert users_in(tables_of(await read_all(lock)), 72) == unit.flash.users
    assert lock._wire._number < 1000


# ---- writing fingers ------------------------------------------------------------------------------------------------


WAYS: Final[list[tuple[str, dict[str, Any], set[int]]]] = [
    ("zk", {}, {87, 119}),
    ("zk", {"quirks": "needs-119"}, {87, 119}),
    ("zk", {"quirks": "no-119"}, {87}),
    ("zk", {"quirks": "no-88"}, {87, 9}),
    ("zk", {"quirks": "no-87"}, {87, 110}),
    ("zk", {"quirks": "silent-unknown,no-87,no-88,no-119"}, {87, 110, 9}),
    ("zk", {"quirks": "free-lost"}, {87}),
    ("zk", {"quirks": "no-1503"}, {87}),
    ("zk-bw", {}, {87}),
    ("zk-bw", {"quirks": "no-87"}, {110}),
    ("zk-bw", {"quirks": "no-87,no-110"}, {10}),
    ("zk-bw", {"quirks": "no-87,no-110", "size10": "bare"}, {10}),
    ("zk-bw", {"quirks": "no-87,no-110", "size10": "whole"}, {10}),
]


@pytest.mark.parametrize(("profile", "options", "codes"), WAYS, ids=[f"{way[0]} {way[1]}" for way in WAYS])
async def test_a_template_is_written_in_the_way_that_the_firmware_knows(
    profile: str, options: dict[str, Any], codes: set[int]
) -> None:
    old, new = small(profile, duress=0), unit_of(profile, "empty", **options)
    lock = await opened(new)
    dones = await written(lock, *people_of(old))
    assert {(done.status, done.proof, done.code) for done in dones} == {("written", "V4", None)}
    assert new.flash.templates == old.flash.templates
    assert codes <= set(new.log)
    await lock.close()
    assert new.flash.enabled


async def test_a_duress_finger_is_never_written_without_its_flag() -> None:
    old = unit_of("zk", "full")
    place = next(key for key, (flag, _) in old.flash.templates.items() if flag == 3)
    template = old.flash.templates[place][1]
    user = put_user(place[0], old.flash.users[place[0]])
    for options in ({"quirks": "no-87"}, {"quirks": "no-87,silent-unknown"}):
        new = unit_of("zk", "empty", **options)
        lock = await opened(new)
        dones = await written(lock, user, put_finger(place[0], place[1], template, flag=3))
        assert (dones[-1].status, dones[-1].code) == ("refused", "duress-unsupported")
        assert new.flash.templates == {}
        assert Cmd.SAVE_MANY not in new.log
    new = unit_of("zk", "empty")
    lock = await opened(new)
    await written(
        lock, user, put_finger(place[0], place[1], template, flag=3), put_finger(place[0], 9, template, flag=0)
    )
    assert new.flash.templates == {place: (3, template), (place[0], 9): (0, template)}


async def test_a_flag_that_is_not_kept_takes_the_finger_away_again() -> None:
    old, new = unit_of("zk", "full"), unit_of("zk", "empty")
    uid = next(iter(old.flash.users))
    template = next(iter(old.flash.templates.values()))[1]
    lock = await opened(new)
    asked = lock._wire.ask

    async def weakened(code: int, data: bytes = b"", **more: Any) -> Packet:
        return await asked(code, data[:3] + b"\x01" + data[4:] if code == Cmd.TEMPLATE_STORE else data, **more)

    lock._wire.ask = weakened  # type: ignore[method-assign]
    dones = await written(lock, put_user(uid, old.flash.users[uid]), put_finger(uid, 1, template, flag=3))
    assert (dones[-1].status, dones[-1].code) == ("differs", "duress-unsupported")
    assert "left empty" in (dones[-1].detail or "")
    assert new.flash.templates == {}


async def test_a_template_that_reads_back_differently_is_tried_three_times_and_taken_away() -> None:
    old = unit_of()
    (uid, finger), (_, template) = next(iter(old.flash.templates.items()))
    for times, stores, status in ((1, 2, "written"), (2, 3, "written"), (9, 3, "differs")):
        new = unit_of("zk", "empty", quirks=f"readback-differs:{uid}:{times}")
        lock = await opened(new)
        dones = await written(lock, put_user(uid, old.flash.users[uid]), put_finger(uid, finger, template))
        assert dones[-1].status == status
        assert new.log.count(Cmd.TEMPLATE_STORE) == stores
    assert (dones[-1].code, dones[-1].proof) == ("read-back-differs", None)


async def test_a_template_of_nobody_is_refused_with_the_reason() -> None:
    old, new = unit_of(), unit_of("zk", "empty")
    lock = await opened(new)
    (uid, finger), (_, template) = next(iter(old.flash.templates.items()))
    (done,) = await written(lock, put_finger(uid, finger, template))
    assert (done.status, done.code) == ("refused", "user-missing")
    for step in (
        put_finger(1, 10, template),
        put_finger(-1, 0, template),
        put_finger(1, 0, b""),
        put_finger(1, 0, bytes(70000)),
    ):
        (done,) = await written(lock, step)
        assert done.status == "refused"


@pytest.mark.parametrize("profile", list(WIDTHS))
async def test_a_finger_is_removed_and_the_others_stay(profile: str) -> None:
    unit = unit_of(profile, "full", fingers=3)
    lock = await opened(unit)
    per_user = Counter(uid for uid, _ in unit.flash.templates)
    uid = next(uid for uid, count in per_user.items() if count > 1)
    place = next(key for key in unit.flash.templates if key[0] == uid)
    others = {key: value for key, value in unit.flash.templates.items() if key != place}
    step = remove("fingerprint/x", "fingerprint", user_index=place[0], finger=place[1])
    (done,) = await written(lock, step)
    assert (done.status, done.proof) == ("removed", "V4")
    assert unit.flash.templates == others
    assert (Cmd.TEMPLATE_REMOVE in unit.log) == (profile == "zk"), "by user id on TFT units, where 19 may take all"
    assert (Cmd.TEMPLATE_DELETE in unit.log) == (profile != "zk")
    (done,) = await written(lock, step)
    assert done.status == "removed"


async def test_a_terminal_that_takes_more_fingers_than_asked_is_told() -> None:
    unit = unit_of("zk-bw", "full", nineteen="all", fingers=3)
    lock = await opened(unit)
    per_user = Counter(uid for uid, _ in unit.flash.templates)
    uid = next(uid for uid, count in per_user.items() if count > 1)
    finger = next(finger for owner, finger in unit.flash.templates if owner == uid)
    (done,) = await written(lock, remove("fingerprint/x", "fingerprint", user_index=uid, finger=finger))
    assert (done.status, done.code) == ("differs", "read-back-differs")
    assert str(per_user[uid]) in (done.detail or "")


async def test_on_a_tft_unit_without_134_nothing_is_deleted_by_the_dangerous_command() -> None:
    unit = unit_of("zk", "full", quirks="no-134", nineteen="all")
    before = dict(unit.flash.templates)
    lock = await opened(unit)
    uid, finger = next(iter(before))
    (done,) = await written(lock, remove("fingerprint/x", "fingerprint", user_index=uid, finger=finger))
    assert (done.status, done.code) == ("differs", "read-back-differs")
    assert unit.flash.templates == before
    assert Cmd.TEMPLATE_DELETE not in unit.log


async def test_a_finger_is_overwritten_in_its_place() -> None:
    unit = unit_of("zk", "full")
    (first, (_, template)), (_, (_, other)) = list(unit.flash.templates.items())[:2]
    lock = await opened(unit)
    (done,) = await written(lock, put_finger(first[0], first[1], other, was_empty=False))
    assert done.status == "written"
    assert unit.flash.templates[first] == (1, other)
    assert template != other


# ---- tables of times and groups, settings ---------------------------------------------------------------------------


ZONE: Final = bytes([7, 0]) + bytes([8, 30, 17, 45]) * 7 + b"\xa7\x1c"
GROUP: Final = bytes([9, 7, 0, 8, 0, 0, 0, 0x8E])
COMBINATION: Final = bytes([3, 9, 1, 0, 0, 0, 2, 0])


def put_table(kind: Any, number: int, value: bytes) -> Step:
    return Step(key=f"{kind}/{number}", kind=kind, action="put", origin={"number": number}, value=value)


async def test_tables_of_times_and_groups_are_written_and_read_back() -> None:
    unit = unit_of("zk", "empty")
    lock = await opened(unit)
    before = tables_of(await read_all(lock))
    steps = [put_table("schedule", 7, ZONE), put_table("group", 9, GROUP), put_table("combination", 3, COMBINATION)]
    dones = await written(lock, *steps)
    assert [(done.status, done.proof) for done in dones] == [("written", "V4")] * 3
    found = decode("zk", tables_of(await read_all(lock)), lock.variant)
    assert [item.key for item in found.schedules] == ["schedule/7", "schedule/8"] or "schedule/7" in {
        item.key for item in found.schedules
    }
    seven = next(item for item in found.schedules if item.key == "schedule/7")
    assert {(day.start, day.end) for day in seven.days} == {("08:30", "17:45")}
    assert unit.flash.groups[9] == GROUP
    assert unit.flash.combinations[3] == COMBINATION
    (done,) = await written(lock, put_table("schedule", 12, ZONE[2:30]))
    assert done.status == "written", "28 bytes will do too, and the number is the step's"
    gone = [
        remove("schedule/7", "schedule", number=7),
        remove("schedule/12", "schedule", number=12),
        remove("group/9", "group", number=9),
        remove("combination/3", "combination", number=3),
    ]
    dones = await written(lock, *gone)
    assert [(done.status, done.proof) for done in dones] == [("removed", "V4")] * 4
    after = tables_of(await read_all(lock))
    assert after["0007-groups"] == before["0007-groups"]
    assert after["0008-combinations"] == before["0008-combinations"]
    assert decode("zk", after, lock.variant).schedules == decode("zk", before, lock.variant).schedules


async def test_a_table_that_reads_back_differently_is_not_proven() -> None:
    lock = await opened(unit_of("zk", "empty"))
    asked = lock._wire.ask

    async def bent(code: int, data: bytes = b"", **more: Any) -> Packet:
        if code in (Cmd.ZONE_WRITE, Cmd.GROUP_WRITE, Cmd.COMBINATION_WRITE):
            data = data[:-3] + b"\x01" + data[-2:]
        return await asked(code, data, **more)

    lock._wire.ask = bent  # type: ignore[method-assign]
    steps = [put_table("schedule", 7, ZONE), put_table("group", 9, GROUP), put_table("combination", 3, COMBINATION)]
    dones = await written(lock, *steps)
    assert {(done.status, done.code, done.proof) for done in dones} == {("differs", "read-back-differs", None)}


async def test_tables_that_a_terminal_does_not_have_are_refused() -> None:
    lock = await opened(unit_of("zk", "empty", zones=0))
    dones = await written(
        lock,
        put_table("schedule", 7, ZONE),
        put_table("group", 101, GROUP),
        put_table("group", 0, GROUP),
        put_table("combination", 11, COMBINATION),
        put_table("group", 5, b"short"),
    )
    assert {done.status for done in dones} == {"refused"}


async def test_a_setting_is_written_and_read_back() -> None:
    unit = small()
    lock = await opened(unit)

    def put(name: str, value: Any) -> Step:
        return Step(key=f"setting/zk.{name}", kind="setting", action="put", origin={}, value=value)

    dones = await written(lock, put("LockOn", "9"))
    assert [(done.status, done.proof) for done in dones] == [("written", "V4")]
    assert unit.flash.options["LockOn"] == "9"
    assert Cmd.REFRESH_OPTIONS in unit.log
    refused = [
        put("MAC", "x"),
        put("IPAddress", "1.2.3.4"),
        put("~SerialNumber", "1"),
        put("LockOn", "1\0"),
        put("LockOn", b"1"),
    ]
    dones = await written(lock, *refused, Step(key="log", kind="log", action="put", origin={}))
    assert {done.status for done in dones} == {"refused"}
    assert unit.log.count(Cmd.OPTION_WRITE) == 1


async def test_steps_are_carried_out_in_their_order_whatever_their_kind() -> None:
    old, new = unit_of(), unit_of("zk", "empty")
    lock = await opened(new)
    (uid, finger), (_, template) = next((key, value) for key, value in old.flash.templates.items() if value[0] == 1)
    steps = [
        put_table("schedule", 7, ZONE),
        put_user(uid, old.flash.users[uid]),
        put_finger(uid, finger, template),
        put_table("group", 9, GROUP),
        remove(f"user/{uid}", "user", user_index=uid),
    ]
    dones = await written(lock, *steps)
    assert [done.key for done in dones] == [step.key for step in steps]
    assert [done.status for done in dones] == ["written"] * 4 + ["removed"]
    assert (new.flash.users, new.flash.templates) == ({}, {})
    assert await written(lock) == []


async def cut_writings(profile: str, kind: str, wanted: int) -> None:
    old = unit_of(profile, users=3, attendance=0)
    steps = people_of(old)
    whole = unit_of(profile, "empty")
    lock = await opened(whole)
    link: Any = lock._wire.link
    start = link.writes if kind == "cut_after_writes" else link.chunks
    await written(lock, *steps)
    total = (link.writes if kind == "cut_after_writes" else link.chunks) - start
    for point in points(total - 1, wanted):
        unit = unit_of(profile, "empty")
        lock = await opened(unit, faults=LinkFaults(**{kind: start + point}))
        with pytest.raises(LinkError) as caught:
            await written(lock, *steps)
        assert caught.value.hint
        await lock.close()
        assert unit.flash.enabled or unit.flash.disabled_until_s is not None
        lock = await opened(unit)
        dones = await written(lock, *steps)
        assert {done.status for done in dones} == {"written"}, f"point {point}"
        await lock.close()
        assert (unit.flash.users, unit.flash.templates) == (old.flash.users, old.flash.templates)
        assert styles_in(unit) == styles_in(old)
        assert unit.flash.enabled


@pytest.mark.parametrize("kind", ["cut_after_writes", "cut_after_chunks"])
@pytest.mark.parametrize("profile", list(WIDTHS))
async def test_a_writing_cut_anywhere_raises_and_the_second_one_ends_equal(profile: str, kind: str) -> None:
    await cut_writings(profile, kind, 10)


@pytest.mark.sweep
@pytest.mark.parametrize("kind", ["cut_after_writes", "cut_after_chunks"])
@pytest.mark.parametrize("profile", list(WIDTHS))
async def test_every_packet_of_a_writing_may_be_the_last(profile: str, kind: str) -> None:
    await cut_writings(profile, kind, 10**6)


@pytest.mark.parametrize("when", ["after-8", "after-87", "after-1501", "during-110", "after-110"])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_power_failure_is_a_lost_link_and_nothing_half_written_passes(when: str, transport: str) -> None:
    old = unit_of(users=3, attendance=0, duress=0)
    quirks = {"quirks": "no-87"} if "110" in when else {}
    unit = unit_of("zk", "empty", powerloss=when, transport=transport, **quirks)
    lock = await opened(unit)
    with pytest.raises(LinkError):
        await written(lock, *people_of(old))
    await lock.close()
    lock = await opened(unit)
    steps = people_of(old)
    dones = await written(lock, *steps)
    assert {(done.status, done.proof) for done in dones} == {("written", "V4")}
    assert unit.flash.templates == old.flash.templates


# ---- erasing, trying ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", list(WIDTHS))
async def test_erasing_takes_people_their_times_and_the_logs(profile: str) -> None:
    unit = unit_of(profile, "full")
    options = dict(unit.flash.options)
    lock = await opened(unit)
    clears: list[bytes] = []
    asked = lock._wire.ask

    async def watched(code: int, data: bytes = b"", **more: Any) -> Packet:
        if code == Cmd.CLEAR_DATA:
            clears.append(data)
        return await asked(code, data, **more)

    lock._wire.ask = watched  # type: ignore[method-assign]
    stages = [item.stage for item in await drained(lock.erase(Scope.PEOPLE))]
    assert stages[0] == "users"
    assert stages[-1] == "logs"
    assert (unit.flash.users, unit.flash.templates) == ({}, {})
    assert (list(unit.flash.attlog), options) == ([], unit.flash.options)
    assert all(len(data) == 1 for data in clears), "without a byte it would clear everything"
    assert not set(unit.log) & FORBIDDEN
    found = decode("zk", tables_of(await read_all(lock)), lock.variant)
    assert (found.users, found.credentials, found.log) == ((), (), ())
    assert all(item.vendor["zk"]["default"] for item in found.groups)
    assert all(item.vendor["zk"]["default"] for item in found.schedules)
    assert (await lock.identify()).counts == {"users": 0, "fingerprints": 0}
    await lock.close()
    assert unit.flash.enabled


async def test_what_a_terminal_cannot_do_is_said() -> None:
    lock = await opened(small())
    with pytest.raises(Unsupported):
        await drained(lock.erase(Scope.FACTORY))
    with pytest.raises(Unsupported) as caught:
        await lock.touch(1.0)
    assert "screen" in (caught.value.hint or "")
    assert await lock.rehearse_write(b"x") is None
    assert lock.batch == 20


async def test_no_secret_stands_in_any_error_or_result() -> None:
    unit = unit_of("zk", "full", comm_key=987654)
    lock = await opened(unit, key=987654)
    shown = repr(await lock.identify()) + repr(await read_all(lock)) + repr(people_of(unit)[:2]) + repr(lock.variant)
    assert "987654" not in shown
    for record in unit.flash.users.values():
        digits = record[3:11].partition(b"\0")[0].decode()
        assert not digits or f"'{digits}'" not in shown
    rows = split_users(b"".join(unit.flash.users.values()), 72)
    assert all(repr(row) == f"Row72(uid={row.uid})" for row in rows)


# ---- over a real socket ---------------------------------------------------------------------------------------------


@pytest.mark.real_time
async def test_split_tables_come_over_a_real_socket_at_full_speed() -> None:
    """pyzk hangs here: packets sent back to back, faster than they are read (reference, section 11.1)."""
    from lockmigrate.sim.serve import serve
    from lockmigrate.transports.serial import open_serial

    unit = unit_of("zk", "huge", bulk="split", users=300, attendance=100)
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve(unit, tcp_port=0, pty=False, on_ready=lambda at: ready.set_result(int(at.port or 0)))
    )
    try:
        async with asyncio.timeout(20):
            link = await open_serial(f"socket://127.0.0.1:{await ready}", baud=115200)
            lock = await through_the_door(link, Door(target="socket", port_id="here"))
            tables = tables_of([item async for item in lock.read(frozenset({Section.INDEX, Section.CREDENTIALS}))])
            await lock.close()
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
    assert users_in(tables, 72) == unit.flash.users
    assert templates_in(tables) == unit.flash.templates
