"""The simulated Nuki locks against the wire reference of the family; "section" is that one's.

The client here is a little one of our own, written from the reference with PyNaCl: it shares no line with the driver.
Time is virtual: whatever `now_s` says.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import (
    crypto_box_beforenm,
    crypto_scalarmult,
    crypto_scalarmult_base,
    crypto_secretbox,
    crypto_secretbox_open,
)

from lockmigrate.errors import FileTrouble, LinkLost, TargetError
from lockmigrate.profiles import load_profile
from lockmigrate.sim import PRESETS, open_unit, presets_of, stand_in_options
from lockmigrate.sim import nuki_crypto as crypto
from lockmigrate.sim.nuki_records import encode_date, limits_of
from lockmigrate.sim.nuki_settings import OPTIONS
from lockmigrate.transports.gatt import ADVERTISING_BYTES, Channel, Emitted, GattDevice, GattRefusal
from lockmigrate.transports.memory_ble import MemoryConnection

ROOT = Path(__file__).resolve().parents[1]
PROFILES = ("nuki", "nuki-1", "nuki-2", "nuki-3", "nuki-4", "nuki-opener", "nuki-ultra")
PAIR_IO, PAIR_IO_5 = "a92ee101-5501-11e4-916c-0800200c9a66", "a92ee301-5501-11e4-916c-0800200c9a66"
CLEAR_IO, USER_IO = "a92ee201-5501-11e4-916c-0800200c9a66", "a92ee202-5501-11e4-916c-0800200c9a66"
THIRD = "a92ee203-5501-11e4-916c-0800200c9a66"
OPENER = {uuid: uuid.replace("a92ee", "a92ae") for uuid in (PAIR_IO, CLEAR_IO, USER_IO)}
SERIAL_NUMBER = "00002a25-0000-1000-8000-00805f9b34fb"

REQUEST, CHALLENGE, STATES, STATUS, ERROR = 0x01, 0x04, 0x0C, 0x0E, 0x12
CONFIG, ADVANCED, BATTERY = 0x15, 0x37, 0x11
COMPLETE, ACCEPTED = (STATUS, b"\0"), (STATUS, b"\1")
BAD_PIN, BAD_NONCE, BAD_PARAMETER, DISABLED, TOO_MANY_PINS, FULL, TAKEN = 0x21, 0x22, 0x23, 0x25, 0x28, 0x29, 0x2A
UTC_OPTION = "2026-11-25T12:00:00"
NOW = datetime(2026, 11, 25, 12)  # noqa: DTZ001 - the wire names no zone
LOCK_PIN = 4711
NO_LIMITS = bytes(19)
CLEAR_SIZES = {0x03: 32, 0x04: 32, 0x07: 84, 0x0E: 1, 0x12: 3, 0x4C: 1}
"""Payload lengths of what a lock says in clear (section 9)."""

Said = tuple[int, bytes]
"""Command and payload of something the lock said."""


def moment(*parts: int) -> datetime:
    """A moment as a lock keeps it, without a zone."""
    return datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001


def crc(data: bytes) -> bytes:
    """CRC-16/CCITT-FALSE, bit by bit (section 2)."""
    value = 0xFFFF
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ 0x1021 if value & 0x8000 else value << 1) & 0xFFFF
    return value.to_bytes(2, "little")


def clear(code: int, payload: bytes = b"") -> bytes:
    """Frame in clear (section 2.1)."""
    head = struct.pack("<H", code) + payload
    return head + crc(head)


def secret(key: bytes, number: int, code: int, payload: bytes, nonce: bytes = b"n" * 24) -> bytes:
    """Frame encrypted (section 2.2)."""
    inner = struct.pack("<IH", number, code) + payload
    sealed = crypto_secretbox(inner + crc(inner), nonce, key)
    return nonce + struct.pack("<IH", number, len(sealed)) + sealed


def opened(key: bytes, raw: bytes, *, crc0: bool = False) -> Said:
    """Read an encrypted frame, checking all that section 2.2 tells to check."""
    nonce, number, size = struct.unpack_from("<24sIH", raw)
    assert size == len(raw) - 30
    plain = crypto_secretbox_open(raw[30:], nonce, key)
    inside, code = struct.unpack_from("<IH", plain)
    assert inside == number
    assert plain[-2:] == (bytes(2) if crc0 else crc(plain[:-2]))
    return code, plain[6:-2]


def read_clear(raw: bytes) -> Said:
    """Read a clear frame."""
    assert raw[-2:] == crc(raw[:-2])
    return int.from_bytes(raw[:2], "little"), raw[2:-2]


def mac(key: bytes, *parts: bytes) -> bytes:
    """Authenticate (section 3, h1)."""
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def error(code: int, command: int) -> Said:
    """An Error Report."""
    return ERROR, struct.pack("<BH", code, command)


class Client:
    """A phone within reach of one lock."""

    def __init__(
        self,
        profile: str = "nuki",
        preset: str = "full",
        *,
        connect: bool = True,
        mtu: int = 247,
        state: Path | None = None,
        **options: Any,
    ) -> None:
        texts = {"utc": UTC_OPTION} | {name: str(value) for name, value in options.items()}
        self.unit: Any = open_unit(load_profile(profile), preset, texts, state=state)
        self.radio: Any = self.unit.gatt_device
        self.now_s = 1000.0
        self.mtu = mtu
        self.heard: list[Emitted] = []
        self.uuids = {each.uuid for service in self.radio.services for each in service.characteristics}
        self.user_io = next(uuid for uuid in (USER_IO, OPENER[USER_IO]) if uuid in self.uuids)
        self.clear_io = self.user_io.replace("202", "201")
        self.pair_io = next(uuid for uuid in (PAIR_IO, PAIR_IO_5, OPENER[PAIR_IO]) if uuid in self.uuids)
        self.pin_bytes = 4 if self.pair_io == PAIR_IO_5 else 2
        held = self.unit.credential
        self.key = bytes.fromhex(held.get("shared_key", ""))
        self.number = held.get("authorization_id", 0)
        self.pin = held["security_pin"]
        if connect:
            self.connect()

    def connect(self, *subscribe: str) -> None:
        """Connect and subscribe, by default to everything."""
        assert self.radio.connected(self.now_s) == []
        self.radio.mtu(self.mtu)
        for uuid in subscribe or (self.user_io, self.clear_io, self.pair_io):
            self.radio.subscribed(uuid, True)

    def write(self, uuid: str, raw: bytes) -> list[Emitted]:
        """Write once and keep what came of it."""
        emitted: list[Emitted] = self.radio.write(uuid, raw, self.now_s)
        assert all(len(each.data) <= self.mtu - 3 for each in emitted)
        assert [each.at_s for each in emitted] == sorted(each.at_s for each in emitted)
        self.now_s = max([self.now_s, *(each.at_s for each in emitted)])
        self.heard += emitted
        return emitted

    def raw(self, uuid: str, frame: bytes) -> list[tuple[str, bytes]]:
        """Write a frame; return what came, one message after the other."""
        return list(assembled(self.write(uuid, frame)))

    def say(self, code: int, payload: bytes = b"") -> list[Said]:
        """Send an encrypted message; return the answers."""
        return [
            opened(self.key, raw) if uuid == self.user_io else read_clear(raw)
            for uuid, raw in self.raw(self.user_io, secret(self.key, self.number, code, payload))
        ]

    def ask(self, wanted: int) -> bytes:
        """Request Data without a nonce."""
        ((code, payload),) = self.say(REQUEST, struct.pack("<H", wanted))
        assert code == wanted
        return payload

    def nonce(self) -> bytes:
        """Ask for a challenge."""
        return self.ask(CHALLENGE)

    def order(self, code: int, payload: bytes = b"", *, pin: int | None = -1) -> list[Said]:
        """Send what needs a nonce and, unless None, the PIN."""
        pin = self.pin if pin == -1 else pin
        tail = b"" if pin is None else pin.to_bytes(self.pin_bytes, "little")
        return self.say(code, payload + self.nonce() + tail)

    def config(self) -> bytes:
        """Read the configuration."""
        ((code, payload),) = self.order(0x14, pin=None)
        assert code == CONFIG
        return payload

    def advanced(self) -> bytes:
        """Read the advanced configuration."""
        ((code, payload),) = self.order(0x36, pin=None)
        assert code == ADVANCED
        return payload

    def listed(self, request: int, payload: bytes, count: int, entry: int) -> tuple[int, list[bytes]]:
        """Ask for a list that ends with a Status; return its count and its entries."""
        said = self.order(request, payload)
        assert said[-1] == COMPLETE
        assert said[0][0] == count
        assert {code for code, _ in said[1:-1]} <= {entry}
        return int.from_bytes(said[0][1][:2], "little"), [payload for _, payload in said[1:-1]]

    def users(self) -> tuple[int, list[bytes]]:
        """Read all authorisations."""
        return self.listed(0x09, struct.pack("<HH", 0, 0xFFFF), 0x27, 0x0A)

    def codes(self) -> tuple[int, list[bytes]]:
        """Read all keypad codes."""
        return self.listed(0x43, struct.pack("<HH", 0, 0xFFFF), 0x44, 0x45)

    def timers(self) -> tuple[int, list[bytes]]:
        """Read the time control entries."""
        return self.listed(0x3C, b"", 0x3D, 0x3E)

    def add_code(self, code: int, name: bytes = b"new", limits: bytes = b"") -> list[Said]:
        """Add a keypad code."""
        payload = struct.pack("<I20sB", code, name, bool(limits)) + (limits or NO_LIMITS)
        return self.order(0x41, payload)

    def update_code(self, number: int, code: int, name: bytes, enabled: int, limits: bytes = b"") -> list[Said]:
        """Update a keypad code."""
        payload = struct.pack("<HI20sBB", number, code, name, enabled, bool(limits)) + (limits or NO_LIMITS)
        return self.order(0x46, payload)

    def update_count(self) -> int:
        """Read the configuration update count from the states (section 9.1)."""
        return self.ask(STATES)[13]


def assembled(emitted: list[Emitted]) -> Iterator[tuple[str, bytes]]:
    """Put indications together as section 1.1 says."""
    buffer, where = b"", ""
    for each in emitted:
        if not each.data:
            continue
        where = where or each.uuid
        assert each.uuid == where
        buffer += each.data
        if len(buffer) in _ends(buffer):
            yield where, buffer
            buffer, where = b"", ""
    assert buffer == b"", "half a message"


def _ends(buffer: bytes) -> set[int]:
    """Return after how many bytes this message may end: a clear one, whose code is known, or an encrypted one."""
    found = set()
    code = int.from_bytes(buffer[:2], "little")
    if code in CLEAR_SIZES and len(buffer) == CLEAR_SIZES[code] + 4 and crc(buffer[:-2]) == buffer[-2:]:
        found.add(len(buffer))
    if len(buffer) >= 30:
        found.add(30 + int.from_bytes(buffer[28:30], "little"))
    return found


def fed(*parts: bytes) -> Any:
    """Return a source of randomness that gives just these."""
    left = list(parts)

    def draw(size: int) -> bytes:
        part = left.pop(0)
        assert len(part) == size
        return part

    return draw


# ---- test vectors of section 16 --------------------------------------------------------------------------------------

CLIENT_PRIVATE = bytes.fromhex("8CAA54672307BFFDF5EA183FC607158D2011D008ECA6A1088614FF0853A5AA07")
CLIENT_PUBLIC = bytes.fromhex("F88127CCF48023B5CBE9101D24BAA8A368DA94E8C2E3CDE2DED29CE96AB50C15")
LOCK_PUBLIC_MESSAGE = ("03002FE57DA347CD62431528DAAC5FBB290730FF", "F684AFC4CFC2ED90995F58CB3B749DB9")
SHARED = bytes.fromhex("217FCB0F18CAF284E9BDEA0B94B83B8D10867ED706BFDEDBD2381F4CB3B8F730")
CHALLENGE_1 = ("04006CD4163D159050C798553EAA57E278A579AF", "FCBC56F09FC57FE879E51C42DF17C3DF")
AUTHENTICATOR_MESSAGE = "0500B09A0D3979A029E5FD027B519EAA200BC14AD3E163D3BE4563843E021073BCB1C357"
CLIENT_NONCE = bytes.fromhex("52AFE0A664B4E9B56DC6BD4CB718A6C9FED6BE17A7411072AA0D315378140577")
ID_MESSAGE = (
    "07003A270A2E453443C3790E657CEBE634B03F01",
    "02F45681B4067C661D46E6E15EDF0200000083B3",
    "3643C6D97EF77ED51C02A277CBF7EA479915982F",
    "13C61D997A56678AD77791BFA7E95229A3DD34F8",
    "7132BF3E3C97DB9F",
)
UUID = bytes.fromhex("83B33643C6D97EF77ED51C02A277CBF7")
LAST_NONCE = bytes.fromhex("EA479915982F13C61D997A56678AD77791BFA7E95229A3DD34F87132BF3E3C97")


def pieces(emitted: list[Emitted]) -> tuple[str, ...]:
    """Indications as the reference prints them."""
    return tuple(each.data.hex().upper() for each in emitted)


def test_the_pairing_example_of_the_official_document_comes_out_byte_for_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints the lock's public key but not its private one, so those two steps are put in its place."""
    lock_public = bytes.fromhex("".join(LOCK_PUBLIC_MESSAGE))[2:34]
    first = bytes.fromhex("".join(CHALLENGE_1))[2:34]
    second = bytes(range(32))
    shared = crypto_box_beforenm(lock_public, CLIENT_PRIVATE)
    assert shared == SHARED
    monkeypatch.setattr(crypto, "public_key", lambda _: lock_public)
    monkeypatch.setattr(crypto, "shared_key", lambda _, other: SHARED if other == CLIENT_PUBLIC else None)
    client = Client("nuki-2", "fresh")
    client.unit.flash.uuid = UUID
    client.unit.flash.next_user_id = 2
    client.unit.draw = fed(first, second, LAST_NONCE)
    assert pieces(client.write(PAIR_IO, bytes.fromhex("0100030027A7"))) == LOCK_PUBLIC_MESSAGE
    assert pieces(client.write(PAIR_IO, clear(0x03, CLIENT_PUBLIC))) == CHALLENGE_1
    assert len(client.write(PAIR_IO, bytes.fromhex(AUTHENTICATOR_MESSAGE))) == 2
    data = struct.pack("<BI32s", 0, 0, b"Marc (Test)") + CLIENT_NONCE
    assert pieces(client.write(PAIR_IO, clear(0x06, mac(SHARED, data, second) + data))) == ID_MESSAGE
    number = struct.pack("<I", 2)
    confirmation = clear(0x1E, mac(SHARED, number, LAST_NONCE) + number)
    assert pieces(client.write(PAIR_IO, confirmation)) == ("0E00009DD7",)
    assert client.unit.flash.users[2].key == SHARED
    assert client.unit.flash.users[2].name == b"Marc (Test)"


