"""pyNukiBT, as it is published, against our simulated Nuki locks, and its record layouts against ours.

pyNukiBT (0.0.20, ronengr/pyNukiBT) was written against real locks by people we do not know, and Home Assistant
installations open doors with it. Nothing of it is changed: only bleak is told that Bumble is this system's Bluetooth.
It imports `async_timeout` without asking for it, so the extra `peers` does. What it lacks stands in section 15 of the
wire reference of the family; each lack is shown here beside our driver, which has none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import bleak
import construct
import nacl.utils
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult_base
from nacl.secret import SecretBox
from on_air import Air, on_air, reported

from lockmigrate.errors import FrameError, RefusedError, Tampered, WrongCredential
from lockmigrate.formats import parse
from lockmigrate.formats.nuki import Characteristics, Cmd, Refusal, build_clear, generation_of, parse_clear
from lockmigrate.formats.nuki_config import (
    ADVANCED,
    CONFIG,
    TIME_ZONES,
    parse_facts,
    set_advanced,
    set_config,
    values_of,
)
from lockmigrate.formats.nuki_log import TYPES, log_entry
from lockmigrate.formats.nuki_records import (
    ID_TYPES,
    PERSON,
    TimerRow,
    WantedCode,
    build_date,
    parse_code,
    parse_date,
    parse_tail,
    parse_timer,
    text_of,
)
from lockmigrate.model.steps import Step
from lockmigrate.profiles import load_profile
from lockmigrate.protocols.credentials import NukiCredential
from lockmigrate.protocols.door import Door
from lockmigrate.protocols.nuki_door import open_unit as open_lock
from lockmigrate.protocols.nuki_pair import Paired, pair
from lockmigrate.protocols.nuki_wire import Wire
from lockmigrate.sim import open_unit
from lockmigrate.transports.ble import BleConnection, Stack, open_ble
from lockmigrate.transports.bumble import BumbleClient, BumbleScanner

pytestmark = pytest.mark.peer

peer = pytest.importorskip("pyNukiBT", reason="pyNukiBT, or the async-timeout it forgets to ask for, is not installed")

PRIVATE: Final = bytes(range(32))
APP_ID: Final = 0x4C4D4E4F
NAME: Final = "Türöffner"
UTC: Final = "2026-11-25T12:00:00"
GENERATIONS: Final = {
    "nuki": {},
    "nuki-3": {},
    "nuki-4": {},
    "nuki-ultra": {},
    # These answer in pieces of 20 bytes, as the official document has it, and the first tells less of its state.
    "nuki-1": {"pieces": "whole", "states_bytes": "18"},
    "nuki-2": {"pieces": "whole"},
    "nuki-opener": {"pieces": "whole"},
}
"""Profile to the options with which pyNukiBT can live with that lock."""
Heard = list[tuple[str, bytes]]
"""Characteristic and bytes of each write that a lock got."""


@pytest.fixture(autouse=True)
def bumble_is_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyNukiBT makes its bleak client through bleak-retry-connector, which names no back end."""
    monkeypatch.setattr(bleak, "get_platform_client_backend_type", lambda: (BumbleClient, BumbleClient.__name__))


@dataclasses.dataclass
class Site:
    """A lock on a radio, and whoever comes to it."""

    unit: Any
    air: Air
    heard: Heard

    @property
    def address(self) -> str:
        return str(self.unit.gatt_device.address)

    def user(self, number: int | bytes) -> Any:
        """Return what the lock remembers of somebody."""
        return self.unit.flash.users[int.from_bytes(number, "little") if isinstance(number, bytes) else number]

    def said(self, key: bytes) -> list[tuple[int, bytes]]:
        """Return (command, payload) of all that was said encrypted with this key, the checksum left out."""
        secret = [data for uuid, data in self.heard if uuid.startswith("a92ee202")]
        plain = [SecretBox(key).decrypt(data[30:], data[:24]) for data in secret]
        return [(int.from_bytes(text[4:6], "little"), text[6:-2]) for text in plain]

    async def their_client(self, **options: Any) -> Any:
        """Return pyNukiBT's client, connected: before that it does not know which generation it speaks to."""
        client = peer.NukiDevice(
            address=self.address,
            auth_id=None,
            nuki_public_key=None,
            bridge_public_key=crypto_scalarmult_base(PRIVATE),
            bridge_private_key=PRIVATE,
            app_id=APP_ID,
            name=NAME,
            ble_device=await self.air.find(self.address),
            **options,
        )
        await client.connect()
        return client

    async def pair_theirs(self, client: Any) -> dict[str, bytes]:
        """Let pyNukiBT pair; it hangs up afterwards by itself."""
        ultra = client.device_type == peer.NukiConst.NukiDeviceType.SMARTLOCK_ULTRA
        made: dict[str, bytes] = await client.pair(*([self.unit.flash.pin] if ultra else []))
        return made

    @contextlib.asynccontextmanager
    async def theirs(self, **options: Any) -> AsyncIterator[Any]:
        """pyNukiBT's client, paired."""
        client = await self.their_client(**options)
        try:
            await self.pair_theirs(client)
            yield client
        finally:
            await client.disconnect()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[BleConnection, Characteristics]]:
        """Our connection over the same radio."""
        stack = Stack(scanner=BumbleScanner, client=BumbleClient, options={"host": self.air.host}, settled=True)
        link = await open_ble(self.address, stack=stack, tries=1)
        try:
            how = generation_of(link.characteristics)
            assert how is not None
            yield link, how
        finally:
            await link.close()

    async def pair_ours(self, **options: Any) -> Paired:
        """Let our driver pair."""
        async with self.connection() as (link, how):
            given: dict[str, Any] = {"name": NAME, "app_id": APP_ID, "pin": self.unit.flash.pin} | options
            return await pair(link, how, peer=self.address, **given)

    @contextlib.asynccontextmanager
    async def ours(self, paired: Paired) -> AsyncIterator[Wire]:
        """Our encrypted conversation."""
        async with self.connection() as (link, how):
            wire = Wire(
                link,
                how,
                key=paired.key,
                authorization_id=paired.authorization_id,
                pin=self.unit.flash.pin,
                peer=self.address,
            )
            try:
                await wire.start()
                yield wire
            finally:
                await wire.close()


