"""Frames, keys and records of Nuki locks: every published vector in both directions, and what no lock would send."""

from __future__ import annotations

import datetime as dt
import struct
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from framing import assert_every_split
from hypothesis import given
from hypothesis import strategies as st

from lockmigrate.errors import FrameError, LockmigrateError, Tampered
from lockmigrate.formats import decode, nuki_records
from lockmigrate.formats.nuki import (
    APPLE,
    PAIRING_SERVICE,
    PAIRING_SERVICE_5,
    ClearFramer,
    Cmd,
    Message,
    SealedFramer,
    advertised_id,
    authenticator,
    build_clear,
    check_authenticator,
    crc,
    generation_of,
    parse_clear,
    public_key,
    seal,
    shared_key,
    unseal,
)
from lockmigrate.formats.nuki_config import (
    ADVANCED,
    BY_NAME,
    CONFIG,
    SET_CONFIG_BYTES,
    set_advanced,
    set_config,
    time_zone,
    values_of,
)
from lockmigrate.formats.nuki_log import log_entry
from lockmigrate.formats.nuki_records import (
    ENDED,
    UNLIMITED,
    build_date,
    join_list,
    parse_code,
    parse_date,
    parse_tail,
    split_list,
    unpack_code,
    wanted,
)
from lockmigrate.formats.nuki_tables import ALL_TABLES, neutral_days
from lockmigrate.model.records import Credential, PinData

LINES: Final = (Path(__file__).parent / "vectors" / "nuki" / "pairing.txt").read_text(encoding="utf-8").splitlines()
V: Final = {
    name.strip(): bytes.fromhex(value)
    for name, _, value in (line.partition("=") for line in LINES if not line.startswith("#"))
}
KEY: Final = V["shared_key"]


def code_entry(
    code_id: int = 1,
    code: int = 345678,
    name: bytes = b"Anna",
    *,
    enabled: int = 1,
    limited: int = 0,
    tail: bytes | None = None,
) -> bytes:
    """Make a Keypad Code as section 9.3 lays it out."""
    head = struct.pack("<HI20sB7s7sHB", code_id, code, name, enabled, bytes(7), bytes(7), 3, limited)
    return head + (tail or b"")


def tail(
    start: str | None = None, end: str | None = None, days: int = 0, window: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> bytes:
    dates = [build_date(dt.datetime.fromisoformat(text)) if text else bytes(7) for text in (start, end)]
    return b"".join(dates) + bytes([days, *window])


# ---- frames ---------------------------------------------------------------------------------------------------------


def test_the_check_value_of_the_crc() -> None:
    assert crc(b"123456789") == (0x29B1).to_bytes(2, "little")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("request_public_key", Cmd.REQUEST_DATA),
        ("lock_public_message", Cmd.PUBLIC_KEY),
        ("challenge_1_message", Cmd.CHALLENGE),
        ("authenticator_message", Cmd.AUTHENTICATOR),
        ("authorization_id_message", Cmd.AUTHORIZATION_ID),
        ("status_complete", Cmd.STATUS),
        ("authorization_info", Cmd.AUTHORIZATION_INFO),
    ],
)
def test_published_messages_in_clear_parse_and_build_again(name: str, command: Cmd) -> None:
    message = parse_clear(V[name])
    assert message.command == command
    assert build_clear(message) == V[name]


@pytest.mark.parametrize(
    "name", ["lock_public_message", "challenge_1_message", "authorization_id_message", "status_complete"]
)
def test_what_a_lock_says_in_clear_is_put_together_from_any_pieces(name: str) -> None:
    assert_every_split(ClearFramer, V[name] * 2, [parse_clear(V[name])] * 2)


def test_the_published_encrypted_messages_in_both_directions() -> None:
    states = unseal(KEY, V["states_wire"])
    assert (states.command, states.payload) == (Cmd.REQUEST_DATA, V["states_plain"][6:-2])
    assert seal(KEY, 2, states, V["states_nonce"]) == V["states_wire"]
    challenge = unseal(KEY, V["challenge_wire"])
    assert (challenge.command, challenge.payload) == (Cmd.CHALLENGE, V["challenge_plain"][6:-2])
    assert seal(KEY, 2, challenge, V["challenge_wire"][:24]) == V["challenge_wire"]