def _published(client: Client) -> Any:
    """Give the lock the user of the published encryption example."""
    user = client.unit.flash.users[client.number]
    user.authorization_id, user.key = 2, SHARED
    client.unit.flash.users = {2: user}
    client.number, client.key = 2, SHARED
    return user


def test_the_published_encrypted_request_is_understood() -> None:
    client = Client("nuki-2")
    _published(client)
    wire = bytes.fromhex(
        "37917F1AF31EC5940705F34D1E5550607D5B2F9FE7D496B6020000001A00"
        "670D124926004366532E8D927A33FE84E782A9594D39157D065E"
    )
    ((uuid, raw),) = client.raw(USER_IO, wire)
    assert uuid == USER_IO
    code, payload = opened(SHARED, raw)
    assert code == STATES
    assert payload[3:10] == encode_date(NOW)


def test_the_published_encrypted_challenge_comes_out_in_the_published_pieces() -> None:
    client = Client("nuki-2")
    _published(client)
    plain = "02000000040057D95521BEA186B5A9244F025737924C5B7E33592D0614D5F6EF2E2F142C6D4BFF98"
    expected = (
        "99C8613A9F6AB6D3FB0399D37AD38C5C003AC139",
        "B1567BC102000000380028CDCC668C08DA47BF32",
        "3BF9371EBF068F6D480438563660780A4234D9A2",
        "3794E305EE37878874EDE106A0BBFCF5B60E0C2E",
        "2BA17248A02B",
    )
    client.unit.draw = fed(bytes.fromhex(plain)[6:38], bytes.fromhex("".join(expected))[:24])
    assert pieces(client.write(USER_IO, secret(SHARED, 2, REQUEST, b"\x04\x00"))) == expected


@pytest.mark.parametrize(
    ("private", "public", "other_private", "other_public", "shared"),
    [
        (
            "E7B0ED4E3FD53BEB1ACE91475B4A9EABC4D7C47F19C84193EBDDAC953FF9BC45",
            "0D4105DBC4DD1E9FF474BD28EF9539B1B0B09FA5444C0D1ADABC590F4B5E2E56",
            "4122AC9FD03AED655010583C279507577981FA6738A90A16FB05A87475954BA4",
            "76541D1E8BDDFA8BB545E5172734C35653761CCBDDC5536EF5BF544BDE99B427",
            "FADC14FC1CBB2813E0C5BC29B9411370A76B85E3983783AADFA1F11C5AA6AA25",
        ),
        (
            "C11CFB400A3A33414E89F9E6607271C2AF076405C5407984297F1DE0E7A54B73",
            "F7A4FE9783C4C936A777963E78BB481533208D4E7D837373BA4B945747D9BA46",
            None,
            "DC040AFE6401550E1F7B20AB50135B80765834B9D898E6DA7129F61C62929B78",
            "915561587D86815B709EDD5819D8C6F2E883DA3C86F461F13B84228B84533E04",
        ),
    ],
)
def test_keys_agree_as_published(
    private: str, public: str, other_private: str | None, other_public: str, shared: str
) -> None:
    own, theirs = bytes.fromhex(private), bytes.fromhex(other_public)
    assert crypto.public_key(own).hex().upper() == public
    assert crypto.shared_key(own, theirs) == bytes.fromhex(shared)
    if other_private is not None:
        assert crypto.shared_key(bytes.fromhex(other_private), bytes.fromhex(public)) == bytes.fromhex(shared)


def test_a_published_secretbox_comes_out() -> None:
    key = bytes.fromhex("FADC14FC1CBB2813E0C5BC29B9411370A76B85E3983783AADFA1F11C5AA6AA25")
    nonce = bytes.fromhex("8C34A5503C40CFAE7184B296F58FBAA2F6F9D3CCFF58F103")
    sealed = bytes.fromhex("E0C19497E5E8DC6D1F444FFB1EFEBCA6A977B136F5846E18")
    assert crypto.seal(key, nonce, bytes.fromhex("1234567890ABCDEF")) == sealed
    assert crypto.unseal(key, nonce, sealed) == bytes.fromhex("1234567890ABCDEF")
    assert crypto.unseal(key, nonce, sealed[:-1] + b"\0") is None


def test_the_checksum_has_its_published_value() -> None:
    assert crypto.checksum(b"123456789") == bytes.fromhex("B129")
    assert crc(b"123456789") == bytes.fromhex("B129")


def test_authorization_info_is_that_of_a_real_lock() -> None:
    client = Client("nuki-ultra", "fresh")
    begun(client)
    assert client.heard[-1].data.hex().upper() == "4C000171B4"


def test_the_beacon_is_built_as_that_of_a_real_lock() -> None:
    client = Client(nuki_id="2E96447C")
    told = client.radio.advertisement()
    assert told.endswith(bytes.fromhex("1AFF4C000215A92EE200550111E4916C0800200C9A662E96447CC9"))
    assert told.startswith(bytes.fromhex("020106"))


# ---- what a radio sees -----------------------------------------------------------------------------------------------


def structures(told: bytes) -> dict[int, bytes]:
    """Take an advertisement apart."""
    found = {}
    while told:
        found[told[1]] = told[2 : 1 + told[0]]
        told = told[1 + told[0] :]
    return found


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("preset", ["full", "fresh"])
def test_an_advertisement_fits_into_one_packet(profile: str, preset: str) -> None:
    client = Client(profile, preset, connect=False)
    assert len(client.radio.advertisement()) <= ADVERTISING_BYTES
    assert client.radio.name.startswith("Nuki_")
    assert client.radio.name.endswith(client.unit.serial)


@pytest.mark.parametrize(
    ("profile", "service"),
    [
        ("nuki", "a92ee100"),
        ("nuki-1", "a92ee100"),
        ("nuki-4", "a92ee100"),
        ("nuki-ultra", "a92ee300"),
        ("nuki-opener", "a92ae100"),
    ],
)
def test_in_pairing_mode_the_pairing_service_is_advertised_with_the_id(profile: str, service: str) -> None:
    client = Client(profile, "fresh", connect=False)
    data = structures(client.radio.advertisement())[0x21]
    tail = "550111e4916c0800200c9a66"
    assert data[:16][::-1].hex() == service + tail
    assert data[16:].hex().upper() == client.unit.serial == client.unit.id


def test_a_lock_without_users_that_is_not_pairing_advertises_the_initial_service() -> None:
    client = Client("nuki", "fresh", pairing=0, connect=False)
    assert structures(client.radio.advertisement())[0x21][:16][::-1].hex().startswith("a92ee000")


def test_the_changed_flag_goes_out_when_the_states_were_read_and_comes_back_with_a_change() -> None:
    client = Client()
    assert client.radio.advertisement()[-1] == 0xC9
    client.ask(STATES)
    assert client.radio.advertisement()[-1] == 0xC8
    client.add_code(345678)
    assert client.radio.advertisement()[-1] == 0xC9


@pytest.mark.parametrize("profile", PROFILES)
def test_a_lock_is_a_gatt_device_with_the_characteristics_of_its_generation(profile: str) -> None:
    client = Client(profile)
    radio: GattDevice = client.radio
    of = {each.uuid: each.properties for service in radio.services for each in service.characteristics}
    for uuid in (client.user_io, client.clear_io, client.pair_io):
        assert of[uuid] == {"write", "indicate"}
    assert (THIRD in of) == (profile != "nuki-opener")
    assert (PAIR_IO_5 in of) == (profile == "nuki-ultra")
    assert radio.address.startswith("54:D2:72:")
    if profile != "nuki-opener":
        empty = [service.uuid for service in radio.services if not service.characteristics]
        assert [uuid[:8] for uuid in empty] == ["a92ee000"]


def test_the_device_information_can_be_read_and_nothing_else() -> None:
    client = Client(firmware="3.8.2")
    assert client.radio.read(SERIAL_NUMBER).decode() == client.unit.serial
    assert client.radio.read(SERIAL_NUMBER.replace("2a25", "2a26")) == b"3.8.2"
    assert client.radio.read(SERIAL_NUMBER.replace("2a25", "2a27")) == b"11.1"
    for uuid, code in ((USER_IO, 0x02), ("0000ffff-0000-1000-8000-00805f9b34fb", 0x0A)):
        with pytest.raises(GattRefusal) as caught:
            client.radio.read(uuid)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("uuid", "size", "code"),
    [(SERIAL_NUMBER, 4, 0x03), (PAIR_IO_5, 4, 0x0A), (USER_IO, 513, 0x0D)],
)
def test_a_write_that_the_radio_cannot_take_is_refused(uuid: str, size: int, code: int) -> None:
    client = Client()
    with pytest.raises(GattRefusal) as caught:
        client.radio.write(uuid, bytes(size), client.now_s)
    assert caught.value.code == code
    assert client.unit.frames_in == 0


def test_what_is_written_to_the_third_characteristic_goes_unanswered() -> None:
    client = Client()
    assert client.write(THIRD, b"\1\2\3") == []


