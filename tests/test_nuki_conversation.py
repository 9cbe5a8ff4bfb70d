"""Talking to Nuki locks: pairing, reading, and everything that may go wrong in between; "section" is the reference's.

The locks are simulated ones, behind a radio that some tests meddle with; frames that a test forges are built here with
PyNaCl, by no line of the driver.
"""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import hmac
import secrets
import stat
import struct
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import convert
from msgspec.structs import replace
from nacl.bindings import crypto_secretbox, crypto_secretbox_open

from lockmigrate.errors import (
    ConfigError,
    ConnectError,
    ConnectReason,
    FrameError,
    LinkError,
    LinkLost,
    LockmigrateError,
    NoAnswer,
    RefusedError,
    Tampered,
    TornRead,
    UnexpectedReply,
    Unsupported,
    WrongCredential,
)
from lockmigrate.formats.nuki import generation_of
from lockmigrate.formats.nuki_tables import code_rows
from lockmigrate.model.document import Table
from lockmigrate.operations import pairing, units
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.profiles import load_profile
from lockmigrate.protocols import Lock, Resting, Scope, Section
from lockmigrate.protocols.credentials import NukiCredential, read_credentials, write_credential
from lockmigrate.protocols.door import Door
from lockmigrate.protocols.nuki_door import open_unit as open_door
from lockmigrate.protocols.nuki_pair import Paired, pair
from lockmigrate.sim import open_unit
from lockmigrate.sim.nuki_records import code_entry
from lockmigrate.targets import Access, Target, open_on_unit, parse_target
from lockmigrate.transports.gatt import Advertised, Channel, Emitted
from lockmigrate.transports.gatt_link import GattLink
from lockmigrate.transports.memory_ble import ConnectionFaults, MemoryConnection

TARGET = Target(text="sim://unit", scheme="sim", address="unit")
LOCKS = ("nuki-1", "nuki-2", "nuki-3", "nuki-4", "nuki-ultra")
ALL = (*LOCKS, "nuki-opener")
V = {
    name.strip(): bytes.fromhex(value)
    for name, _, value in (
        line.partition("=")
        for line in (Path(__file__).parent / "vectors" / "nuki" / "pairing.txt").read_text("utf-8").splitlines()
        if not line.startswith("#")
    )
}
REQUEST, PUBLIC_KEY, CHALLENGE, AUTHENTICATOR, DATA, GIVEN_ID = 0x01, 0x03, 0x04, 0x05, 0x06, 0x07
STATUS, ERROR, CONFIRMATION, INFO = 0x0E, 0x12, 0x1E, 0x4C
REQUEST_CONFIG, VERIFY_PIN, UPDATE_TIME, REQUEST_CODES, CODE_COUNT, CODE = 0x14, 0x20, 0x21, 0x43, 0x44, 0x45
REQUEST_PEOPLE, REQUEST_LOG, REMOVE_PERSON = 0x09, 0x31, 0x08
COMPLETE = b"\x00"
NOT_AUTHORIZED, BAD_PIN, BAD_NONCE, TOO_MANY_PINS = 0x20, 0x21, 0x22, 0x28
STRAY = "may list an entry named as we are"
END = "-5501-11e4-916c-0800200c9a66"
CLEAR_IO = f"a92ee201{END}"
SMALL = {"codes": 7, "timers": 3, "authorisations": 3, "fingerprints": 2, "log": 9}


# ---- units, and the radio in front of them --------------------------------------------------------------------------


def unit_of(profile: str = "nuki-3", preset: str = "full", **options: Any) -> Any:
    return open_unit(load_profile(profile), preset, {name: str(value) for name, value in options.items()})


def small(profile: str = "nuki-3", **options: Any) -> Any:
    return unit_of(profile, "full", **{**SMALL, **options})


async def opened(unit: Any, credential: NukiCredential | None = None, **faults: Any) -> Lock:
    given = ConnectionFaults(**faults) if faults else None
    return await open_on_unit(unit, TARGET, credential=credential, faults=given)


def credential_of(unit: Any, /, **changes: Any) -> NukiCredential:
    return replace(convert(unit.credential, NukiCredential), **changes)


async def last(events: AsyncIterator[Any]) -> Any:
    item = None
    async for item in events:  # noqa: B007  # the last one is what counts
        pass
    return item


async def read(unit: Any, credential: NukiCredential | None = None, **faults: Any) -> Reading:
    lock = await opened(unit, credential, **faults)
    try:
        reading: Reading = await last(read_unit(lock))
    finally:
        await lock.close()
    return reading


def now_s() -> float:
    return asyncio.get_running_loop().time()


Meddle = Callable[[str, bytes, list[Emitted], float], list[Emitted]]


class Meddler:
    """Stands between a lock and its radio: sees each write, and says what leaves in answer to it."""

    def __init__(self, device: Any, meddle: Meddle) -> None:
        self._device, self._meddle = device, meddle
        self.written: list[bytes] = []
        self.connections = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def connected(self, at_s: float) -> list[Emitted]:
        self.connections += 1
        return list(self._device.connected(at_s))

    def write(self, uuid: str, data: bytes, at_s: float) -> list[Emitted]:
        self.written.append(data)
        return self._meddle(uuid, data, self._device.write(uuid, data, at_s), at_s)


def meddled(unit: Any, meddle: Meddle = lambda _, __, said, ___: said) -> Meddler:
    unit.gatt_device = Meddler(unit.gatt_device, meddle)
    return unit.gatt_device  # type: ignore[no-any-return]


def crc(data: bytes) -> bytes:
    return binascii.crc_hqx(data, 0xFFFF).to_bytes(2, "little")


def clear(code: int, payload: bytes = b"") -> bytes:
    """Frame in clear (section 2.1)."""
    head = struct.pack("<H", code) + payload
    return head + crc(head)


def trouble(code: int, about: int = 0) -> bytes:
    """An Error Report in clear."""
    return clear(ERROR, struct.pack("<BH", code, about))


def own(unit: Any) -> Any:
    """Our own authorisation, even when the lock has forgotten it."""
    if not hasattr(unit, "once_own"):
        unit.once_own = unit.flash.users[unit.flash.own_id]
    return unit.once_own


