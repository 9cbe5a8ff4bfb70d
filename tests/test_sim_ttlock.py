"""The simulated TTLock locks against the wire reference of the family; "section" is that one's.

The client here is a little one of our own, written from the reference: it shares no line with the driver. Time is
virtual: whatever `now_s` says.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from bleak import BleakClient
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from on_air import on_air

from lockmigrate.errors import ConnectError, FileTrouble, LinkLost, TargetError
from lockmigrate.profiles import load_profile
from lockmigrate.sim import PRESETS, open_unit, presets_of, stand_in_options
from lockmigrate.sim.ttlock_frames import checksum, moment_either_way, unseal
from lockmigrate.sim.ttlock_records import Card, Finger, Passage, Passcode
from lockmigrate.sim.ttlock_settings import OPTIONS
from lockmigrate.transports.advertising import parse_advertisement
from lockmigrate.transports.bumble import BumbleClient
from lockmigrate.transports.gatt import ADVERTISING_BYTES, Channel, Emitted, GattDevice, GattRefusal
from lockmigrate.transports.memory_ble import MemoryConnection

ROOT = Path(__file__).resolve().parents[1]
PROFILES = ("ttlock", "ttlock-cards", "ttlock-cyclic", "ttlock-deadbolt", "ttlock-keypad")
WRITE, NOTIFY = "0000fff2-0000-1000-8000-00805f9b34fb", "0000fff4-0000-1000-8000-00805f9b34fb"
OTHER_WRITE, OTHER_NOTIFY = "6e400002-b5a3-f393-e0a9-e50e24dcca1e", "6e400003-b5a3-f393-e0a9-e50e24dcca1e"
BATTERY_LEVEL = "00002a19-0000-1000-8000-00805f9b34fb"
MODEL = "00002a24-0000-1000-8000-00805f9b34fb"
UPDATE_PACKET = "00001532-1212-efde-1523-785feabcd123"
DEFAULT_KEY = bytes.fromhex("987623e8a923a1bb3d9e7d0378124588")
KEY = bytes.fromhex("a0b1c2d3e4f5061728394a5b6c7d8e9f")
ADMIN_PS, UNLOCK_KEY, TOKEN = 12345678, 87654321, 0x12345678
VECTORS = {"aes_key": KEY.hex(), "admin_ps": ADMIN_PS, "unlock_key": UNLOCK_KEY, "admin_passcode": "7654321"}
"""What section 15 is computed with."""
SCIENER = b"SCIENER"
UTC_OPTION = "2026-11-25T12:00:00"
NOW = datetime(2026, 11, 25, 12)  # noqa: DTZ001 - the wire names no zone
ALWAYS_FROM, ALWAYS_TO = bytes.fromhex("0001010000"), bytes.fromhex("630c1f173b")
WINDOW = bytes.fromhex("1a010100001e0c1f173b")
END = b"\xff\xff"

FEATURES, PASSCODE, CARD, FINGER, PASSCODES, STATUS = 0x01, 0x03, 0x05, 0x06, 0x07, 0x14
GET_KEY, LOG, RANDOM, SET_SEEDS, READ_SEEDS, GET_TIME = 0x19, 0x25, 0x30, 0x31, 0x32, 0x34
AUTO_LOCK, REMOTE, CHECK_ADMIN, SET_TIME, INITIALISE, UNLOCK = 0x36, 0x37, 0x41, 0x43, 0x45, 0x47
RESET, SET_ADMIN_CODE, CHECK_USER, ADD_ADMIN, FINISHED, LOCK = 0x52, 0x53, 0x55, 0x56, 0x57, 0x58
SHOW, FREEZE, AUDIO, GET_ADMIN_CODE, PASSAGE, LAMP, SWITCH = 0x59, 0x61, 0x62, 0x65, 0x66, 0x67, 0x68
WEEKLY, DEVICE_INFO = 0x70, 0x90


def _table() -> list[int]:
    """Section 3, "CRC-8"."""
    table = []
    for index in range(256):
        value = index
        for _ in range(8):
            value = (value >> 1) ^ 0x8C if value & 1 else value >> 1
        table.append(value)
    table[33] = 0x07
    return table


TABLE = _table()


def crc(data: bytes) -> int:
    """The checksum of section 3."""
    value = 0
    for byte in data:
        value = TABLE[value ^ byte]
    return value


def sealed(plain: bytes, key: bytes = KEY) -> bytes:
    """Encrypt as section 3 says."""
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key)).encryptor()
    return encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()


def opened(payload: bytes, key: bytes = KEY) -> bytes:
    """Decrypt; ValueError under another key."""
    decryptor = Cipher(algorithms.AES(key), modes.CBC(key)).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    return unpadder.update(decryptor.update(payload) + decryptor.finalize()) + unpadder.finalize()


def framed(code: int, payload: bytes, *, head: str = "7f5a05030100010001", encrypt: int = 0xAA) -> bytes:
    """Build a frame with its terminator."""
    whole = bytes.fromhex(head) + bytes([code, encrypt, len(payload)]) + payload
    return whole + bytes([crc(whole)]) + b"\r\n"


def request(code: int, data: bytes = b"", key: bytes = KEY) -> bytes:
    """Build a request as the app does; without data nothing is encrypted."""
    return framed(code, sealed(data, key) if data else b"")


class Frame:
    """A frame that the lock sent, checked."""

    def __init__(self, raw: bytes) -> None:
        assert raw[:4] == bytes.fromhex("7f5a0503")
        assert raw[-2:] == b"\r\n"
        assert len(raw) == 12 + raw[11] + 3
        assert raw[11] <= 112
        self.raw = raw
        self.right = raw[-3] == crc(raw[:-3])
        self.place = tuple(raw[4:9])
        self.command, self.encrypt = raw[9], raw[10]
        self.payload = raw[12:-3]

    @property
    def pushed(self) -> bool:
        """Whether it came unasked, as far as its encrypt byte tells."""
        return self.encrypt == 0


def frames(stream: bytes) -> list[Frame]:
    """Cut a stream by the lengths."""
    found = []
    while stream:
        size = 12 + stream[11] + 3
        found.append(Frame(stream[:size]))
        stream = stream[size:]
    return found


class Client:
    """A phone within reach of one lock."""

    def __init__(
        self,
        profile: str = "ttlock",
        preset: str = "full",
        *,
        connect: bool = True,
        state: Path | None = None,
        **options: Any,
    ) -> None:
        texts = {"utc": UTC_OPTION} | {name: str(value) for name, value in options.items()}
        self.unit: Any = open_unit(load_profile(profile), preset, texts, state=state)
        self.radio: Any = self.unit.gatt_device
        self.flash = self.unit.flash
        self.now_s = 1000.0
        self.heard: list[Emitted] = []
        self.pushed: list[bytes] = []
        """Plain payloads that came unasked."""
        held = self.unit.credential
        self.key = bytes.fromhex(held["aes_key"]) if held else DEFAULT_KEY
        self.write_uuid, self.notify_uuid = (
            (OTHER_WRITE, OTHER_NOTIFY) if options.get("service") == "6e40" else (WRITE, NOTIFY)
        )
        if connect:
            self.connect()

    def connect(self) -> None:
        """Connect and subscribe."""
        assert self.radio.connected(self.now_s) == []
        self.radio.mtu(23)
        self.radio.subscribed(self.notify_uuid, True)

    def reconnect(self) -> None:
        """Hang up and come again."""
        self.radio.disconnected()
        self.connect()

    def write(self, raw: bytes) -> list[Emitted]:
        """Write in pieces of 20 bytes and keep what came of it."""
        came: list[Emitted] = []
        for at in range(0, len(raw), 20):
            came += self.radio.write(self.write_uuid, raw[at : at + 20], self.now_s)
        return self._came(came)

    def wait(self, seconds: float) -> list[bytes]:
        """Let time pass; returns what the lock said meanwhile, decrypted."""
        until_s = self.now_s + seconds
        came: list[Emitted] = []
        while (due_s := self.radio.due_s()) is not None and due_s <= until_s:
            came += self.radio.tick(due_s)
        self._came(came)
        self.now_s = max(self.now_s, until_s)
        return [opened(one.payload, self.key) for one in frames(stream_of(came))]

    def _came(self, came: list[Emitted]) -> list[Emitted]:
        assert all(len(each.data) <= 20 for each in came)
        assert [each.at_s for each in came] == sorted(each.at_s for each in came)
        assert all(each.uuid == self.notify_uuid for each in came if each.data)
        self.now_s = max([self.now_s, *(each.at_s for each in came)])
        self.heard += came
        return came

    def raw(self, code: int, data: bytes = b"") -> list[Frame]:
        """Send a request; returns the frames that came."""
        return frames(stream_of(self.write(request(code, data, self.key))))

    def say(self, code: int, data: bytes = b"") -> bytes:
        """Send a request; returns the plain answer. What came unasked is put aside."""
        answers = []
        for one in self.raw(code, data):
            assert one.right
            plain = opened(one.payload, self.key)
            if one.pushed:
                self.pushed.append(plain)
            else:
                assert one.command == 0x54
                answers.append(plain)
        (answer,) = answers
        assert answer[0] == code
        return answer

    def ask(self, code: int, data: bytes = b"") -> bytes:
        """Send a request that succeeds; returns what follows echo and status."""
        answer = self.say(code, data)
        assert answer[1] == 1, answer.hex()
        return answer[2:]

    def refused(self, code: int, data: bytes = b"") -> int:
        """Send a request that fails; returns the error code."""
        answer = self.say(code, data)
        assert answer[1] == 0, answer.hex()
        assert len(answer) == (4 if code == PASSCODE and data else 3)
        return answer[2]

    def login(self) -> None:
        """Log in as the administrator (section 6)."""
        held = self.unit.credential
        token = self.ask(CHECK_ADMIN, held["admin_ps"].to_bytes(4, "big") + bytes(7))
        self.ask(RANDOM, self.answer_to(token))

    def answer_to(self, token: bytes) -> bytes:
        """Return the sum of token and unlock key."""
        total = int.from_bytes(token, "big") + int(self.unit.credential["unlock_key"])
        return (total % 2**32).to_bytes(4, "big")

    def user_token(self) -> bytes:
        """Return the token for an eKey that holds for ever."""
        return self.ask(CHECK_USER, bytes.fromhex("00011f0e00630b1e0e00") + bytes(7))

    def turn(self, code: int = UNLOCK) -> bytes:
        """Unlock, or lock."""
        return self.ask(code, self.answer_to(self.user_token()) + (1_790_000_000).to_bytes(4, "big"))

    # ---- lists -------------------------------------------------------------------------------------------------------

    def passcode_pages(self) -> list[tuple[int, list[bytes]]]:
        """Read the passcodes page by page: next cursor and records."""
        pages, cursor = [], 0
        while True:
            data = self.ask(PASSCODES, cursor.to_bytes(2, "big"))
            if data[:2] == bytes(2):
                assert len(data) == 2
                return pages
            assert int.from_bytes(data[:2], "big") == len(data) - 2
            records, rest = [], data[4:]
            while rest:
                records.append(rest[1 : 1 + rest[0]])
                rest = rest[1 + rest[0] :]
            cursor = int.from_bytes(data[2:4], "big")
            pages.append((cursor, records))
            if cursor in (0, 0xFFFF):
                return pages

    def passcodes(self) -> list[bytes]:
        """Read all passcodes, raw."""
        return [record for _, page in self.passcode_pages() for record in page]

    def touch_pages(self, code: int) -> list[tuple[int, bytes]]:
        """Read cards or fingers page by page: next cursor and the bytes of the records."""
        operation = 1 if code == CARD else 6
        pages, cursor = [], 0
        while True:
            data = self.ask(code, bytes([operation]) + cursor.to_bytes(2, "big"))
            assert data[1] == operation
            cursor = int.from_bytes(data[2:4], "big")
            if data[4:]:
                pages.append((cursor, data[4:]))
            if cursor == 0xFFFF:
                return pages

    def cards(self) -> list[tuple[bytes, bytes]]:
        """Read all cards: number and dates."""
        found = []
        for _, body in self.touch_pages(CARD):
            width = 18 if len(body) % 18 == 0 else 14
            found += [
                (body[at : at + width - 10], body[at + width - 10 : at + width]) for at in range(0, len(body), width)
            ]
        return found

    def fingers(self) -> list[tuple[bytes, bytes]]:
        """Read all fingers: number and dates."""
        bodies = b"".join(body for _, body in self.touch_pages(FINGER))
        return [(bodies[at : at + 6], bodies[at + 6 : at + 16]) for at in range(0, len(bodies), 16)]

    def passage_pages(self) -> list[tuple[int, bytes]]:
        """Read passage mode page by page."""
        pages, cursor = [], 0
        while cursor != 0xFF:
            data = self.ask(PASSAGE, bytes([1, cursor]))
            cursor = data[2]
            pages.append((cursor, data[3:]))
        return pages

    def log_records(self) -> list[tuple[int, bytes]]:
        """Read the log by explicit cursors: number and record."""
        found, cursor = [], 0
        while True:
            data = self.ask(LOG, cursor.to_bytes(2, "big"))
            if data == bytes(2):
                return found
            assert int.from_bytes(data[:2], "big") == len(data) - 2
            following, records, rest = int.from_bytes(data[2:4], "big"), [], data[4:]
            while rest:
                records.append(rest[1 : 1 + rest[0]])
                rest = rest[1 + rest[0] :]
            found += [(following - len(records) + index, record) for index, record in enumerate(records)]
            assert following > cursor
            cursor = following


def stream_of(came: list[Emitted]) -> bytes:
    """Return what notifications say, one after the other."""
    return b"".join(each.data for each in came)


def text(digits: str) -> bytes:
    """A length and as many digits."""
    return bytes([len(digits)]) + digits.encode()


def add(code: str, start: bytes = ALWAYS_FROM) -> bytes:
    """Build the addition of a permanent passcode."""
    return b"\x02\x01" + text(code) + start


def recover(kind: int, original: str, code: str, tail: bytes) -> bytes:
    """Build the restoration of a passcode."""
    return bytes([6, kind]) + text(original) + text(code) + tail


def fed(*tokens: int) -> Any:
    """Return a source of randomness that gives just these, four bytes each."""
    left = list(tokens)
    return lambda size: left.pop(0).to_bytes(size, "big")


# ---- the worked frames of section 15 ---------------------------------------------------------------------------------

CAPTURED = (
    "7f5a0503010001000107aa10ade4c30cccffef87e7a4b85e76213d43fe",
    "7f5a0503020001000154aa102d2f9276f7eea8794974e465f0e99e1809",
    "7f5a0503020001000154aa20730d0ac33249f9d9c290485f6b8f6b347e75bfa1177f9069aea203aca4956752f7",
    "7f5a050302000100015400105f693fb8386f781dcc65c3b516007375fe",
    "7f5a0503010001000101aa001c",
)
"""Captured from real locks."""


def test_the_checksum_is_that_of_captured_frames() -> None:
    for one in CAPTURED:
        raw = bytes.fromhex(one)
        assert checksum(raw[:-1]) == crc(raw[:-1]) == raw[-1]
    assert checksum(b"123456789") == 0xA1


def worked(**options: Any) -> Client:
    """A lock with the keys of section 15, empty."""
    client = Client("ttlock-cyclic", "empty", **VECTORS, avoid_crlf=0, **options)
    assert client.key == (DEFAULT_KEY if "setting" in options else KEY)
    return client


def test_row_1_to_8_pairing_and_logging_in_come_out_byte_for_byte() -> None:
    client = worked(setting=1)
    client.unit.draw = fed(0, TOKEN, TOKEN)

    def written(frame: str, key: bytes) -> bytes:
        (one,) = frames(stream_of(client.write(bytes.fromhex(frame + "0d0a"))))
        assert one.command == (0x19 if key is DEFAULT_KEY and one.payload else 0x54)
        return opened(one.payload, key) if one.payload else b""

    assert written("7f5a0503010001000145aa00b3", DEFAULT_KEY) == b""
    told = written("7f5a0503010001000119aa1026ed1d9258a1e428fcb48bbd1c0e5a46bc", DEFAULT_KEY)
    assert told == b"\x19\x01" + KEY
    assert written("7f5a0503010001000156aa100d5aa8bd246a06c883caede8d886b0493c", KEY) == b"\x56\x01" + SCIENER
    client.write(request(FINISHED))
    assert (client.flash.admin_ps, client.flash.unlock_key) == (ADMIN_PS, UNLOCK_KEY)
    check_admin = "7f5a0503010001000141aa102723511d77d53037ab5ab8d22bdad61983"
    assert written(check_admin, KEY) == b"\x41\x01" + TOKEN.to_bytes(4, "big")
    assert written("7f5a0503010001000130aa106d6d11adb0527e400ea3cbbb03fb6f4c79", KEY) == b"\x30\x01"
    check_user = "7f5a0503010001000155aa20b452e66aeeaffe2302059e69de01aceb418dedf58c991206bae86f2513aa6a50be"
    assert written(check_user, KEY) == b"\x55\x01" + TOKEN.to_bytes(4, "big")
    opened_door = written("7f5a0503010001000147aa10f876bb498f80e8f266a091c1b989c12ba5", KEY)
    assert opened_door[:3] == b"\x47\x01" + bytes([client.unit.lock.battery])
    assert opened_door[7:11] == bytes.fromhex("6553f100")
    assert client.unit.actions == ["unlock"]
    assert written("7f5a0503010001000143aa1089d4b5251f02b8908c1bd550c2b94dd03f", KEY) == b"\x43\x01"
    assert client.unit.lock.clock() == datetime(2026, 11, 23, 17, 13, 22)  # noqa: DTZ001


def test_row_9_features_are_told_byte_for_byte() -> None:
    client = worked(features="0004f1f1", battery=100)
    answer = "7f5a0503020001000154aa10cbbf16a4e2b68aad70244befb893b9bfea0d0a"
    assert stream_of(client.write(request(FEATURES))).hex() == answer


def test_row_10_a_passcode_is_told_byte_for_byte() -> None:
    client = worked()
    client.flash.passcodes[1] = Passcode(kind=1, code="123456", original="123456")
    answer = "7f5a0503020001000154aa202e085d9c30aefa7b388fa1fca863319dc88ee0a97bb3a15418e693eb1d46917f8e0d0a"
    assert stream_of(client.write(request(PASSCODES, b"\0\0"))).hex() == answer
    assert client.ask(PASSCODES, bytes.fromhex("00b4")) == bytes(2)


@pytest.mark.parametrize(
    ("frame", "check"),
    [
        ("7f5a0503010001000103aa10b6a93633a6841a9b0c6e83f69e09b3cd5e",
         lambda flash: [(one.kind, one.code, one.original, one.start) for one in flash.passcodes.values()]
         == [(1, "123456", "123456", ALWAYS_FROM)]),
        ("7f5a0503010001000103aa20f6775578a5c4fa3e1a5aa2fd91fd1e1bb7f65309ac03131500e7182065b976e268",
         lambda flash: [(one.kind, one.code, one.start, one.cycle) for one in flash.passcodes.values()]
         == [(4, "90909090", bytes.fromhex("1a01010000"), b"\1\5")]),
        ("7f5a0503010001000105aa10ae82f8052b19beb89be1f69354ce67925b",
         lambda flash: [(one.number, one.start, one.end) for one in flash.cards.values()]
         == [((2882400001).to_bytes(4, "big"), bytes.fromhex("1901010000"), bytes.fromhex("1e0c1f173b"))]),
        ("7f5a0503010001000136aa104e011ec159ed09ed82a1e6fbdf6be5d1b4",
         lambda flash: flash.settings.auto_lock_s == 30),
        ("7f5a0503010001000166aa10704d286f5e049bde0798a670d570e5a531",
         lambda flash: list(flash.passage.values())
         == [Passage(kind=1, day=5, month=0, start=(8, 0), end=(17, 30))]),
        ("7f5a0503010001000131aa40e1b16174d3beb2878a8112625b55ce46122794d3e7da79937c12fb71848e1e3f331c1dfb5d23be56"
         "ebdb464cb623ad141312be15ac306d95f88b1a97f4e7d3245c",
         lambda flash: [(one.year, one.code, one.secret) for one in flash.seeds]
         == [(26 + index, 100 + index, 1234567890 + index) for index in range(10)]),
        ("7f5a0503010001000103aa1060b23150f0a711af041752ef79710be993",
         lambda flash: [one.code for one in flash.passcodes.values()] == ["100006"]),
    ],
)  # fmt: skip
def test_rows_11_to_24_of_the_app_are_obeyed(frame: str, check: Any) -> None:
    client = worked()
    (one,) = frames(stream_of(client.write(bytes.fromhex(frame + "0d0a"))))
    assert opened(one.payload)[1] == 1
    assert check(client.flash)
    assert client.unit.rejected == 0


def test_row_13_17_18_19_and_20_find_what_they_name() -> None:
    client = worked()
    client.flash.passcodes[1] = Passcode(kind=1, code="2580", original="2580")
    client.flash.cards[1] = Card(number=bytes.fromhex("1234567890abcdef"))
    client.flash.fingers[1] = Finger(number=bytes.fromhex("00000000002a"))
    for frame, answer in (
        ("7f5a0503010001000103aa10665fc396f0f4b4b91bb1e3671ce26c3cbb", "03015403"),
        ("7f5a0503010001000105aa201d723a75deb8d360f687d58d402414a41171d15eacf8949a8885beccbb7b7c37eb", "05015405"),
        ("7f5a0503010001000106aa206608606802e35f7b22bf5e9aec4eac4bd75ef0fe16e62ec4f6b38199b01bc2d0df", "06015405"),
    ):
        (one,) = frames(stream_of(client.write(bytes.fromhex(frame + "0d0a"))))
        assert opened(one.payload).hex() == answer
    assert client.flash.passcodes == {}
    assert client.flash.cards[1].start + client.flash.cards[1].end == bytes.fromhex("1a010100001a0c1f173b")
    assert client.flash.fingers[1].end == bytes.fromhex("1f0c1f173b")
    (one,) = frames(
        stream_of(client.write(bytes.fromhex("7f5a0503010001000106aa10b2b3bc19e4ad24f0b5dbc14cd960b2a1550d0a")))
    )
    assert opened(one.payload)[4:].hex().endswith("00000000002a1a010100001f0c1f173b")
    (one,) = frames(
        stream_of(client.write(bytes.fromhex("7f5a0503010001000125aa10f23ea45d630c2a1cdd3bb595c80e9f65f90d0a")))
    )
    assert opened(one.payload)[:2] == b"\x25\x01"


def test_row_14_a_full_lock_says_so_byte_for_byte() -> None:
    client = worked(passcode_room=0)
    answer = "7f5a0503020001000154aa1083d37fb51d41cd2a269fbf9ca24bac262b0d0a"
    assert stream_of(client.write(request(PASSCODE, add("123456")))).hex() == answer


def test_row_15_two_cards_are_told_byte_for_byte() -> None:
    client = worked(battery=83, end_of_list="ffff")
    until = bytes.fromhex("1e0c1f173b")
    client.flash.cards[1] = Card(number=b"\xab\xcd\xef\x01", start=bytes.fromhex("1901010000"), end=until)
    client.flash.cards[2] = Card(number=b"\x12\x34\x56\x78", start=ALWAYS_FROM, end=ALWAYS_TO)
    answer = (
        "7f5a0503020001000154aa3001b3542e9345ed39b745c49508433d51a0c9f3077cda9698fb6868b4119285928a53f8b13b8f313a1d3c4dc7"
        "4eb2fcb32d0d0a"
    )
    assert stream_of(client.write(request(CARD, b"\1\0\0"))).hex() == answer


def test_a_card_of_8_bytes_is_told_as_the_reference_prints_it() -> None:
    client = worked(battery=83)
    client.flash.cards[3] = Card(number=bytes.fromhex("1234567890abcdef"))
    data = client.say(CARD, b"\1\0\0")
    assert data[:4].hex() == "05015301"
    assert data[6:].hex() == "1234567890abcdef0001010000630c1f173b"
    assert len(data[4:]) == 20


def test_a_touched_card_is_confirmed_as_captured() -> None:
    client = worked(battery=63, touch="nobody")
    assert client.say(CARD, b"\2").hex() == "05013f0202"


def test_a_status_is_told_as_captured() -> None:
    client = worked(battery=45)
    assert client.say(STATUS, SCIENER).hex() == "14012d0002"


def test_a_key_of_r_logs_in_with_its_own_packing_of_dates() -> None:
    """The published vector of another project, re-encrypted: dates in BCD."""
    client = worked()
    assert len(client.ask(CHECK_USER, bytes.fromhex("0001311400991130140000000000000000"))) == 4
    assert moment_either_way(bytes.fromhex("9912312359")) == datetime(2099, 12, 31, 23, 59)  # noqa: DTZ001
    assert moment_either_way(bytes.fromhex("ff12312359")) is None


# ---- frames: what is rejected ----------------------------------------------------------------------------------------


def test_a_wrong_checksum_is_counted_and_answered_with_error_1() -> None:
    client = worked()
    raw = bytearray(request(FEATURES))
    raw[-3] ^= 1
    (one,) = frames(stream_of(client.write(bytes(raw))))
    assert opened(one.payload) == b"\1\0\1"
    assert client.unit.rejected == 1
    assert client.unit.log == []
    assert client.ask(FEATURES)


def test_the_plain_checksum_is_as_wrong_as_any() -> None:
    """Row 24: with the unmodified table it would end in 38."""
    client = worked(on_crc="silent")
    frame = "7f5a0503010001000103aa1060b23150f0a711af041752ef79710be938"
    assert client.write(bytes.fromhex(frame + "0d0a")) == []
    assert client.unit.rejected == 1
    assert client.flash.passcodes == {}


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_frame_may_come_in_pieces_of_any_size(cut: int) -> None:
    client = worked()
    raw = request(PASSCODE, add("123456"))
    came = []
    for at in range(0, len(raw), cut):
        came += client.radio.write(WRITE, raw[at : at + cut], client.now_s)
    assert len(frames(stream_of(came))) == 1
    assert client.unit.rejected == 0


def test_without_its_terminator_a_frame_is_waited_for_and_then_given_up() -> None:
    client = worked()
    assert client.write(request(FEATURES)[:-2]) == []
    assert client.unit.rejected == 0
    client.now_s += 4
    assert client.ask(FEATURES)
    assert client.unit.rejected == 1


def test_two_frames_at_once_get_two_answers() -> None:
    client = worked()
    answers = frames(stream_of(client.write(request(FEATURES) + request(GET_TIME))))
    assert [opened(one.payload)[0] for one in answers] == [FEATURES, GET_TIME]


def test_a_missing_terminator_costs_that_frame_alone() -> None:
    client = worked()
    (one,) = frames(stream_of(client.write(request(PASSCODES, b"\0\0")[:-2] + request(FEATURES))))
    assert opened(one.payload)[0] == FEATURES
    assert client.unit.rejected == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n", b"\x00\x01\x02", b"\x7f\x7f\x7f", bytes(20),
        framed(FEATURES, b"", head="7f5a0504010001000101"[:18]),
        framed(FEATURES, b"", head="7f5a0a0301000100"[:18] + "01"),
        framed(FEATURES, b"", encrypt=0),
        framed(FEATURES, bytes(128)),
        framed(FEATURES, bytes(113)),
    ],
)  # fmt: skip
def test_what_is_no_frame_is_counted_once_and_gets_no_answer(raw: bytes) -> None:
    client = worked()
    assert client.write(raw) == []
    client.now_s += 4
    assert client.ask(FEATURES)
    assert client.unit.rejected == 1


def test_scene_and_organisation_of_a_request_are_ignored() -> None:
    client = worked(scene=5, group=10, org=12)
    raw = framed(FEATURES, b"", head="7f5a0503ff12345678")
    (one,) = frames(stream_of(client.write(raw)))
    assert one.place == (5, 0, 10, 0, 12)


def test_a_payload_under_another_key_is_told_by_an_empty_one() -> None:
    client = worked()
    client.key = DEFAULT_KEY
    (one,) = client.raw(STATUS, SCIENER)
    assert (one.payload, one.command, one.encrypt) == (b"", 0x54, 0xAA)
    assert client.unit.lock.unreadable == 1
    assert client.unit.rejected == 0


@pytest.mark.parametrize(("on_key", "count"), [("foreign", 1), ("silent", 0)])
def test_another_key_may_be_met_otherwise(on_key: str, count: int) -> None:
    client = worked(on_key=on_key)
    client.key = DEFAULT_KEY
    answers = client.raw(STATUS, SCIENER)
    assert len(answers) == count
    for one in answers:
        assert opened(one.payload, KEY) == b"\x14\0\2"
        with pytest.raises(ValueError, match="padding"):
            opened(one.payload, DEFAULT_KEY)


def test_a_payload_of_half_a_block_is_under_no_key() -> None:
    client = worked()
    (one,) = frames(stream_of(client.write(framed(STATUS, bytes(15)))))
    assert one.payload == b""
    assert unseal(KEY, b"") is None


@settings(max_examples=60, deadline=None)
@given(data=st.binary(min_size=1, max_size=20))
def test_any_bytes_get_a_whole_frame_or_nothing(data: bytes) -> None:
    client = garbled()
    frames(stream_of(client.write(data)))
    client.now_s += 4


@settings(max_examples=150, deadline=None)
@given(
    code=st.sampled_from([*range(1, 0x92)]), data=st.binary(max_size=100), first=st.sampled_from(range(8))
)  # fmt: skip
def test_any_payload_under_the_right_key_gets_an_answer(code: int, data: bytes, first: int) -> None:
    client = garbled()
    data = bytes([first]) + data
    if code == RESET:
        return
    answers = [one for one in client.raw(code, data) if not one.pushed]
    assert len(answers) == 1
    if answers[0].payload:
        key = DEFAULT_KEY if code == GET_KEY else client.key
        assert opened(answers[0].payload, key)[0] == code


@functools.cache
def garbled() -> Client:
    """Return one lock for all garbage."""
    return Client("ttlock-cyclic", "half")


# ---- who may do what -------------------------------------------------------------------------------------------------

CHANGES = (
    (PASSCODES, b"\0\0"), (PASSCODE, add("123456")), (CARD, b"\1\0\0"), (FINGER, b"\6\0\0"), (AUTO_LOCK, b"\1"),
    (AUDIO, b"\2\1"), (SHOW, b"\1"), (REMOTE, b"\1"), (LAMP, b"\1"), (SWITCH, b"\1"), (PASSAGE, b"\1\0"),
    (GET_ADMIN_CODE, b""), (SET_ADMIN_CODE, b"\1\2\3\4\5"), (READ_SEEDS, b""), (FREEZE, b"\1"),
)  # fmt: skip
FREE = (
    (FEATURES, b""), (STATUS, SCIENER), (GET_TIME, b""), (LOG, END), (AUDIO, b"\1"), (DEVICE_INFO, b"\1")
)  # fmt: skip


@pytest.mark.parametrize(("code", "data"), CHANGES)
def test_a_strict_lock_wants_an_administrator(code: int, data: bytes) -> None:
    client = Client(login="strict")
    assert client.refused(code, data) == 0x02
    client.ask(RANDOM, client.answer_to(client.user_token()))
    assert client.refused(code, data) == 0x02, "a user is not enough"
    client.login()
    client.ask(code, data)


@pytest.mark.parametrize(("code", "data"), CHANGES)
def test_a_lax_lock_does_not(code: int, data: bytes) -> None:
    Client().ask(code, data)


@pytest.mark.parametrize(("code", "data"), FREE)
def test_some_questions_need_no_login(code: int, data: bytes) -> None:
    Client(login="strict").ask(code, data)


def test_the_error_without_login_can_be_the_other_one() -> None:
    client = Client(login="strict", no_login=12)
    assert client.refused(PASSCODES, b"\0\0") == 0x12
    assert client.say(PASSCODE, add("123456"))[1:] == b"\0\x12\2", "the operation is repeated here too"


def test_the_clock_is_set_by_users_too() -> None:
    client = Client(login="strict")
    assert client.refused(SET_TIME, bytes([26, 12, 1, 1, 2, 3])) == 0x02
    client.ask(RANDOM, client.answer_to(client.user_token()))
    assert client.ask(SET_TIME, bytes([26, 12, 1, 1, 2, 3])) == b""


def test_a_login_belongs_to_the_connection() -> None:
    client = Client(login="strict")
    client.login()
    client.ask(PASSCODES, b"\0\0")
    client.reconnect()
    assert client.refused(PASSCODES, b"\0\0") == 0x02


def test_a_check_alone_is_no_login() -> None:
    client = Client(login="strict")
    client.ask(CHECK_ADMIN, client.unit.credential["admin_ps"].to_bytes(4, "big") + bytes(7))
    assert client.refused(PASSCODES, b"\0\0") == 0x02


def test_a_wrong_administrator_is_refused() -> None:
    assert Client().refused(CHECK_ADMIN, bytes(11)) == 0x03


def test_a_wrong_sum_ends_the_login() -> None:
    client = Client(login="strict")
    client.login()
    client.ask(CHECK_ADMIN, client.unit.credential["admin_ps"].to_bytes(4, "big") + bytes(7))
    assert client.refused(RANDOM, bytes(4)) == 0x08
    assert client.refused(RANDOM, bytes(4)) == 0x02, "the token is gone too"
    assert client.refused(PASSCODES, b"\0\0") == 0x02


def test_tokens_are_new_and_below_2_to_the_31() -> None:
    client = Client()
    tokens = [client.user_token() for _ in range(20)]
    assert len(set(tokens)) == 20
    assert all(token[0] < 0x80 for token in tokens)


def test_the_sum_wraps() -> None:
    client = Client(unlock_key=2**32 - 1)
    client.login()


def test_a_raised_flag_position_shuts_out_lower_ones() -> None:
    client = Client(lock_flag_pos=5)
    admin = client.unit.credential["admin_ps"].to_bytes(4, "big")
    assert client.unit.credential["lock_flag_pos"] == 5
    assert client.refused(CHECK_ADMIN, admin + bytes([0, 0, 4]) + bytes(4)) == 0x0D
    client.ask(CHECK_ADMIN, admin + bytes([1, 0, 0]) + bytes(4))
    assert client.flash.lock_flag_pos == 0x10000
    assert client.refused(CHECK_ADMIN, admin + bytes([0, 0, 5]) + bytes(4)) == 0x0D
    assert client.refused(CHECK_USER, bytes.fromhex("00011f0e00630b1e0e00") + bytes(7)) == 0x0D


@pytest.mark.parametrize(
    ("window", "error"),
    [
        ("1b01010000630b1e0e00", 0x11), ("00011f0e001a0b190b3b", 0x0E), ("000d1f0e00630b1e0e00", 0x20),
        ("00011f0e00630b1f0e00", 0x20),
    ],
)  # fmt: skip
def test_an_ekey_has_its_time(window: str, error: int) -> None:
    assert Client().refused(CHECK_USER, bytes.fromhex(window) + bytes(7)) == error


def test_the_reset_always_wants_an_administrator() -> None:
    client = Client()
    assert client.refused(RESET) == 0x02
    client.ask(RANDOM, client.answer_to(client.user_token()))
    assert client.refused(RESET) == 0x02


def test_a_reset_is_confirmed_by_an_empty_payload_and_forgets_everything() -> None:
    client = Client()
    client.login()
    came = client.write(request(RESET))
    (one,) = frames(stream_of(came))
    assert one.payload == b""
    assert came[-1].hangup
    assert not came[-1].lost
    flash = client.flash
    assert (flash.passcodes, flash.cards, flash.fingers, flash.passage, flash.log, flash.seeds) == (
        {},
        {},
        {},
        {},
        [],
        [],
    )
    assert client.unit.credential == {}
    assert advertised(client).manufacturer_data[0x0305][1] & 4
    client.key = DEFAULT_KEY
    client.reconnect()
    assert client.refused(CHECK_ADMIN, bytes(11)) == 0x06
    assert client.refused(PASSCODES, b"\0\0") == 0x05


# ---- pairing ---------------------------------------------------------------------------------------------------------


def begin(client: Client) -> None:
    """Go through the first steps of section 5."""
    (one,) = client.raw(INITIALISE)
    assert one.payload == b""
    (one,) = client.raw(GET_KEY, SCIENER)
    assert (one.command, one.encrypt, one.right) == (0x19, 0xAA, True)
    told = opened(one.payload, DEFAULT_KEY)
    assert told[:2] == b"\x19\1"
    client.key = told[2:]
    assert len(client.key) == 16
    admin = ADMIN_PS.to_bytes(4, "big") + UNLOCK_KEY.to_bytes(4, "big")
    assert client.ask(ADD_ADMIN, admin + SCIENER) == SCIENER


def test_pairing_goes_as_the_reference_says() -> None:
    client = Client(preset="fresh", login="strict")
    assert client.unit.credential == {}
    begin(client)
    assert client.ask(SET_TIME, bytes([26, 11, 25, 13, 0, 0])) == b""
    assert client.ask(FEATURES)[1:].hex() == "7244dff700000100"
    for code in (SWITCH, AUDIO, SHOW, AUTO_LOCK, LAMP, REMOTE):
        assert client.ask(code, b"\1")[1] == 1
    made = client.ask(GET_ADMIN_CODE)
    assert made[1] == 7
    assert made[2:].isdigit()
    assert client.ask(SET_ADMIN_CODE, bytes([1, 3, 5, 7, 9])) == b""
    for step in range(1, 5):
        assert client.ask(DEVICE_INFO, bytes([step]))[-1] == 0
    assert client.ask(FINISHED) == b""
    held = client.unit.credential
    assert held == {
        "aes_key": client.key.hex(), "admin_ps": ADMIN_PS, "unlock_key": UNLOCK_KEY, "lock_flag_pos": 0, "uid": 0,
        "address": client.unit.id, "admin_passcode": "13579",
    }  # fmt: skip
    assert not advertised(client).manufacturer_data[0x0305][1] & 4
    assert client.refused(PASSCODES, b"\0\0") == 0x02, "from here on a login is needed"
    client.reconnect()
    client.login()
    client.ask(PASSCODES, b"\0\0")


@pytest.mark.parametrize("end", ["disconnected", "reset"])
def test_a_pairing_that_is_not_finished_never_was(end: str, tmp_path: Path) -> None:
    client = Client(preset="fresh", state=tmp_path / "lock.json")
    before = (client.unit.image(), (tmp_path / "lock.json").read_bytes())
    begin(client)
    client.ask(SET_ADMIN_CODE, bytes([1, 3, 5, 7, 9]))
    client.ask(PASSCODE, add("123456"))
    client.ask(SET_TIME, bytes([30, 11, 25, 13, 0, 0]))
    assert (tmp_path / "lock.json").read_bytes() == before[1]
    client.radio.disconnected() if end == "disconnected" else client.unit.factory_reset()
    assert client.unit.image() == before[0]
    assert client.unit.credential == {}
    assert advertised(client).manufacturer_data[0x0305][1] & 4
    client.key = DEFAULT_KEY
    client.connect()
    begin(client)
    client.ask(FINISHED)
    assert client.unit.credential["admin_ps"] == ADMIN_PS
    assert json.loads((tmp_path / "lock.json").read_text("utf-8"))["flash"]["admin_ps"] == ADMIN_PS


def test_keys_are_new_each_time() -> None:
    client = Client(preset="fresh")
    keys = set()
    for _ in range(3):
        (one,) = client.raw(GET_KEY, SCIENER)
        keys.add(opened(one.payload, DEFAULT_KEY))
    assert len(keys) == 3


def test_pairing_has_its_order_and_its_errors() -> None:
    client = Client(preset="fresh")
    assert client.say(ADD_ADMIN, bytes(8) + SCIENER) == bytes([ADD_ADMIN, 0]), "fails without a code"
    assert client.refused(FINISHED) == 0x06
    assert client.refused(PASSCODES, b"\0\0") == 0x05
    assert client.refused(UNLOCK, bytes(8)) == 0x06
    (one,) = client.raw(GET_KEY, b"VENDORS")
    assert opened(one.payload, DEFAULT_KEY) == bytes([GET_KEY, 0, 0x1D])
    (one,) = client.raw(GET_KEY, SCIENER)
    client.key = opened(one.payload, DEFAULT_KEY)[2:]
    assert client.refused(PASSCODES, b"\0\0") == 0x05
    assert client.refused(FINISHED) == 0x06
    assert client.say(ADD_ADMIN, bytes(8) + b"SCIENEX") == bytes([ADD_ADMIN, 0])
    assert client.refused(RESET) == 0x05
    client.ask(ADD_ADMIN, bytes(8) + SCIENER)
    client.ask(PASSCODES, b"\0\0")
    assert client.refused(RESET) == 0x05


def test_a_paired_lock_cannot_be_paired() -> None:
    client = worked()
    assert client.refused(INITIALISE) == 0x07
    assert client.refused(FINISHED) == 0x07
    assert client.say(ADD_ADMIN, bytes(8) + SCIENER) == bytes([ADD_ADMIN, 0])
    client.key = DEFAULT_KEY
    (one,) = client.raw(GET_KEY, SCIENER)
    assert opened(one.payload, DEFAULT_KEY) == bytes([GET_KEY, 0, 7])


def test_another_brand_wants_another_word() -> None:
    client = Client(preset="fresh", vendor="0658d44e0c504619a09c5b91be75a3a8")
    (one,) = client.raw(GET_KEY, b"0658d44e0c504619a09c5b91be75a3a8")
    assert opened(one.payload, DEFAULT_KEY)[1] == 1


def test_a_lock_without_a_code_of_its_own_says_so() -> None:
    client = Client(preset="fresh", makes_code=0)
    begin(client)
    assert client.ask(GET_ADMIN_CODE)[1:] == b"\0"
    client = Client("ttlock", "fresh", features="1f1")
    begin(client)
    assert client.refused(GET_ADMIN_CODE) == 0x1B
    assert client.flash.admin_passcode == ""


# ---- passcodes -------------------------------------------------------------------------------------------------------


def test_every_passcode_is_told_with_both_codes_and_its_dates() -> None:
    client = Client()
    told = client.passcodes()
    assert len(told) == 200
    for record, passcode in zip(told, client.flash.passcodes.values(), strict=True):
        expected = bytes([passcode.kind]) + text(passcode.code) + text(passcode.original) + passcode.start
        expected += {2: passcode.end, 3: passcode.end, 4: passcode.cycle}.get(passcode.kind, b"")
        assert record == expected


def test_pages_are_full_and_cursors_grow_but_count_nothing() -> None:
    client = Client()
    pages = client.passcode_pages()
    cursors = [cursor for cursor, _ in pages]
    assert cursors == sorted(set(cursors))
    assert all(0 < cursor < 0x8000 for cursor in cursors)
    assert 35 < len(pages) < 70
    done = list(itertools.accumulate(len(page) for _, page in pages))
    assert not set(cursors) & set(done)
    assert client.ask(PASSCODES, cursors[-1].to_bytes(2, "big")) == bytes(2)
    assert client.ask(PASSCODES, END) == bytes(2)


def test_a_cursor_that_was_never_given_out_is_refused() -> None:
    client = Client()
    data = client.ask(PASSCODES, b"\0\0")
    cursor = int.from_bytes(data[2:4], "big")
    for wrong in (1, cursor + 1, cursor - 1):
        assert client.refused(PASSCODES, wrong.to_bytes(2, "big")) == 0x20
    client.ask(PASSCODES, data[2:4])
    client.reconnect()
    assert client.refused(PASSCODES, data[2:4]) == 0x20


@pytest.mark.parametrize(("end", "last"), [("ffff", 0xFFFF), ("zero", 0)])
def test_a_list_may_end_with_its_last_records(end: str, last: int) -> None:
    client = Client(passcodes=9, end_of_list=end)
    pages = client.passcode_pages()
    assert pages[-1][0] == last
    assert sum(len(page) for _, page in pages) == 9


def test_pages_may_be_short_and_cursors_may_count() -> None:
    client = Client(passcodes=5, cards=4, fingers=3, cursors="index", page_passcodes=1, page_cards=1, page_fingers=1)
    assert [(cursor, len(page)) for cursor, page in client.passcode_pages()] == [(index, 1) for index in range(1, 6)]
    assert [cursor for cursor, _ in client.touch_pages(CARD)] == [1, 2, 3, 4]
    assert client.ask(FINGER, b"\6\0\2")[2:4] == b"\0\3"
    assert client.ask(FINGER, b"\6\0\3")[2:] == END
    assert client.ask(PASSCODES, b"\0\5") == bytes(2)


def test_an_empty_lock_has_empty_lists() -> None:
    client = Client(preset="empty")
    assert client.ask(PASSCODES, b"\0\0") == bytes(2)
    assert client.ask(CARD, b"\1\0\0")[1:] == b"\1" + END
    assert client.ask(FINGER, b"\6\0\0")[1:] == b"\6" + END
    assert client.ask(PASSAGE, b"\1\0")[1:] == b"\1\xff"


def test_records_removed_while_paging_leave_the_others_where_they_are() -> None:
    client = Client(page_passcodes=2)
    first = client.ask(PASSCODES, b"\0\0")
    del client.flash.passcodes[1]
    second = client.ask(PASSCODES, first[2:4])
    third = client.flash.passcodes[3]
    assert text(third.code) in second


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (add("1234"), (1, "1234", ALWAYS_FROM, b"")),
        (add("123456789"), (1, "123456789", ALWAYS_FROM, b"")),
        (add("0000") + bytes(5), (1, "0000", ALWAYS_FROM, b"")),
        (b"\2\2" + text("2468") + WINDOW, (2, "2468", WINDOW[:5], WINDOW[5:])),
        (b"\2\3" + text("2468") + WINDOW, (3, "2468", WINDOW[:5], WINDOW[5:])),
    ],
)  # fmt: skip
def test_a_passcode_is_added(data: bytes, kept: tuple[Any, ...]) -> None:
    client = Client(preset="empty")
    assert client.ask(PASSCODE, data)[1:] == b"\2"
    (one,) = client.flash.passcodes.values()
    assert (one.kind, one.code, one.start, one.end) == kept
    assert one.original == one.code


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (add("123"), 0x0F), (add("1234567890"), 0x0F), (add("12a4"), 0x20), (add("1234")[:-1], 0x17),
        (add("1234") + bytes(6), 0x17), (add("1234") + b"\0\0\0\0\1", 0x17),
        (b"\2\3" + text("1234") + WINDOW[:5], 0x17),
        (b"\2\3" + text("1234") + WINDOW + b"\0", 0x17), (b"\2\4" + text("1234") + WINDOW, 0x20),
        (b"\2\0" + text("1234") + WINDOW, 0x20), (add("1234", bytes([26, 2, 29, 0, 0])), 0x20),
        (add("1234", bytes([100, 1, 1, 0, 0])), 0x20), (b"\4\1" + text("1234"), 0x1B), (b"\2", 0x17), (b"\1\0", 0x17),
        (add("7654321"), 0x14),
    ],
)  # fmt: skip
def test_a_bad_addition_is_refused_with_its_operation(data: bytes, error: int) -> None:
    client = Client(preset="empty", admin_passcode="7654321")
    assert client.say(PASSCODE, data) == bytes([PASSCODE, 0, error]) + data[:1]
    assert client.flash.passcodes == {}


def test_a_code_that_exists_is_refused_by_either_of_its_codes() -> None:
    client = Client(preset="empty")
    client.flash.passcodes[1] = Passcode(kind=1, code="2222", original="1111")
    for code in ("1111", "2222"):
        assert client.refused(PASSCODE, add(code)) == 0x14
        assert client.refused(PASSCODE, recover(1, code, "3333", ALWAYS_FROM)) == 0x14
        assert client.refused(PASSCODE, recover(1, "3333", code, ALWAYS_FROM)) == 0x14


def test_a_full_lock_refuses_more_of_each_kind() -> None:
    client = Client(preset="empty", passcode_room=1, card_room=1, finger_room=1, passage_room=1)
    client.ask(PASSCODE, add("1111"))
    assert client.refused(PASSCODE, add("2222")) == 0x16
    client.ask(CARD, b"\2" + bytes(4) + WINDOW)
    assert client.refused(CARD, b"\2" + bytes(8) + WINDOW) == 0x16
    assert client.refused(CARD, b"\2") == 0x16
    client.ask(CARD, b"\2" + bytes(4) + WINDOW)  # the same one again
    client.ask(FINGER, b"\2" + bytes(6) + WINDOW)
    assert client.refused(FINGER, b"\2") == 0x16
    assert client.refused(FINGER, b"\2" + b"\1" * 6 + WINDOW) == 0x16
    client.ask(PASSAGE, b"\2\1\5\0\x08\0\x11\x1e")
    assert client.refused(PASSAGE, b"\2\1\4\0\x08\0\x11\x1e") == 0x16


def test_lengths_of_codes_can_be_other_ones() -> None:
    client = Client(preset="empty", min_code=6, max_code=8)
    assert client.refused(PASSCODE, add("12345")) == 0x0F
    assert client.refused(PASSCODE, add("123456789")) == 0x0F
    client.ask(PASSCODE, add("12345678"))
    assert client.refused(SET_ADMIN_CODE, bytes([1, 2, 3, 4, 5])) == 0x0F


@pytest.mark.parametrize(
    ("by", "accepted"), [("either", ("1111", "2222")), ("original", ("1111",)), ("current", ("2222",))]
)  # fmt: skip
def test_a_changed_code_is_deleted_by_one_of_its_codes(by: str, accepted: tuple[str, ...]) -> None:
    for code in ("1111", "2222"):
        client = Client(preset="empty", delete_by=by)
        client.flash.passcodes[1] = Passcode(kind=1, code="2222", original="1111")
        answer = client.say(PASSCODE, b"\3\1" + text(code))
        assert answer[1] == (code in accepted)
        assert answer[1] or answer[2] == 0x15


def test_an_unknown_code_is_neither_deleted_nor_changed() -> None:
    client = Client(preset="empty")
    assert client.refused(PASSCODE, b"\3\1" + text("1111")) == 0x15
    assert client.refused(PASSCODE, b"\5\1" + text("1111") + text("2222")) == 0x15
    assert client.refused(PASSCODE, b"\3\1" + text("111")) == 0x0F


def test_all_passcodes_are_cleared() -> None:
    client = Client()
    assert client.ask(PASSCODE, b"\1")[1:] == b"\1"
    assert client.passcodes() == []


def test_a_passcode_is_changed() -> None:
    client = Client(preset="empty")
    client.ask(PASSCODE, add("1111"))
    one = client.flash.passcodes[1]
    client.ask(PASSCODE, b"\5\1" + text("1111") + text("2222"))
    assert (one.code, one.original, one.kind, one.start) == ("2222", "1111", 1, ALWAYS_FROM)
    client.ask(PASSCODE, b"\5\3" + text("2222") + b"\0" + WINDOW)
    assert (one.code, one.original, one.kind, one.start + one.end) == ("2222", "1111", 3, WINDOW)
    client.ask(PASSCODE, b"\5\3" + text("2222") + text("3333"))
    assert one.start + one.end == WINDOW, "without dates the window stays"
    client.ask(PASSCODE, b"\5\1" + text("3333") + text("3333") + WINDOW)
    assert (one.kind, one.start, one.end) == (1, WINDOW[:5], b"")
    client.ask(PASSCODE, add("4444"))
    assert client.refused(PASSCODE, b"\5\1" + text("3333") + text("4444")) == 0x14
    assert client.refused(PASSCODE, b"\5\1" + text("3333") + text("444")) == 0x0F
    client.flash.passcodes[9] = Passcode(kind=4, code="9999", original="9999", cycle=b"\4\0")
    assert client.refused(PASSCODE, b"\5\3" + text("9999") + b"\0" + WINDOW) == 0x20
    client.ask(PASSCODE, b"\5\4" + text("9999") + text("8888"))
    assert client.refused(PASSCODE, b"\5\7" + text("3333") + text("5555")) == 0x20
    assert client.refused(PASSCODE, b"\5\1" + text("3333") + text("5555") + WINDOW[:5]) == 0x17


def test_without_the_feature_a_passcode_is_not_changed() -> None:
    client = Client("ttlock", "empty", features="1")
    client.ask(PASSCODE, add("1111"))
    assert client.refused(PASSCODE, b"\5\1" + text("1111") + text("2222")) == 0x1B


@pytest.mark.parametrize(
    ("kind", "tail", "end", "cycle"),
    [(1, ALWAYS_FROM, b"", b""), (3, WINDOW, WINDOW[5:], b""), (4, WINDOW[:5] + b"\4\x30", b"", b"\4\x30")],
)
def test_a_passcode_is_restored_with_both_codes(kind: int, tail: bytes, end: bytes, cycle: bytes) -> None:
    client = Client(preset="empty")
    assert client.ask(PASSCODE, recover(kind, "1111", "2222", tail))[1:] == b"\6"
    (one,) = client.flash.passcodes.values()
    assert (one.kind, one.original, one.code, one.start) == (kind, "1111", "2222", tail[:5])
    assert (one.end, one.cycle) == (end, cycle)
    assert client.passcodes()[0] == bytes([kind]) + text("2222") + text("1111") + tail


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (recover(2, "1111", "2222", ALWAYS_FROM), 0x20), (recover(1, "1111", "2222", WINDOW), 0x17),
        (recover(3, "1111", "2222", ALWAYS_FROM), 0x17), (recover(4, "1111", "2222", ALWAYS_FROM), 0x17),
        (recover(1, "111", "2222", ALWAYS_FROM), 0x0F), (recover(1, "1111", "222", ALWAYS_FROM), 0x0F),
        (recover(1, "1111", "2222", bytes(5)), 0x20),
    ],
)  # fmt: skip
def test_a_bad_restoration_is_refused(data: bytes, error: int) -> None:
    assert Client(preset="empty").refused(PASSCODE, data) == error


def test_cyclic_passcodes_are_restored_only_where_that_is_known() -> None:
    client = Client("ttlock-keypad", "empty")
    assert client.refused(PASSCODE, recover(4, "1111", "1111", ALWAYS_FROM + b"\4\x30")) == 0x1B
    assert 4 in {one.kind for one in Client("ttlock-keypad").flash.passcodes.values()}, "but it holds some"
    assert 4 not in {one.kind for one in Client("ttlock-deadbolt").flash.passcodes.values()}


def test_a_window_that_has_ended_is_taken_unless_told_otherwise() -> None:
    ended = bytes.fromhex("1401010000140c1f173b")
    client = Client(preset="empty")
    client.ask(PASSCODE, b"\2\3" + text("1111") + ended)
    client.ask(CARD, b"\2" + bytes(4) + ended)
    client = Client(preset="empty", refuse_ended=1)
    assert client.refused(PASSCODE, b"\2\3" + text("1111") + ended) == 0x0E
    assert client.refused(PASSCODE, recover(3, "1111", "1111", ended)) == 0x0E
    assert client.refused(CARD, b"\2" + bytes(4) + ended) == 0x0E
    client.ask(FINGER, b"\2" + bytes(6) + WINDOW)
    assert client.refused(FINGER, b"\5" + bytes(6) + ended) == 0x0E


def test_the_administrators_code_is_read_and_set() -> None:
    client = Client(admin_passcode="7654321")
    assert client.ask(GET_ADMIN_CODE)[1:] == text("7654321")
    assert client.ask(SET_ADMIN_CODE, bytes([0, 1, 2, 3])) == b""
    assert client.ask(GET_ADMIN_CODE)[1:] == text("0123")
    for data, error in ((bytes(3), 0x0F), (bytes(10), 0x0F), (b"1234", 0x20)):
        assert client.refused(SET_ADMIN_CODE, data) == error
    taken = next(iter(client.flash.passcodes.values())).code
    assert client.refused(SET_ADMIN_CODE, bytes(int(digit) for digit in taken)) == 0x14
    assert "admin_passcode" not in Client(admin_passcode=0).unit.credential


def test_seeds_are_set_and_the_years_own_is_read() -> None:
    client = Client(preset="empty")
    pairs = [(100 + index, 1_234_567_890 + index) for index in range(10)]
    table = bytes([26]) + b"".join((code << 36 | secret).to_bytes(6, "big") for code, secret in pairs)
    assert client.ask(SET_SEEDS, table) == b""
    read = client.ask(READ_SEEDS)
    assert read[1:7] == (100 << 36 | 1_234_567_890).to_bytes(6, "big")
    assert read[7:] == bytes([26, 11, 25, 12, 0])
    client.ask(SET_TIME, bytes([28, 1, 1, 0, 0, 0]))
    assert client.ask(READ_SEEDS)[1:7] == (102 << 36 | 1_234_567_892).to_bytes(6, "big")
    client.ask(SET_TIME, bytes([40, 1, 1, 0, 0, 0]))
    assert client.ask(READ_SEEDS)[1:7] == bytes(6)
    for wrong in (1071 << 36, 10**10):
        assert client.refused(SET_SEEDS, table[:7] + wrong.to_bytes(6, "big") + table[13:]) == 0x0B
    assert client.refused(SET_SEEDS, bytes([95]) + table[1:]) == 0x0B
    assert client.refused(SET_SEEDS, table[:-1]) == 0x17


# ---- cards and fingers -----------------------------------------------------------------------------------------------


def test_every_card_and_finger_is_told() -> None:
    client = Client()
    assert client.cards() == [(one.number, one.start + one.end) for one in client.flash.cards.values()]
    assert client.fingers() == [(one.number, one.start + one.end) for one in client.flash.fingers.values()]
    assert Counter(len(number) for number, _ in client.cards()) == {4: 68, 8: 32}


def test_cards_of_8_bytes_come_alone_and_shorter_ones_together() -> None:
    client = Client()
    sizes = [len(body) for _, body in client.touch_pages(CARD)]
    assert sizes == [56, 18, 18] * 16 + [56]
    client = Client(preset="empty")
    for index in range(20):
        client.flash.cards[index + 1] = Card(number=bytes([0, 0, 0, index]))
        client.flash.fingers[index + 1] = Finger(number=bytes([0, 0, 0, 0, 0, index]))
    assert [len(body) for _, body in client.touch_pages(CARD)] == [98, 98, 84]
    assert [len(body) for _, body in client.touch_pages(FINGER)] == [96, 96, 96, 32]
    client = Client(page_cards=1, page_fingers=2, fingers=4)
    assert {len(body) for _, body in client.touch_pages(CARD)} == {14, 18}
    assert {len(body) for _, body in client.touch_pages(FINGER)} == {32}


@pytest.mark.parametrize(("code", "operation", "sizes"), [(CARD, 1, (4, 8)), (FINGER, 6, (6,))])
def test_a_card_or_finger_is_added_changed_and_deleted(code: int, operation: int, sizes: tuple[int, ...]) -> None:
    unknown = 0x18 if code == CARD else 0x1A
    for size in sizes:
        client = Client(preset="empty")
        number = bytes(range(1, 1 + size))
        assert client.refused(code, b"\5" + number + WINDOW) == unknown
        assert client.refused(code, b"\3" + number) == unknown
        assert client.ask(code, b"\2" + number + WINDOW)[1:] == b"\2\1" + number
        assert client.ask(code, bytes([operation, 0, 0]))[4:] == number + WINDOW
        assert client.ask(code, b"\5" + number + ALWAYS_FROM + ALWAYS_TO)[1:] == b"\5"
        assert client.ask(code, bytes([operation, 0, 0]))[4:] == number + ALWAYS_FROM + ALWAYS_TO
        client.ask(code, b"\2" + number + WINDOW)
        assert client.ask(code, bytes([operation, 0, 0]))[4:] == number + WINDOW, "it was there: new dates"
        assert client.ask(code, b"\3" + number)[1:] == b"\3"
        assert client.ask(code, bytes([operation, 0, 0]))[2:] == END


@pytest.mark.parametrize("code", [CARD, FINGER])
def test_all_cards_or_fingers_are_cleared(code: int) -> None:
    client = Client()
    assert client.ask(code, b"\4")[1:] == b"\4"
    assert client.touch_pages(code) == []


@pytest.mark.parametrize(
    ("code", "data", "error"),
    [
        (CARD, b"\2" + bytes(5) + WINDOW, 0x17), (CARD, b"\2" + bytes(4), 0x17), (CARD, b"\3", 0x17),
        (CARD, b"\3" + bytes(6), 0x17), (CARD, b"\6\0\0", 0x1B), (CARD, b"\4\0", 0x17), (CARD, b"", 0x17),
        (FINGER, b"\1\0\0", 0x1B), (FINGER, b"\2" + bytes(18), 0x17), (FINGER, b"\7\0\0", 0x1B),
        (CARD, b"\2" + bytes(14), 0x20),
    ],
)  # fmt: skip
def test_a_bad_request_about_cards_or_fingers_is_refused(code: int, data: bytes, error: int) -> None:
    assert Client(preset="empty").refused(code, data) == error


def test_a_card_may_be_confirmed_with_the_other_status() -> None:
    client = Client(preset="empty", add_status=2)
    assert client.ask(CARD, b"\2" + bytes(4) + WINDOW)[1:] == b"\2\2" + bytes(4)


def test_a_number_is_one_of_its_width() -> None:
    client = Client(preset="empty")
    client.ask(CARD, b"\2" + bytes(4) + b"\0\0\0\7" + WINDOW)
    assert client.refused(CARD, b"\3\0\0\0\7") == 0x18


def test_a_finger_without_a_template_opens_nothing() -> None:
    client = Client(preset="empty")
    client.ask(FINGER, b"\2" + b"\1" * 6 + ALWAYS_FROM + ALWAYS_TO)
    assert not client.unit.put_finger(b"\1" * 6)
    client.ask(FINGER, b"\2")
    client.wait(2)
    (_, other) = client.flash.fingers.values()
    assert client.unit.put_finger(other.number)


def test_a_card_is_enrolled_by_touch() -> None:
    client = Client(preset="empty")
    assert client.ask(CARD, b"\2")[1:] == b"\2\2"
    assert client.flash.cards == {}
    assert client.wait(0.3) == []
    (told,) = client.wait(0.2)
    (card,) = client.flash.cards.values()
    assert told == bytes([CARD, 1, client.unit.lock.battery]) + b"\2\1" + card.number
    assert (card.start, card.end) == (ALWAYS_FROM, ALWAYS_TO)
    assert client.flash.log[-1].kind == 15


def test_a_certain_card_is_held_to_the_lock() -> None:
    client = Client(preset="empty", touch="nobody")
    client.ask(CARD, b"\2")
    number = bytes.fromhex("0123456789abcdef")
    assert client.unit.hold_card(number)
    (told,) = client.wait(0)
    assert told[-8:] == number
    client = Client(preset="empty", touch="nobody", card_field=8)
    client.ask(CARD, b"\2")
    client.unit.hold_card(b"\1\2\3\4")
    (told,) = client.wait(0)
    assert told[5:] == b"\1\2\3\4\xff\xff\xff\xff"


def test_a_finger_is_enrolled_touch_by_touch() -> None:
    client = Client(preset="empty", touches=3)
    assert client.ask(FINGER, b"\2")[1:] == b"\2\2\3"
    before = client.now_s
    told = client.wait(3)
    assert [one[3:] for one in told[:2]] == [b"\2\3\1\3", b"\2\3\2\3"]
    (finger,) = client.flash.fingers.values()
    assert told[2][3:] == b"\2\1" + finger.number
    assert all(each.at_s - before > 0.39 for each in client.heard[-6:])
    times = sorted({each.at_s for each in client.heard if each.at_s > before})
    assert all(later - earlier > 0.3 for earlier, later in itertools.pairwise(times)), "spaced out"


def test_enrolling_ends_when_nobody_comes() -> None:
    client = Client(preset="empty", touch="nobody")
    client.ask(FINGER, b"\2")
    assert client.wait(8.4) == []
    assert client.wait(0.2) == [bytes([FINGER, 0, 0x13])]
    assert not client.unit.put_finger(bytes(6))
    client.ask(FINGER, b"\2")
    assert client.unit.put_finger()
    assert client.wait(8.4)[0][3:] == b"\2\3\1\4", "each touch starts the patience anew"
    assert client.wait(0.2) == [bytes([FINGER, 0, 0x13])]


def test_enrolling_ends_with_the_link() -> None:
    client = Client(preset="empty")
    client.ask(FINGER, b"\2")
    client.reconnect()
    assert client.wait(10) == []
    assert client.flash.fingers == {}


def weekly(kind: int, number: bytes, weekday: int = 1, times: bytes = bytes([8, 0, 17, 30])) -> bytes:
    """Build the addition of a weekly limit (section 9.1)."""
    return bytes([2, kind, len(number)]) + number + bytes([1, weekday, 0]) + times + bytes(4)


def test_weekly_limits_are_written_and_never_read() -> None:
    client = Client("ttlock-cyclic", "empty")
    card, finger = b"\0\0\0\7", b"\0\0\0\0\0\7"
    client.ask(CARD, b"\2" + card + ALWAYS_FROM + ALWAYS_TO)
    client.ask(FINGER, b"\2" + finger + ALWAYS_FROM + ALWAYS_TO)
    assert client.ask(WEEKLY, weekly(2, card, 1))[1:] == b"\2"
    client.ask(WEEKLY, weekly(2, card, 7))
    client.ask(WEEKLY, weekly(1, finger, 3))
    told = [(one.kind, one.number, one.weekday, one.start, one.end) for one in client.flash.weekly_limits]
    assert told == [
        (2, card, 1, (8, 0), (17, 30)), (2, card, 7, (8, 0), (17, 30)), (1, finger, 3, (8, 0), (17, 30))
    ]  # fmt: skip
    assert client.cards() == [(card, ALWAYS_FROM + ALWAYS_TO)]
    for operation in (1, 3):
        assert client.refused(WEEKLY, bytes([operation, 2, 4]) + card) == 0x1B
    assert client.ask(WEEKLY, b"\4\2\4" + card)[1:] == b"\4"
    assert client.refused(WEEKLY, b"\4\2\4" + card) == 0x1F
    assert client.ask(WEEKLY, b"\4\1\0")[1:] == b"\4"
    assert client.refused(WEEKLY, b"\4\3\0") == 0x1F
    assert client.flash.weekly_limits == []


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (weekly(2, b"\0\0\0\x08"), 0x18), (weekly(1, bytes(6)), 0x1A), (weekly(3, bytes(4)), 0x20),
        (weekly(2, b"\0\0\0\7", 0), 0x20), (weekly(2, b"\0\0\0\7", 8), 0x20),
        (weekly(2, b"\0\0\0\7", 1, bytes([24, 0, 1, 0])), 0x20), (weekly(2, b"\0\0\0\7", 1, bytes([9, 0, 8, 0])), 0x20),
        (weekly(2, b"\0\0\0\7")[:-1], 0x17), (weekly(2, b"\0\0\0\7") + b"\0", 0x17),
        (weekly(2, b"\0\0\0\7")[:-1] + b"\1", 0x20), (weekly(2, bytes(6)), 0x17),
    ],
)  # fmt: skip
def test_a_bad_weekly_limit_is_refused(data: bytes, error: int) -> None:
    client = Client("ttlock-cyclic", "empty")
    client.ask(CARD, b"\2\0\0\0\7" + ALWAYS_FROM + ALWAYS_TO)
    assert client.refused(WEEKLY, data) == error


def test_a_card_takes_its_weekly_limits_along() -> None:
    client = Client("ttlock-cyclic")
    limited = client.flash.weekly_limits[0].number
    client.ask(CARD, b"\3" + limited)
    assert limited not in {one.number for one in client.flash.weekly_limits}
    client.ask(FINGER, b"\4")
    assert {one.kind for one in client.flash.weekly_limits} == {2}
    assert Client().flash.weekly_limits == []
    assert Client(cyclic=1).flash.weekly_limits
    assert Client("ttlock-cyclic", cyclic=0).refused(WEEKLY, b"\4\1\0") == 0x1B


# ---- settings --------------------------------------------------------------------------------------------------------

BATTERY = bytes([84])


@pytest.mark.parametrize(
    ("code", "before", "change", "after"),
    [
        (AUTO_LOCK, "01000f00050384", "02001e", "01001e00050384"),
        (AUTO_LOCK, "01000f00050384", "020000", "01000000050384"),
        (AUTO_LOCK, "01000f00050384", "02ffff", "01000f00050384"),
        (AUDIO, "010005", "0201", "010105"),
        (AUDIO, "010005", "02010300", "010103"),
        (SHOW, "0101", "0200", "0100"),
        (REMOTE, "0101", "0200", "0100"),
        (FREEZE, "0100", "0201", "0101"),
        (LAMP, "010019", "02012c", "01012c"),
        (SWITCH, "010000000700000006", "020000000100000007", "010000000700000007"),
        (SWITCH, "010000000700000006", "020000000200000000", "010000000700000004"),
    ],
)
def test_a_setting_is_read_changed_and_read_again(code: int, before: str, change: str, after: str) -> None:
    client = Client()
    assert client.ask(code, b"\1") == BATTERY + bytes.fromhex(before)
    assert client.ask(code, bytes.fromhex(change)) == BATTERY + b"\2"
    assert client.ask(code, b"\1") == BATTERY + bytes.fromhex(after)


@pytest.mark.parametrize(
    ("code", "data", "error"),
    [
        (AUTO_LOCK, "020004", 0x20), (AUTO_LOCK, "020385", 0x20), (AUTO_LOCK, "0200", 0x17),
        (AUTO_LOCK, "02001e00", 0x17),
        (AUTO_LOCK, "03", 0x1B), (AUTO_LOCK, "0100", 0x17), (AUDIO, "0202", 0x20), (AUDIO, "020106", 0x17),
        (AUDIO, "02010600", 0x20), (AUDIO, "02010000", 0x20), (SHOW, "0202", 0x20), (SHOW, "02", 0x17),
        (REMOTE, "020101", 0x17), (LAMP, "0201", 0x17), (SWITCH, "020000000800000008", 0x20),
        (SWITCH, "0200000001", 0x17),
        (PASSAGE, "05", 0x1B), (PASSAGE, "0201050008001800", 0x20), (PASSAGE, "0203050008001100", 0x20),
        (PASSAGE, "0201080008001100", 0x20), (PASSAGE, "02010500080011", 0x17), (PASSAGE, "0301050108001100", 0x1F),
        (PASSAGE, "0400", 0x17), (FREEZE, "0202", 0x20),
    ],
)  # fmt: skip
def test_a_bad_setting_is_refused_and_changes_nothing(code: int, data: str, error: int) -> None:
    client = Client()
    before = client.unit.image()
    assert client.refused(code, bytes.fromhex(data)) == error
    assert client.unit.image() == before


def test_the_limits_of_auto_lock_are_the_locks_own() -> None:
    client = Client(auto_lock_min=10, auto_lock_max=60)
    assert client.ask(AUTO_LOCK, b"\1")[4:] == bytes([0, 10, 0, 60])
    assert client.refused(AUTO_LOCK, b"\2\0\x3d") == 0x20


def test_a_door_sensor_stands_beside_auto_lock() -> None:
    client = Client("ttlock-deadbolt")
    assert client.ask(AUTO_LOCK, b"\1")[1:].hex() == "01000f0005038401"
    client.ask(AUTO_LOCK, b"\2\xff\xff\0")
    assert client.ask(AUTO_LOCK, b"\1")[1:].hex() == "01000f0005038400"
    client.ask(AUTO_LOCK, b"\2\0\x14")
    assert client.ask(AUTO_LOCK, b"\1")[1:].hex() == "01001400050384" + "00"
    assert client.refused(AUTO_LOCK, b"\2\0\x14\2") == 0x20
    assert client.ask(STATUS, SCIENER)[1:] == b"\0\0"


def test_a_lock_may_have_no_volume() -> None:
    client = Client(volume=0)
    assert client.ask(AUDIO, b"\1")[1:] == b"\1\0"
    assert client.refused(AUDIO, b"\2\1\3\0") == 0x17


@pytest.mark.parametrize(
    ("feature", "code", "data"),
    [
        (0, PASSCODES, b"\0\0"), (0, PASSCODE, b"\1"), (0, READ_SEEDS, b""), (1, CARD, b"\1\0\0"),
        (2, FINGER, b"\6\0\0"),
        (4, AUTO_LOCK, b"\1"), (8, LOCK, bytes(8)), (9, SHOW, b"\1"), (11, FREEZE, b"\1"), (14, REMOTE, b"\1"),
        (15, AUDIO, b"\1"), (18, GET_ADMIN_CODE, b""), (22, PASSAGE, b"\1\0"), (25, LAMP, b"\1"),
        (34, WEEKLY, b"\4\1\0"),
    ],
)  # fmt: skip
def test_what_a_lock_cannot_do_is_not_supported(feature: int, code: int, data: bytes) -> None:
    features = int("1047244dff7", 16)
    assert Client(features=f"{features:x}").say(code, data)[2:3] != b"\x1b"
    assert Client(features=f"{features & ~(1 << feature):x}").refused(code, data) == 0x1B


def test_switches_are_unknown_to_a_lock_without_any() -> None:
    assert Client("ttlock-keypad").refused(SWITCH, b"\1") == 0x1B
    assert Client("ttlock-cards").ask(SWITCH, b"\1")[1:] == b"\1\0\0\0\2\0\0\0\2"


@pytest.mark.parametrize("code", [0x02, 0x04, 0x12, 0x4C, 0x64, 0x69, 0x74])
def test_other_commands_are_not_supported(code: int) -> None:
    assert Client().refused(code, b"\1") == 0x1B


def test_passage_mode_is_told_one_by_one_and_its_last_page_is_empty() -> None:
    client = Client()
    pages = client.passage_pages()
    assert len(pages) == 7
    assert pages[-1] == (0xFF, b"")
    assert all(len(body) == 7 for _, body in pages[:-1])
    cursors = [cursor for cursor, _ in pages[:-1]]
    assert cursors == sorted(set(cursors))
    assert max(cursors) < 0x80
    told = [body for _, body in pages[:-1]]
    kept = [bytes([one.kind, one.day, one.month, *one.start, *one.end]) for one in client.flash.passage.values()]
    assert told == kept
    assert client.refused(PASSAGE, bytes([1, cursors[0] + 1])) == 0x20
    assert [len(body) for _, body in Client(page_passage=4).passage_pages()] == [28, 14, 0]


def test_passage_mode_is_changed() -> None:
    client = Client(preset="empty")
    friday = bytes.fromhex("0105000800111e")
    assert client.ask(PASSAGE, b"\2" + friday)[1:] == b"\2"
    client.ask(PASSAGE, b"\2" + friday)
    client.ask(PASSAGE, b"\2\2\x1f\x0c\0\0\0\0")
    assert len(client.flash.passage) == 2
    assert client.ask(PASSAGE, b"\3" + friday)[1:] == b"\3"
    assert client.refused(PASSAGE, b"\3" + friday) == 0x1F
    assert client.ask(PASSAGE, b"\4")[1:] == b"\4"
    assert client.passage_pages() == [(0xFF, b"")]


# ---- clock and identity ----------------------------------------------------------------------------------------------


def test_the_clock_runs_on_the_callers_time() -> None:
    client = Client()
    assert client.ask(GET_TIME) == bytes([26, 11, 25, 12, 0, 0])
    client.now_s += 90
    assert client.ask(GET_TIME) == bytes([26, 11, 25, 12, 1, 30])
    client.ask(SET_TIME, bytes([28, 2, 29, 23, 59, 59]))
    client.now_s += 1
    assert client.ask(GET_TIME) == bytes([28, 3, 1, 0, 0, 0])
    for wrong in ([26, 2, 29, 0, 0, 0], [26, 1, 1, 24, 0, 0], [26, 1, 1, 0, 60, 0]):
        assert client.refused(SET_TIME, bytes(wrong)) == 0x20
    assert client.refused(SET_TIME, bytes([26, 1, 1, 0, 0])) == 0x17


def test_the_clock_may_be_off_and_elsewhere() -> None:
    assert Client(clock_off=-3600).ask(GET_TIME) == bytes([26, 11, 25, 11, 0, 0])
    assert Client(tz=-300, clock_off=5).ask(GET_TIME) == bytes([26, 11, 25, 7, 0, 5])
    assert Client(utc="2026-11-25T13:00:00+01:00", tz=60).ask(GET_TIME) == bytes([26, 11, 25, 13, 0, 0])


def test_without_an_option_the_clock_is_the_computers() -> None:
    shown = open_unit(load_profile("ttlock"), "empty").settings.local  # type: ignore[attr-defined]
    assert abs((shown - datetime.now()).total_seconds()) < 60  # noqa: DTZ005 - wall time is meant


def test_device_information_is_told() -> None:
    client = Client(model="SN453-KX2_PV53", hardware="1.8", firmware="6.4.11.220206")
    assert client.ask(DEVICE_INFO, b"\1") == b"SN453-KX2_PV53\0"
    assert client.ask(DEVICE_INFO, b"\2") == b"1.8\0"
    assert client.ask(DEVICE_INFO, b"\3") == b"6.4.11.220206\0"
    assert len(client.ask(DEVICE_INFO, b"\4")) > 1
    assert client.ask(DEVICE_INFO, b"\5") == bytes.fromhex(client.unit.id.replace(":", ""))[::-1]
    assert client.ask(DEVICE_INFO, b"\6") == bytes([26, 11, 25, 12, 0, 0])
    for step in (0, 7, 10, 255):
        assert client.refused(DEVICE_INFO, bytes([step])) == 0x19


def test_a_status_asked_with_another_word_is_refused() -> None:
    client = Client()
    assert client.refused(STATUS, b"SCIENEX") == 0x1D
    assert client.refused(STATUS, b"SCIENE") == 0x17


def test_features_come_in_as_many_words_as_they_need() -> None:
    assert Client(features="1").ask(FEATURES)[1:].hex() == "00000001"
    assert Client().ask(FEATURES)[1:].hex() == "7244dff700000100"
    assert Client(features="80000001" + "00000000" + "00000002").ask(FEATURES)[1:].hex() == "000000020000000080000001"


def test_every_length_of_a_request_without_parameters_is_looked_at() -> None:
    client = Client()
    for code in (FEATURES, GET_TIME, GET_ADMIN_CODE, READ_SEEDS):
        assert client.refused(code, b"\0") == 0x17
    for code in (PASSCODES, LOG, RANDOM, UNLOCK, CHECK_ADMIN, CHECK_USER, SET_TIME, DEVICE_INFO):
        assert client.refused(code, b"\0" * 40) == 0x17
        assert client.refused(code) == 0x17


# ---- log -------------------------------------------------------------------------------------------------------------


def test_the_log_is_read_record_by_record() -> None:
    client = Client()
    told = client.log_records()
    assert [number for number, _ in told] == list(range(60))
    for (_, record), entry in zip(told, client.flash.log, strict=True):
        assert record == bytes([entry.kind]) + entry.date + bytes([entry.battery]) + entry.tail
    assert len({record[0] for _, record in told}) > 40
    assert client.ask(LOG, (5).to_bytes(2, "big"))[2:4] == (6).to_bytes(2, "big"), "record number = next cursor - 1"
    assert client.ask(LOG, (60).to_bytes(2, "big")) == bytes(2)


def test_the_log_holds_codes_in_clear() -> None:
    client = Client()
    codes = {one.code for one in client.flash.passcodes.values()}
    assert any(
        record[9 : 9 + record[8]].decode("latin-1") in codes for _, record in client.log_records() if record[0] == 4
    )


def test_reading_unread_records_consumes_the_mark_and_reading_by_number_does_not() -> None:
    client = Client(log=9)
    assert advertised(client).manufacturer_data[0x0305][1] & 2
    client.log_records()
    assert advertised(client).manufacturer_data[0x0305][1] & 2
    numbers = []
    while (data := client.ask(LOG, END)) != bytes(2):
        numbers.append(int.from_bytes(data[2:4], "big") - 1)
    assert numbers == [6, 7, 8]
    assert not advertised(client).manufacturer_data[0x0305][1] & 2
    client.unit.keypad("0")
    assert advertised(client).manufacturer_data[0x0305][1] & 2


def test_several_records_may_stand_on_a_page() -> None:
    client = Client(page_log=10)
    assert [number for number, _ in client.log_records()] == list(range(60))
    assert len(client.unit.log) < 30


def test_a_log_may_not_begin_with_0_and_a_record_may_be_unreadable() -> None:
    client = Client(log=5, log_first=1000, bad_record=1002)
    data = client.ask(LOG, bytes(2))
    assert data[2:4] == (1001).to_bytes(2, "big")
    assert client.refused(LOG, (1002).to_bytes(2, "big")) == 0x13
    assert client.ask(LOG, (1003).to_bytes(2, "big"))[2:4] == (1004).to_bytes(2, "big")
    assert Client(log=5, bad_record=2, page_log=5).ask(LOG, bytes(2))[2:4] == bytes([0, 2])


def test_numbers_of_the_log_run_out_one_day() -> None:
    client = Client(log=1)
    client.flash.next_log_number = 0xFFF1
    client.unit.keypad("0")
    assert [entry.number for entry in client.flash.log] == [0]


# ---- at the door -----------------------------------------------------------------------------------------------------


def test_opening_and_locking_by_app_is_answered_pushed_and_logged() -> None:
    client = Client(push_form="long")
    data = client.turn()
    assert data == BATTERY + bytes(4) + (1_790_000_000).to_bytes(4, "big") + bytes([26, 11, 25, 12, 0, 0])
    assert client.ask(STATUS, SCIENER)[1] == 1
    assert advertised(client).manufacturer_data[0x0305][1] & 1
    assert client.wait(0.04) == []
    assert client.wait(0.02) == [bytes([STATUS, 1]) + data]
    assert client.flash.log[-1].kind == 1
    assert client.flash.log[-1].tail == data[1:9]
    client.turn(LOCK)
    assert client.ask(STATUS, SCIENER)[1] == 0
    assert client.flash.log[-1].kind == 26
    assert client.unit.actions == ["unlock", "lock"]


def test_a_push_is_marked_and_may_be_short() -> None:
    client = Client()
    client.turn()
    heard = len(client.heard)
    assert client.wait(0.1) == [bytes([STATUS, 1]) + BATTERY + b"\1\2"]
    (one,) = frames(stream_of(client.heard[heard:]))
    assert (one.command, one.encrypt, one.right) == (0x54, 0x00, True)


def test_an_answer_may_be_the_battery_alone() -> None:
    assert Client(short_answer=1).turn() == BATTERY


def test_opening_needs_the_sum_and_takes_either_login() -> None:
    client = Client()
    assert client.refused(UNLOCK, bytes(8)) == 0x02
    token = client.user_token()
    assert client.refused(UNLOCK, bytes(8)) == 0x08
    token = client.ask(CHECK_ADMIN, client.unit.credential["admin_ps"].to_bytes(4, "big") + bytes(7))
    client.ask(UNLOCK, client.answer_to(token) + bytes(4))


def test_the_lock_locks_itself_again_and_says_so() -> None:
    client = Client()
    client.turn()
    client.wait(1)
    assert client.wait(13.9) == []
    assert client.wait(0.2) == [bytes([STATUS, 1]) + BATTERY + b"\0\2"]
    assert not client.flash.unlocked
    lines = len(client.flash.log)
    client.turn()
    client.radio.disconnected()
    client.wait(20)
    assert not client.flash.unlocked
    assert len(client.flash.log) == lines + 1, "no record is made of it"


def test_an_old_timer_does_not_lock_a_door_that_was_opened_again() -> None:
    client = Client()
    client.turn()
    client.wait(10)
    client.turn()
    client.wait(10)
    assert client.flash.unlocked
    client.wait(6)
    assert not client.flash.unlocked


def test_a_frozen_a_dead_locked_and_an_empty_lock_do_not_open() -> None:
    client = Client()
    total = client.answer_to(client.user_token()) + bytes(4)
    client.ask(FREEZE, b"\2\1")
    assert client.refused(UNLOCK, total) == 0x1C
    assert not client.unit.keypad(client.flash.admin_passcode)
    client.ask(FREEZE, b"\2\0")
    client.unit.lock.door.dead_locked = True
    assert client.refused(UNLOCK, total) == 0x1E
    client.ask(LOCK, total)
    client = Client(battery=3)
    assert client.refused(UNLOCK, client.answer_to(client.user_token()) + bytes(4)) == 0x0A


def test_codes_open_within_their_time_and_one_time_codes_once() -> None:
    client = Client(preset="empty")
    client.ask(PASSCODE, add("1111"))
    client.ask(PASSCODE, b"\2\3" + text("2222") + WINDOW)
    client.ask(PASSCODE, b"\2\3" + text("3333") + bytes.fromhex("1401010000140c1f173b"))
    client.ask(PASSCODE, b"\2\2" + text("4444") + WINDOW)
    assert [client.unit.keypad(code) for code in ("1111", "2222", "3333", "4444", "4444", "9999")] == [
        True, True, False, True, False, False
    ]  # fmt: skip
    assert [entry.kind for entry in client.flash.log[-6:]] == [4, 4, 11, 4, 7, 7]
    assert client.flash.log[-1].tail == text("9999")
    assert client.flash.log[-6].tail == text("1111") * 2
    assert len(client.wait(0.1)) == 3, "a push for each opening"
    assert client.unit.keypad(client.flash.admin_passcode)


def test_cards_and_fingers_open_on_their_days() -> None:
    client = Client("ttlock-cyclic", "empty")
    card = b"\0\0\0\7"
    assert not client.unit.hold_card(card)
    client.ask(CARD, b"\2" + card + WINDOW)
    assert client.unit.hold_card(card)
    client.ask(WEEKLY, weekly(2, card, 1))
    assert not client.unit.hold_card(card), "it is a Wednesday"
    client.ask(WEEKLY, weekly(2, card, 3, bytes([12, 0, 12, 1])))
    assert client.unit.hold_card(card)
    client.wait(60)
    client.ask(GET_TIME)
    assert not client.unit.hold_card(card)
    assert [entry.kind for entry in client.flash.log[-5:]] == [25, 17, 25, 17, 25]
    assert client.unit.turn_key()
    assert client.flash.log[-1].kind == 27


def test_what_happens_at_the_door_comes_between_a_request_and_the_next() -> None:
    client = Client(preset="empty")
    client.ask(PASSCODE, add("1111"))
    client.unit.keypad("1111")
    client.now_s += 1
    client.ask(PASSCODES, b"\0\0")
    assert client.pushed == [bytes([STATUS, 1]) + BATTERY + b"\1\2"]


def test_pushes_may_come_before_answers() -> None:
    client = Client(pushes=3)
    for _ in range(9):
        client.ask(FEATURES)
    assert len(client.pushed) == 3
    heard = [one.pushed for one in Client(pushes=1).raw(FEATURES)]
    assert heard == [True, False]


def test_a_push_and_an_answer_may_share_a_notification() -> None:
    client = Client(pushes=1, joined=1)
    came = client.write(request(FEATURES))
    assert [len(each.data) for each in came] == [20, 20, 20, 2]
    assert [one.pushed for one in frames(stream_of(came))] == [True, False]
    client.unit.turn_key()
    assert len(client.wait(1)) == 1


# ---- terminators inside frames ---------------------------------------------------------------------------------------


def broken(raw: bytes) -> bool:
    """Whether a client that cuts at the terminator, or looks for the last header, goes wrong."""
    return raw.find(b"\r\n") != len(raw) - 2 or raw.rfind(b"\x7f\x5a") != 0


def everything(client: Client) -> list[Frame]:
    """Read whatever a lock tells, and return all frames."""
    client.login()
    client.passcodes()
    client.cards()
    client.fingers()
    client.passage_pages()
    client.log_records()
    for code in (AUTO_LOCK, AUDIO, SHOW, REMOTE, LAMP, SWITCH, FREEZE):
        client.ask(code, b"\1")
    for step in range(1, 7):
        client.ask(DEVICE_INFO, bytes([step]))
    for _ in range(20):
        client.turn()
        client.ask(GET_TIME)
        client.now_s += 1
    return frames(stream_of(client.heard))


def test_no_frame_has_a_terminator_or_a_header_inside() -> None:
    """Without care one frame in some two hundred would."""
    for seed in (1, 2, 3):
        told = everything(Client(seed=seed))
        assert len(told) > 250
        assert not any(broken(one.raw) for one in told)


def test_without_care_one_does_before_long() -> None:
    for seed in range(4, 60):
        client = Client(seed=seed, avoid_crlf=0)
        if any(broken(one.raw) for one in everything(client)):
            return
    pytest.fail("not one frame in thousands")


def test_terminators_can_be_forced_inside() -> None:
    client = Client(force_crlf=1, passcodes=40)
    client.login()
    inside = [b"\r\n" in one.raw[:-2] for one in frames(stream_of(client.heard))]
    assert inside == [True, True], "the token, and the confirmation of the login"
    assert len(client.passcodes()) == 40
    assert client.ask(FEATURES)[1:].hex() == "7244dff700000100", "at whatever battery level"
    assert sum(broken(one.raw) for one in frames(stream_of(client.heard))) > 2


def test_a_new_key_is_a_clean_one() -> None:
    client = Client(preset="fresh")
    begin(client)
    client.ask(FINISHED)
    assert not any(broken(one.raw) for one in frames(stream_of(client.heard)))


# ---- advertising and characteristics ---------------------------------------------------------------------------------


def advertised(client: Client) -> Any:
    """Read the advertisement as a scanner does."""
    data = client.radio.advertisement()
    assert len(data) <= ADVERTISING_BYTES
    return parse_advertisement(data, address=client.unit.id, name=client.radio.name)


def test_the_advertisement_is_as_the_reference_lays_it_out() -> None:
    client = Client(mac="c1:5e:aa:11:22:33", battery=100, log=0)
    seen = advertised(client)
    assert client.radio.advertisement()[:7].hex() == "02010603021019"
    assert seen.service_uuids == ("00001910-0000-1000-8000-00805f9b34fb",)
    own = (0x0305).to_bytes(2, "little") + seen.manufacturer_data[0x0305]
    assert own.hex() == "0503020064b000f4f95365332211aa5ec1"
    assert (client.radio.name, client.unit.id, client.unit.serial) == ("S202F_332211", *["C1:5E:AA:11:22:33"] * 2)
    short = advertised(Client(adv=15)).manufacturer_data[0x0305]
    assert len(short) == 13
    assert short[-6:] == bytes.fromhex("332211aa5ec1")
    assert advertised(Client(preset="fresh")).manufacturer_data[0x0305][1] == 4


def test_a_sleeping_lock_is_silent_until_it_is_touched() -> None:
    client = Client(awake=0, sleep_s=10, connect=False, log=0)
    assert client.radio.advertisement() == b""
    client.unit.touch(client.now_s)
    assert advertised(client).manufacturer_data[0x0305][1] == 8
    client.wait(9)
    assert client.radio.advertisement() != b""
    client.wait(2)
    assert client.radio.advertisement() == b""


def test_a_lock_does_not_sleep_while_somebody_is_connected() -> None:
    client = Client(sleep_s=10)
    client.wait(60)
    client.ask(FEATURES)
    assert client.radio.advertisement() != b""
    client.radio.disconnected()
    client.wait(9)
    assert client.radio.advertisement() != b""
    client.wait(2)
    assert client.radio.advertisement() == b""
    client.unit.keypad("0")
    assert client.radio.advertisement() != b""
    client.radio.tick(client.now_s)
    client.wait(11)
    assert client.radio.advertisement() == b""


def test_an_idle_link_is_hung_up() -> None:
    client = Client(idle_s=5)
    client.wait(4)
    client.ask(FEATURES)
    client.wait(4)
    assert not any(each.hangup for each in client.heard)
    client.wait(2)
    assert client.heard[-1].hangup


def test_the_characteristics_are_those_of_the_reference() -> None:
    radio: GattDevice = Client().radio
    properties = {one.uuid: one.properties for service in radio.services for one in service.characteristics}
    assert properties[WRITE] == {"write", "write-without-response"}
    assert properties[NOTIFY] == {"notify"}
    assert radio.max_mtu == 23
    assert radio.read(BATTERY_LEVEL) == b"\x64", "whatever is left"
    assert radio.read(MODEL) == b"SN202_PV53"
    for refused in (lambda: radio.read(NOTIFY), lambda: radio.read("0000ffff-0000-1000-8000-00805f9b34fb")):
        with pytest.raises(GattRefusal):
            refused()
    for uuid, data in ((UPDATE_PACKET, b"\1"), (NOTIFY, b"\1"), ("x", b"\1"), (WRITE, bytes(21))):
        with pytest.raises(GattRefusal):
            radio.write(uuid, data, 1000.0)


def test_the_other_service_speaks_the_same() -> None:
    client = Client(service="6e40")
    assert len(client.passcodes()) == 200
    with pytest.raises(GattRefusal):
        client.radio.write(WRITE, b"\1", client.now_s)


def test_without_a_subscription_nothing_is_said() -> None:
    client = Client()
    client.radio.subscribed(NOTIFY, False)
    assert client.write(request(FEATURES, key=client.key)) == []
    assert client.unit.log == [FEATURES]


def test_some_locks_speak_only_after_something_was_read() -> None:
    client = Client(read_first=1)
    assert client.raw(FEATURES) == []
    client.radio.read(BATTERY_LEVEL)
    assert client.ask(FEATURES)
    client.reconnect()
    assert client.raw(FEATURES) == []


def test_answers_come_in_pieces_of_twenty_bytes() -> None:
    client = Client()
    came = client.write(request(PASSCODES, b"\0\0", client.key))
    assert {len(each.data) for each in came[:-1]} == {20}
    assert stream_of(came).endswith(b"\r\n")
    client = Client(piece=7, pace=10)
    came = client.write(request(FEATURES, key=client.key))
    assert [len(each.data) for each in came] == [7, 7, 7, 7, 3]
    assert came[-1].at_s - came[0].at_s == pytest.approx(0.04)


def test_a_larger_mtu_is_agreed_to_only_where_asked_for() -> None:
    client = Client(max_mtu=247, piece=200)
    client.radio.mtu(247)
    emitted = client.radio.write(WRITE, request(FEATURES, key=client.key), client.now_s)
    assert [len(each.data) for each in emitted] == [31]


def test_a_slow_lock_thinks() -> None:
    client = Client(think=250)
    began = client.now_s
    client.ask(FEATURES)
    assert client.now_s == pytest.approx(began + 0.25)


# ---- faults ----------------------------------------------------------------------------------------------------------


def test_an_answer_may_carry_a_wrong_checksum_once() -> None:
    client = Client(crc_wrong=2)
    assert [client.raw(FEATURES)[0].right for _ in range(3)] == [True, False, True]


def test_the_link_may_drop_before_or_after_an_answer() -> None:
    client = Client(preset="empty", drop_before=2)
    client.ask(FEATURES)
    came = client.write(request(PASSCODE, add("1111"), client.key))
    assert [(each.data, each.hangup) for each in came] == [(b"", True)]
    assert len(client.flash.passcodes) == 1, "it was obeyed"
    client.reconnect()
    assert client.ask(FEATURES)
    client = Client(drop_after=1, lost=1)
    came = client.write(request(FEATURES, key=client.key))
    assert len(frames(stream_of(came))) == 1
    assert (came[-1].hangup, came[-1].lost) == (True, True)


def test_a_record_may_be_kept_wrong_without_a_word() -> None:
    client = Client(preset="empty", keeps_wrong=2)
    client.ask(PASSCODE, add("1111"))
    client.ask(CARD, b"\2" + bytes(4) + WINDOW)
    assert client.cards()[0][1][:5] == WINDOW[:5]
    assert client.cards()[0][1][5:] != WINDOW[5:]
    client = Client(preset="empty", keeps_wrong=1)
    client.ask(PASSCODE, add("1111"))
    assert client.flash.passcodes[1].start != ALWAYS_FROM


def test_commands_may_be_refused_whatever_they_are() -> None:
    client = Client(preset="empty", refuse="03:16,05:13:2")
    assert client.say(PASSCODE, add("1111")) == bytes([PASSCODE, 0, 0x16, 2])
    assert client.refused(PASSCODE, add("1111")) == 0x16
    client.ask(CARD, b"\1\0\0")
    assert client.refused(CARD, b"\1\0\0") == 0x13
    client.ask(CARD, b"\1\0\0")


@pytest.mark.parametrize(
    ("options", "answers"),
    [
        ({"lose": "in:frame:2"}, [1, 0, 1]),
        ({"lose": "out:frame:3"}, [1, 0, 1]),
        ({"flip": "in:frame:2"}, [1, 1, 1]),
        ({"delay": "in:frame:1:2.5"}, [1, 1, 1]),
    ],
)
def test_the_radio_may_lose_and_damage(options: dict[str, str], answers: list[int]) -> None:
    client = Client(**options)
    got = []
    for _ in range(3):
        client.now_s += 3
        stream = stream_of(client.write(request(FEATURES, key=client.key)))
        got.append(int(stream[:2] == b"\x7f\x5a" and len(stream) == 12 + stream[11] + 3))
    assert got == answers


def test_a_flipped_request_is_rejected() -> None:
    client = Client(flip="in:frame:1")
    (one,) = frames(stream_of(client.write(request(FEATURES, key=client.key))))
    assert opened(one.payload, client.key) == bytes([FEATURES, 0, 1])
    assert client.unit.rejected == 1


@pytest.mark.parametrize("option", ["cut", "reboot"])
@pytest.mark.parametrize("where", ["in:frame:2", "in:byte:17", "out:frame:2", "out:byte:25"])
def test_the_radio_may_break_off(option: str, where: str) -> None:
    client = Client(preset="fresh", **{option: where})
    came = client.write(request(FEATURES))
    if not any(each.hangup for each in came):
        came = client.write(request(FEATURES))
    assert came[-1].hangup
    assert came[-1].lost == (option == "reboot")
    client.reconnect()
    assert client.ask(FEATURES)


def test_a_power_failure_ends_a_pairing() -> None:
    client = Client(preset="fresh", reboot="in:frame:8")
    begin(client)
    client.write(request(FEATURES))
    client.write(request(PASSCODES, b"\0\0", client.key))
    assert client.heard[-1].hangup
    assert client.unit.credential == {}


# ---- the memory connection -------------------------------------------------------------------------------------------

CHANNEL = Channel(write=WRITE, notify=NOTIFY, response=False)


async def test_a_memory_connection_reaches_the_lock() -> None:
    unit: Any = open_unit(load_profile("ttlock"), "half")
    key = bytes.fromhex(unit.credential["aes_key"])
    connection = MemoryConnection.open(unit.gatt_device)
    assert connection.mtu == 23
    link = await connection.link(CHANNEL)
    assert link.max_write == 20
    raw = request(PASSCODES, b"\0\0", key)
    for at in range(0, len(raw), 20):
        await link.write(raw[at : at + 20])
    stream = b""
    while not stream.endswith(b"\r\n") or len(stream) < 12 + stream[11] + 3:
        stream += await link.read()
    (one,) = frames(stream)
    assert opened(one.payload, key)[:2] == bytes([PASSCODES, 1])
    assert await connection.value(BATTERY_LEVEL) == b"\x64"
    await connection.close()


async def test_a_sleeping_lock_is_not_found() -> None:
    unit: Any = open_unit(load_profile("ttlock"), "empty", {"awake": "0"})
    with pytest.raises(ConnectError, match="not seen"):
        MemoryConnection.open(unit.gatt_device)
    unit.touch()
    await MemoryConnection.open(unit.gatt_device).close()


async def test_pushes_reach_a_client_that_waits() -> None:
    unit: Any = open_unit(load_profile("ttlock"), "half", {"push_ms": "1"})
    key = bytes.fromhex(unit.credential["aes_key"])
    connection = MemoryConnection.open(unit.gatt_device)
    link = await connection.link(CHANNEL)
    unit.turn_key()
    await connection.value(BATTERY_LEVEL)  # a radio that is not asked does not look what the clock says
    stream = b""
    while not stream.endswith(b"\r\n"):
        stream += await link.read()
    (one,) = frames(stream)
    assert one.pushed
    assert opened(one.payload, key)[:2] == bytes([STATUS, 1])
    await connection.close()


async def test_a_link_that_drops_is_lost() -> None:
    unit: Any = open_unit(load_profile("ttlock"), "half", {"drop_before": "1"})
    connection = MemoryConnection.open(unit.gatt_device)
    link = await connection.link(CHANNEL)
    await link.write(request(FEATURES))
    with pytest.raises(LinkLost):
        await link.read()


async def test_the_lock_is_reached_over_a_simulated_radio() -> None:
    unit: Any = open_unit(load_profile("ttlock"), "half")
    key = bytes.fromhex(unit.credential["aes_key"])
    async with on_air(unit.gatt_device) as air:
        found = await air.find(unit.id)
        assert found.name == unit.gatt_device.name
        async with BleakClient(found, backend=BumbleClient) as client:
            assert client.mtu_size == 23
            heard: asyncio.Queue[bytes] = asyncio.Queue()
            await client.start_notify(NOTIFY, lambda _, data: heard.put_nowait(bytes(data)))
            raw = request(CARD, b"\1\0\0", key)
            for at in range(0, len(raw), 20):
                await client.write_gatt_char(WRITE, raw[at : at + 20], response=False)
            stream = b""
            async with asyncio.timeout(5):
                while len(stream) < 12 or len(stream) < 12 + stream[11] + 3:
                    stream += await heard.get()
    (one,) = frames(stream)
    assert one.right
    assert opened(one.payload, key)[:2] == bytes([CARD, 1])
    assert unit.rejected == 0


# ---- presets and options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_presets_fill_a_lock_as_they_say(profile: str) -> None:
    cards, fingers = profile != "ttlock-keypad", profile not in ("ttlock-keypad", "ttlock-cards")
    for preset, amounts in (
        ("full", (200, 100, 50, 60)), ("half", (100, 50, 25, 30)), ("empty", (0, 0, 0, 3)), ("fresh", (0, 0, 0, 0)),
        ("huge", (600, 500, 200, 1000)),
    ):  # fmt: skip
        flash = Client(profile, preset, connect=False).flash
        assert (len(flash.passcodes), len(flash.log)) == (amounts[0], amounts[3])
        assert len(flash.cards) == cards * amounts[1]
        assert len(flash.fingers) == fingers * amounts[2]
        assert bool(flash.weekly_limits) == (profile == "ttlock-cyclic" and amounts[1] > 0)
        assert flash.paired == (preset != "fresh")


def test_the_full_lock_has_something_of_everything() -> None:
    flash = Client(connect=False).flash
    codes = list(flash.passcodes.values())
    kinds = Counter(one.kind for one in codes)
    assert kinds[1] > 80
    assert kinds[3] > 80
    assert kinds[2] == kinds[4] == 5
    changed = [one for one in codes if one.code != one.original]
    assert 15 < len(changed) < 30
    every = [digits for one in codes for digits in {one.code, one.original}]
    assert len(every) == len(set(every))
    assert {len(digits) for digits in every} == set(range(4, 10))
    assert any(digits.startswith("0") for digits in every)
    assert list(flash.passcodes) != list(range(1, 201)), "places have holes"
    assert len({one.start + one.end for one in codes if one.kind == 3}) == 5
    assert len({one.cycle for one in codes if one.kind == 4}) == 5
    assert Counter(len(one.number) for one in flash.cards.values()) == {4: 68, 8: 32}
    assert any(one.end not in (ALWAYS_TO,) for one in flash.fingers.values())
    now = NOW.timetuple()[:5]
    ends = [one.end for one in [*codes, *flash.cards.values(), *flash.fingers.values()] if one.end]
    assert all((2000 + end[0], *end[1:]) > now for end in ends), "none has ended"
    assert len(flash.seeds) == 10
    plain = Client(preset="empty", connect=False).flash.settings
    same = {name for name, value in vars(flash.settings).items() if getattr(plain, name) == value}
    assert same <= {"door_sensor", "language", "frozen"}
    deadbolt = Client("ttlock-deadbolt", connect=False).flash.settings
    assert deadbolt.door_sensor == 1
    assert {one.kind for one in flash.passage.values()} == {1, 2}


def test_some_may_have_ended() -> None:
    flash = Client(expired=7, connect=False).flash
    for records in (flash.passcodes, flash.cards, flash.fingers):
        assert sum(one.end[:1] == b"\x18" for one in records.values()) == 7


def test_the_amounts_are_options_within_the_room() -> None:
    flash = Client(passcodes=7, cards=3, fingers=2, passage=1, log=5, connect=False).flash
    assert [len(one) for one in (flash.passcodes, flash.cards, flash.fingers, flash.passage, flash.log)] == [
        7,
        3,
        2,
        1,
        5,
    ]
    assert len(Client(passcode_room=20, connect=False).flash.passcodes) == 20
    assert len(Client(passcodes=1000, passcode_room=1000).passcodes()) == 1000
    for options in ({"passcodes": 251}, {"cards": 201}, {"fingers": 101}, {"passcodes": 5, "passcode_room": 4}):
        with pytest.raises(TargetError, match="fit"):
            Client(connect=False, **options)


def test_a_restored_full_lock_fits_into_an_empty_one() -> None:
    full, empty = Client(connect=False), Client(preset="empty", connect=False)
    assert len(full.flash.passcodes) <= empty.unit.settings.passcode_room
    assert len(full.flash.cards) <= empty.unit.settings.card_room


def test_runs_repeat_and_seeds_differ() -> None:
    def run(**options: Any) -> list[bytes]:
        client = Client(**options)
        client.login()
        client.passcodes()
        return [each.data for each in client.heard]

    assert run() == run()
    assert run() != run(seed=2)


def test_presets_and_seeds_are_different_locks() -> None:
    macs = [Client(profile, preset, connect=False).unit.id for profile in PROFILES for preset in presets_of("ttlock")]
    macs += [Client(seed=2, connect=False).unit.id]
    assert len(set(macs)) == len(macs)
    assert all(re.fullmatch(r"C1(:[0-9A-F]{2}){5}", mac) for mac in macs)
    names = {Client(profile, connect=False).radio.name for profile in PROFILES}
    assert len(names) == 5


def test_fresh_is_a_preset_of_locks_on_bluetooth_alone() -> None:
    assert "fresh" not in PRESETS
    assert "fresh" in presets_of("ttlock")


def test_a_filled_lock_can_be_set_to_factory_state() -> None:
    client = Client(setting=1)
    assert client.unit.credential == {}
    assert client.flash.passcodes == {}
    client.key = DEFAULT_KEY
    begin(client)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("features", "xyz"), ("features", "f" * 33), ("mac", "C1:5E"), ("aes_key", "12"), ("admin_passcode", "123"),
        ("admin_passcode", "12x45"), ("utc", "yesterday"), ("utc", "1999-12-31T00:00:00"), ("clock_off", "1.5"),
        ("tz", "+60"), ("refuse", "03"), ("refuse", "3:16"), ("login", "soft"), ("end_of_list", "never"), ("model", ""),
        ("model", "ж"), ("firmware", "x" * 33), ("max_mtu", "22"), ("piece", "0"), ("cut", "out"), ("colour", "red"),
        ("page_log", "0"), ("max_code", "3"), ("vendor", "\n"),
    ],
)  # fmt: skip
def test_an_impossible_option_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(TargetError) as caught:
        open_unit(load_profile("ttlock"), "full", {name: value})
    assert name in str(caught.value)


def test_every_option_is_read() -> None:
    """An option that nothing looks at would be listed in vain."""
    source = "".join(path.read_text("utf-8") for path in (ROOT / "lockmigrate" / "sim").glob("ttlock*.py"))
    faults = {"cut", "lose", "delay", "flip", "reboot"}
    pages = {name for name in OPTIONS if name.startswith("page_")}
    unread = [name for name in OPTIONS if name not in faults | pages and source.count(f'"{name}"') < 2]
    assert unread == []


def test_a_stand_in_is_as_the_backup_says() -> None:
    profile = load_profile("ttlock")
    facts = {
        "features": "1f1", "firmware": "6.4.11.220206", "hardware": "1.8", "model": "SN453-KX2_PV53",
        "auto_lock_min": 10, "auto_lock_max": 60, "passcode_room": 30,
    }  # fmt: skip
    options = stand_in_options(profile, {**facts, "slots": None, "users": None, "scene": 2})
    assert options == {name: str(value) for name, value in facts.items()}
    unit: Any = open_unit(profile, "empty", options)
    assert (unit.settings.features, unit.settings.passcode_room, unit.settings.auto_lock_max) == (0x1F1, 30, 60)
    assert stand_in_options(profile, {"features": 0x1F1}) == stand_in_options(profile, {"features": "0x1f1"})
    assert stand_in_options(profile, {"features": "all", "firmware": "ж", "model": 7, "card_room": "many"}) == {}


# ---- memory ----------------------------------------------------------------------------------------------------------


def test_reading_a_lock_does_not_change_its_image() -> None:
    client = Client()
    before = client.unit.image()
    everything(client)
    client.unit.turn_key()
    assert client.unit.image() == before
    client.ask(PASSCODE, add("123321123"))
    assert client.unit.image() != before


def test_an_image_does_not_tell_where_a_record_lies() -> None:
    one, other = Client(preset="empty"), Client(preset="empty")
    for code in ("1111", "2222", "3333"):
        one.ask(PASSCODE, add(code))
    for code in ("3333", "1111", "9999", "2222"):
        other.ask(PASSCODE, add(code))
    other.ask(PASSCODE, b"\3\1" + text("9999"))
    assert one.unit.image() == other.unit.image()


def test_a_state_file_keeps_everything(tmp_path: Path) -> None:
    state = tmp_path / "lock.json"
    client = Client("ttlock-cyclic", state=state, mac="C1:5E:AA:77:88:99", passcode_room=260, features="147244dffff")
    client.ask(PASSCODE, recover(4, "11112222", "22221111", WINDOW[:5] + b"\4\x30"))
    client.ask(SET_TIME, bytes([30, 1, 1, 0, 0, 0]))
    client.turn()
    again = Client("ttlock-cyclic", "empty", state=state)
    assert again.flash == client.flash
    assert again.unit.image() == client.unit.image()
    assert again.unit.credential == client.unit.credential
    assert (again.unit.id, again.unit.settings.passcode_room) == ("C1:5E:AA:77:88:99", 260)
    assert again.unit.settings.features == client.unit.settings.features
    assert again.passcodes() == client.passcodes()
    assert again.ask(GET_TIME)[0] == 30
    assert json.loads(state.read_text("utf-8"))["profile"] == "ttlock-cyclic"


def test_a_change_is_in_the_file_before_its_answer_leaves(tmp_path: Path) -> None:
    state = tmp_path / "lock.json"
    client = Client(state=state, drop_before=1)
    client.write(request(PASSCODE, add("123321123"), client.key))
    assert "123321123" in {one.code for one in Client(state=state, connect=False).flash.passcodes.values()}


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[" * 3000, b"\xff\xfe", b'{"mark": "lockmigrate simulated ttlock 1", "profile": "ttlock"}'],
)
def test_a_file_that_is_no_state_is_refused(tmp_path: Path, content: bytes) -> None:
    state = tmp_path / "lock.json"
    state.write_bytes(content)
    with pytest.raises(TargetError, match="not the state of a simulated ttlock unit"):
        Client(state=state)


def test_a_state_with_an_impossible_value_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "lock.json"
    Client(state=state, connect=False)
    content = json.loads(state.read_text("utf-8"))
    for path, value in (
        (("flash", "aes_key"), "AAAA"), (("flash", "settings", "audio"), 256), (("flash", "passcodes", "1", "kind"), 5),
        (("flash", "passcodes", "1", "code"), "12a4"), (("settings", "features"), "xyz"), (("settings", "mac"), "C1"),
    ):  # fmt: skip
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
    with pytest.raises(TargetError, match='simulated "ttlock"'):
        Client("ttlock-keypad", state=state)


def test_a_state_file_that_cannot_be_read_or_written_is_trouble(tmp_path: Path) -> None:
    with pytest.raises(FileTrouble):
        Client(state=tmp_path)
    with pytest.raises(FileTrouble):
        Client(state=tmp_path / "no" / "lock.json")


def test_the_reset_button_forgets_everything_but_who_the_lock_is() -> None:
    client = Client()
    mac = client.unit.id
    client.unit.factory_reset()
    assert client.unit.credential == {}
    assert client.unit.id == mac
    assert client.unit.image() == Client(preset="fresh").unit.image()


def test_no_secret_stands_in_a_repr() -> None:
    client = Client()
    shown = repr(client.flash) + repr(client.unit) + repr(client.unit.settings)
    held = client.unit.credential
    assert held["aes_key"] not in shown
    assert repr(client.flash.aes_key) not in shown
    assert str(held["admin_ps"]) not in shown
    assert str(held["unlock_key"]) not in shown
    assert held["admin_passcode"] not in shown
    longer = [one.code for one in client.flash.passcodes.values() if len(one.code) > 6]
    assert not any(code in shown for code in longer)