def test_a_clear_message_on_the_keyturner_service_is_unknown() -> None:
    client = Client()
    assert [read_clear(raw) for _, raw in client.raw(CLEAR_IO, clear(0x01, b"\x0c\0"))] == [error(0xFF, 1)]


@pytest.mark.parametrize(
    ("profile", "options", "mtu", "sizes"),
    [
        ("nuki-1", {}, 247, [20, 20, 20, 20, 6]),
        ("nuki-2", {}, 247, [20, 20, 20, 20, 6]),
        ("nuki", {}, 247, [86]),
        ("nuki-4", {}, 247, [86]),
        ("nuki-ultra", {}, 247, [86]),
        ("nuki", {}, 23, [20, 20, 20, 20, 6]),
        ("nuki", {}, 60, [57, 29]),
        ("nuki", {"max_mtu": 40}, 40, [37, 37, 12]),
        ("nuki", {"pieces": "20"}, 247, [20, 20, 20, 20, 6]),
        ("nuki-2", {"pieces": "whole"}, 247, [86]),
    ],
)
def test_a_message_leaves_in_the_pieces_of_its_generation(
    profile: str, options: dict[str, Any], mtu: int, sizes: list[int]
) -> None:
    client = Client(profile, mtu=mtu, **options)
    emitted = client.write(USER_IO, secret(client.key, client.number, REQUEST, b"\x04\0"))
    assert [len(each.data) for each in emitted] == sizes


def test_no_larger_mtu_than_its_own_is_used() -> None:
    client = Client(max_mtu=50)
    client.radio.mtu(247)
    emitted = client.write(USER_IO, secret(client.key, client.number, REQUEST, b"\x04\0"))
    assert [len(each.data) for each in emitted] == [47, 39]


def test_a_new_connection_has_no_subscriptions_and_the_smallest_mtu() -> None:
    client = Client()
    client.radio.disconnected()
    client.radio.connected(client.now_s)
    request = secret(client.key, client.number, REQUEST, b"\x04\0")
    assert client.write(USER_IO, request) == []
    client.radio.subscribed(USER_IO, True)
    assert len(client.write(USER_IO, request)) == 5
    client.radio.subscribed(USER_IO, False)
    assert client.write(USER_IO, request) == []


def test_an_idle_link_is_hung_up() -> None:
    client = Client()
    assert client.radio.due_s() == 1020.0
    assert client.radio.tick(1019.9) == []
    client.now_s = 1015.0
    client.nonce()
    assert client.radio.due_s() == 1035.0
    (emitted,) = client.radio.tick(1035.0)
    assert (emitted.hangup, emitted.lost, emitted.at_s, emitted.data) == (True, False, 1035.0, b"")
    assert client.radio.due_s() is None
    client.radio.disconnected()
    assert client.radio.due_s() is None


def test_a_lock_may_be_told_never_to_hang_up() -> None:
    client = Client(idle_s=0)
    assert client.radio.due_s() is None
    assert client.radio.tick(99999.0) == []


def test_bytes_and_frames_are_counted() -> None:
    client = Client("nuki-2")
    client.nonce()
    unit = client.unit
    assert (unit.frames_in, unit.wire_bytes_in) == (1, 30 + 16 + 10)
    assert (unit.frames_out, unit.wire_bytes_out) == (5, 86)
    assert unit.log == [REQUEST]


async def test_a_lock_answers_over_a_connection_in_memory() -> None:
    client = Client(connect=False, pieces="20")
    connection = MemoryConnection.open(client.radio)
    assert connection.advertised.manufacturer_data[0x004C][18:22].hex().upper() == client.unit.serial
    assert await connection.value(SERIAL_NUMBER) == client.unit.serial.encode()
    link = await connection.link(Channel(write=USER_IO, notify=USER_IO, response=True))
    await link.write(secret(client.key, client.number, REQUEST, b"\x0c\0"))
    buffer = b""
    while len(buffer) < 30 or len(buffer) < 30 + int.from_bytes(buffer[28:30], "little"):
        buffer += await link.read()
    assert opened(client.key, buffer)[0] == STATES
    with pytest.raises(LinkLost):
        await link.read()  # it hangs up after twenty idle seconds
    await connection.close()


# ---- pairing, generations 1 to 4 (section 4) -------------------------------------------------------------------------

PRIVATE = bytes(range(1, 33))
PUBLIC = crypto_scalarmult_base(PRIVATE)


def begun(client: Client) -> tuple[bytes, Said]:
    """Pair up to the authenticator (steps 1 to 5); return the shared key and the answer to that."""
    uuid = client.pair_io

    def said(code: int, payload: bytes) -> Said:
        (answer,) = client.raw(uuid, clear(code, payload))
        assert answer[0] == uuid
        return read_clear(answer[1])

    code, lock_public = said(0x01, b"\x03\0")
    assert code == 0x03
    assert crypto_scalarmult(PRIVATE, lock_public) != bytes(32)
    key = crypto_box_beforenm(lock_public, PRIVATE)
    code, challenge = said(0x03, PUBLIC)
    assert code == 0x04
    return key, said(0x05, mac(key, PUBLIC, lock_public, challenge))


def introduced(client: Client, *, kind: int = 0, name: bytes = b"Test") -> tuple[bytes, Said, bytes]:
    """Pair up to the authorization data (step 7); return shared key, answer, and our nonce."""
    key, (code, challenge) = begun(client)
    assert code == 0x04
    nonce = b"\xa5" * 32
    data = struct.pack("<BI32s", kind, 0xCAFE, name) + nonce
    ((_, raw),) = client.raw(client.pair_io, clear(0x06, mac(key, data, challenge) + data))
    return key, read_clear(raw), nonce


def paired(client: Client, *, kind: int = 0, name: bytes = b"Test") -> tuple[bytes, int, bytes]:
    """Pair; return the shared key, the authorization id and the uuid. The lock has to prove itself too."""
    key, (code, payload), nonce = introduced(client, kind=kind, name=name)
    assert code == 0x07
    proof, answer = payload[:32], payload[32:]
    assert proof == mac(key, answer, nonce)
    number, uuid, theirs = answer[:4], answer[4:20], answer[20:]
    ((_, raw),) = client.raw(client.pair_io, clear(0x1E, mac(key, number, theirs) + number))
    assert read_clear(raw) == COMPLETE
    return key, int.from_bytes(number, "little"), uuid


def paired_5(client: Client, *, pin: int | None = None, frame_id: bytes = b"\x7f\xff\xff\xff") -> Said:
    """Pair with generation 5 (section 5); return the answer to the authorization data."""
    key, (code, _) = begun(client)
    assert code == 0x4C
    payload = struct.pack("<I32sI", 0xCAFE, b"Test", client.pin if pin is None else pin)
    client.key = key
    ((uuid, raw),) = client.raw(PAIR_IO_5, secret(key, int.from_bytes(frame_id, "little"), 0x06, payload))
    assert uuid == PAIR_IO_5
    return opened(key, raw)


@pytest.mark.parametrize("profile", ["nuki", "nuki-1", "nuki-2", "nuki-4", "nuki-opener"])
def test_a_stranger_pairs_and_then_reads_the_lock(profile: str) -> None:
    client = Client(profile, "fresh")
    assert client.unit.credential == {"security_pin": 0}
    client.key, client.number, uuid = paired(client)
    assert uuid == client.unit.flash.uuid
    assert client.config()[:4] == struct.pack("<I", int(client.unit.serial, 16))
    count, entries = client.users()
    assert count == len(entries) == 1
    assert client.unit.credential == {
        "authorization_id": client.number,
        "shared_key": client.key.hex(),
        "app_id": 0xCAFE,
        "security_pin": 0,
        "address": client.radio.address,
        "uuid": uuid.hex(),
    }


def test_pairing_mode_ends_with_success() -> None:
    client = Client("nuki", "fresh")
    paired(client)
    assert 0x21 not in structures(client.radio.advertisement())
    ((_, raw),) = client.raw(PAIR_IO, clear(0x01, b"\x03\0"))
    assert read_clear(raw) == error(0x10, 0x01)


def test_outside_pairing_mode_nobody_pairs() -> None:
    client = Client()
    for frame, code in ((clear(0x01, b"\x03\0"), 1), (clear(0x03, PUBLIC), 3)):
        ((_, raw),) = client.raw(PAIR_IO, frame)
        assert read_clear(raw) == error(0x10, code)


def test_the_button_opens_pairing_mode_for_a_while() -> None:
    client = Client(preset="empty", pairing_s=12, pairing=0)
    assert client.unit.press_button(client.now_s)
    assert 0x21 in structures(client.radio.advertisement())
    assert client.radio.due_s() == 1012.0
    assert client.radio.tick(1012.0) == []
    assert 0x21 not in structures(client.radio.advertisement())


def test_a_button_pressed_by_nobody_with_a_clock_counts_from_the_next_event() -> None:
    client = Client(preset="empty", connect=False)
    client.unit.press_button()
    client.connect()
    assert client.radio.due_s() == 1020.0
    client.now_s = 1029.0
    begun(client)
    client.now_s = 1031.0
    ((_, raw),) = client.raw(PAIR_IO, clear(0x01, b"\x03\0"))
    assert read_clear(raw)[1][0] == 0x10


def test_pairing_mode_from_the_start_lasts_until_somebody_pairs_unless_told_otherwise() -> None:
    for options, ends in (({}, False), ({"pairing_s": 5}, True)):
        client = Client("nuki", "fresh", idle_s=0, **options)
        client.now_s += 10_000
        ((_, raw),) = client.raw(PAIR_IO, clear(0x01, b"\x03\0"))
        assert (read_clear(raw)[0] == ERROR) == ends


def test_the_button_does_nothing_where_the_configuration_forbids_pairing() -> None:
    client = Client(preset="full")
    assert client.unit.flash.config.pairing_enabled == 0
    assert not client.unit.press_button(client.now_s)
    assert 0x21 not in structures(client.radio.advertisement())
    asked = Client(preset="full", pairing=1)
    assert asked.unit.flash.config.pairing_enabled == 1
    assert 0x21 in structures(asked.radio.advertisement())


def test_a_new_bridge_takes_the_place_of_the_old_one() -> None:
    client = Client(preset="full", pairing=1)
    (old,) = [user for user in client.unit.flash.users.values() if user.id_type == 1]
    _, number, _ = paired(client, kind=1)
    (new,) = [user for user in client.unit.flash.users.values() if user.id_type == 1]
    assert new.authorization_id == number != old.authorization_id


def test_a_wrong_authenticator_ends_the_attempt() -> None:
    client = Client("nuki", "fresh")
    client.raw(PAIR_IO, clear(0x01, b"\x03\0"))
    client.raw(PAIR_IO, clear(0x03, PUBLIC))
    ((_, raw),) = client.raw(PAIR_IO, clear(0x05, bytes(32)))
    assert read_clear(raw) == error(0x11, 5)
    ((_, raw),) = client.raw(PAIR_IO, clear(0x05, bytes(32)))
    assert read_clear(raw) == error(0xFF, 5)
    paired(client)


def test_wrong_authorization_data_makes_no_user() -> None:
    for kind, forged, code in ((0, True, 0x11), (4, False, 0x12)):
        client = Client("nuki", "fresh")
        key, (_, challenge) = begun(client)
        data = struct.pack("<BI32s", kind, 1, b"x") + bytes(32)
        proof = bytes(32) if forged else mac(key, data, challenge)
        ((_, raw),) = client.raw(PAIR_IO, clear(0x06, proof + data))
        assert read_clear(raw) == error(code, 6)
        assert client.unit.flash.users == {}


def test_a_wrong_confirmation_is_refused() -> None:
    client = Client("nuki", "fresh")
    key, (_, payload), _ = introduced(client)
    theirs = payload[52:]
    ((_, raw),) = client.raw(PAIR_IO, clear(0x1E, bytes(32) + payload[32:36]))
    assert read_clear(raw) == error(0x11, 0x1E)
    key, (_, payload), _ = introduced(client)
    theirs, other = payload[52:], struct.pack("<I", 99)
    ((_, raw),) = client.raw(PAIR_IO, clear(0x1E, mac(key, other, theirs) + other))
    assert read_clear(raw) == error(0x12, 0x1E)