@contextlib.asynccontextmanager
async def site(profile: str = "nuki", preset: str = "fresh", **options: str) -> AsyncIterator[Site]:
    """Put a lock on the air that waits to be paired with; what is written to it is noted."""
    unit: Any = open_unit(load_profile(profile), preset, {"utc": UTC, "pairing": "1", **options})
    heard: Heard = []
    write = unit.gatt_device.write

    def noted(uuid: str, data: bytes, now_s: float) -> Any:
        heard.append((uuid, data))
        return write(uuid, data, now_s)

    unit.gatt_device.write = noted
    async with on_air(unit.gatt_device) as air:
        yield Site(unit, air, heard)


def naive(text: str | None) -> dt.datetime | None:
    """Return a moment of ours as pyNukiBT has it, without a zone."""
    return None if text is None else dt.datetime.fromisoformat(text).replace(tzinfo=None)


def close_to(moment: dt.datetime) -> bool:
    """Tell whether this is what the lock's clock shows during a test."""
    return dt.timedelta(0) <= moment - dt.datetime.fromisoformat(UTC) < dt.timedelta(seconds=60)


# ---- it pairs and reads ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", GENERATIONS)
async def test_pynukibt_pairs_with_a_fresh_lock_which_remembers_it(profile: str) -> None:
    async with site(profile, **GENERATIONS[profile]) as there:
        assert there.unit.flash.users == {}
        client = await there.their_client()
        made = await there.pair_theirs(client)
        assert made["nuki_public_key"] == crypto_scalarmult_base(there.unit.flash.private_key)
        user = there.user(made["auth_id"])
        assert (user.name, user.app_id, user.key) == (NAME.encode(), APP_ID, client._shared_key)
        assert user.id_type == (0 if profile == "nuki-ultra" else 1), "only generation 5 is not told the type"
        assert list(there.unit.flash.users) == [user.authorization_id]
        assert not there.unit.lock.in_pairing_mode()
        await client.update_state()
        assert client.last_state.nuki_state == "DOOR_MODE"
        await client.disconnect()


@pytest.mark.parametrize("profile", GENERATIONS)
async def test_pynukibt_reads_state_and_configuration_as_the_lock_holds_them(profile: str) -> None:
    async with site(profile, "full", **GENERATIONS[profile]) as there, there.theirs() as client:
        flash = there.unit.flash
        flash.lock_state, flash.trigger, flash.last_action = 3, 6, bytes([1, 2, 4])
        await client.update_state()
        check_state(there.unit, client)
        check_config(there.unit, client.config)
        for number, name in enumerate(
            vars(flash.config)
        ):  # no two fields alike, whether a lock would have it so or not
            if isinstance(getattr(flash.config, name), int):
                setattr(flash.config, name, 100 + number)
        await client.update_config()
        check_config(there.unit, client.config)


def check_state(unit: Any, client: Any) -> None:
    """Hold what pyNukiBT read of the state against the lock's memory."""
    state, flash = client.last_state, unit.flash
    assert (int(state.nuki_state), int(state.lock_state), int(state.trigger)) == (2, flash.lock_state, flash.trigger)
    assert close_to(state.current_time)
    assert (state.timezone_offset, state.config_update_count) == (flash.config.timezone_offset, flash.update_count)
    last = state.last_lock_action, state.last_lock_action_trigger, state.last_lock_action_completion_status
    assert bytes(map(int, last)) == flash.last_action
    assert not client.is_battery_critical
    assert client.battery_percentage == (100 if unit.settings.opener else 84)
    if state.door_sensor_state is not None:
        assert state.door_sensor_state == ("DOOR_CLOSED" if flash.door_sensor else "UNAVAILABLE")


THEIR_NAMES: Final = {"homekit_status": "homekit", "has_keypad_v2": "has_keypad_2", "matter_status": "matter"}


def check_config(unit: Any, config: Any) -> None:
    """Hold what pyNukiBT read of the configuration against the lock's memory."""
    read = {name: value for name, value in config.items() if name != "_io" and value is not None}
    assert close_to(read.pop("current_time"))
    assert read.pop("nuki_id") == unit.settings.nuki_id
    assert ".".join(map(str, read.pop("firmware_version"))) == unit.settings.firmware
    assert bytes(read.pop("hardware_revision")) == unit.settings.hardware
    assert read.pop("name") == unit.flash.config.name.decode()
    held = {name: getattr(unit.flash.config, THEIR_NAMES.get(name, name)) for name in read}
    numbers = {name: int(value) if isinstance(value, str) else value for name, value in read.items()}
    assert numbers == held
    assert len(held) >= 16