def sealed(unit: Any, code: int, payload: bytes = b"") -> bytes:
    """Frame as the lock would, for its client (section 2.2)."""
    user = own(unit)
    inner = struct.pack("<IH", user.authorization_id, code) + payload
    box = crypto_secretbox(inner + crc(inner), nonce := secrets.token_bytes(24), user.key)
    return nonce + struct.pack("<IH", user.authorization_id, len(box)) + box


def unsealed(unit: Any, raw: bytes) -> tuple[int, bytes]:
    """Command and payload of a sealed frame, whoever of the two sent it."""
    user = own(unit)
    plain = crypto_secretbox_open(raw[30:], raw[:24], user.key)
    return int.from_bytes(plain[4:6], "little"), plain[6:-2]


def said(unit: Any, emitted: list[Emitted]) -> list[int]:
    return [unsealed(unit, item.data)[0] for item in emitted if len(item.data) > 30]


# ---- pairing --------------------------------------------------------------------------------------------------------


class Scripted:
    """A connection to a lock that says what the script says, in pieces of 20 bytes as the document shows them."""

    def __init__(self, script: Callable[[bytes], bytes | None], *, fifth: bool = False) -> None:
        self.characteristics = frozenset({f"a92ee{3 if fifth else 1}01{END}", CLEAR_IO, f"a92ee202{END}"})
        self.advertised = Advertised(address="54:D2:72:00:00:01")
        self.written: list[bytes] = []
        self._script = script

    async def link(self, channel: Channel) -> ScriptedLink:
        return ScriptedLink(self, channel)

    async def value(self, uuid: str) -> bytes:
        raise Unsupported(uuid)

    async def close(self) -> None:
        pass

    def hear(self, link: ScriptedLink, data: bytes) -> None:
        self.written.append(data)
        answer = self._script(data) or b""
        for at in range(0, len(answer), 20):
            link.arrived(answer[at : at + 20])


class ScriptedLink(GattLink):
    def __init__(self, connection: Scripted, channel: Channel) -> None:
        super().__init__(channel, 244)
        self._connection = connection

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0)
        self._connection.hear(self, data)

    async def _left(self) -> None:
        pass


async def introduce(
    connection: Any, *, pin: int = 0, app_id: int = 0x0A0B0C0D, entropy: Callable[[int], bytes] = secrets.token_bytes
) -> Paired:
    how = generation_of(connection.characteristics)
    assert how is not None
    return await pair(connection, how, peer="the lock", name="lockmigrate", app_id=app_id, pin=pin, entropy=entropy)


async def test_the_published_pairing_is_reproduced_byte_for_byte() -> None:
    drawn = iter((V["client_private"], V["client_nonce"]))
    second = bytes(range(32))  # the document does not print its second challenge
    answers = iter(
        (
            V["lock_public_message"],
            V["challenge_1_message"],
            clear(CHALLENGE, second),
            V["authorization_id_message"],
            V["status_complete"],
        )
    )
    connection = Scripted(lambda _: next(answers))
    made = await introduce(connection, entropy=lambda size: next(drawn) if size == 32 else b"")
    assert connection.written[:3] == [
        V["request_public_key"],
        clear(PUBLIC_KEY, V["client_public"]),
        V["authenticator_message"],
    ]
    data = b"\x00" + struct.pack("<I", 0x0A0B0C0D) + b"lockmigrate".ljust(32, b"\x00") + V["client_nonce"]
    proof = hmac.new(V["shared_key"], data + second, hashlib.sha256).digest()
    assert connection.written[3] == clear(DATA, proof + data)
    ident = struct.pack("<I", 2)
    proof = hmac.new(V["shared_key"], ident + V["lock_nonce"], hashlib.sha256).digest()
    assert connection.written[4] == clear(CONFIRMATION, proof + ident)
    assert len(connection.written) == 5
    assert (made.authorization_id, made.uuid, made.key, made.app_id) == (2, V["uuid"], V["shared_key"], 0x0A0B0C0D)
    assert V["shared_key"].hex() not in repr(made)


@pytest.mark.parametrize("profile", ALL)
@pytest.mark.parametrize("options", [{}, {"pieces": "20"}, {"max_mtu": "23"}, {"error_on": "none"}])
async def test_every_generation_can_be_paired_with(profile: str, options: dict[str, str]) -> None:
    unit = unit_of(profile, "fresh", **options)
    connection = MemoryConnection.open(unit.gatt_device)
    made = await introduce(connection, pin=unit.flash.pin)
    await connection.close()
    user = unit.flash.users[made.authorization_id]
    assert (user.key, user.app_id, user.name, user.id_type) == (made.key, made.app_id, b"lockmigrate", 0)
    assert made.uuid == unit.flash.uuid
    assert not unit.lock.in_pairing_mode()
    given = NukiCredential(
        authorization_id=made.authorization_id, shared_key=made.key.hex(), security_pin=unit.flash.pin
    )
    reading = await read(unit, given)
    assert reading.snapshot.counts()["app_keys"] == 1


async def test_a_lock_that_has_a_bridge_keeps_it() -> None:
    unit = small(pairing=1, authorisations=5)
    connection = MemoryConnection.open(unit.gatt_device)
    await introduce(connection)
    assert [user.id_type for user in unit.flash.users.values()].count(1) == 1
    assert len(unit.flash.users) == 6