@pytest.mark.parametrize(("unconfirmed", "left"), [("keep", 1), ("drop", 0)])
def test_what_becomes_of_a_user_who_never_confirmed_is_an_option(unconfirmed: str, left: int) -> None:
    client = Client("nuki", "fresh", unconfirmed=unconfirmed)
    introduced(client)
    client.radio.disconnected()
    assert len(client.unit.flash.users) == left


def test_a_full_table_of_users_is_said_while_pairing() -> None:
    client = Client(preset="empty", pairing=1, user_room=2)
    assert introduced(client)[1] == error(0x13, 6)
    assert len(client.unit.flash.users) == 2


@pytest.mark.parametrize(
    ("frame", "code", "command"),
    [
        (b"\x01", 0xFE, 0),
        (clear(0x01, b"\x03\0")[:-1] + b"\0", 0xFD, 0),
        (clear(0x01, b"\x03"), 0xFE, 1),
        (clear(0x01, b"\x04\0"), 0x12, 1),
        (clear(0x05, bytes(32)), 0xFF, 5),
        (clear(0x77, b""), 0xFF, 0x77),
    ],
)
def test_nonsense_while_pairing_is_refused_and_pairing_still_works(frame: bytes, code: int, command: int) -> None:
    client = Client("nuki", "fresh")
    ((_, raw),) = client.raw(PAIR_IO, frame)
    assert read_clear(raw) == error(code, command)
    paired(client)


def test_a_public_key_that_gives_nothing_but_zeros_is_refused() -> None:
    client = Client("nuki", "fresh")
    client.raw(PAIR_IO, clear(0x01, b"\x03\0"))
    ((_, raw),) = client.raw(PAIR_IO, clear(0x03, bytes(32)))
    assert read_clear(raw) == error(0x12, 3)


def test_a_step_of_another_length_is_refused() -> None:
    client = Client("nuki", "fresh")
    client.raw(PAIR_IO, clear(0x01, b"\x03\0"))
    ((_, raw),) = client.raw(PAIR_IO, clear(0x03, PUBLIC + b"\0"))
    assert read_clear(raw) == error(0xFE, 3)


def test_an_attempt_does_not_survive_the_connection() -> None:
    client = Client("nuki", "fresh")
    client.raw(PAIR_IO, clear(0x01, b"\x03\0"))
    client.radio.disconnected()
    client.connect()
    ((_, raw),) = client.raw(PAIR_IO, clear(0x03, PUBLIC))
    assert read_clear(raw) == error(0xFF, 3)


# ---- pairing, generation 5 (section 5) -------------------------------------------------------------------------------


@pytest.mark.parametrize("frame_id", [b"\x7f\xff\xff\xff", b"\xfe\xca\0\0"])
def test_generation_5_pairs_with_the_pin_whatever_id_the_frame_carries(frame_id: bytes) -> None:
    client = Client("nuki-ultra", "fresh")
    assert client.pin == 471123
    code, payload = paired_5(client, frame_id=frame_id)
    assert (code, len(payload)) == (0x07, 20)
    assert payload[4:] == client.unit.flash.uuid
    client.number = int.from_bytes(payload[:4], "little")
    assert len(client.config()) == 79
    assert client.unit.credential["app_id"] == 0xCAFE
    assert 0x21 not in structures(client.radio.advertisement())


def test_generation_5_refuses_a_wrong_pin_encrypted_or_in_clear() -> None:
    client = Client("nuki-ultra", "fresh")
    assert paired_5(client, pin=111111) == error(0x21, 6)
    client = Client("nuki-ultra", "fresh", pairing_error="clear")
    key, _ = begun(client)
    payload = struct.pack("<I32sI", 1, b"x", 111111)
    ((_, raw),) = client.raw(PAIR_IO_5, secret(key, 1, 0x06, payload))
    assert read_clear(raw) == error(0x21, 6)
    assert client.unit.flash.users == {}


def test_generation_5_without_a_pin_says_so_and_takes_0() -> None:
    client = Client("nuki-ultra", "fresh", security_pin=0)
    _, said = begun(client)
    assert said == (0x4C, b"\0")
    assert paired_5(client, pin=0)[0] == 0x07


def test_wrong_pins_while_pairing_count_too() -> None:
    client = Client("nuki-ultra", "fresh", pin_tries=2)
    assert [paired_5(client, pin=1)[1][0] for _ in range(2)] == [BAD_PIN, BAD_PIN]
    assert paired_5(client)[1][0] == TOO_MANY_PINS


def test_generation_5_takes_no_authorization_data_in_clear() -> None:
    client = Client("nuki-ultra", "fresh")
    begun(client)
    ((_, raw),) = client.raw(PAIR_IO_5, clear(0x06, bytes(101)))
    assert read_clear(raw)[0] == ERROR
    assert client.unit.flash.users == {}


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda raw: raw[:20], 0xFE),
        (lambda raw: raw + b"\0", 0xFE),
        (lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), 0x11),
    ],
)
def test_generation_5_refuses_damaged_authorization_data_in_clear(damage: Any, code: int) -> None:
    client = Client("nuki-ultra", "fresh")
    key, _ = begun(client)
    ((_, raw),) = client.raw(PAIR_IO_5, damage(secret(key, 1, 0x06, struct.pack("<I32sI", 1, b"x", client.pin))))
    assert read_clear(raw) == error(code, 6)
    assert paired_5(client)[0] == 0x07


@pytest.mark.parametrize(("code", "payload", "trouble"), [(0x06, bytes(39), 0xFE), (0x1E, bytes(40), 0xFF)])
def test_generation_5_refuses_another_message_where_data_was_awaited(code: int, payload: bytes, trouble: int) -> None:
    client = Client("nuki-ultra", "fresh")
    key, _ = begun(client)
    ((_, raw),) = client.raw(PAIR_IO_5, secret(key, 1, code, payload))
    assert opened(key, raw) == error(trouble, 6)


def test_generation_5_takes_nobody_whose_data_come_after_pairing_mode() -> None:
    client = Client("nuki-ultra", "fresh", pairing_s=10)
    key, _ = begun(client)
    client.now_s += 10
    ((_, raw),) = client.raw(PAIR_IO_5, secret(key, 1, 0x06, struct.pack("<I32sI", 1, b"x", client.pin)))
    assert opened(key, raw) == error(0x10, 6)
    assert client.unit.flash.users == {}


def test_generation_5_starts_anew_when_asked_for_its_key_again() -> None:
    client = Client("nuki-ultra", "fresh")
    begun(client)
    assert paired_5(client)[0] == 0x07


# ---- rules of an encrypted session (section 6) -----------------------------------------------------------------------


@pytest.mark.parametrize(("where", "uuid"), [("201", CLEAR_IO), ("202", USER_IO), ("none", None)])
def test_an_unknown_authorisation_is_told_so_where_the_option_says(where: str, uuid: str | None) -> None:
    client = Client(error_on=where)
    for frame in (secret(client.key, 9999, REQUEST, b"\x04\0"), secret(bytes(32), client.number, REQUEST, b"\x04\0")):
        said = client.raw(USER_IO, frame)
        assert said == ([(uuid, clear(ERROR, struct.pack("<BH", 0x20, 0)))] if uuid else [])


def test_who_listens_to_the_encrypted_characteristic_alone_hears_nothing_of_it() -> None:
    client = Client(connect=False)
    client.connect(USER_IO)
    assert client.raw(USER_IO, secret(client.key, 9999, REQUEST, b"\x04\0")) == []


def _with_inner(client: Client, inner: bytes) -> bytes:
    sealed = crypto_secretbox(inner, b"n" * 24, client.key)
    return b"n" * 24 + struct.pack("<IH", client.number, len(sealed)) + sealed


def test_each_check_of_an_encrypted_frame_has_its_error() -> None:
    client = Client()
    good = secret(client.key, client.number, REQUEST, b"\x04\0")
    inner = struct.pack("<IHH", client.number, REQUEST, CHALLENGE)
    foreign = struct.pack("<IHH", client.number + 1, REQUEST, CHALLENGE)
    for frame, code, uuid in (
        (good[:29], 0xFE, CLEAR_IO),
        (good + b"\0", 0xFE, USER_IO),
        (good[:-1], 0xFE, USER_IO),
        (_with_inner(client, b"\1\2\3"), 0xFE, USER_IO),
        (_with_inner(client, inner + b"\0\0"), 0xFD, USER_IO),
        (_with_inner(client, foreign + crc(foreign)), 0x20, USER_IO),
    ):
        ((where, raw),) = client.raw(USER_IO, frame)
        assert where == uuid
        assert (read_clear(raw) if where == CLEAR_IO else opened(client.key, raw)) == error(code, 0)
    assert client.unit.log == []


def test_a_nonce_opens_one_command_once() -> None:
    client = Client()
    nonce = client.nonce()
    assert client.say(0x14, nonce)[0][0] == CONFIG
    assert client.say(0x14, nonce) == [error(BAD_NONCE, 0x14)]


def test_only_the_last_nonce_counts_and_a_wrong_one_uses_it_up() -> None:
    client = Client()
    first, last = client.nonce(), client.nonce()
    assert client.say(0x14, first) == [error(BAD_NONCE, 0x14)]
    assert client.say(0x14, last) == [error(BAD_NONCE, 0x14)]


def test_a_nonce_does_not_survive_the_connection() -> None:
    client = Client()
    nonce = client.nonce()
    client.radio.disconnected()
    client.connect()
    assert client.say(0x14, nonce) == [error(BAD_NONCE, 0x14)]


def test_length_comes_before_nonce_before_pin_before_parameters() -> None:
    client = Client()
    bad_code = struct.pack("<I20sB", 123456, b"x", 0) + NO_LIMITS
    nonce = client.nonce()
    assert client.say(0x41, bad_code[:-1] + bytes(32) + b"\0\0") == [error(0xFE, 0x41)]
    assert client.say(0x41, bad_code + bytes(32) + b"\0\0") == [error(BAD_NONCE, 0x41)]
    assert client.say(0x41, bad_code + nonce + b"\0\0") == [error(BAD_NONCE, 0x41)]
    nonce = client.nonce()
    assert client.say(0x41, bad_code + nonce + b"\0\0") == [error(BAD_PIN, 0x41)]
    assert client.say(0x41, bad_code + nonce + struct.pack("<H", LOCK_PIN)) == [error(BAD_NONCE, 0x41)]
    assert client.order(0x41, bad_code) == [error(BAD_PARAMETER, 0x41)]


TOTALS = {
    0x20: 34, 0x19: 36, 0x21: 41, 0x34: 35, 0x09: 38, 0x0B: 120, 0x25: 92, 0x08: 38, 0x43: 38, 0x41: 78, 0x46: 81,
    0x47: 36, 0x3C: 34, 0x39: 38, 0x3F: 40, 0x3B: 35, 0x14: 32, 0x13: 89, 0x31: 42, 0x0D: 38, 0x98: 34,
}  # fmt: skip
"""Section 9: what follows the command code on generations 1 to 4."""


@pytest.mark.parametrize("code", sorted(TOTALS))
@pytest.mark.parametrize("profile", ["nuki", "nuki-ultra"])
def test_every_command_has_the_length_that_the_document_gives(profile: str, code: int) -> None:
    """A body of the right length gets as far as the nonce; one byte more or less does not."""
    client = Client(profile)
    total = TOTALS[code]
    if profile == "nuki-ultra":
        total += {0x14: 0, 0x0D: 0, 0x19: 4}.get(code, 2)
    assert client.say(code, bytes(total)) == [error(BAD_NONCE, code)]
    for other in (total - 1, total + 1):
        assert client.say(code, bytes(other)) == [error(0xFE, code)]


@pytest.mark.parametrize("code", [0x0002, 0x0029, 0x0048, 0x0057, 0x0089, 0x0110, 0xFFFF])
def test_undocumented_commands_are_unknown(code: int) -> None:
    client = Client()
    assert client.say(code, bytes(40)) == [error(0xFF, code)]
    assert client.say(REQUEST, struct.pack("<H", code)) == [error(0xFF, 1)]