def test_encrypted_messages_are_put_together_from_any_pieces() -> None:
    both = V["challenge_wire"] + V["states_wire"]
    expected = [unseal(KEY, V["challenge_wire"]), unseal(KEY, V["states_wire"])]
    assert_every_split(lambda: SealedFramer(KEY), both, expected)


def test_no_byte_of_an_encrypted_message_can_be_changed() -> None:
    for at in range(len(V["challenge_wire"])):
        for bit in range(8):
            raw = bytearray(V["challenge_wire"])
            raw[at] ^= 1 << bit
            with pytest.raises((Tampered, FrameError)):
                unseal(KEY, bytes(raw))


def test_no_length_of_an_encrypted_message_but_its_own_is_taken() -> None:
    for size in range(len(V["challenge_wire"])):
        with pytest.raises(FrameError):
            unseal(KEY, V["challenge_wire"][:size])
    with pytest.raises(FrameError):
        unseal(KEY, V["challenge_wire"] + b"\x00")


def test_the_crc_0000_that_some_locks_send_counts_inside_an_authentic_message_only() -> None:
    from nacl.secret import SecretBox

    body = bytes.fromhex("02000000") + Cmd.STATUS.to_bytes(2, "little") + b"\x00"
    for check, taken in ((bytes(2), True), (b"\x01\x02", False)):
        sealed = SecretBox(KEY).encrypt(body + check, bytes(24)).ciphertext
        raw = bytes(24) + bytes.fromhex("02000000") + len(sealed).to_bytes(2, "little") + sealed
        if taken:
            assert unseal(KEY, raw).crc_zero
        else:
            with pytest.raises(FrameError):
                unseal(KEY, raw)
    with pytest.raises(FrameError):
        parse_clear(V["status_complete"][:-2] + bytes(2))


def test_an_inner_authorization_id_that_is_not_the_outer_one_is_not_believed() -> None:
    raw = bytearray(V["states_wire"])
    raw[24] = 3
    with pytest.raises(Tampered, match="authorization ids"):
        unseal(KEY, bytes(raw))


@given(st.lists(st.binary(max_size=80), max_size=12), st.booleans())
def test_any_bytes_give_a_message_or_an_error_of_ours(pieces: list[bytes], sealed: bool) -> None:
    framer = SealedFramer(KEY) if sealed else ClearFramer()
    for piece in pieces:
        framer.feed(piece)
        try:
            while framer.next() is not None:
                pass
        except LockmigrateError:
            assert framer.reset() == 0


@given(st.binary(max_size=200), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.binary(min_size=24, max_size=24))
def test_what_is_sealed_opens_again(payload: bytes, command: int, ident: int, nonce: bytes) -> None:
    raw = seal(KEY, ident, Message(command, payload), nonce)
    assert unseal(KEY, raw) == Message(command, payload)


def test_no_message_shows_its_payload() -> None:
    assert "34" not in repr(Message(Cmd.CODE_ENTRY, b"345678")).replace("0x", "")


# ---- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("private", "public", "other", "shared"),
    [
        ("client_private", "client_public", None, "shared_key"),
        ("client_private_23", "client_public_23", "lock_public_23", "shared_key_23"),
        ("client_private_sim", "client_public_sim", "lock_public_sim", "shared_key_sim"),
        ("lock_private_sim", "lock_public_sim", "client_public_sim", "shared_key_sim"),
    ],
)
def test_published_key_agreements(private: str, public: str, other: str | None, shared: str) -> None:
    assert public_key(V[private]) == V[public]
    theirs = V[other] if other else parse_clear(V["lock_public_message"]).payload
    assert shared_key(V[private], theirs) == V[shared]


def test_a_public_key_that_makes_every_secret_the_same_is_refused() -> None:
    with pytest.raises(Tampered):
        shared_key(V["client_private"], bytes(32))


def test_the_published_authenticators_of_both_sides() -> None:
    theirs = parse_clear(V["lock_public_message"]).payload
    challenge = parse_clear(V["challenge_1_message"]).payload
    assert authenticator(KEY, V["client_public"], theirs, challenge) == parse_clear(V["authenticator_message"]).payload
    given_id = parse_clear(V["authorization_id_message"]).payload
    check_authenticator(KEY, given_id[:32], given_id[32:], V["client_nonce"])
    with pytest.raises(Tampered):
        check_authenticator(KEY, given_id[:32], given_id[32:], bytes(32))