@pytest.mark.parametrize(("profile", "pin"), [("nuki-3", 0), ("nuki-2", 4711), ("nuki-ultra", 471123)])
async def test_what_pairing_made_is_in_a_file_that_only_its_owner_reads(tmp_path: Path, profile: str, pin: int) -> None:
    path = tmp_path / "door.toml"
    if pin:
        path.write_text(f"[nuki]\nsecurity_pin = {pin}\n[zk]\ncomm_key = 5\n", encoding="utf-8")
        path.chmod(0o644)
    state = tmp_path / "unit.state"
    target = parse_target(f"sim://{profile}/fresh?security_pin={pin}&state={state}")
    pairing.check_credential_file(path)
    access = Access(credential_file=path if pin else None)
    result = await pairing.pair(target, access, path, pin=None if pin else 0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    table = tomllib.loads(path.read_text(encoding="utf-8"))["nuki"]
    unit: Any = open_unit(load_profile(profile), "fresh", {}, state=state)
    assert table == {
        **{name: value for name, value in unit.credential.items() if name != "address"},
        "address": unit.settings.address,
        "unit": unit.id,
    }
    assert (result.unit.id, result.unit.details["authorisations"]) == (unit.id, 1)
    assert table["shared_key"] not in repr(result)
    assert not pin or tomllib.loads(path.read_text(encoding="utf-8"))["zk"] == {"comm_key": 5}
    assert not path.with_name("door.toml.new").exists()
    with pytest.raises(ConfigError, match="holds the keys of a lock already"):
        pairing.check_credential_file(path)


async def test_a_lock_that_is_not_in_pairing_mode_says_so() -> None:
    unit = small()
    connection = MemoryConnection.open(unit.gatt_device)
    with pytest.raises(RefusedError, match="not in pairing mode") as caught:
        await introduce(connection)
    assert (caught.value.code, caught.value.status) == ("not-pairing", 0x10)
    assert caught.value.hint is not None
    assert "5 s" in caught.value.hint


async def test_a_lock_with_no_room_for_another_user_says_so() -> None:
    for profile in ("nuki-3", "nuki-ultra"):
        unit = small(profile, pairing=1, user_room=3)
        connection = MemoryConnection.open(unit.gatt_device)
        with pytest.raises(RefusedError, match="no room for another user") as caught:
            await introduce(connection, pin=unit.flash.pin)
        assert caught.value.code == "users-full"
        assert STRAY not in (caught.value.hint or "")


@pytest.mark.parametrize("framing", ["secret", "clear"])
async def test_the_wrong_pin_of_the_fifth_generation_is_said_once(framing: str) -> None:
    unit = unit_of("nuki-ultra", "fresh", pairing_error=framing)
    attempts = attempts_on(unit)
    connection = MemoryConnection.open(unit.gatt_device)
    with pytest.raises(WrongCredential, match="security PIN") as caught:
        await introduce(connection, pin=unit.flash.pin + 1)
    assert caught.value.status == BAD_PIN
    assert attempts == [unit.flash.pin + 1]
    assert unit.flash.users == {}


async def test_a_pin_that_the_lock_cannot_have_is_refused_before_anything_is_said(tmp_path: Path) -> None:
    state = tmp_path / "unit.state"
    with pytest.raises(ConfigError, match="four digits"):
        await pairing.pair(parse_target(f"sim://nuki-3/fresh?state={state}"), Access(), tmp_path / "file", pin=471123)
    unit: Any = open_unit(load_profile("nuki-3"), "fresh", {}, state=state)
    assert unit.flash.users == {}
    assert not (tmp_path / "file").exists()


def changed(at: int, frame: bytes) -> bytes:
    """The frame with one bit of its payload turned, and a checksum that fits again."""
    body = bytearray(frame[:-2])
    body[2 + at] ^= 0x10
    return bytes(body) + crc(bytes(body))


@pytest.mark.parametrize("at", [0, 31, 32, 36, 51, 52, 83])
async def test_a_lock_that_does_not_know_the_key_gets_no_confirmation(at: int) -> None:
    unit = unit_of("nuki-3", "fresh")

    def meddle(_: str, data: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        if int.from_bytes(data[:2], "little") != DATA:
            return said
        assert len(said) == 1
        return [Emitted(at_s=said[0].at_s, uuid=said[0].uuid, data=changed(at, said[0].data))]

    middle = meddled(unit, meddle)
    connection = MemoryConnection.open(middle)
    with pytest.raises(Tampered, match="authenticator") as caught:
        await introduce(connection)
    assert [int.from_bytes(data[:2], "little") for data in middle.written] == [
        REQUEST, PUBLIC_KEY, AUTHENTICATOR, DATA,
    ]  # fmt: skip
    assert STRAY in (caught.value.hint or "")


@pytest.mark.parametrize(("asked", "profile"), [(REQUEST, "nuki-3"), (PUBLIC_KEY, "nuki-3"), (AUTHENTICATOR, "nuki-3"),
                                                (REQUEST, "nuki-ultra"), (PUBLIC_KEY, "nuki-ultra")])  # fmt: skip
async def test_somebody_in_between_is_found_out_by_the_lock(asked: int, profile: str) -> None:
    unit = unit_of(profile, "fresh")

    def meddle(_: str, data: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        if int.from_bytes(data[:2], "little") != asked:
            return said
        return [Emitted(at_s=said[0].at_s, uuid=said[0].uuid, data=changed(5, said[0].data))]

    connection = MemoryConnection.open(meddled(unit, meddle))
    with pytest.raises(RefusedError, match="BAD_AUTHENTICATOR") as caught:
        await introduce(connection, pin=unit.flash.pin)
    assert caught.value.status == 0x11
    assert unit.flash.users == {}


async def test_the_sealed_answer_of_the_fifth_generation_cannot_be_changed() -> None:
    for at in (0, 24, 30, 50, 60):
        unit = unit_of("nuki-ultra", "fresh")

        def meddle(_: str, data: bytes, said: list[Emitted], at_s: float, at: int = at) -> list[Emitted]:
            if len(data) < 90:
                return said
            raw = bytearray(said[0].data)
            raw[at] ^= 1
            return [Emitted(at_s=said[0].at_s, uuid=said[0].uuid, data=bytes(raw))]

        connection = MemoryConnection.open(meddled(unit, meddle))
        with pytest.raises(Tampered) as caught:
            await introduce(connection, pin=unit.flash.pin)
        assert STRAY in (caught.value.hint or "")


async def test_a_public_key_without_a_secret_is_refused() -> None:
    connection = Scripted(lambda _: clear(PUBLIC_KEY, bytes(32)))
    with pytest.raises(Tampered, match="public key"):
        await introduce(connection)
    assert len(connection.written) == 1


STEPS = (REQUEST, PUBLIC_KEY, AUTHENTICATOR, DATA, CONFIRMATION)


def honest(unit: Any, step: int, instead: Callable[[bytes], bytes | None]) -> Meddle:
    """Everything as the lock says it but for the answer to one step of pairing."""

    def meddle(uuid: str, data: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        code = int.from_bytes(data[:2], "little") if len(data) < 110 or data[2:] else 0
        if code != step:
            return said
        answer = instead(said[0].data if said else b"")
        return [Emitted(at_s=at_s, uuid=uuid, data=answer)] if answer is not None else []

    return meddle


@pytest.mark.parametrize("step", STEPS)
async def test_every_error_of_pairing_is_an_error_of_ours_and_ends_it(step: int) -> None:
    for code in (0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x28, 0x45, 0x99, 0xFD, 0xFE, 0xFF):
        unit = unit_of("nuki-3", "fresh")
        middle = meddled(unit, honest(unit, step, lambda _, code=code: trouble(code)))  # type: ignore[misc]
        connection = MemoryConnection.open(middle)
        with pytest.raises(RefusedError) as caught:
            await introduce(connection)
        assert caught.value.status == code
        assert int.from_bytes(middle.written[-1][:2], "little") == step, "nothing more is said after an error"
        assert (STRAY in (caught.value.hint or "")) == (step == CONFIRMATION), "then the lock has stored us"


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, NoAnswer),
        (b"\x04\x00" + bytes(34), FrameError),
        (clear(0x0C, bytes(20)), FrameError),
        (clear(INFO, b"\x01"), UnexpectedReply),
    ],
)
async def test_what_is_no_answer_ends_pairing(step: int, answer: bytes | None, error: type[LinkError]) -> None:
    unit = unit_of("nuki-3", "fresh")
    connection = MemoryConnection.open(meddled(unit, honest(unit, step, lambda _: answer)))
    start_s = now_s()
    with pytest.raises(error) as caught:
        await introduce(connection)
    assert (STRAY in (caught.value.hint or "")) == (step in (DATA, CONFIRMATION))
    assert now_s() - start_s <= 30


async def test_a_lock_that_talks_for_ever_is_left_after_half_a_minute() -> None:
    connection = Scripted(lambda _: clear(STATUS, COMPLETE))

    async def chatter() -> None:
        while True:
            await asyncio.sleep(1)
            for link in links:
                link.arrived(clear(STATUS, COMPLETE))

    links: list[ScriptedLink] = []
    usual = connection.link

    async def link(channel: Channel) -> ScriptedLink:
        links.append(await usual(channel))
        return links[-1]

    connection.link = link  # type: ignore[method-assign]
    talking = asyncio.create_task(chatter())
    start_s = now_s()
    with pytest.raises(NoAnswer):
        await introduce(connection)
    assert now_s() - start_s == pytest.approx(30, abs=1)
    talking.cancel()


async def test_a_lock_that_does_not_confirm_has_not_paired() -> None:
    unit = unit_of("nuki-3", "fresh")
    meddle = honest(unit, CONFIRMATION, lambda _: clear(STATUS, b"\x01"))
    connection = MemoryConnection.open(meddled(unit, meddle))
    with pytest.raises(LinkError) as caught:
        await introduce(connection)
    assert STRAY in (caught.value.hint or "")


@pytest.mark.parametrize(("profile", "writes"), [("nuki-3", 5), ("nuki-2", 5), ("nuki-ultra", 4)])
async def test_pairing_that_was_cut_anywhere_can_be_done_again(profile: str, writes: int) -> None:
    cuts = [ConnectionFaults(cut_after_writes=number) for number in range(writes + 1)]
    cuts += [ConnectionFaults(cut_after_chunks=number) for number in range(writes)]
    for faults in cuts:
        unit = unit_of(profile, "fresh", pieces="whole")
        unit.press_button()
        connection = MemoryConnection.open(unit.gatt_device, faults=faults)
        if faults.cut_after_writes == writes:
            await introduce(connection, pin=unit.flash.pin)
        else:
            with pytest.raises(LinkLost) as caught:
                await introduce(connection, pin=unit.flash.pin)
            assert (STRAY in (caught.value.hint or "")) or not unit.flash.users, faults
        unit.press_button()
        again = MemoryConnection.open(unit.gatt_device)
        made = await introduce(again, pin=unit.flash.pin)
        assert unit.flash.users[made.authorization_id].key == made.key


# ---- letting ourselves in -------------------------------------------------------------------------------------------


def attempts_on(unit: Any) -> list[int]:
    """Note every PIN that reaches the lock."""
    attempts: list[int] = []
    check = unit.lock.check_pin

    def noting(pin: int) -> None:
        attempts.append(pin)
        check(pin)

    unit.lock.check_pin = noting
    return attempts


async def test_a_unit_of_no_generation_that_we_know_is_not_spoken_to() -> None:
    class Stranger(Scripted):
        def __init__(self) -> None:
            super().__init__(lambda _: None)
            self.characteristics = frozenset({f"a92ee901{END}", CLEAR_IO, f"a92ee202{END}"})

    stranger = Stranger()
    with pytest.raises(ConnectError, match="generation") as caught:
        await open_door(stranger, Door(target="ble://x", port_id="x", credential=NukiCredential(security_pin=0)))
    assert caught.value.reason is ConnectReason.UNKNOWN_UNIT
    assert stranger.written == []


@pytest.mark.parametrize(
    "credential", [NukiCredential(security_pin=1), NukiCredential(shared_key="00" * 32), NukiCredential()]
)
async def test_without_keys_nothing_is_said(credential: NukiCredential) -> None:
    unit = small()
    with pytest.raises(ConfigError, match="opens only to whom it knows") as caught:
        await opened(unit, credential)
    assert caught.value.code == "no-credential"
    assert unit.frames_in == 0


async def test_the_credential_of_another_lock_is_refused_before_a_word_is_said() -> None:
    unit, other = small(), small(seed=2)
    assert unit.id != other.id
    with pytest.raises(RefusedError, match=f'for the unit "{other.id}"') as caught:
        await opened(unit, credential_of(other, unit=other.id))
    assert caught.value.code == "credential-of-other-unit"
    assert unit.frames_in == 0
    lock = await opened(unit, credential_of(unit, unit=unit.id))
    await lock.close()


@pytest.mark.parametrize("profile", ["nuki-3", "nuki-ultra"])
@pytest.mark.parametrize("error_on", ["201", "202", "none"])
@pytest.mark.parametrize("what", ["reset", "removed", "another key"])
async def test_a_lock_that_does_not_know_us_any_more_is_told_from_bad_radio(
    profile: str, error_on: str, what: str
) -> None:
    unit = small(profile, error_on=error_on)
    credential = credential_of(unit)
    if what == "reset":
        unit.factory_reset()
    elif what == "removed":
        del unit.flash.users[unit.flash.own_id]
    else:
        credential = replace(credential, shared_key="5a" * 32)
    with pytest.raises((WrongCredential, NoAnswer)) as caught:
        await opened(unit, credential)
    if error_on == "201":
        assert (type(caught.value), caught.value.code) == (WrongCredential, "not-authorized")
    hint = caught.value.hint or ""
    assert "reset" in hint
    assert "pair again" in hint
    assert "5a5a" not in str(caught.value) + hint


async def test_an_authorisation_that_was_switched_off_says_so() -> None:
    unit = small()
    unit.flash.users[unit.flash.own_id].enabled = False
    with pytest.raises(RefusedError, match="is disabled") as caught:
        await opened(unit)
    assert caught.value.hint


async def act_read(lock: Lock) -> None:
    await last(read_unit(lock))


async def act_info(lock: Lock) -> None:
    await units.info(lock)


async def act_wipe(lock: Lock) -> None:
    await last(lock.erase(Scope.PEOPLE))


async def act_unpair(lock: Lock) -> None:
    await pairing.unpair(lock, await lock.identify())


async def act_write(lock: Lock) -> None:
    await last(lock.write([]))


ACTS = [act_read, act_info, act_wipe, act_unpair, act_write]


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("profile", ["nuki-2", "nuki-ultra"])
async def test_a_wrong_pin_is_said_exactly_once(act: Callable[[Lock], Any], profile: str) -> None:
    unit = small(profile)
    before = unit.image()
    attempts = attempts_on(unit)
    wrong = unit.flash.pin - 1
    lock = await opened(unit, credential_of(unit, security_pin=wrong))
    with pytest.raises(WrongCredential, match="does not accept the security PIN") as caught:
        await act(lock)
    await lock.close()
    assert attempts == [wrong]
    assert unit.image() == before
    assert "does not say how many attempts are left" in (caught.value.hint or "")
    assert str(wrong) not in str(caught.value) + (caught.value.hint or "")


async def test_a_lock_that_takes_no_pins_for_now_says_so() -> None:
    unit = small(pin_tries=1, lockout_s=60)
    lock = await opened(unit, credential_of(unit, security_pin=1))
    with pytest.raises(WrongCredential):
        await act_read(lock)
    await lock.close()
    attempts = attempts_on(unit)
    lock = await opened(unit)
    with pytest.raises(WrongCredential, match="too many wrong") as caught:
        await act_read(lock)
    assert (caught.value.code, caught.value.tries_left, caught.value.status) == ("pin-locked", 0, TOO_MANY_PINS)
    assert len(attempts) == 1
    await lock.close()
    await asyncio.sleep(61)
    assert (await read(unit)).snapshot.counts()["pins"] == 7


@pytest.mark.parametrize("pin", [10_000, 47_110, 65_535, 65_536, 471_123])
async def test_a_pin_of_more_than_four_digits_never_reaches_an_older_lock(pin: int) -> None:
    unit = small()
    attempts = attempts_on(unit)
    lock = await opened(unit, credential_of(unit, security_pin=pin))
    with pytest.raises(ConfigError, match="four digits"):
        await act_read(lock)
    assert attempts == []
    await lock.close()


@pytest.mark.parametrize("act", [act_read, act_wipe, act_unpair, act_write])
async def test_a_pin_that_was_not_given_is_asked_for(act: Callable[[Lock], Any]) -> None:
    unit = small()
    attempts, before = attempts_on(unit), unit.image()
    lock = await opened(unit, credential_of(unit, security_pin=None))
    with pytest.raises(ConfigError, match="security PIN is needed") as caught:
        await act(lock)
    assert caught.value.hint is not None
    assert "security_pin" in caught.value.hint
    assert (attempts, unit.image()) == ([], before)
    await lock.close()


async def test_without_the_pin_a_lock_still_says_who_it_is() -> None:
    unit = small()
    lock = await opened(unit, credential_of(unit, security_pin=None))
    result = await units.info(lock)
    assert (result.unit.id, result.unit.counts) == (unit.id, {})
    await lock.close()


async def test_the_pin_nought_is_a_pin() -> None:
    unit = small(security_pin=0)
    assert (await read(unit)).snapshot.counts()["pins"] == 7


# ---- reading --------------------------------------------------------------------------------------------------------

TOLERATED: list[dict[str, Any]] = [
    {},
    {"pieces": "20"},
    {"max_mtu": "23"},
    {"tail": "always"},
    {"status_after_list": "0"},
    {"status_after_list": "never"},
    {"status_after_list": "never", "log": "0"},
    {"status_after_list": "never", "user_count": "never", "pieces": "20", "tail": "always"},
    {"user_count": "always"},
    {"user_count": "never"},
    {"counts": "sent"},
    {"counts": "sent", "log": "230"},
    {"log": "230"},
    {"log": "0"},
    {"slow": "3000"},
    {"pace": "900"},
    {"pace": "1500"},
    {"pace": "1500", "status_after_list": "0"},
    {"unasked": "1"},
    {"unasked": "2", "pieces": "20"},
    {"crc0": "1"},
    {"states_bytes": "14"},
    {"advanced_bytes": "19"},
    {"changed": "33"},
    {"missing": "4"},
    {"missing": "8"},
    {"double": "2"},
    {"double": "9"},
    {"delay": "out:frame:30:4.5"},
    {"idle_s": "6", "pace": "3000"},
]


@pytest.mark.parametrize("options", TOLERATED, ids=lambda options: ",".join(f"{k}={v}" for k, v in options.items()))
async def test_whatever_the_reference_leaves_open_is_read_whole(options: dict[str, Any]) -> None:
    unit = small(**options)
    await insist_on_all(unit, await read(unit))


@pytest.mark.parametrize("profile", ALL)
async def test_every_generation_is_read_whole(profile: str) -> None:
    unit = small(profile)
    before = unit.image()
    await insist_on_all(unit, await read(unit))
    assert unit.image() == before
    assert unit.actions == [], "no door moves for a backup"


async def insist_on_all(unit: Any, reading: Reading) -> None:
    """Everything in the lock's memory is in the reading."""
    flash, snapshot = unit.flash, reading.snapshot
    tables = {table.name: table.data for table in snapshot.tables}
    always = unit.settings.tail_always
    entries = [code_entry(code, always=always) for code in flash.codes.values()]
    split = entries_of(tables["0007-codes"])
    assert split == entries
    assert [row.digits for row in code_rows(tables["0007-codes"])] == [str(code.code) for code in flash.codes.values()]
    people = [int.from_bytes(raw[:4], "little") for raw in entries_of(tables["0006-authorisations"])]
    assert people[0] == flash.own_id
    assert sorted(people) == sorted(flash.users)
    assert [raw[0] for raw in entries_of(tables["0009-timers"])] == list(flash.timers)
    log = [int.from_bytes(raw[:4], "little") for raw in entries_of(tables["0010-log"])]
    assert log == [entry.index for entry in reversed(flash.log)]
    if flash.config.has_keypad_2 and not unit.settings.opener:
        fingers = [raw[:32] for raw in entries_of(tables["0008-fingerprints"])]
        assert fingers == [finger.finger_id for finger in flash.fingerprints]
        assert len([gap for gap in snapshot.gaps if gap.section == "fingerprints"]) == len(fingers)
    assert {gap.record for gap in snapshot.gaps if gap.section == "app_keys"} == {
        f"app_key/{number}" for number in flash.users if number != flash.own_id
    }
    assert all(gap.announced for gap in snapshot.gaps)
    assert all(item.state in ("full", "not_asked") for name, item in snapshot.coverage.items() if name != "settings")
    assert {"0002-config", "0003-advanced", "0005-battery"} <= tables.keys()


def entries_of(table: bytes) -> list[bytes]:
    found, at = [], 2
    while at < len(table):
        size = int.from_bytes(table[at : at + 2], "little")
        found.append(table[at + 2 : at + 2 + size])
        at += 2 + size
    return found


@pytest.mark.parametrize("options", [{"count_off": "1"}, {"count_off": "200"}])
async def test_a_list_that_is_never_as_long_as_announced_is_no_backup(options: dict[str, str]) -> None:
    with pytest.raises(TornRead, match="announced"):
        await read(small(**options))


async def test_a_lock_that_somebody_keeps_changing_is_no_backup() -> None:
    with pytest.raises(TornRead, match="3 times"):
        await read(small(changing="7"))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"bad_crc": "30"}, FrameError),
        ({"drop_before": "30"}, LinkLost),
        ({"drop_entries": "5"}, LinkLost),
        ({"flip": "out:frame:40"}, Tampered),
        ({"flip": "out:byte:2000"}, Tampered),
        ({"reboot": "in:frame:20"}, LinkLost),
    ],
)
async def test_what_is_broken_on_the_way_ends_the_reading(options: dict[str, str], error: type[LinkError]) -> None:
    unit = small(**options)
    with pytest.raises(error) as caught:
        await read(unit)
    if error is Tampered:
        assert "somebody is in between, or the key is stale" in (caught.value.hint or "")
        heard = unit.frames_in
        await asyncio.sleep(60)
        assert unit.frames_in == heard, "nothing more is said"