def test_a_request_without_a_command_is_too_short() -> None:
    assert Client().say(REQUEST, b"\x04") == [error(0xFE, 1)]


def test_a_disabled_authorisation_may_do_nothing() -> None:
    client = Client()
    client.unit.flash.users[client.number].enabled = False
    assert client.say(REQUEST, b"\x04\0") == [error(DISABLED, 1)]


def test_an_old_lock_may_know_neither_keypad_nor_time_control_nor_advanced_settings() -> None:
    client = Client("nuki-1", old=1)
    for code, size in ((0x43, 38), (0x41, 78), (0x3C, 34), (0x36, 32), (0x98, 34)):
        assert client.say(code, bytes(size)) == [error(0xFF, code)]
    assert len(client.config()) == 74
    assert client.unit.flash.codes == {}


# ---- the PIN ---------------------------------------------------------------------------------------------------------


def test_a_right_pin_is_confirmed_and_a_wrong_one_refused() -> None:
    client = Client()
    assert client.order(0x20) == [COMPLETE]
    assert client.order(0x20, pin=1) == [error(BAD_PIN, 0x20)]
    assert client.order(0x20) == [COMPLETE]


def test_too_many_wrong_pins_lock_everybody_out_for_a_while() -> None:
    client = Client(pin_tries=2, lockout_s=60, idle_s=0)
    assert [client.order(0x20, pin=n)[0][1][0] for n in (1, 2)] == [BAD_PIN, BAD_PIN]
    assert client.order(0x20) == [error(TOO_MANY_PINS, 0x20)]
    assert client.config(), "what needs no PIN goes on working"
    client.now_s += 59
    assert client.order(0x20) == [error(TOO_MANY_PINS, 0x20)]
    client.now_s += 1
    assert client.order(0x20) == [COMPLETE]


def test_a_right_pin_in_between_starts_the_count_anew() -> None:
    client = Client(pin_tries=2)
    assert [client.order(0x20, pin=pin)[0][0] for pin in (1, -1, 1, -1)] == [ERROR, STATUS, ERROR, STATUS]


def test_without_a_limit_nobody_is_locked_out() -> None:
    client = Client(pin_tries=0)
    assert {client.order(0x20, pin=1)[0][1][0] for _ in range(10)} == {BAD_PIN}


@pytest.mark.parametrize(
    ("profile", "new", "taken"),
    [
        ("nuki", 1234, True), ("nuki", 0, True), ("nuki", 10000, False),
        ("nuki-ultra", 123456, True), ("nuki-ultra", 99999, False), ("nuki-ultra", 1000000, False),
    ],
)  # fmt: skip
def test_a_new_pin_has_the_digits_of_its_generation(profile: str, new: int, taken: bool) -> None:
    client = Client(profile)
    said = client.order(0x19, new.to_bytes(client.pin_bytes, "little"))
    assert said == ([COMPLETE] if taken else [error(BAD_PARAMETER, 0x19)])
    assert client.unit.credential["security_pin"] == (new if taken else client.pin)


# ---- states, configuration, clock ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "states", "config", "advanced"),
    [
        ("nuki-1", 15, 74, 28), ("nuki-2", 21, 76, 31), ("nuki-3", 21, 77, 31), ("nuki-4", 27, 78, 33),
        ("nuki-ultra", 27, 79, 33), ("nuki", 21, 77, 31), ("nuki-opener", 19, 73, 26),
    ],
)  # fmt: skip
def test_generations_differ_in_the_length_of_what_they_tell(
    profile: str, states: int, config: int, advanced: int
) -> None:
    client = Client(profile)
    assert (len(client.ask(STATES)), len(client.config()), len(client.advanced())) == (states, config, advanced)


def test_lengths_can_be_chosen() -> None:
    client = Client(states_bytes=18, config_bytes=75, advanced_bytes=19)
    assert (len(client.ask(STATES)), len(client.config()), len(client.advanced())) == (18, 75, 19)


def test_states_tell_mode_clock_and_count() -> None:
    client = Client("nuki-4")
    payload = client.ask(STATES)
    assert payload[:2] == b"\x02\x01"
    assert payload[3:10] == encode_date(NOW)
    assert payload[10:12] == struct.pack("<h", 120)
    assert (payload[12] >> 2) * 2 == 84
    assert payload[20] & 1, "a keypad is there"
    assert Client("nuki", "empty", pairing=1).ask(STATES)[0] == 1


def test_the_battery_report_has_its_length() -> None:
    assert len(Client().ask(BATTERY)) == 17


def test_the_configuration_stands_where_the_document_puts_it() -> None:
    client = Client("nuki-ultra")
    payload = client.config()
    config = client.unit.flash.config
    assert payload[:4] == struct.pack("<I", int(client.unit.serial, 16))
    assert payload[4:36].rstrip(b"\0").decode() == "Eingang Süd 门"
    assert struct.unpack("<ff", payload[36:44]) == (config.latitude, config.longitude)
    assert list(payload[44:49]) == [1, 0, 0, 0, 1]
    assert payload[49:56] == encode_date(NOW)
    assert struct.unpack("<hB", payload[56:59]) == (120, 0)
    assert list(payload[59:66]) == [1, 4, 3, 0, 1, 2, 0]
    assert payload[66:69] == bytes([5, 4, 6])
    assert struct.unpack("<H", payload[72:74]) == (38,)
    assert payload[74] == 5
    assert payload[76] == 1, "a Keypad 2"


def set_config(payload: bytes, **changes: Any) -> bytes:
    """Build Set Config from a Config of at least 74 bytes, by the two columns of section 9.5."""
    body = bytearray(payload[4:49] + payload[56:59] + payload[60:65] + payload[72:74])
    assert len(body) == 55
    at = {"auto_unlatch": 40, "pairing": 41, "brightness": 44, "advertising": 52, "dst": 47, "fob": 48}
    for name, value in changes.items():
        if name == "name":
            body[:32] = value.ljust(32, b"\0")
        elif name == "zone":
            body[53:55] = struct.pack("<H", value)
        elif name == "latitude":
            body[32:36] = struct.pack("<f", value)
        else:
            body[at[name]] = value
    return bytes(body)


def test_a_configuration_that_was_set_is_read_back() -> None:
    client = Client(preset="empty")
    theirs = Client(preset="full").config()
    before = client.update_count()
    assert client.order(0x13, set_config(theirs)) == [COMPLETE]
    assert set_config(client.config()) == set_config(theirs)
    assert client.update_count() == before + 1
    assert client.config()[:4] != theirs[:4]


@pytest.mark.parametrize(
    "changes",
    [
        {"brightness": 6}, {"pairing": 2}, {"advertising": 4}, {"dst": 2}, {"fob": 5}, {"zone": 46},
        {"latitude": float("nan")}, {"latitude": 91.0},
    ],
)  # fmt: skip
def test_an_impossible_configuration_is_refused_and_changes_nothing(changes: dict[str, Any]) -> None:
    client = Client()
    before = client.unit.image()
    assert client.order(0x13, set_config(client.config(), **changes)) == [error(BAD_PARAMETER, 0x13)]
    assert client.unit.image() == before


def test_no_time_zone_is_one_too() -> None:
    client = Client()
    assert client.order(0x13, set_config(client.config(), zone=0xFFFF)) == [COMPLETE]


@pytest.mark.parametrize("profile", ["nuki-1", "nuki", "nuki-ultra"])
def test_advanced_settings_are_set_without_the_degrees_and_read_back(profile: str) -> None:
    client = Client(profile, "empty")
    theirs = Client(profile, "full").advanced()
    assert client.order(0x35, theirs[2:]) == [COMPLETE]
    assert client.advanced()[2:] == theirs[2:]
    assert client.advanced()[:2] == b"\0\0"


def test_advanced_settings_of_another_length_are_refused() -> None:
    client = Client("nuki-ultra")
    longer = client.advanced()[2:]
    assert Client("nuki").order(0x35, longer) == [error(0xFE, 0x35)]
    wrong = longer[:9] + b"\x07" + longer[10:]
    assert client.order(0x35, wrong) == [error(BAD_PARAMETER, 0x35)]


def test_an_opener_has_its_own_configuration() -> None:
    client = Client("nuki-opener")
    payload = client.config()
    assert payload[4:36].rstrip(b"\0").decode() == "Eingang Süd 门"
    assert payload[48:55] == encode_date(NOW)
    body = payload[4:48] + payload[55:58] + payload[59:64] + payload[70:72]
    assert client.order(0x13, body) == [COMPLETE]
    assert client.config() == payload


def test_the_clock_runs_on_the_callers_time() -> None:
    client = Client(clock_off=-86400)
    client.now_s += 61.5
    assert client.ask(STATES)[3:10] == encode_date(NOW - timedelta(days=1) + timedelta(seconds=61))


def test_the_clock_can_be_set_and_that_is_no_change_of_the_configuration() -> None:
    client = Client(clock_off=9999)
    before = client.update_count()
    assert client.order(0x21, encode_date(moment(2027, 1, 2, 3, 4, 5))) == [COMPLETE]
    client.now_s += 10
    assert client.ask(STATES)[3:10] == encode_date(moment(2027, 1, 2, 3, 4, 15))
    assert client.update_count() == before


def test_an_impossible_date_is_refused() -> None:
    assert Client().order(0x21, bytes.fromhex("EA070D01000000")) == [error(BAD_PARAMETER, 0x21)]


def test_without_an_option_the_clock_is_the_computers() -> None:
    client = Client(utc="now")
    year, *rest = struct.unpack("<H5B", client.ask(STATES)[3:10])
    told = datetime(year, *rest, tzinfo=UTC)
    assert abs((told - datetime.now(UTC)).total_seconds()) < 60


def test_a_reboot_ends_the_link() -> None:
    client = Client()
    nonce = client.nonce()
    emitted = client.write(USER_IO, secret(client.key, client.number, 0x1D, nonce + struct.pack("<H", client.pin)))
    assert [each.hangup for each in emitted] == [False, True]
    assert client.write(USER_IO, b"x") == []


def test_lock_actions_are_accepted_shown_and_logged() -> None:
    client = Client()
    said = client.order(0x0D, struct.pack("<BIB", 1, 77, 0), pin=None)
    assert [code for code, _ in said] == [STATUS, STATES, STATES, STATUS]
    assert (said[0], said[-1]) == (ACCEPTED, COMPLETE)
    assert said[-2][1][1] == 3
    assert client.unit.actions == [1]
    assert client.unit.flash.log[-1].kind == 2
    assert client.order(0x0100, b"\x02", pin=None)[-1] == COMPLETE
    assert client.order(0x0D, struct.pack("<BIB20s", 7, 77, 0, b"x"), pin=None) == [error(BAD_PARAMETER, 0x0D)]


def test_a_calibration_is_accepted_and_done() -> None:
    assert Client().order(0x1A) == [ACCEPTED, COMPLETE]


# ---- authorisations --------------------------------------------------------------------------------------------------


def test_the_callers_own_authorisation_comes_first() -> None:
    client = Client()
    count, entries = client.users()
    assert count == len(entries) == 20
    assert int.from_bytes(entries[0][:4], "little") == client.number
    assert {len(entry) for entry in entries} == {56, 75}
    assert all((len(entry) == 75) == entry[55] for entry in entries)
    assert {entry[4] for entry in entries} == {0, 1, 2, 3}
    assert client.key not in b"".join(entries)


def test_a_page_of_authorisations_comes_without_a_count() -> None:
    client = Client()
    whole = client.users()[1]
    said = client.order(0x09, struct.pack("<HH", 5, 3))
    assert said == [*((0x0A, entry) for entry in whole[5:8]), COMPLETE]
    for user_count, counts in (("always", [20, 20]), ("never", [None, None])):
        other = Client(user_count=user_count)
        heads = [other.order(0x09, struct.pack("<HH", offset, 2))[0] for offset in (0, 5)]
        assert [int.from_bytes(body, "little") if code == 0x27 else None for code, body in heads] == counts