@pytest.mark.parametrize("profile", ["nuki", "nuki-2", "nuki-4", "nuki-ultra"])
async def test_pynukibt_reads_the_log(profile: str) -> None:
    async with site(profile, "full", **GENERATIONS[profile]) as there, there.theirs() as client:
        lines = list(reversed(there.unit.flash.log))
        read = await client.request_log_entries(there.unit.flash.pin, count=100)
        assert len(read) == len(lines) == 60
        for entry, line in zip(read, lines, strict=True):
            assert (entry.index, int(entry.type)) == (line.index, line.kind)
            assert entry.timestamp == naive(parse_date(line.date))
            assert int.from_bytes(entry.auth_id, "little") == line.authorization_id
            assert entry.name.split("\0")[0] == text_of(line.name)
            assert logged(entry.data) == (b"" if line.kind == 10 else line.data)
        page = await client.request_log_entries(there.unit.flash.pin, count=7, start_index=lines[20].index)
        assert [entry.index for entry in page] == [line.index for line in lines[21:28]]


def logged(data: Any) -> bytes:
    """Put the data of a log entry together again; pyNukiBT knows none of a firmware update."""
    sizes = {"code_id": 2}
    fields = {} if data is None else {name: value for name, value in data.items() if name not in ("_io", "padding")}
    return b"".join(int(value).to_bytes(sizes.get(name, 1), "little") for name, value in fields.items())


@pytest.mark.parametrize("profile", ["nuki", "nuki-ultra"])
async def test_pynukibt_is_told_whether_the_security_pin_is_right(profile: str) -> None:
    async with site(profile, "full") as there, there.theirs() as client:
        pin = there.unit.flash.pin
        assert await client.verify_security_pin(pin)
        assert not await client.verify_security_pin(pin + 1)
        with pytest.raises(peer.NukiErrorException, match="K_ERROR_BAD_PIN"):
            await client.request_log_entries(pin + 1)
        assert await client.verify_security_pin(pin)