async def test_checksums_of_nought_are_taken_and_told() -> None:
    reading = await read(small(crc0=1))
    assert any("CRC 0000" in warning for warning in reading.unit.warnings)


async def test_an_old_lock_without_a_keypad_has_no_codes_and_one_with_a_keypad_a_gap() -> None:
    reading = await read(small("nuki-1", old=1, keypad="none"))
    assert reading.snapshot.coverage["credentials"].state == "unsupported"
    assert not [gap for gap in reading.snapshot.gaps if not gap.announced]
    reading = await read(small("nuki-1", old=1, keypad="1"))
    (gap,) = [gap for gap in reading.snapshot.gaps if not gap.announced]
    assert (gap.section, gap.code) == ("pins", "no-public-layout")


async def test_a_cut_anywhere_in_reading_is_an_error_of_ours() -> None:
    unit = small()
    whole = Counting(unit)
    await read(unit)
    for number in range(0, whole.writes, 5):
        with pytest.raises(LinkLost):
            await read(small(), cut_after_writes=number)
    for number in range(0, whole.indications, 7):
        with pytest.raises(LinkLost):
            await read(small(), cut_after_chunks=number)


class Counting:
    """Counts what goes over the radio of a unit."""

    def __init__(self, unit: Any) -> None:
        self.writes = self.indications = 0

        def meddle(_: str, __: bytes, said: list[Emitted], ___: float) -> list[Emitted]:
            self.writes += 1
            self.indications += sum(1 for item in said if item.data)
            return said

        meddled(unit, meddle)