def invitation(name: bytes = b"Guest", kind: int = 0, remote: int = 1, limits: bytes = b"") -> bytes:
    """Build Authorization Data (Invite)."""
    key = hashlib.sha256(name).digest()
    return struct.pack("<32sB32sBB", name, kind, key, remote, bool(limits)) + (limits or NO_LIMITS)


def test_an_invited_guest_opens_a_session_with_the_key_that_was_chosen() -> None:
    client = Client()
    limits = limits_of(weekdays=0x40, start=(8, 0), end=(9, 30))
    ((code, payload),) = client.order(0x0B, invitation(limits=limits))
    assert (code, len(payload)) == (0x1F, 11)
    assert payload[4:] == encode_date(NOW)
    guest = client.unit.flash.users[int.from_bytes(payload[:4], "little")]
    assert (guest.name, guest.limits, guest.enabled) == (b"Guest", limits, True)
    client.number, client.key = guest.authorization_id, hashlib.sha256(b"Guest").digest()
    assert len(client.users()[1]) == 21


def test_a_bad_invitation_is_refused() -> None:
    client = Client()
    for body in (invitation(kind=4), invitation(remote=2), invitation(limits=limits_of(start=(24, 0)))):
        assert client.order(0x0B, body) == [error(BAD_PARAMETER, 0x0B)]
    assert Client(user_room=20).order(0x0B, invitation()) == [error(FULL, 0x0B)]


def test_an_authorisation_is_updated_as_a_whole() -> None:
    client = Client()
    number = next(user.authorization_id for user in client.unit.flash.users.values() if user.limits)
    body = struct.pack("<I32sBBB", number, "Новый".encode(), 0, 0, 0) + limits_of(weekdays=1)
    before = client.update_count()
    assert client.order(0x25, body) == [COMPLETE]
    user = client.unit.flash.users[number]
    assert (user.name, user.enabled, user.remote, user.limits) == ("Новый".encode(), False, False, b"")
    assert client.update_count() == before + 1
    for wrong in (body[:36] + b"\2\0\0", body[:36] + b"\0\2\0", body[:36] + b"\0\0\2"):
        assert client.order(0x25, wrong + NO_LIMITS) == [error(BAD_PARAMETER, 0x25)]


def test_unknown_authorisations_cannot_be_updated_or_removed() -> None:
    client = Client()
    body = struct.pack("<I32sBBB", 9999, b"x", 1, 1, 0) + NO_LIMITS
    assert client.order(0x25, body) == [error(0x24, 0x25)]
    assert client.order(0x08, struct.pack("<I", 9999)) == [error(0x24, 0x08)]


def test_who_was_removed_is_unknown_and_its_number_is_never_used_again() -> None:
    client = Client()
    last = max(client.unit.flash.users)
    assert client.order(0x08, struct.pack("<I", last)) == [COMPLETE]
    ((_, payload),) = client.order(0x0B, invitation())
    assert int.from_bytes(payload[:4], "little") > last
    assert client.order(0x08, struct.pack("<I", client.number)) == [COMPLETE]
    assert client.say(REQUEST, b"\x04\0") == [error(0x20, 0)]
    assert client.unit.credential == {"security_pin": LOCK_PIN}


# ---- keypad codes ----------------------------------------------------------------------------------------------------


def test_all_keypad_codes_are_told_with_their_digits() -> None:
    client = Client()
    count, entries = client.codes()
    assert count == len(entries) == 100
    digits = [struct.unpack_from("<I", entry, 2)[0] for entry in entries]
    assert len(set(digits)) == 100
    assert all(len(str(code)) == 6 and "0" not in str(code) and not str(code).startswith("12") for code in digits)
    assert {len(entry) for entry in entries} == {44, 63}
    assert all((len(entry) == 63) == entry[43] for entry in entries)


def test_codes_are_told_in_pages() -> None:
    client = Client()
    whole = client.codes()[1]
    paged = [
        entry for at in range(0, 100, 30) for entry in client.listed(0x43, struct.pack("<HH", at, 30), 0x44, 0x45)[1]
    ]
    assert paged == whole


def test_the_tail_may_stand_in_every_entry() -> None:
    client = Client(tail="always")
    assert {len(entry) for entry in client.codes()[1]} == {63}
    assert {len(entry) for entry in client.users()[1]} == {75}


@pytest.mark.parametrize(("counts", "number"), [("total", 100), ("sent", 10)])
def test_a_count_is_that_of_the_whole_list_or_of_what_comes(counts: str, number: int) -> None:
    client = Client(counts=counts)
    assert client.listed(0x43, struct.pack("<HH", 0, 10), 0x44, 0x45)[0] == number


def test_an_added_code_gets_a_new_number_and_is_enabled() -> None:
    client = Client()
    limits = limits_of(moment(2026, 1, 1), moment(2027, 1, 1), 0x1F, (7, 30), (18, 0))
    before, last = client.update_count(), max(client.unit.flash.codes)
    ((code, payload),) = client.add_code(987654, "Александра".encode(), limits)
    assert (code, len(payload)) == (0x42, 9)
    number = int.from_bytes(payload[:2], "little")
    assert number > last
    assert payload[2:] == encode_date(NOW)
    entry = client.codes()[1][-1]
    assert entry == (
        struct.pack("<HI20sB", number, 987654, "Александра".encode(), 1)
        + encode_date(NOW) + bytes(7) + struct.pack("<HB", 0, 1) + limits
    )  # fmt: skip
    assert client.update_count() == before + 1


@pytest.mark.parametrize("code", [123456, 129999, 99999, 1000000, 345670, 305678, 0])
def test_a_code_against_the_rules_is_refused(code: int) -> None:
    client = Client(preset="empty")
    assert client.add_code(code) == [error(BAD_PARAMETER, 0x41)]
    assert client.unit.flash.codes == {}
    assert client.update_count() == 0


@pytest.mark.parametrize("code", [111111, 999999, 345678, 876543])
def test_weak_codes_are_refused_where_that_was_asked_for(code: int) -> None:
    assert Client(preset="empty").add_code(code)[0][0] == 0x42
    assert Client(preset="empty", weak=1).add_code(code) == [error(BAD_PARAMETER, 0x41)]


@pytest.mark.parametrize(
    "limits",
    [
        limits_of(weekdays=0x80),
        limits_of(start=(24, 0)),
        limits_of(end=(23, 60)),
        bytes([0xEA, 7, 13, 1]) + bytes(15),
    ],
)
def test_impossible_limits_are_refused(limits: bytes) -> None:
    assert Client().add_code(987654, limits=limits) == [error(BAD_PARAMETER, 0x41)]


def test_a_window_that_has_ended_is_taken_unless_told_otherwise() -> None:
    ended = limits_of(until=NOW - timedelta(seconds=1))
    assert Client(preset="empty").add_code(987654, limits=ended)[0][0] == 0x42
    client = Client(preset="empty", refuse_ended=1)
    assert client.add_code(987654, limits=ended) == [error(BAD_PARAMETER, 0x41)]
    assert client.add_code(987654, limits=limits_of(until=NOW + timedelta(seconds=60)))[0][0] == 0x42


def test_a_code_in_use_is_refused_when_added_or_updated() -> None:
    client = Client()
    first, second = list(client.unit.flash.codes.values())[:2]
    assert client.add_code(first.code) == [error(TAKEN, 0x41)]
    assert client.update_code(second.code_id, first.code, b"x", 1) == [error(TAKEN, 0x46)]
    assert client.update_code(first.code_id, first.code, b"same", 1) == [COMPLETE]


@pytest.mark.parametrize(("profile", "room"), [("nuki-1", 100), ("nuki-2", 100), ("nuki-3", 200), ("nuki-ultra", 200)])
def test_each_generation_has_its_room_for_codes(profile: str, room: int) -> None:
    client = Client(profile, "empty", codes=room - 1)
    assert client.add_code(_free(client))[0][0] == 0x42
    assert client.add_code(_free(client)) == [error(FULL, 0x41)]


def _free(client: Client) -> int:
    used = {code.code for code in client.unit.flash.codes.values()}
    return next(code for code in (346789, 346788, 346787) if code not in used)


def test_a_code_is_updated_as_a_whole() -> None:
    client = Client()
    known = next(code for code in client.unit.flash.codes.values() if code.limits)
    created = known.created
    assert client.update_code(known.code_id, 346789, b"", 0) == [COMPLETE]
    assert (known.code, known.name, known.enabled, known.limits, known.created) == (346789, b"", False, b"", created)
    body = struct.pack("<HI20sBB", known.code_id, 346789, b"", 2, 0) + NO_LIMITS
    assert client.order(0x46, body) == [error(BAD_PARAMETER, 0x46)]
    assert client.update_code(9999, 346788, b"", 1) == [error(BAD_PARAMETER, 0x46)]


def test_a_removed_code_takes_its_fingers_along() -> None:
    client = Client()
    finger = client.unit.flash.fingerprints[0]
    assert client.order(0x47, struct.pack("<H", finger.code_id)) == [COMPLETE]
    assert finger.code_id not in client.unit.flash.codes
    assert finger not in client.unit.flash.fingerprints
    assert len(client.unit.flash.fingerprints) == 4
    assert client.order(0x47, struct.pack("<H", finger.code_id)) == [error(BAD_PARAMETER, 0x47)]


def test_numbers_of_codes_run_out_one_day() -> None:
    client = Client()
    client.unit.flash.next_code_id = 0x10000
    assert client.add_code(987654) == [error(FULL, 0x41)]


def test_fingers_are_told_as_references() -> None:
    client = Client()
    said = client.order(0x98)
    assert said[-1] == COMPLETE
    assert [code for code, _ in said[:-1]] == [0x99] * 5
    assert all(
        len(body) == 54 and int.from_bytes(body[32:34], "little") in client.unit.flash.codes for _, body in said[:-1]
    )
    assert Client(keypad="1").order(0x98) == [error(0xFF, 0x98)]


@pytest.mark.parametrize(
    ("keypad", "flags", "codes"), [("none", (0, 0), 0), ("1", (1, 0), 100), ("2", (0, 1), 100), ("both", (1, 1), 100)]
)
def test_which_keypads_there_are_is_told(keypad: str, flags: tuple[int, int], codes: int) -> None:
    client = Client(keypad=keypad)
    payload = client.config()
    assert (payload[65], payload[76]) == flags
    assert client.codes()[0] == codes


# ---- time control ----------------------------------------------------------------------------------------------------


def test_timers_are_listed_added_updated_and_removed() -> None:
    client = Client()
    count, entries = client.timers()
    assert count == len(entries) == 10
    assert {entry[1] for entry in entries} == {0, 1}
    before = client.update_count()
    ((code, number),) = client.order(0x39, bytes([0x7C, 6, 30, 2]))
    assert code == 0x3A
    assert client.timers()[1][-1] == number + bytes([1, 0x7C, 6, 30, 2])
    assert client.order(0x3F, number + bytes([0, 0x40, 23, 59, 1])) == [COMPLETE]
    assert client.timers()[1][-1] == number + bytes([0, 0x40, 23, 59, 1])
    assert client.order(0x3B, number) == [COMPLETE]
    assert client.timers() == (count, entries)
    assert client.update_count() == before + 3


@pytest.mark.parametrize("body", [[0x80, 0, 0, 1], [0, 24, 0, 1], [0, 0, 60, 1], [0, 0, 0, 0], [0, 0, 0, 7]])
def test_an_impossible_timer_is_refused(body: list[int]) -> None:
    client = Client()
    assert client.order(0x39, bytes(body)) == [error(BAD_PARAMETER, 0x39)]
    assert client.order(0x3F, bytes([0, 1, *body])) == [error(BAD_PARAMETER, 0x3F)]
    assert len(client.unit.flash.timers) == 10