# ---- advertisements -------------------------------------------------------------------------------------------------


def test_the_published_beacon_and_pairing_data_name_the_lock() -> None:
    assert advertised_id({APPLE: V["beacon"]}, {}) == (0x2E96447C, None)
    assert advertised_id({}, {PAIRING_SERVICE: bytes.fromhex("2E96447C")}) == (0x2E96447C, PAIRING_SERVICE)
    assert advertised_id({}, {PAIRING_SERVICE_5: bytes.fromhex("2E96447C")})[1] == PAIRING_SERVICE_5


@pytest.mark.parametrize("beacon", ["1005", "0215", "0215" + "00" * 21, V["beacon"][:20].hex()])
def test_beacons_of_others_are_nobodys(beacon: str) -> None:
    assert advertised_id({APPLE: bytes.fromhex(beacon)}, {}) == (None, None)


def test_generations_are_told_by_the_pairing_characteristic() -> None:
    end = "-5501-11e4-916c-0800200c9a66"
    common = {f"a92ee201{end}", f"a92ee202{end}"}
    fifth = generation_of(frozenset({*common, f"a92ee301{end}"}))
    older = generation_of(frozenset({*common, f"a92ee101{end}"}))
    assert fifth is not None
    assert older is not None
    assert (fifth.fifth, fifth.pin_bytes, older.fifth, older.pin_bytes) == (True, 4, False, 2)
    assert generation_of(frozenset(common)) is None


# ---- records --------------------------------------------------------------------------------------------------------


def test_the_published_date() -> None:
    assert parse_date(bytes.fromhex("CF0707080C2238")) == "1999-07-08T12:34:56Z"
    assert build_date(dt.datetime(1999, 7, 8, 12, 34, 56, tzinfo=dt.UTC)).hex() == "cf0707080c2238"
    assert parse_date(bytes(7)) is None
    assert parse_date(bytes.fromhex("CF070D080C2238")) is None, "there is no thirteenth month"