@pytest.mark.parametrize("profile", ["nuki", "nuki-ultra"])
async def test_pynukibt_sets_the_clock(profile: str) -> None:
    async with site(profile, "full") as there, there.theirs() as client:
        moment = dt.datetime(2031, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
        assert (await client.update_nuki_time(there.unit.flash.pin, moment)).status == "COMPLETED"
        await client.update_state()
        shown = client.last_state.current_time.replace(tzinfo=dt.UTC)
        assert dt.timedelta(0) <= shown - moment < dt.timedelta(seconds=5)


@pytest.mark.parametrize("profile", ["nuki", "nuki-4", "nuki-ultra"])
async def test_pynukibt_moves_the_bolt(profile: str) -> None:
    async with site(profile, "full") as there, there.theirs() as client:
        await client.update_state()
        seen: list[str] = []
        client.subscribe(lambda _: seen.append(str(client.last_state.lock_state)))
        assert (await client.unlock()).status == "ACCEPTED"
        assert (await client.lock_action(client._const.LockAction.LOCK, wait_for_completed=True)).status == "COMPLETED"
        assert there.unit.actions == [1, 2]
        assert there.unit.flash.lock_state == 1
        assert [state for state, _ in itertools.groupby(seen)][-2:] == ["LOCKING", "LOCKED"]
        assert there.user(client._auth_id).lock_count == 2
        await client.update_state()
        check_state(there.unit, client)


async def test_a_lock_of_generation_5_tells_pynukibt_that_the_pin_is_wrong() -> None:
    async with site("nuki-ultra") as there:
        client = await there.their_client()
        with pytest.raises(peer.NukiErrorException, match="K_ERROR_BAD_PIN"):
            await client.pair(there.unit.flash.pin + 1)
        await client.disconnect()
        with pytest.raises(WrongCredential):
            await there.pair_ours(pin=there.unit.flash.pin + 1)
        assert there.unit.flash.users == {}


@pytest.mark.parametrize("profile", ["nuki", "nuki-ultra"])
async def test_nobody_pairs_with_a_lock_whose_button_was_not_held(profile: str) -> None:
    async with site(profile, "full", pairing="0") as there:
        before = set(there.unit.flash.users)
        client = await there.their_client()
        with pytest.raises(peer.NukiErrorException, match="P_ERROR_NOT_PAIRING"):
            await there.pair_theirs(client)
        await client.disconnect()
        with pytest.raises(RefusedError) as refused:
            await there.pair_ours()
        assert refused.value.code == "not-pairing"
        assert set(there.unit.flash.users) == before


async def test_pynukibt_and_our_driver_take_the_checksum_0000_of_some_locks() -> None:
    async with site(preset="full", crc0="1") as there:
        async with there.theirs() as client:
            await client.update_state()
            check_config(there.unit, client.config)
        there.unit.press_button()
        async with there.ours(await there.pair_ours()) as wire:
            await wire.change(Cmd.VERIFY_PIN, b"")
            assert wire.crc_zero == 2


# ---- where it fails and we do not ------------------------------------------------------------------------------------


async def test_pynukibt_cannot_read_an_answer_in_pieces_and_we_can() -> None:
    """Section 1.1: 20 bytes an indication is what the official document gives."""
    lost = reported()  # pyNukiBT raises into nowhere for every further piece
    async with site(pieces="20") as there:
        client = await there.their_client()
        with pytest.raises(construct.StreamError):
            await there.pair_theirs(client)
        await client.disconnect()
        assert there.unit.flash.users == {}
        paired = await there.pair_ours()
        assert there.user(paired.authorization_id).key == paired.key
        async with there.ours(paired) as wire:
            config = await wire.ask(Cmd.REQUEST_CONFIG, answer=Cmd.CONFIG)
            assert parse_facts(config).nuki_id == there.unit.settings.nuki_id
    assert {type(context.get("exception")) for context in lost} <= {construct.StreamError, construct.ChecksumError}


async def test_pynukibt_wants_more_of_the_state_than_a_first_lock_tells() -> None:
    """Section 9.1: 15 bytes in the official document's example; pyNukiBT takes the next three for granted."""
    async with site("nuki-1", "full", pieces="whole") as there:
        async with there.theirs() as client:
            with pytest.raises(construct.StreamError):
                await client.update_state()
        there.unit.press_button()
        async with there.ours(await there.pair_ours()) as wire:
            states = Cmd.STATES.to_bytes(2, "little")
            assert len(await wire.ask(Cmd.REQUEST_DATA, states, answer=Cmd.STATES, nonce=False)) == 15


def impostor(unit: Any) -> None:
    """Let a lock prove itself wrongly, as one would that does not know the key."""
    write = unit.gatt_device.write

    def spoilt(data: bytes) -> bytes:
        if data[:2] != Cmd.AUTHORIZATION_ID.to_bytes(2, "little"):
            return data
        message = parse_clear(data)
        wrong = bytes([message.payload[0] ^ 1]) + message.payload[1:]
        return build_clear(dataclasses.replace(message, payload=wrong))

    unit.gatt_device.write = lambda uuid, data, now_s: [
        dataclasses.replace(sent, data=spoilt(sent.data)) for sent in write(uuid, data, now_s)
    ]


async def test_pynukibt_trusts_a_lock_that_proves_nothing_and_we_do_not() -> None:
    """Section 4, step 8."""
    async with site() as there:
        impostor(there.unit)
        client = await there.their_client()
        made = await there.pair_theirs(client)
        assert there.user(made["auth_id"]).app_id == APP_ID
        there.unit.press_button()
        with pytest.raises(Tampered):
            await there.pair_ours()


async def test_pynukibt_waits_in_vain_for_a_lock_that_has_forgotten_it_and_we_are_told() -> None:
    """Section 6, rule 1: the refusal comes in clear on a characteristic that it does not listen to."""
    async with site(preset="full") as there:
        paired = await there.pair_ours()
        there.unit.press_button()
        client = await there.their_client(client_type=peer.NukiConst.NukiClientType.APP)
        await there.pair_theirs(client)
        there.unit.flash.users.clear()
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await client.update_state()
        assert asyncio.get_running_loop().time() - began_s >= 3 * client.command_response_timeout
        await client.disconnect()
        began_s = asyncio.get_running_loop().time()
        async with there.ours(paired) as wire:
            with pytest.raises(WrongCredential) as refused:
                await wire.ask(Cmd.REQUEST_CONFIG, answer=Cmd.CONFIG)
        assert refused.value.code == "not-authorized"
        assert asyncio.get_running_loop().time() - began_s < 5


LISTS: Final = {
    "users": (Cmd.REQUEST_AUTHORIZATIONS, Cmd.AUTHORIZATION_ENTRY, Cmd.AUTHORIZATION_COUNT),
    "codes": (Cmd.REQUEST_CODES, Cmd.CODE_ENTRY, Cmd.CODE_COUNT),
}


@pytest.mark.parametrize("tail", ["always", "limited"])
@pytest.mark.parametrize("kind", LISTS)
async def test_entries_of_a_lock_read_alike_but_for_those_without_a_tail(kind: str, tail: str) -> None:
    """Section 7: the time-limit tail may be left out where nothing is limited; pyNukiBT's layouts want it."""
    async with site(preset="full", tail=tail, codes="14", authorisations="14") as there:
        request, entry, count = LISTS[kind]
        async with there.ours(await there.pair_ours()) as wire:
            entries = await wire.whole(request, bytes.fromhex("0000ffff"), entry=entry, count=count)
        held = getattr(there.unit.flash, kind)
        layout, ours = (CODE_ENTRY, read_code) if kind == "codes" else (PERSON_ENTRY, read_person)
        assert len(entries) == len(held) >= 14
        limited = 0
        for raw in entries:
            read = ours(raw)
            record = held[read["id"]]
            assert read["limited"] == bool(record.limits)
            if tail == "limited" and not record.limits:
                with pytest.raises(construct.StreamError):
                    layout.parse(raw)
            else:
                assert their(layout.parse(raw)) == read
                limited += bool(record.limits)
        assert limited >= 2


# ---- what is said ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["nuki", "nuki-ultra"])
async def test_our_driver_and_pynukibt_say_the_same_bytes(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With equal locks and equal "random" numbers: the whole pairing, then states, configuration, PIN and clock."""
    monkeypatch.setattr(nacl.utils, "random", lambda size=32: PRIVATE[:size])
    moment = dt.datetime(2027, 8, 9, 10, 11, 12, tzinfo=dt.UTC)
    async with site(profile) as there:
        there.unit.draw = lambda size: bytes([0x5A] * size)
        async with there.theirs(client_type=peer.NukiConst.NukiClientType.APP) as client:
            theirs = list(there.heard)
            await client.update_state()
            await client.verify_security_pin(there.unit.flash.pin)
            await client.update_nuki_time(there.unit.flash.pin, moment)
        said, key = there.said(client._shared_key), client._shared_key
    async with site(profile) as here:
        here.unit.draw = lambda size: bytes([0x5A] * size)
        paired = await here.pair_ours(entropy=lambda size: PRIVATE[:size])
        ours = list(here.heard)
        async with here.ours(paired) as wire:
            states = Cmd.STATES.to_bytes(2, "little")
            await wire.ask(Cmd.REQUEST_DATA, states, answer=Cmd.STATES, nonce=False)
            await wire.ask(Cmd.REQUEST_CONFIG, answer=Cmd.CONFIG)
            await wire.change(Cmd.VERIFY_PIN, b"")
            await wire.change(Cmd.UPDATE_TIME, build_date(moment))
        assert paired.key == key
        assert ours == theirs
        assert len(ours) == (4 if profile == "nuki-ultra" else 5)
        assert here.said(key) == said
        assert {command for command, _ in said} == {
            Cmd.REQUEST_DATA, Cmd.REQUEST_CONFIG, Cmd.VERIFY_PIN, Cmd.UPDATE_TIME,
        }  # fmt: skip


WANTED: Final = WantedCode(
    digits="345678", name="Müller".encode().ljust(20, b"\0"), enabled=False, limited=False, tail=bytes(19)
)
STEPS: Final = (
    Step(key="setting/nuki.led_brightness", kind="setting", action="put", origin={}, value=4),
    Step(key="setting/nuki.unlatch_duration_s", kind="setting", action="put", origin={}, value=9),
    Step(key="pin/1", kind="pin", action="put", origin={}, value=WANTED.packed()),
    Step(
        key="lock_schedule/1", kind="lock_schedule", action="put", origin={},
        value=TimerRow(0, True, 0b1010000, 21, 45, 2).packed(),
    ),
)  # fmt: skip


@pytest.mark.parametrize("profile", ["nuki", "nuki-ultra"])
async def test_what_our_driver_says_in_a_backup_and_a_restore_has_pynukibts_layouts(profile: str) -> None:
    """Every request that pyNukiBT has a layout for, to the last byte, with nonce and PIN where it has them."""
    const = peer.NukiUltraConst if profile == "nuki-ultra" else peer.NukiLockConst
    layouts = {int(command): layout for command, layout in const.message_types.items()} | {
        Cmd.SET_CONFIG: const.Newconfig,
        Cmd.SET_ADVANCED_CONFIG: const.NewAdvancedConfig,
        Cmd.ADD_TIMER: const.NewTimeControlEntry,
        Cmd.UPDATE_CODE: const.UpdatedKeypadCode,
    }
    async with site(profile, "full", codes="5", advanced_bytes="33") as there:
        paired = await there.pair_ours()
        there.unit.draw = lambda size: bytes([0x5A] * size)
        given = NukiCredential(
            authorization_id=paired.authorization_id, shared_key=paired.key.hex(), security_pin=there.unit.flash.pin
        )
        async with there.connection() as (link, _):
            lock = await open_lock(link, Door(target="ble://", port_id="ble", credential=given, simulated=True))
            async for _item in lock.read():
                pass
            assert {done.status async for done in lock.write(STEPS)} == {"written"}
            await lock.close()
        known = []
        for command, payload in there.said(paired.key):
            if command not in layouts:
                continue
            known.append(Cmd(command))
            read = construct.Struct("it" / layouts[command], construct.Terminated).parse(payload).it
            assert read.get("nonce", bytes([0x5A] * 32)) == bytes([0x5A] * 32)
            assert read.get("security_pin", there.unit.flash.pin) == there.unit.flash.pin
        assert set(known) == {
            Cmd.REQUEST_DATA, Cmd.REQUEST_CONFIG, Cmd.VERIFY_PIN, Cmd.REQUEST_LOG, Cmd.UPDATE_TIME, Cmd.SET_CONFIG,
            Cmd.SET_ADVANCED_CONFIG, Cmd.ADD_CODE, Cmd.UPDATE_CODE, Cmd.ADD_TIMER,
        }  # fmt: skip


# ---- records ---------------------------------------------------------------------------------------------------------

CODE_ENTRY: Final = peer.NukiConst.KeypadCodeEntry
PERSON_ENTRY: Final = peer.NukiConst.AuthorizationEntry
DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
few = settings(max_examples=40, deadline=None)
flags = st.integers(0, 1)
dates = st.datetimes(
    dt.datetime(1000, 1, 1),  # noqa: DTZ001 - the wire names no zone
    dt.datetime(9999, 12, 31),  # noqa: DTZ001
).map(lambda moment: moment.replace(microsecond=0))
times = st.fixed_dictionaries({"hour": st.integers(0, 23), "minute": st.integers(0, 59)})
days = st.fixed_dictionaries(dict.fromkeys(DAYS, flags))
limits = {
    "time_limited": flags, "allowed_from_date": dates, "allowed_until_date": dates, "allowed_weekdays": days,
    "allowed_from_time": times, "allowed_until_time": times,
}  # fmt: skip


def names(size: int) -> st.SearchStrategy[str]:
    """Names of up to so many bytes of UTF-8."""
    characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
    return st.text(characters, max_size=size).filter(lambda name: len(name.encode()) <= size)


entries = {"enabled": flags, "date_created": dates, "date_last_active": dates, "lock_count": st.integers(0, 0xFFFF)}
digits = st.integers(111111, 999999)
code_entries = st.fixed_dictionaries(
    {"code_id": st.integers(0, 0xFFFF), "code": digits, "name": names(20), **entries, **limits}
)
person_entries = st.fixed_dictionaries(
    {
        "auth_id": st.binary(min_size=4, max_size=4),
        "id_type": st.integers(0, 3),
        "name": names(32),
        "remote_allowed": flags,
        **entries,
        **limits,
    }
)


def their(read: Any) -> dict[str, Any]:
    """Return a record that pyNukiBT read, or that it is given to build, as `read_code` and `read_person` return one."""
    plain = {name: value for name, value in read.items() if name not in ("_io", "nonce", "security_pin")}
    ident = plain.pop("code_id", None) if "code_id" in plain else plain.pop("auth_id", None)
    found: dict[str, Any] = {"id": int.from_bytes(ident, "little") if isinstance(ident, bytes) else ident}
    found["limited"] = bool(plain.pop("time_limited"))
    if "id_type" in plain:
        found["id_type"] = int(plain.pop("id_type"))
    weekdays = plain.pop("allowed_weekdays")
    found["weekdays"] = sum(weekdays[name] << (6 - place) for place, name in enumerate(DAYS))
    for name in ("allowed_from_time", "allowed_until_time"):
        time = plain.pop(name)
        found[name] = f"{time['hour']:02}:{time['minute']:02}"
    return found | plain


def read_tail(raw: bytes) -> dict[str, Any]:
    """Read a time-limit tail with our code; times that are not set are 00:00 for pyNukiBT."""
    limit = parse_tail(raw)
    return {
        "allowed_from_date": naive(limit.from_utc),
        "allowed_until_date": naive(limit.until_utc),
        "weekdays": limit.weekdays,
        "allowed_from_time": limit.from_local or "00:00",
        "allowed_until_time": limit.until_local or "00:00",
    }


def read_code(raw: bytes) -> dict[str, Any]:
    """Read a keypad code with our code."""
    row = parse_code(raw)
    return {
        "id": row.code_id,
        "code": int(row.digits),
        "name": text_of(row.name),
        "enabled": int(row.enabled),
        "date_created": naive(parse_date(row.created)),
        "date_last_active": naive(parse_date(row.last_active)),
        "lock_count": row.lock_count,
        "limited": row.limited,
    } | (read_tail(row.tail) if row.tail is not None else {})


def read_person(raw: bytes) -> dict[str, Any]:
    """Read an authorisation with our code."""
    row = parse(PERSON, raw, "an authorisation")
    return {
        "id": row.authorization_id,
        "id_type": row.id_type,
        "name": text_of(bytes(row.name)),
        "enabled": row.enabled,
        "remote_allowed": row.remote_allowed,
        "date_created": naive(parse_date(bytes(row.created))),
        "date_last_active": naive(parse_date(bytes(row.last_active))),
        "lock_count": row.lock_count,
        "limited": bool(row.limited),
    } | (read_tail(bytes(row.tail)) if row.tail is not None else {})


@few
@given(code_entries)
def test_we_read_a_keypad_code_as_pynukibt_builds_it(record: dict[str, Any]) -> None:
    raw = CODE_ENTRY.build(record)
    assert len(raw) == 63
    assert read_code(raw) == their(record) == their(CODE_ENTRY.parse(raw))
    with pytest.raises(FrameError):
        parse_code(raw + b"\0")


@few
@given(person_entries)
def test_we_read_an_authorisation_as_pynukibt_builds_it(record: dict[str, Any]) -> None:
    raw = PERSON_ENTRY.build(record)
    assert len(raw) == 75
    assert read_person(raw) == their(record) == their(PERSON_ENTRY.parse(raw))


@few
@given(code_entries, st.booleans())
def test_pynukibt_reads_the_codes_that_we_write(record: dict[str, Any], fifth: bool) -> None:
    const = peer.NukiUltraConst if fifth else peer.NukiLockConst
    row = parse_code(CODE_ENTRY.build(record))
    assert row.tail is not None
    want = WantedCode(digits=row.digits, name=row.name, enabled=row.enabled, limited=row.limited, tail=row.tail)
    nonce, pin = bytes(range(32)), 654321 if fifth else 4321
    behind = nonce + pin.to_bytes(4 if fifth else 2, "little")
    expected = their(record)
    if not row.limited:
        expected |= read_tail(bytes(19))
    for payload, layout, left_out in (
        (want.added(), const.AddKeypadCode, {"id", "enabled"}),
        (want.changed(row.code_id), const.UpdatedKeypadCode, set()),
    ):
        read = construct.Struct("it" / layout, construct.Terminated).parse(payload + behind).it
        assert (read.nonce, read.security_pin) == (nonce, pin)
        told = {name: value for name, value in their(read).items() if name not in left_out}
        untold = {"date_created", "date_last_active", "lock_count", *left_out}
        assert told == {name: value for name, value in expected.items() if name not in untold}


@few
@given(st.tuples(*(st.integers(0, 0xFF), flags, days, times, st.sampled_from([1, 2, 3, 4, 5, 6, 0x81]))))
def test_a_timer_is_the_same_to_both(values: tuple[int, int, dict[str, int], dict[str, int], int]) -> None:
    ident, enabled, weekdays, time, action = values
    layout = peer.NukiLockConst.TimeControlEntry
    record = {"entry_id": ident, "enabled": enabled, "weekdays": weekdays, "time": time, "lock_action": action}
    raw = layout.build(record)
    number = sum(weekdays[name] << (6 - place) for place, name in enumerate(DAYS))
    assert parse_timer(raw) == TimerRow(ident, bool(enabled), number, time["hour"], time["minute"], action)
    assert parse_timer(raw).packed() == raw
    new = peer.NukiLockConst.NewTimeControlEntry.build(
        {"weekdays": weekdays, "time": time, "lock_action": action, "nonce": bytes(32), "security_pin": 1}
    )
    assert new == bytes(parse_timer(raw).deed) + bytes(32) + b"\1\0"


@pytest.mark.parametrize(
    ("kind", "data", "facts"),
    [
        ("LOGGING_ENABLED_DISABLED", {"logging_enabled": 1}, {"on": 1}),
        (
            "LOCK_ACTION",
            {"lock_action": "LOCK", "trigger": "BUTTON", "flags": 3, "completion_status": "BUSY"},
            {"action": 2, "trigger": 2, "flags": 3, "completion": 4},
        ),
        (
            "KEYPAD_ACTION",
            {"lock_action": "UNLOCK", "source": 2, "completion_status": "INVALID_FINGERPRINT", "code_id": 515},
            {"action": 1, "source": 2, "completion": 0xE1, "code_id": 515},
        ),
        ("DOOR_SENSOR", {"door_status": 2}, {"door": 2}),
        ("DOOR_SENSOR_LOGGING_ENABLED_DISABLED", {"logging_enabled": 0}, {"on": 0}),
    ],
)
def test_we_read_a_log_entry_as_pynukibt_builds_it(kind: str, data: dict[str, Any], facts: dict[str, int]) -> None:
    moment = dt.datetime(2026, 5, 6, 7, 8, 9, tzinfo=dt.UTC)
    record = {"index": 70000, "timestamp": moment, "auth_id": b"\5\0\1\0", "name": "Zoë", "type": kind, "data": data}
    entry = log_entry(peer.NukiLockConst.LogEntry.build(record))
    assert (entry.seq, entry.time_utc, entry.user) == (70000, "2026-05-06T07:08:09Z", "Zoë")
    number = int(getattr(peer.NukiConst.LogEntryType, kind))
    assert entry.operation == TYPES[number]
    assert entry.vendor["nuki"] == {"type": number, "authorization_id": 0x10005, **facts}


# ---- configuration ---------------------------------------------------------------------------------------------------

CONFIGURATION: Final = {
    "nuki_id": 0x1C0FFEE3, "name": "Eingang Süd", "latitude": 47.0703125, "longitude": -15.4375, "auto_unlatch": 1,
    "pairing_enabled": 2, "button_enabled": 3, "led_enabled": 4, "led_brightness": 5,
    "current_time": dt.datetime(2026, 5, 6, 7, 8, 9, tzinfo=dt.UTC), "timezone_offset": -210, "dst_mode": 6,
    "has_fob": 7, "fob_action_1": 8, "fob_action_2": 9, "fob_action_3": 10, "single_lock": 11, "advertising_mode": 3,
    "has_keypad": 0, "firmware_version": [3, 9, 5], "hardware_revision": [11, 1], "homekit_status": 12,
    "timezone_id": "EUROPE_HELSINKI", "device_type": "SMARTLOCK_3_4", "capabilities": 13, "has_keypad_v2": 14,
    "matter_status": "PAIRED",
}  # fmt: skip
"""Every field another value; a lock would not take all of them."""
CONFIG_NAMES: Final = {"timezone_offset_min": "timezone_offset"}
ADVANCED_NAMES: Final = {
    "unlocked_offset": "unlocked_position_offset_degrees",
    "locked_offset": "locked_position_offset_degrees",
    "single_locked_offset": "single_locked_position_offset_degrees",
    "unlocked_to_locked_offset": "unlocked_to_locked_transition_offset_degrees",
    "lock_n_go_timeout_s": "lock_n_go_timeout",
    "single_button_action": "single_button_press_action",
    "double_button_action": "double_button_press_action",
    "automatic_battery_type": "automatic_battery_type_detection",
    "unlatch_duration_s": "unlatch_duration",
    "auto_lock_timeout_s": "auto_lock_timeout",
    "night_mode_start": "night_mode_start_time",
    "night_mode_end": "night_mode_end_time",
    "night_mode_auto_lock": "night_mode_auto_lock_enabled",
    "night_mode_lock_at_start": "night_mode_immediate_lock_on_start",
    "immediate_auto_lock": "immediate_auto_lock_enabled",
    "slow_speed_at_night": "night_mode_slow_speed",
}
"""Our name of a field to pyNukiBT's, where they differ."""


def told(read: Any) -> dict[str, Any]:
    """Return the settings that pyNukiBT read in the form of `values_of`; its enumerations are numbers there."""
    found: dict[str, Any] = {}
    for name, value in read.items():
        if name in ("_io", "nonce", "security_pin"):
            continue
        if isinstance(value, dict):
            found[name] = f"{value['hour']:02}:{value['minute']:02}"
        elif isinstance(value, float):
            found[name] = f"{value:.9g}"
        else:
            found[name] = int(value) if hasattr(value, "intvalue") else value
    return found


def test_we_read_and_write_a_configuration_as_pynukibt_does() -> None:
    raw = peer.NukiLockConst.Config.build(CONFIGURATION)
    facts = parse_facts(raw)
    assert (facts.nuki_id, text_of(facts.name), facts.firmware) == (0x1C0FFEE3, "Eingang Süd", "3.9.5")
    assert (facts.hardware, facts.homekit, facts.device_type) == ("11.1", 12, 4)
    assert (facts.has_fob, facts.has_keypad, facts.has_keypad_2) == (True, False, True)
    ours, theirs = values_of(raw, CONFIG), told(peer.NukiLockConst.Config.parse(raw))
    assert ours == {name: theirs[CONFIG_NAMES.get(name, name)] for name in ours}
    payload = set_config(raw, {"led_brightness": 2, "timezone_id": 40}) + bytes(range(32)) + b"\x39\x30"
    written = construct.Struct("it" / peer.NukiLockConst.Newconfig, construct.Terminated).parse(payload).it
    assert (written.nonce, written.security_pin) == (bytes(range(32)), 12345)
    ours |= {"led_brightness": 2, "timezone_id": 40}
    assert told(written) == {CONFIG_NAMES.get(name, name): value for name, value in ours.items()}


def test_we_read_and_write_an_advanced_configuration_as_pynukibt_does() -> None:
    fields = {
        "total_degrees": 1083, "unlocked_position_offset_degrees": 12, "locked_position_offset_degrees": -7,
        "single_locked_position_offset_degrees": -1, "unlocked_to_locked_transition_offset_degrees": -90,
        "lock_n_go_timeout": 45, "single_button_press_action": "LOCK", "double_button_press_action": "SHOW_STATUS",
        "detached_cylinder": 1, "battery_type": "LITHIUM", "automatic_battery_type_detection": 9,
        "unlatch_duration": 7, "auto_lock_timeout": 600, "auto_unlock_disabled": 10, "night_mode_enabled": 11,
        "night_mode_start_time": {"hour": 22, "minute": 30}, "night_mode_end_time": {"hour": 6, "minute": 15},
        "night_mode_auto_lock_enabled": 12, "night_mode_auto_unlock_disabled": 13,
        "night_mode_immediate_lock_on_start": 14, "auto_lock_enabled": 15, "immediate_auto_lock_enabled": 16,
        "auto_update_enabled": 17,
    }  # fmt: skip
    raw = peer.NukiLockConst.AdvancedConfig.build(fields)
    assert len(raw) == 31
    ours = values_of(raw, ADVANCED)
    theirs = told(peer.NukiLockConst.AdvancedConfig.parse(raw))
    assert ours == {name: theirs[ADVANCED_NAMES.get(name, name)] for name in ours}
    assert len(ours) == len(fields) - 1, "all but the total degrees"
    newer = raw + bytes([2, 1])
    payload = set_advanced(newer, {"unlatch_duration_s": 3}) + bytes(range(32)) + b"\x39\x30"
    layout = construct.Struct("it" / peer.NukiLockConst.NewAdvancedConfig, construct.Terminated)
    written = layout.parse(payload).it
    assert (written.nonce, written.security_pin) == (bytes(range(32)), 12345)
    ours = values_of(newer, ADVANCED) | {"unlatch_duration_s": 3}
    assert told(written) == {ADVANCED_NAMES.get(name, name): value for name, value in ours.items()}


# ---- numbers ---------------------------------------------------------------------------------------------------------


def known(enumeration: Any) -> Iterator[tuple[int, str]]:
    """Yield number and name of what one of pyNukiBT's enumerations knows."""
    for number, name in enumeration.decmapping.items():
        yield int(number), str(name)


def test_both_know_the_same_time_zones() -> None:
    theirs = dict(known(peer.NukiConst.TimeZoneId))
    assert theirs.pop(0xFFFF) == "NONE"
    assert theirs == {number: name.upper().replace("/", "_") for number, name in enumerate(TIME_ZONES)}


def test_pynukibt_knows_our_commands_and_errors_by_the_same_numbers() -> None:
    theirs = dict(known(peer.NukiConst.NukiCommand))
    assert set(Cmd) - set(theirs) == {Cmd.REQUEST_FINGERPRINTS, Cmd.FINGERPRINT_ENTRY}
    same = {Cmd.CONFIG, Cmd.STATUS, Cmd.CHALLENGE, Cmd.ERROR_REPORT, Cmd.LOG_ENTRY, Cmd.UPDATE_TIME, Cmd.SET_CONFIG}
    assert {theirs[command] for command in same} == {command.name for command in same}
    errors = dict(known(peer.NukiConst.ErrorCode))
    named = {code: errors[code].split("ERROR_")[-1] for code in Refusal}
    assert named == {code: code.name for code in Refusal} | {Refusal.PAIRING_PARAMETER: "BAD_PARAMETER"}
    assert dict(known(peer.NukiConst.NukiClientType)) == {number: name.upper() for number, name in ID_TYPES.items()}
    assert {number for number, _ in known(peer.NukiConst.LogEntryType)} == set(TYPES) - {10}