def test_unknown_timers_and_full_tables_are_refused() -> None:
    client = Client(timer_room=10)
    assert client.order(0x3F, bytes([99, 1, 0, 0, 0, 1])) == [error(BAD_PARAMETER, 0x3F)]
    assert client.order(0x3F, bytes([0, 2, 0, 0, 0, 1])) == [error(BAD_PARAMETER, 0x3F)]
    assert client.order(0x3B, b"\x63") == [error(BAD_PARAMETER, 0x3B)]
    assert client.order(0x39, bytes([0, 0, 0, 1])) == [error(FULL, 0x39)]


# ---- log -------------------------------------------------------------------------------------------------------------


def log_of(client: Client, start: int, count: int, *, down: bool = True, totals: bool = False) -> list[Said]:
    """Ask for the log."""
    return client.order(0x31, struct.pack("<IHBB", start, count, down, totals))


def test_the_log_is_read_from_either_end_and_by_index() -> None:
    client = Client()
    said = log_of(client, 0, 0xFFFF)
    assert said[-1] == COMPLETE
    indexes = [int.from_bytes(body[:4], "little") for _, body in said[:-1]]
    assert indexes == list(range(1100, 1040, -1))
    assert [int.from_bytes(body[:4], "little") for _, body in log_of(client, 1100, 2)[:-1]] == [1099, 1098]
    assert [int.from_bytes(body[:4], "little") for _, body in log_of(client, 0, 2, down=False)[:-1]] == [1041, 1042]
    assert [int.from_bytes(body[:4], "little") for _, body in log_of(client, 1042, 2, down=False)[:-1]] == [1043, 1044]
    assert log_of(client, 1041, 5) == [COMPLETE]


@pytest.mark.parametrize(("profile", "size"), [("nuki-2", 4), ("nuki", 5), ("nuki-ultra", 5)])
def test_the_log_tells_how_long_it_is(profile: str, size: int) -> None:
    client = Client(profile)
    code, body = log_of(client, 0, 1, totals=True)[0]
    assert (code, body) == (0x33, bytes([1, 60, 0, 1, 1])[:size])


def test_the_log_has_lines_of_every_type() -> None:
    client = Client("nuki-ultra")
    lines = [body for _, body in log_of(client, 0, 0xFFFF)[:-1]]
    sizes = {1: 1, 2: 4, 3: 4, 4: 4, 5: 5, 6: 1, 7: 1, 10: 3}
    assert {body[47] for body in lines} == set(sizes)
    assert all(len(body) == 48 + sizes[body[47]] for body in lines)
    (keypad, *_) = [body for body in lines if body[47] == 5]
    with pytest.raises(UnicodeDecodeError):
        keypad[15:47].decode()  # rubbish behind the terminator
    padded = [body for _, body in log_of(Client("nuki-3"), 0, 0xFFFF)[:-1]]
    assert {len(body) for body in padded} == {53}


def test_a_strange_request_for_the_log_is_refused() -> None:
    client = Client()
    assert client.order(0x31, struct.pack("<IHBB", 0, 1, 2, 0)) == [error(BAD_PARAMETER, 0x31)]


def test_logging_can_be_switched() -> None:
    client = Client()
    assert client.order(0x34, b"\0") == [COMPLETE]
    assert client.unit.flash.log[-1].data == b"\0"
    client.order(0x0D, struct.pack("<BIB", 1, 77, 0), pin=None)
    assert client.unit.flash.log[-1].kind == 1
    assert client.order(0x34, b"\2") == [error(BAD_PARAMETER, 0x34)]


# ---- what the reference leaves open ----------------------------------------------------------------------------------


def test_lists_may_end_without_a_status() -> None:
    client = Client(status_after_list=0)
    for code, body in ((0x43, bytes(2) + b"\xff\xff"), (0x09, bytes(2) + b"\xff\xff"), (0x3C, b""), (0x98, b"")):
        assert client.order(code, body)[-1][0] != STATUS
    assert log_of(client, 0, 1)[-1] == COMPLETE
    assert log_of(Client(status_after_list="never"), 0, 1)[-1][0] == 0x32


def test_a_status_may_follow_a_new_number() -> None:
    client = Client(status_after_id=1)
    assert [code for code, _ in client.add_code(987654)] == [0x42, STATUS]
    assert [code for code, _ in client.order(0x39, bytes([0, 0, 0, 1]))] == [0x3A, STATUS]


def test_slow_changes_are_accepted_first() -> None:
    client = Client(slow=1500)
    nonce = client.nonce()
    body = set_config_body(client) + nonce + struct.pack("<H", client.pin)
    emitted = client.write(USER_IO, secret(client.key, client.number, 0x13, body))
    assert [opened(client.key, each.data) for each in emitted] == [ACCEPTED, COMPLETE]
    assert emitted[1].at_s - emitted[0].at_s == 1.5


def set_config_body(client: Client) -> bytes:
    """Build a Set Config that changes nothing, without talking to the lock."""
    other = Client(client.unit.profile.name, client.unit.preset)
    return set_config(other.config())


def test_messages_may_come_with_pauses() -> None:
    client = Client(pace=100, codes=3)
    emitted = client.write(
        USER_IO,
        secret(client.key, client.number, 0x43, bytes(2) + b"\xff\xff" + client.nonce() + struct.pack("<H", 4711)),
    )
    assert [round(each.at_s - emitted[0].at_s, 3) for each in emitted] == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_states_may_come_unasked() -> None:
    client = Client(unasked=2)
    client.nonce()
    assert [code for code, _ in client.say(REQUEST, b"\x04\0")] == [STATES, CHALLENGE]


def test_another_client_may_change_something_in_between() -> None:
    client = Client(changed=3)
    counts = [client.update_count() for _ in range(5)]
    assert counts == [0, 0, 1, 1, 1]
    client = Client(changing=2)
    assert [client.update_count() for _ in range(5)] == [0, 1, 1, 2, 2]


def test_the_update_count_starts_again_after_255() -> None:
    client = Client()
    client.unit.flash.update_count = 255
    client.unit.another_client_changes()
    assert client.update_count() == 0


def test_the_checksum_may_be_left_out_of_encrypted_answers() -> None:
    client = Client(crc0=1, pairing=1)
    ((_, raw),) = client.raw(USER_IO, secret(client.key, client.number, REQUEST, b"\x04\0"))
    assert opened(client.key, raw, crc0=True)[0] == CHALLENGE
    ((_, raw),) = client.raw(PAIR_IO, clear(0x01, b"\x03\0"))
    assert read_clear(raw)[0] == 0x03


# ---- faults ----------------------------------------------------------------------------------------------------------


def test_an_answer_may_carry_a_wrong_checksum() -> None:
    client = Client(bad_crc=2)
    client.nonce()
    (emitted,) = client.write(USER_IO, secret(client.key, client.number, REQUEST, b"\x04\0"))
    with pytest.raises(AssertionError):
        opened(client.key, emitted.data)
    client.nonce()
    client = Client(bad_crc=1, pairing=1)
    (emitted,) = client.write(PAIR_IO, clear(0x01, b"\x03\0"))
    assert crc(emitted.data[:-2]) != emitted.data[-2:]


@pytest.mark.parametrize(("lost", "expected"), [(0, False), (1, True)])
def test_the_link_may_drop_after_a_command_was_obeyed_and_before_its_answer(lost: int, expected: bool) -> None:
    client = Client(drop_before=2, lost=lost)
    nonce = client.nonce()
    body = struct.pack("<I20sB", 987654, b"x", 0) + NO_LIMITS + nonce + struct.pack("<H", client.pin)
    (emitted,) = client.write(USER_IO, secret(client.key, client.number, 0x41, body))
    assert (emitted.data, emitted.hangup, emitted.lost) == (b"", True, expected)
    assert 987654 in {code.code for code in client.unit.flash.codes.values()}
    client.radio.disconnected()
    client.connect()
    assert client.add_code(987654) == [error(TAKEN, 0x41)]


def test_the_link_may_drop_in_the_middle_of_a_list_once() -> None:
    client = Client(drop_entries=30)
    body = bytes(2) + b"\xff\xff" + client.nonce() + struct.pack("<H", client.pin)
    emitted = client.write(USER_IO, secret(client.key, client.number, 0x43, body))
    said = [opened(client.key, raw)[0] for _, raw in assembled(emitted)]
    assert said == [0x44] + [0x45] * 30
    assert emitted[-1].hangup
    client.radio.disconnected()
    client.connect()
    assert len(client.codes()[1]) == 100


def test_an_entry_may_come_twice_or_not_at_all_once() -> None:
    whole = Client().codes()[1]
    client = Client(double=7)
    assert client.codes()[1] == [*whole[:7], *whole[6:]]
    assert client.codes()[1] == whole
    client = Client(missing=7)
    assert client.codes()[1] == [*whole[:6], *whole[7:]]
    assert client.codes()[1] == whole


def test_a_count_may_be_too_large() -> None:
    client = Client(count_off=3)
    assert client.codes()[0] == 103
    assert client.users()[0] == 23
    assert client.timers()[0] == 13


def test_a_code_may_be_refused_whatever_it_is() -> None:
    client = Client(preset="empty", refuse_add=2)
    said = [client.add_code(code)[0][0] for code in (345671, 345672, 345672)]
    assert said == [0x42, ERROR, 0x42]


def test_a_code_may_lose_its_limits_without_a_word() -> None:
    client = Client(preset="empty", keeps_wrong=1)
    limits = limits_of(weekdays=1)
    client.add_code(345671, limits=limits)
    client.add_code(345672, limits=limits)
    assert [code.limits for code in client.unit.flash.codes.values()] == [b"", limits]


@pytest.mark.parametrize(
    ("options", "answers"),
    [
        ({"lose": "in:frame:2"}, [86, 0, 86]),
        ({"lose": "out:frame:2"}, [86, 0, 86]),
        ({"flip": "in:frame:2"}, [86, 7, 86]),
        ({"lose": "in:byte:60"}, [86, 7, 86]),
    ],
)
def test_the_radio_may_lose_and_damage(options: dict[str, str], answers: list[int]) -> None:
    client = Client(**options)
    request = secret(client.key, client.number, REQUEST, b"\x04\0")
    assert [sum(len(each.data) for each in client.write(USER_IO, request)) for _ in range(3)] == answers


@pytest.mark.parametrize("option", ["cut", "reboot"])
@pytest.mark.parametrize("where", ["in:frame:2", "in:byte:57", "out:frame:2", "out:byte:100"])
def test_the_radio_may_break_off(option: str, where: str) -> None:
    client = Client(**{option: where})
    request = secret(client.key, client.number, REQUEST, b"\x04\0")
    client.write(USER_IO, request)
    emitted = client.write(USER_IO, request)
    assert emitted[-1].hangup
    assert emitted[-1].lost == (option == "reboot")
    assert client.write(USER_IO, request) == []
    client.radio.disconnected()
    client.connect()
    client.nonce()


def test_the_radio_may_be_late() -> None:
    for where in ("in:frame:1:2.5", "out:frame:1:2.5"):
        client = Client(delay=where)
        (emitted,) = client.write(USER_IO, secret(client.key, client.number, REQUEST, b"\x04\0"))
        assert emitted.at_s == 1002.5


@settings(max_examples=60, deadline=None)
@given(uuid=st.sampled_from([USER_IO, CLEAR_IO, PAIR_IO]), data=st.binary(max_size=200))
def test_any_bytes_get_an_error_or_nothing(uuid: str, data: bytes) -> None:
    client = garbled()
    assert {read_clear(raw)[0] for _, raw in client.raw(uuid, data)} <= {ERROR}


@settings(max_examples=60, deadline=None)
@given(code=st.integers(0, 0x110), payload=st.binary(max_size=130))
def test_any_payload_under_a_right_key_gets_an_answer(code: int, payload: bytes) -> None:
    assert garbled().say(code, payload)


@functools.cache
def garbled() -> Client:
    """Return one lock for all garbage."""
    return Client(preset="half", pairing=1, idle_s=0)