@pytest.mark.sweep
async def test_a_cut_at_every_point_of_reading_is_an_error_of_ours() -> None:
    unit = small(pieces="20")
    whole = Counting(unit)
    await read(unit)
    for number in range(whole.writes):
        with pytest.raises(LinkLost):
            await read(small(pieces="20"), cut_after_writes=number)
    for number in range(whole.indications):
        with pytest.raises(LinkLost):
            await read(small(pieces="20"), cut_after_chunks=number)


# ---- what comes unasked, late, or from somebody else ----------------------------------------------------------------


def beside(unit: Any, command: int, *, before: list[bytes] = [], after: list[bytes] = [], at: int = 0) -> Meddle:  # noqa: B006
    """Let messages leave before the answer to a command, or in the midst of it."""

    def meddle(uuid: str, data: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        if len(data) < 54 or unsealed(unit, data)[0] != command:
            return said
        first = [Emitted(at_s=at_s, uuid=uuid, data=raw) for raw in before]
        more = [Emitted(at_s=said[at].at_s, uuid=uuid, data=raw) for raw in after] if len(said) > at else []
        return [*first, *said[: at + 1], *more, *said[at + 1 :]]

    return meddle


@pytest.mark.parametrize("command", [REQUEST_PEOPLE, REQUEST_CODES, 0x3C, 0x98, REQUEST_LOG])
async def test_a_status_that_nobody_asked_for_does_not_make_a_list_empty_or_short(command: int) -> None:
    for at in (None, 0, 1, 2):
        unit = small()
        stray = sealed(unit, STATUS, COMPLETE)
        meddle = beside(unit, command, before=[stray]) if at is None else beside(unit, command, after=[stray], at=at)
        meddled(unit, meddle)
        await insist_on_all(unit, await read(unit))


async def test_states_and_answers_to_others_are_passed_over() -> None:
    for command in (REQUEST_CONFIG, REQUEST_CODES, VERIFY_PIN):
        unit = small()
        foreign = [sealed(unit, 0x0C, bytes(21)), sealed(unit, ERROR, struct.pack("<BH", 0x45, 0x000D))]
        foreign += [sealed(unit, 0x42, bytes(9)), sealed(unit, 0x0100)]
        meddled(unit, beside(unit, command, before=foreign))
        await insist_on_all(unit, await read(unit))


async def test_nothing_that_comes_in_clear_counts_as_an_answer() -> None:
    """The keyturner channel is open to everybody: what it says is no proof of anything."""
    unit = small()
    forged = [clear(STATUS, COMPLETE), clear(CHALLENGE, bytes(32)), clear(GIVEN_ID, bytes(84))]
    forged += [clear(0x0C, bytes(21)), b"\x00", bytes(range(60)), clear(STATUS, COMPLETE)[:-1] + b"\x00"]

    def meddle(uuid: str, data: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        return [*(Emitted(at_s=at_s, uuid=CLEAR_IO, data=raw) for raw in forged), *said]

    meddled(unit, meddle)
    await insist_on_all(unit, await read(unit))


async def test_a_forged_status_does_not_hide_that_a_change_was_refused() -> None:
    unit = small()

    def meddle(uuid: str, data: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        if len(data) > 54 and unsealed(unit, data)[0] == REMOVE_PERSON:
            return [Emitted(at_s=at_s, uuid=CLEAR_IO, data=clear(STATUS, COMPLETE))]
        return said

    meddled(unit, meddle)
    lock = await opened(unit)
    with pytest.raises(NoAnswer):
        await act_unpair(lock)
    await lock.close()


@pytest.mark.parametrize("code", [0x23, 0x24, 0xFD, 0xFE, 0xFF, BAD_PIN])
async def test_a_complaint_in_clear_makes_no_list_absent(code: int) -> None:
    """A lock that has our key seals its refusals; in clear it can only say that it has none (section 6, rule 1)."""
    for command in (REQUEST_CODES, 0x3C, 0x36):
        unit = small()

        def meddle(
            uuid: str, data: bytes, said: list[Emitted], at_s: float, unit: Any = unit, command: int = command
        ) -> list[Emitted]:
            if len(data) > 54 and unsealed(unit, data)[0] == command:
                return [Emitted(at_s=at_s, uuid=CLEAR_IO, data=trouble(code, command))]
            return said

        meddled(unit, meddle)
        with pytest.raises(UnexpectedReply, match="in clear"):
            await read(unit)


async def test_a_list_that_is_refused_half_way_is_not_absent() -> None:
    unit = small()

    def meddle(uuid: str, data: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        if len(data) > 54 and unsealed(unit, data)[0] == 0x3C:
            refusal = sealed(unit, ERROR, struct.pack("<BH", 0x23, 0x3C))
            return [*said[:2], Emitted(at_s=at_s, uuid=uuid, data=refusal)]
        return said

    meddled(unit, meddle)
    with pytest.raises(RefusedError, match="BAD_PARAMETER"):
        await read(unit)


@pytest.mark.parametrize("code", [*range(0x23, 0x28), *range(0x29, 0x2F), *range(0x40, 0x4E), 0x7F, 0xFD, 0xFE, 0xFF])
async def test_every_error_report_is_an_error_of_ours_with_its_number(code: int) -> None:
    unit = small()
    asked, armed = 0, False

    def meddle(uuid: str, data: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        nonlocal asked
        if not armed or unsealed(unit, data)[0] != REQUEST_CONFIG:
            return said
        asked += 1
        return [Emitted(at_s=at_s, uuid=uuid, data=sealed(unit, ERROR, struct.pack("<BH", code, REQUEST_CONFIG)))]

    meddled(unit, meddle)
    lock = await opened(unit)
    armed = True
    with pytest.raises(RefusedError) as caught:
        await lock.identify()
    assert (caught.value.status, asked) == (code, 1)
    await lock.close()


async def test_a_nonce_that_the_lock_does_not_take_ends_the_conversation() -> None:
    for times, command in ((1, REQUEST_CONFIG), (2, REQUEST_CONFIG), (1, UPDATE_TIME)):
        unit = small()
        left = 0

        def meddle(
            uuid: str, data: bytes, said: list[Emitted], at_s: float, unit: Any = unit, command: int = command
        ) -> list[Emitted]:
            nonlocal left
            if not left or unsealed(unit, data)[0] != command:
                return said
            left -= 1
            spent = sealed(unit, ERROR, struct.pack("<BH", BAD_NONCE, command))
            return [Emitted(at_s=at_s, uuid=uuid, data=spent)]

        meddled(unit, meddle)
        lock = await opened(unit)
        left = times
        if (times, command) == (1, REQUEST_CONFIG):
            assert (await lock.identify()).id == unit.id, "a question is asked once more"
        else:
            with pytest.raises(Tampered, match="nonce") as caught:
                await (lock.identify() if command == REQUEST_CONFIG else act_write(lock))
            assert "somebody is in between, or the key is stale" in (caught.value.hint or "")
        assert left == 0
        await lock.close()


# ---- time -----------------------------------------------------------------------------------------------------------


async def test_a_lock_that_hung_up_on_an_idle_link_is_dialled_again() -> None:
    unit = small(idle_s=20)
    middle = meddled(unit)
    lock = await opened(unit)
    for seconds in (10, 30, 300):
        await asyncio.sleep(seconds)
        assert (await lock.identify()).id == unit.id
    assert middle.connections == 3
    await lock.close()


async def test_while_a_person_is_asked_nobody_holds_the_lock() -> None:
    unit = small(idle_s=20)
    middle = meddled(unit)
    lock = await opened(unit)
    assert isinstance(lock, Resting)
    await lock.rest()
    other = MemoryConnection.open(middle)  # anybody else may talk to it meanwhile
    await other.close()
    await asyncio.sleep(100)
    assert (await lock.identify()).id == unit.id
    await lock.rest()
    await lock.rest()
    await lock.close()
    with pytest.raises(LinkLost):
        await lock.identify()


async def test_a_link_that_is_lost_in_the_midst_of_work_is_not_dialled_again() -> None:
    unit = small()
    middle = meddled(unit)
    lock = await opened(unit, cut_after_writes=15)
    with pytest.raises(LinkLost):
        await act_read(lock)
    with pytest.raises(LinkLost):
        await lock.identify()
    assert middle.connections == 1
    await lock.close()


async def test_without_a_way_to_dial_again_an_idle_link_is_a_lost_one() -> None:
    unit = small(idle_s=20)
    connection = MemoryConnection.open(unit.gatt_device)
    door = Door(target="sim://unit", port_id="unit", credential=credential_of(unit), simulated=True)
    lock = await open_door(connection, door)
    await lock.rest()
    assert (await lock.identify()).id == unit.id, "there is nothing to come back to"
    await asyncio.sleep(60)
    with pytest.raises(LinkLost):
        await lock.identify()
    await lock.close()


async def test_a_lock_that_cannot_be_reached_again_is_an_error_of_ours() -> None:
    unit = small(idle_s=20)
    for trouble_of in ("busy", "cut while subscribing"):
        left = [None, ConnectionFaults(cut_after_requests=1), None]

        async def dial(left: list[Any] = left) -> MemoryConnection:
            return MemoryConnection.open(unit.gatt_device, faults=left.pop(0))

        door = Door(target="sim://unit", port_id="x", credential=credential_of(unit), simulated=True, redial=dial)
        lock = await open_door(await dial(), door)
        await lock.rest()
        other = MemoryConnection.open(unit.gatt_device) if trouble_of == "busy" else None
        if other is not None:
            left.insert(0, None)
        with pytest.raises(LockmigrateError) as caught:
            await lock.identify()
        assert isinstance(caught.value, ConnectError if other else LinkLost)
        if other is not None:
            await other.close()
            left.pop(0)
        assert (await lock.identify()).id == unit.id
        await lock.close()


async def test_an_answer_that_comes_too_late_answers_nothing_else() -> None:
    """The Status of a change that was given up must not be taken for that of the next one."""
    unit = small()
    middle = meddled(unit)
    lock = await opened(unit)
    delayed = 0

    def meddle(uuid: str, data: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        nonlocal delayed
        command = unsealed(unit, data)[0]
        if command == UPDATE_TIME and not delayed:
            delayed += 1
            return [Emitted(at_s=at_s + 5.5, uuid=uuid, data=said[0].data)]
        if command == REMOVE_PERSON:
            return []
        return said

    middle._meddle = meddle
    with pytest.raises(NoAnswer):
        await last(lock.write([]))
    with pytest.raises(NoAnswer):
        await act_unpair(lock)
    assert delayed == 1
    assert middle.connections == 2, "after silence the lock is dialled anew"
    await lock.close()


# ---- the clock ------------------------------------------------------------------------------------------------------


async def test_a_clock_that_is_far_off_is_told_and_set_before_anything_is_written() -> None:
    unit = small(clock_off=86400)
    connection = MemoryConnection.open(unit.gatt_device)
    door = Door(target="ble://x", port_id="x", credential=credential_of(unit), simulated=False)
    lock = await open_door(connection, door)
    (warning,) = (await lock.identify()).warnings
    assert "ahead" in warning
    await last(lock.write([]))
    found = await lock.identify()
    assert found.warnings == ()
    assert abs(found.details["clock_offset_s"]) <= 2
    await lock.close()


# ---- Openers --------------------------------------------------------------------------------------------------------


async def test_an_opener_is_read_and_never_written() -> None:
    unit = small("nuki-opener")
    reading = await read(unit)
    assert (reading.unit.profile, reading.snapshot.settings) == ("nuki-opener", ())
    assert reading.snapshot.coverage["settings"].state == "unsupported"
    before = unit.image()
    lock = await opened(unit)
    with pytest.raises(Unsupported, match="Opener"):
        await act_write(lock)
    await lock.close()
    assert unit.image() == before


# ---- taking leave ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ALL)
async def test_unpairing_removes_us_and_nobody_else(profile: str) -> None:
    unit = small(profile)
    own, others = unit.flash.own_id, set(unit.flash.users) - {unit.flash.own_id}
    credential = credential_of(unit)
    lock = await opened(unit)
    result = await pairing.unpair(lock, await lock.identify())
    await lock.close()
    assert result.unit.id == unit.id
    assert set(unit.flash.users) == others
    assert own not in unit.flash.users
    with pytest.raises(WrongCredential):
        await opened(unit, credential)


async def test_a_lock_that_forgets_us_before_it_answers_has_unpaired_us() -> None:
    unit = small()
    own = unit.flash.own_id
    user = unit.flash.users[own]

    def meddle(uuid: str, data: bytes, said: list[Emitted], at_s: float) -> list[Emitted]:
        if own in unit.flash.users:
            return said
        return [Emitted(at_s=at_s, uuid=CLEAR_IO, data=trouble(NOT_AUTHORIZED))]

    meddled(unit, meddle)
    lock = await opened(unit)
    await act_unpair(lock)
    await lock.close()
    assert own not in unit.flash.users
    assert user.key


# ---- nothing secret is shown ----------------------------------------------------------------------------------------


def secrets_of(unit: Any) -> Iterator[str]:
    own = unit.flash.users[unit.flash.own_id]
    yield own.key.hex()
    yield repr(own.key)
    for code in unit.flash.codes.values():
        yield str(code.code)


async def test_no_error_and_no_object_shows_a_secret() -> None:
    unit = small()
    shown: list[str] = []
    for options in ({}, {"bad_crc": "30"}, {"flip": "out:frame:40"}, {"count_off": "1"}, {"drop_before": "25"}):
        broken = small(**options)
        credential = credential_of(broken)
        try:
            lock = await opened(broken, credential)
            shown += [repr(lock), repr(credential), repr(lock._wire), repr(lock._found), repr(lock.given)]  # type: ignore[attr-defined]
            reading = await last(read_unit(lock))
            shown.append(repr(reading))
        except LockmigrateError as error:
            shown += [str(error), repr(error), error.hint or "", str(getattr(error, "received", ""))]
        await lock.close()
    text = "\n".join(shown)
    for secret in secrets_of(unit):
        assert secret not in text


def test_a_credential_survives_its_file(tmp_path: Path) -> None:
    table = NukiCredential(authorization_id=0xFFFFFFFF, shared_key="0f" * 32, app_id=0, security_pin=0, uuid="ab" * 16)
    write_credential(tmp_path / "file", "nuki", table)
    assert read_credentials(tmp_path / "file") == {"nuki": table}


@pytest.mark.parametrize("section", list(Section))
async def test_a_part_can_be_read_by_itself(section: Section) -> None:
    unit = small()
    lock = await opened(unit)
    items = [item async for item in lock.read(frozenset({section}))]
    assert [item for item in items if isinstance(item, Table)]
    await lock.close()