def test_a_moment_of_another_zone_is_written_in_utc() -> None:
    berlin = dt.datetime(2026, 7, 1, 2, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    assert parse_date(build_date(berlin)) == "2026-07-01T00:00:00Z"


@pytest.mark.parametrize(
    ("nuki", "neutral"), [(0x7C, 0x3E), (0x03, 0x41), (0x40, 0x02), (0x01, 0x01), (0x14, 0x28), (0x7F, 0x7F), (0, 0x7F)]
)
def test_weekdays_as_the_table_of_the_neutral_format_has_them(nuki: int, neutral: int) -> None:
    assert neutral_days(nuki) == neutral


def test_a_code_is_read_with_and_without_its_limit_and_at_no_other_length() -> None:
    plain, limited = code_entry(), code_entry(limited=1, tail=tail(days=0x7C, window=(8, 0, 17, 30)))
    assert (len(plain), len(limited)) == (44, 63)
    assert parse_code(plain).digits == "345678"
    assert parse_code(limited).limit == tail(days=0x7C, window=(8, 0, 17, 30))
    for size in range(64):
        if size not in (44, 63):
            with pytest.raises(FrameError):
                parse_code(limited[:size])
    with pytest.raises(FrameError):
        parse_code(limited + b"\x00")


def test_a_limit_that_is_switched_off_means_nothing_and_is_written_as_zero() -> None:
    row = parse_code(code_entry(limited=0, tail=tail(days=0x7C)))
    assert row.limit == UNLIMITED
    assert row.rights == parse_code(code_entry()).rights
    assert wanted(row).added().endswith(UNLIMITED)


def test_a_code_that_shall_be_disabled_begins_with_a_limit_that_is_over() -> None:
    want = wanted(parse_code(code_entry(enabled=0)))
    added = want.added(ended=True)
    assert len(added) == 44
    assert added[24] == 1
    limit = parse_tail(added[25:])
    assert limit.until_utc == "2000-01-02T00:00:00Z"
    assert added[25:] == ENDED
    assert len(want.changed(7)) == 47
    assert want.changed(7)[:2] == b"\x07\x00"
    assert want.changed(7)[26:28] == b"\x00\x00", "disabled, and not limited any more"


@given(
    st.integers(0, 0xFFFFFFFF), st.binary(min_size=20, max_size=20), st.booleans(), st.booleans(),
    st.binary(min_size=19, max_size=19),
)  # fmt: skip
def test_what_a_step_carries_is_the_whole_code(
    code: int, name: bytes, enabled: bool, limited: bool, limit: bytes
) -> None:
    row = parse_code(code_entry(5, code, name, enabled=int(enabled), limited=int(limited), tail=limit))
    assert unpack_code(wanted(row).packed()).rights == row.rights


def test_neither_a_code_nor_what_a_step_carries_shows_digits() -> None:
    row = parse_code(code_entry())
    assert "345678" not in repr(row) + repr(wanted(row))


@given(st.lists(st.binary(max_size=100), max_size=8), st.one_of(st.none(), st.integers(0, 0xFFFE)))
def test_lists_come_apart_as_they_were_joined(items: list[bytes], announced: int | None) -> None:
    table = join_list(announced, items)
    assert [data for _, data in split_list(table)] == items
    assert nuki_records.announced_of(table) == announced
    assert all(table[at : at + len(data)] == data for at, data in split_list(table))


def test_a_list_that_is_cut_short_is_an_error() -> None:
    table = join_list(2, [code_entry(1), code_entry(2)])
    whole = {2, 2 + 46}
    for size in range(len(table)):
        if size not in whole:
            with pytest.raises(FrameError):
                list(split_list(table[:size]))


# ---- decoding -------------------------------------------------------------------------------------------------------


def credentials(*entries: bytes) -> dict[str, Credential]:
    sections = decode("nuki", {"0007-codes": join_list(len(entries), entries)}, {})
    return {item.key: item for item in sections.credentials}


def test_a_code_with_dates_and_hours_hangs_on_both() -> None:
    limit = tail("2026-03-28T23:00:00Z", "2026-10-25T22:59:59Z", 0x7C, (8, 0, 17, 30))
    sections = decode("nuki", {"0007-codes": join_list(1, [code_entry(9, limited=1, tail=limit)])}, {})
    dates, week = sections.schedules
    assert (dates.kind, dates.start_utc, dates.end_utc) == ("YearDay", "2026-03-28T23:00:00Z", "2026-10-25T22:59:59Z")
    assert (week.kind, week.days_mask, week.start, week.end) == ("WeekDay", 0x3E, "08:00", "17:30")
    assert sections.credentials[0].schedules == (dates.key, week.key) == ("schedule/pin/9.dates", "schedule/pin/9.week")


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        (None, "unreadable"),
        (bytes.fromhex("ea070d01000000") + bytes(12), "impossible-date"),
        (tail(days=0x80), "impossible-date"),
        (tail(window=(24, 0, 25, 0)), "impossible-date"),
        (tail(window=(22, 0, 6, 0)), "opaque"),
        (tail(window=(8, 0, 8, 0)), "opaque"),
    ],
)
def test_a_limit_that_is_not_understood_is_still_a_limit(limit: bytes | None, why: str) -> None:
    sections = decode("nuki", {"0007-codes": join_list(1, [code_entry(limited=1, tail=limit)])}, {})
    (schedule,) = sections.schedules
    assert (schedule.kind, schedule.why) == ("Unknown", why)


def test_codes_keep_digits_name_and_state() -> None:
    found = credentials(
        code_entry(1), code_entry(2, 987654, "Жильцы 3".encode(), enabled=0), code_entry(3, 7, b"\xff\xfe")
    )
    assert [item.status for item in found.values()] == ["enabled", "disabled", "enabled"]
    assert [item.name for item in found.values()] == ["Anna", "Жильцы 3", None]
    digits = [item.data.digits.reveal() for item in found.values() if isinstance(item.data, PinData)]
    assert digits == ["345678", "987654", "7"]


def test_a_list_that_names_a_code_twice_is_not_believed() -> None:
    with pytest.raises(FrameError, match="twice"):
        credentials(code_entry(1), code_entry(1, 987654))