# ---- presets and options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_presets_fill_a_lock_as_they_say(profile: str) -> None:
    room = 100 if profile in ("nuki-1", "nuki-2") else 200
    fingers = profile not in ("nuki-1", "nuki-2", "nuki-opener")
    for preset, codes, timers, users, lines in (
        ("full", 100, 10, 20, 60), ("half", 50, 5, 10, 30), ("empty", 0, 0, 2, 3), ("fresh", 0, 0, 0, 0),
        ("huge", room, 20, 40, 200),
    ):  # fmt: skip
        flash = Client(profile, preset, connect=False).unit.flash
        assert (len(flash.codes), len(flash.timers), len(flash.users), len(flash.log)) == (codes, timers, users, lines)
        assert bool(flash.fingerprints) == (fingers and codes > 0)
        assert all(len(user.name) <= 32 for user in flash.users.values())
        assert all(len(code.name) <= 20 for code in flash.codes.values())
        assert {finger.code_id for finger in flash.fingerprints} <= set(flash.codes)


def test_the_full_lock_has_something_of_everything() -> None:
    flash = Client(connect=False).unit.flash
    names = [code.name.decode() for code in flash.codes.values()]
    assert {len(name.encode()) for name in names} >= {0, 20}
    assert any("а" <= letter <= "я" for name in names for letter in name)
    assert any("一" <= letter <= "鿿" for name in names for letter in name)
    dated = [code.limits for code in flash.codes.values() if code.limits]
    assert 30 <= len(dated) <= 70
    assert any(limits[:14] != bytes(14) for limits in dated)
    assert any(limits[14] for limits in dated)
    assert any(limits[15:] != bytes(4) for limits in dated)
    assert any(not code.enabled for code in flash.codes.values())
    assert list(flash.codes) != list(range(1, 101)), "numbers have holes"
    assert {user.id_type for user in flash.users.values()} == {0, 1, 2, 3}
    assert any(not user.enabled for user in flash.users.values())
    assert any(user.limits for user in flash.users.values())
    assert len([user for user in flash.users.values() if user.id_type == 1]) == 1
    plain = Client(preset="empty", connect=False).unit.flash
    for mine, factory in ((flash.config, plain.config), (flash.advanced, plain.advanced)):
        same = {name for name, value in vars(mine).items() if getattr(factory, name) == value}
        fixed = {"operating_mode", "has_keypad", "has_keypad_2", "homekit", "device_type", "capabilities"}
        assert same <= fixed | {"matter", "product_variant", "intercom"}


def test_the_amounts_are_options_within_the_room() -> None:
    flash = Client(codes=7, timers=2, authorisations=3, fingerprints=1, log=5, connect=False).unit.flash
    made = (flash.codes, flash.timers, flash.users, flash.fingerprints, flash.log)
    assert [len(things) for things in made] == [7, 2, 3, 1, 5]
    for options in ({"codes": 201}, {"authorisations": 201}, {"timers": 101}, {"codes": 5, "code_room": 4}):
        with pytest.raises(TargetError, match="fit"):
            Client(connect=False, **options)


def test_a_lock_of_our_own_alone_has_our_own_authorisation() -> None:
    client = Client(authorisations=1)
    assert client.number == 1
    assert len(client.users()[1]) == 1


def test_who_a_lock_is_can_be_chosen() -> None:
    client = Client(
        nuki_id="0badcafe", uuid="00112233445566778899aabbccddeeff", name="Köln 门", address="54:d2:72:aa:bb:cc",
        security_pin=1357, generation=2, firmware="2.9.1",
    )  # fmt: skip
    unit = client.unit
    assert (unit.serial, client.radio.address, client.radio.name) == ("0BADCAFE", "54:D2:72:AA:BB:CC", "Nuki_0BADCAFE")
    assert unit.credential["uuid"] == "00112233445566778899aabbccddeeff"
    payload = client.config()
    assert payload[4:36].rstrip(b"\0").decode() == "Köln 门"
    assert (len(payload), payload[66:69]) == (76, bytes([2, 9, 1]))
    assert client.order(0x20, pin=1357) == [COMPLETE]


@pytest.mark.parametrize("generation", range(1, 6))
def test_any_profile_can_be_another_generation(generation: int) -> None:
    client = Client("nuki", generation=generation)
    assert (client.pair_io == PAIR_IO_5) == (generation == 5)
    assert len(client.config()) == {1: 74, 2: 76, 3: 77, 4: 78, 5: 79}[generation]


def test_runs_repeat_and_seeds_differ() -> None:
    def run(**options: Any) -> list[bytes]:
        client = Client(**options)
        client.codes()
        return [each.data for each in client.heard]

    assert run() == run()
    assert run() != run(seed=2)
    assert Client(connect=False).unit.image() == Client(connect=False).unit.image()


def test_presets_and_seeds_are_different_locks() -> None:
    serials = [Client(preset=preset, connect=False).unit.serial for preset in presets_of("nuki")]
    serials += [Client(seed=2, connect=False).unit.serial]
    assert len(set(serials)) == 6
    assert all(len(serial) == 8 and int(serial, 16) < 2**31 for serial in serials)


def test_fresh_is_a_preset_of_locks_on_bluetooth_alone() -> None:
    assert "fresh" not in PRESETS
    with pytest.raises(TargetError, match="fresh"):
        open_unit(load_profile("r503"), "fresh")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("generation", "6"), ("security_pin", "12345"), ("utc", "yesterday"), ("clock_off", "1.5"),
        ("utc", "0001-01-01T00:00:00"), ("clock_off", "-999999999999"), ("address", "54:D2"), ("firmware", "x"),
        ("nuki_id", "12"), ("uuid", "zz"), ("name", "ж" * 17), ("max_mtu", "22"), ("pieces", "21"), ("tail", "never"),
        ("error_on", "203"), ("keypad", "3"), ("cut", "out"), ("colour", "red"), ("status_after_list", "2"),
    ],
)  # fmt: skip
def test_an_impossible_option_is_refused_by_its_name(name: str, value: str) -> None:
    options = {name: value, "clock_off": "-9"} if value.startswith("0001") else {name: value}
    with pytest.raises(TargetError) as caught:
        open_unit(load_profile("nuki"), "full", options)
    assert name in str(caught.value)


def test_every_option_is_read() -> None:
    """An option that nothing looks at would be listed in vain."""
    source = "".join(path.read_text("utf-8") for path in (ROOT / "lockmigrate" / "sim").glob("nuki*.py"))
    faults = {"cut", "lose", "delay", "flip", "reboot"}
    unread = [name for name in OPTIONS if name not in faults and source.count(f'"{name}"') < 2]
    assert unread == []


def test_a_stand_in_is_as_the_backup_says() -> None:
    profile = load_profile("nuki")
    facts = {"generation": 2, "firmware": "2.9.1", "config_bytes": 76, "advanced_bytes": 28, "code_room": 50}
    options = stand_in_options(profile, {**facts, "slots": 3, "users": None, "name": "x"})
    assert options == {name: str(value) for name, value in facts.items()}
    unit: Any = open_unit(profile, "empty", options)
    assert (unit.settings.generation, unit.settings.code_room, unit.settings.advanced_bytes) == (2, 50, 28)
    assert stand_in_options(profile, {"firmware": "?", "generation": "1-4", "slots": None}) == {}
    assert stand_in_options(profile, {"generation": "5"}) == {"generation": "5"}


# ---- memory ----------------------------------------------------------------------------------------------------------


def test_reading_a_lock_does_not_change_its_image() -> None:
    client = Client()
    before = client.unit.image()
    client.codes()
    client.users()
    client.config()
    assert client.unit.image() == before
    client.order(0x0D, struct.pack("<BIB", 2, 77, 0), pin=None)
    assert client.unit.image() == before
    client.add_code(987654)
    assert client.unit.image() != before


def test_a_state_file_keeps_everything(tmp_path: Path) -> None:
    state = tmp_path / "lock.json"
    client = Client("nuki-ultra", state=state, nuki_id="0badcafe", code_room=150)
    client.add_code(987654, "门".encode(), limits_of(weekdays=1))
    client.order(0x21, encode_date(moment(2030, 1, 1)))
    again = Client("nuki-ultra", "empty", state=state)
    assert again.unit.image() == client.unit.image()
    assert again.unit.flash == client.unit.flash
    assert again.unit.credential == client.unit.credential
    assert (again.unit.serial, again.unit.settings.code_room) == ("0BADCAFE", 150)
    assert again.codes()[1] == client.codes()[1]
    assert again.ask(STATES)[3:10] == encode_date(moment(2030, 1, 1))
    assert json.loads(state.read_text("utf-8"))["profile"] == "nuki-ultra"


def test_a_change_is_in_the_file_before_its_answer_leaves(tmp_path: Path) -> None:
    state = tmp_path / "lock.json"
    client = Client(state=state, drop_before=2)
    nonce = client.nonce()
    body = struct.pack("<I20sB", 987654, b"x", 0) + NO_LIMITS + nonce + struct.pack("<H", client.pin)
    client.write(USER_IO, secret(client.key, client.number, 0x41, body))
    again = Client(state=state)
    assert 987654 in {code.code for code in again.unit.flash.codes.values()}


def test_who_has_paired_is_still_known_after_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "lock.json"
    client = Client("nuki", "fresh", state=state)
    client.key, client.number, _ = paired(client)
    again = Client("nuki", "fresh", state=state)
    assert again.unit.credential["shared_key"] == client.key.hex()
    assert 0x21 not in structures(again.radio.advertisement())
    assert again.config()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[" * 3000, b"\xff\xfe", b'{"mark": "lockmigrate simulated nuki 1", "profile": "nuki"}']
)
def test_a_file_that_is_no_state_is_refused(tmp_path: Path, content: bytes) -> None:
    state = tmp_path / "lock.json"
    state.write_bytes(content)
    with pytest.raises(TargetError, match="not the state of a simulated nuki unit"):
        Client(state=state)


def test_a_state_with_an_impossible_value_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "lock.json"
    Client(state=state, connect=False)
    content = json.loads(state.read_text("utf-8"))
    for path, value in (
        (("flash", "uuid"), "AAAA"),
        (("flash", "config", "led_brightness"), 256),
        (("settings", "generation"), 6),
        (("settings", "firmware"), "three"),
    ):
        wrong = json.loads(json.dumps(content))
        here = wrong
        for key in path[:-1]:
            here = here[key]
        here[path[-1]] = value
        state.write_text(json.dumps(wrong), "utf-8")
        with pytest.raises(TargetError, match="not the state"):
            Client(state=state)


def test_the_state_of_another_model_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "lock.json"
    Client(state=state, connect=False)
    with pytest.raises(TargetError, match='simulated "nuki"'):
        Client("nuki-ultra", state=state)


def test_a_state_file_that_cannot_be_read_or_written_is_trouble(tmp_path: Path) -> None:
    with pytest.raises(FileTrouble):
        Client(state=tmp_path)
    with pytest.raises(FileTrouble):
        Client(state=tmp_path / "no" / "lock.json")


@pytest.mark.parametrize(("profile", "pin"), [("nuki", 0), ("nuki-ultra", 471123)])
def test_a_factory_reset_forgets_everybody(profile: str, pin: int) -> None:
    client = Client(profile)
    uuid, public, serial = client.unit.flash.uuid, client.unit.flash.private_key, client.unit.serial
    client.unit.factory_reset()
    flash = client.unit.flash
    assert flash.uuid != uuid
    assert flash.private_key != public
    assert client.unit.serial == serial
    assert (flash.users, flash.codes, flash.timers, flash.fingerprints, flash.log) == ({}, {}, {}, [], [])
    assert client.unit.credential == {"security_pin": pin}
    assert client.say(REQUEST, b"\x04\0") == [error(0x20, 0)]
    assert client.unit.press_button(client.now_s)


def test_no_secret_stands_in_a_repr() -> None:
    client = Client()
    flash = client.unit.flash
    text = repr(flash)
    assert repr(flash.private_key) not in text
    assert repr(client.key) not in text
    assert all(str(code.code) not in text for code in flash.codes.values())
    assert "471" not in repr(client.unit)