@given(st.dictionaries(st.sampled_from(ALL_TABLES), st.binary(max_size=200)))
def test_any_tables_give_records_or_an_error_of_ours(tables: dict[str, bytes]) -> None:
    try:
        sections = decode("nuki", tables, {"generation": "1-4"})
    except FrameError:
        return
    keys = [item.key for item in (*sections.credentials, *sections.schedules, *sections.lock_schedules)]
    assert len(set(keys)) == len(keys)


def test_log_entries_of_every_type_with_and_without_padding() -> None:
    head = struct.pack("<I7sI32s", 77, bytes.fromhex("CF0707080C2238"), 5, b"Keypad\x00rubbish")
    entry = log_entry(head + bytes([5, 2, 1, 0, 9, 0]))
    assert (entry.seq, entry.time_utc, entry.operation, entry.user) == (77, "1999-07-08T12:34:56Z", "keypad", "Keypad")
    assert entry.vendor["nuki"]["code_id"] == 9
    assert log_entry(head + bytes([5, 2, 1, 0, 9, 0, 0, 0, 0, 0])) == entry
    assert log_entry(head + bytes([99, 1, 2])).vendor["nuki"]["data"] == "0102"
    with pytest.raises(FrameError):
        log_entry(head)


# ---- configuration --------------------------------------------------------------------------------------------------

CONFIGURED: Final = (
    bytes(range(4)) + b"Front door".ljust(32, b"\x00") + struct.pack("<ff", 48.137154, -11.576124) + bytes(range(1, 32))
)
ADVANCED_33: Final = bytes(range(100, 137))


@pytest.mark.parametrize("size", [74, 76, 77, 78, 79])
def test_a_configuration_goes_back_as_it_came(size: int) -> None:
    raw = CONFIGURED.ljust(79, b"\x05")[:size]
    values = values_of(raw, CONFIG)
    assert len(values) == len(CONFIG)
    payload = set_config(bytes(raw[:4]) + bytes(size - 4), values)
    assert len(payload) == SET_CONFIG_BYTES
    for item in CONFIG:
        assert item.set_at is not None
        assert payload[item.set_at : item.set_at + item.end - item.at] == raw[item.at : item.end], item.name


@pytest.mark.parametrize("size", [20, 30, 33, 35])
def test_an_advanced_configuration_is_as_long_as_the_lock_that_gets_it_has_it(size: int) -> None:
    raw = ADVANCED_33[:size]
    assert set_advanced(raw, {}) == raw[2:]
    values = values_of(raw, ADVANCED)
    known = min(size, ADVANCED[-1].end)  # what a newer firmware appends stays as that lock has it
    assert set_advanced(bytes(size), values) == raw[2:known] + bytes(size - known)
    beyond = next((item.name for item in ADVANCED if item.end > size), None)
    if beyond is not None:
        with pytest.raises(FrameError, match=beyond):
            set_advanced(raw, {beyond: 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [("name", "ä" * 17), ("led_brightness", 256), ("timezone_offset_min", "x"), ("night_mode_start", "7")],
)
def test_a_value_that_does_not_fit_its_field_is_an_error(name: str, value: int | str) -> None:
    change = set_config if BY_NAME[name] in CONFIG else set_advanced
    with pytest.raises(FrameError, match=name):
        change(CONFIGURED.ljust(79, b"\x00"), {name: value})


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=4, max_size=4))
def test_any_name_and_any_place_come_back_byte_for_byte(name: bytes, place: bytes) -> None:
    raw = bytes(4) + name + place + bytes(40)
    values = values_of(raw, CONFIG)
    if struct.unpack("<f", place)[0] == struct.unpack("<f", place)[0]:  # not NaN, of which there are many
        assert set_config(bytes(80), values)[:36] == raw[4:40]


def test_time_zones_by_their_number() -> None:
    assert (time_zone(37), time_zone(0), time_zone(45), time_zone(65535), time_zone(None)) == (
        "Europe/Berlin", "Africa/Cairo", "Pacific/Pago_Pago", None, None,
    )  # fmt: skip
    for number in range(46):
        assert ZoneInfo(str(time_zone(number))), "every one is a zone that this computer knows"
