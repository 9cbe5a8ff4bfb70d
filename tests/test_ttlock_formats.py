"""Frames, keys and records of TTLock locks: every worked frame in both directions, and what no lock would send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest
from framing import assert_every_split
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from lockmigrate.errors import ConfigError, FrameError, LockmigrateError, Tampered
from lockmigrate.formats import decode
from lockmigrate.formats.lists import announced_of, join_list, split_list
from lockmigrate.formats.ttlock import (
    COMPANY_ID,
    DEFAULT_KEY,
    PLAIN_TABLE,
    TABLE,
    Cmd,
    Feature,
    Framer,
    build_frame,
    checksum,
    chunks,
    decrypt,
    encrypt,
    has,
    parse_advertisement,
    parse_answer,
    parse_features,
)
from lockmigrate.formats.ttlock_keys import decode_lock_data, decode_secret, encode_lock_data, encode_secret
from lockmigrate.formats.ttlock_log import log_entry, split_log
from lockmigrate.formats.ttlock_records import (
    PERMANENT_FROM,
    PERMANENT_UNTIL,
    Passcode,
    limits_of,
    parse_passage,
    parse_passcode,
    split_holders,
    split_passcodes,
)
from lockmigrate.formats.ttlock_settings import decode_settings, set_request, values_of
from lockmigrate.formats.ttlock_tables import ALL_TABLES
from lockmigrate.model.records import CardData, PinData
from lockmigrate.operations.lock_keys import export_keys, import_keys, keep_keys
from lockmigrate.protocols.credentials import TtlockCredential, read_credentials

KEY: Final = bytes.fromhex("a0b1c2d3e4f5061728394a5b6c7d8e9f")
LINES: Final = (Path(__file__).parent / "vectors" / "ttlock" / "frames.txt").read_text(encoding="utf-8").splitlines()
ROWS: Final = [[part.strip() for part in line.split(" | ")] for line in LINES if not line.startswith("#")]
APP: Final = [row for row in ROWS if row[0] == "app"]
LOCK: Final = [row for row in ROWS if row[0] == "lock"]
BLOB: Final = (
    "J7TXIdJEA8LwhrGiQ1sZWoqyIcqaz9I09oaJ0F2i1jCj2bade3enhqenLi0IUsb449C706aZ4WywTdAOQrwcv8Z4BoK7Skv+5z85E/kV569gyBAyaGYL"
    "TMp2Bi9l7cJOuEziSAwfXAtqhOlihqPkw+NazI5bcqlommjvEq73tRSPZ1kBXPP+XcllIAJ2pNU9gL5L3MOwiQbzMZ3Nu1PjHAgKKnMgOELol+tXR7Nm"
    "T1J2iuMtRe9qpuMphXlWrEgSFcXehfnSQgNNm1/9o+GAJekUrJf2E5jUHJ/LLT7oenTBXqoRIjM="
)
"""The reference's test blob, section 13: MAC C1:5E:AA:11:22:33, the key above, adminPs 12345678, unlockKey 87654321."""


# ---- frames ---------------------------------------------------------------------------------------------------------


def test_the_table_differs_from_the_usual_one_in_one_entry() -> None:
    assert checksum(b"123456789", PLAIN_TABLE) == 0xA1
    assert [index for index in range(256) if TABLE[index] != PLAIN_TABLE[index]] == [33]
    assert (TABLE[33], PLAIN_TABLE[33]) == (0x07, 0x7D)


@pytest.mark.parametrize("row", APP, ids=lambda row: row[1])
def test_our_requests_are_the_worked_ones(row: list[str]) -> None:
    raw, key = bytes.fromhex(row[3]), DEFAULT_KEY if "default key" in row[1] or "no payload" in row[1] else KEY
    assert build_frame(raw[9], bytes.fromhex(row[2]), key) == raw + b"\r\n"


@pytest.mark.parametrize("row", LOCK, ids=lambda row: row[1])
def test_answers_of_locks_are_read(row: list[str]) -> None:
    framer = Framer()
    framer.feed(bytes.fromhex(row[3]) + b"\r\n")
    frame = framer.next()
    assert frame is not None
    assert not frame.odd_checksum
    answer = parse_answer(frame, KEY)
    assert answer is not None
    assert bytes([answer.command, answer.status]) + answer.data == bytes.fromhex(row[2])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_every_frame_is_put_together_from_any_chunks(row: list[str]) -> None:
    raw = bytes.fromhex(row[3]) + b"\r\n"
    framer = Framer()
    framer.feed(raw)
    frame = framer.next()
    assert frame is not None
    assert not frame.odd_checksum, "captured frames have the changed table's checksum too"
    assert_every_split(Framer, raw * 2, [frame, frame])


def test_a_frame_whose_ciphertext_holds_the_terminator_is_whole() -> None:
    (row,) = [row for row in ROWS if "0d0a" in row[1]]
    assert bytes.fromhex(row[3]).find(b"\r\n") < len(bytes.fromhex(row[3])) - 2


def test_the_usual_checksum_is_taken_and_noted_and_any_other_refused() -> None:
    (row,) = [row for row in ROWS if "CRC quirk" in row[1]]
    raw = bytes.fromhex(row[3])
    framer = Framer()
    framer.feed(raw[:-1] + b"\x38\r\n")
    frame = framer.next()
    assert frame is not None
    assert frame.odd_checksum
    for check in set(range(256)) - {raw[-1], 0x38}:
        framer.feed(raw[:-1] + bytes([check]) + b"\r\n" + raw + b"\r\n")
        with pytest.raises(FrameError, match="checksum"):
            framer.next()
        assert framer.next() is not None, "what follows is still heard"


def test_noise_is_skipped_and_counted() -> None:
    raw = build_frame(Cmd.FEATURES, b"", KEY)
    framer = Framer()
    framer.feed(b"\x7f\x7f\x5a\x01" + raw + b"\x00\x7f" + raw)
    assert [framer.next() is not None for _ in range(2)] == [True, True]
    assert framer.next() is None
    assert framer.skipped == 6


def test_chunks_are_of_twenty_bytes_in_order() -> None:
    raw = build_frame(Cmd.PASSCODE, bytes.fromhex("0201063132333435360001010000"), KEY)
    assert [chunk.hex() for chunk in chunks(raw)] == [
        "7f5a0503010001000103aa10b6a93633a6841a9b",
        "0c6e83f69e09b3cd5e0d0a",
    ]


@given(st.lists(st.binary(max_size=60), max_size=12))
def test_any_bytes_give_frames_or_errors_of_ours(pieces: list[bytes]) -> None:
    framer = Framer()
    for piece in pieces:
        framer.feed(piece)
        for _ in range(50):
            try:
                frame = framer.next()
                if frame is None:
                    break
                parse_answer(frame, KEY)
            except LockmigrateError:
                continue


@given(st.binary(max_size=111))
def test_what_is_encrypted_opens_again(plain: bytes) -> None:
    assert decrypt(KEY, encrypt(KEY, plain)) == plain


def test_another_key_is_noticed_nearly_always() -> None:
    noticed = 0
    for number in range(200):
        try:
            decrypt(KEY, encrypt(DEFAULT_KEY, bytes([number]) * 5))
        except Tampered:
            noticed += 1
    assert noticed > 190, "there is no other check than the padding"


def test_a_request_that_no_lock_takes_is_not_built() -> None:
    with pytest.raises(FrameError):
        build_frame(Cmd.PASSCODE, bytes(112), KEY)


def test_feature_words_and_the_captured_ones() -> None:
    bits = parse_features(bytes.fromhex("0004f1f1"))
    assert [bit for bit in range(64) if bits >> bit & 1] == [0, 4, 5, 6, 7, 8, 12, 13, 14, 15, 18]
    assert has(parse_features(bytes.fromhex("0000000000000004")), Feature.CYCLIC_LIMITS)


def test_the_advertisement_of_a_real_lock() -> None:
    raw = bytes.fromhex("05030210" + "64b000f4f953653322 11aa5ec1".replace(" ", ""))
    seen = parse_advertisement({COMPANY_ID: raw[2:]})
    assert seen is not None
    assert (seen.scene, seen.battery_percent, seen.mac) == (2, 100, "C1:5E:AA:11:22:33")
    assert (seen.setting_mode, seen.awake) == (False, False)
    assert parse_advertisement({0x004C: raw}) is None
    assert parse_advertisement({COMPANY_ID: raw[2:6]}) is None


# ---- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("MTAzLDEwMSw5OSw5NywxMTEsMTAyLDEwMCw5OCw5NiwxMTAsNDE=", 246813579),
        ("MTU4LDE1MSwxNTksMTU3LDE1NSwxNTMsMTE1", 91357),
        ("OTUsOTUsODcsODgsODksOTAsOTEsOTIsOTMsOTQsMTc=", 87654321),
        ("0087654321", 87654321),
    ],
)
def test_the_vendors_texts_of_secrets(text: str, number: int) -> None:
    assert decode_secret(text) == number


def test_a_secret_is_written_as_the_vendor_writes_it() -> None:
    assert encode_secret(87654321, seed=0x11) == "OTUsOTUsODcsODgsODksOTAsOTEsOTIsOTMsOTQsMTc="


@given(st.integers(0, 0xFFFFFFFF), st.integers(1, 127))
def test_secrets_survive_the_vendors_form(number: int, seed: int) -> None:
    assert decode_secret(encode_secret(number, seed=seed)) == number


@pytest.mark.parametrize("text", ["", "12a", "not base64 at all", "MTAzLGFiYw==", "LCws", "////"])
def test_what_is_no_secret_is_an_error_that_repeats_nothing(text: str) -> None:
    with pytest.raises(FrameError) as caught:
        decode_secret(text)
    assert not text or text not in str(caught.value)


def test_lock_data_opens_and_closes_again() -> None:
    found = decode_lock_data(BLOB)
    assert found["lockMac"] == "C1:5E:AA:11:22:33"
    assert decode_lock_data(encode_lock_data(found, found["lockMac"])) == found
    for text in ("", "AAAA", BLOB[:-8], "x" + BLOB):
        with pytest.raises(FrameError):
            decode_lock_data(text)


SDK: Final = {
    "address": "c1:5e:aa:11:22:33",
    "battery": 80,
    "privateData": {
        "aesKey": KEY.hex(),
        "admin": {"adminPs": 12345678, "unlockKey": 87654321},
        "adminPasscode": "1234567",
    },
}
ESPHOME: Final = {"C1:5E:AA:11:22:33": {"aes_key": KEY.hex(), "admin_ps": "bc614e", "unlock_key": "5397fb1"}}


@pytest.mark.parametrize(
    "document",
    [
        [SDK],
        SDK,
        ESPHOME,
        {"mac": "C1:5E:AA:11:22:33", **ESPHOME["C1:5E:AA:11:22:33"]},
        {"lockData": BLOB},
        [{"lockData": BLOB}],
    ],
)
def test_exports_of_other_programs_are_taken(document: object, tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text(json.dumps(document))
    found = import_keys(tmp_path / "export.json")
    assert (found.aes_key, found.admin_ps, found.unlock_key) == (KEY.hex(), 12345678, 87654321)
    assert found.address == found.unit == "C1:5E:AA:11:22:33"


def test_the_bare_text_is_taken_and_what_we_export_is_taken_again(tmp_path: Path) -> None:
    file = tmp_path / "front.lockdata"
    file.write_text(BLOB + "\n")
    found = import_keys(file)
    file.write_text(export_keys(found))
    assert import_keys(file) == found


def test_of_several_locks_one_has_to_be_named(tmp_path: Path) -> None:
    other = {
        "address": "AA:AA:AA:AA:AA:AA",
        "privateData": {"aesKey": "00" * 16, "admin": {"adminPs": 1, "unlockKey": 2}},
    }
    (tmp_path / "export.json").write_text(json.dumps([SDK, other]))
    with pytest.raises(ConfigError, match="2 locks"):
        import_keys(tmp_path / "export.json")
    assert import_keys(tmp_path / "export.json", lock="aa:aa:aa:aa:aa:aa").admin_ps == 1
    with pytest.raises(ConfigError, match="no keys of"):
        import_keys(tmp_path / "export.json", lock="bb:aa:aa:aa:aa:aa")


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "7", '{"aesKey": "short"}', '{"aes_key": 5}', "[" * 100, '{"lockData": "AAAA"}']
)
def test_what_is_no_export_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text(text)
    with pytest.raises(ConfigError, match="no export"):
        import_keys(tmp_path / "export.json")


def test_imported_keys_never_take_the_place_of_another_locks(tmp_path: Path) -> None:
    file = tmp_path / "front.toml"
    mine = TtlockCredential(aes_key=KEY.hex(), admin_ps=1, unlock_key=2, address="AA:AA:AA:AA:AA:AA", uid=5)
    keep_keys(file, mine)
    before = file.read_bytes()
    for other in ({"aes_key": "11" * 16}, {"address": "BB:AA:AA:AA:AA:AA"}, {"address": None}):
        with pytest.raises(ConfigError, match="holds the keys of a lock already"):
            keep_keys(file, replace(mine, **other))
        assert file.read_bytes() == before
    keep_keys(file, replace(mine, uid=0, admin_passcode="7654321"))
    again = read_credentials(file)["ttlock"]
    assert isinstance(again, TtlockCredential)
    assert (again.admin_ps, again.admin_passcode) == (1, "7654321")


def test_imported_keys_go_beside_those_of_another_family_but_not_of_a_paired_nuki_lock(tmp_path: Path) -> None:
    mine = TtlockCredential(aes_key=KEY.hex(), address="AA:AA:AA:AA:AA:AA")
    (tmp_path / "zk.toml").write_text("[zk]\ncomm_key = 1234\n")
    keep_keys(tmp_path / "zk.toml", mine)
    assert set(read_credentials(tmp_path / "zk.toml")) == {"zk", "ttlock"}
    (tmp_path / "nuki.toml").write_text(f'[nuki]\nshared_key = "{"11" * 32}"\nauthorization_id = 5\n')
    with pytest.raises(ConfigError, match="holds the keys of a lock already"):
        keep_keys(tmp_path / "nuki.toml", mine)


def test_no_credential_shows_its_keys() -> None:
    held = TtlockCredential(aes_key=KEY.hex(), admin_ps=12345678, unlock_key=87654321, admin_passcode="1234567")
    assert not {"12345678", "87654321", KEY.hex()} & set(repr(held).split('"'))
    assert "1234567" not in repr(held)


# ---- records --------------------------------------------------------------------------------------------------------

CAPTURED: Final = bytes.fromhex("0106313233343536063132333435360001010000")
"""The one record of the captured passcode list, without its length byte."""


def test_the_captured_passcode_is_permanent() -> None:
    row = parse_passcode(CAPTURED)
    assert (row.kind, row.code, row.original, limits_of(row.start, row.end)) == (
        1,
        "123456",
        "123456",
        (None, None, False),
    )
    assert row.record()[1:] == CAPTURED
    assert row.added().hex() == "0201063132333435360001010000", "as the worked frame adds it"
    assert list(split_passcodes(row.record() * 3)) == [CAPTURED] * 3


def test_a_cyclic_code_is_recovered_with_its_opaque_word() -> None:
    row = Passcode(kind=4, code="90909090", original="90909090", start=bytes.fromhex("1a01010000"), cycle=b"\x01\x05")
    assert row.recovered().hex() == "06040839303930393039300839303930393039301a010100000105"
    assert parse_passcode(row.record()[1:]) == row


codes = st.text("0123456789", min_size=4, max_size=9)
dates = st.binary(min_size=5, max_size=5)


@given(
    st.sampled_from([1, 2, 3, 4]), codes, codes, dates, dates, st.binary(min_size=2, max_size=2), st.binary(max_size=3)
)
def test_passcodes_come_back_as_they_were(
    kind: int, code: str, original: str, start: bytes, end: bytes, cycle: bytes, rest: bytes
) -> None:
    row = Passcode(
        kind=kind, code=code, original=original, start=start,
        end=end if kind in (2, 3) else None, cycle=cycle if kind == 4 else b"", rest=rest,
    )  # fmt: skip
    assert parse_passcode(row.record()[1:]) == row
    assert code not in repr(row)


def test_a_record_that_is_cut_short_is_an_error() -> None:
    for size in range(len(CAPTURED)):
        with pytest.raises(FrameError):
            parse_passcode(CAPTURED[:size])
    with pytest.raises(FrameError):
        list(split_passcodes(b"\x14" + CAPTURED[:-1]))
    with pytest.raises(FrameError):
        list(split_passcodes(b"\x00" + CAPTURED))


def test_how_wide_a_cards_number_is_the_page_tells() -> None:
    four, eight = bytes(4 + 10), bytes(8 + 10)
    assert [len(row) for row in split_holders(four * 3, "card")] == [14] * 3
    assert [len(row) for row in split_holders(eight, "card")] == [18]
    assert [len(row) for row in split_holders(bytes(32), "finger")] == [16, 16]
    with pytest.raises(FrameError):
        split_holders(bytes(15), "card")


def test_what_is_written_for_always_is_no_limit() -> None:
    assert limits_of(PERMANENT_FROM, PERMANENT_UNTIL) == (None, None, False)
    assert limits_of(PERMANENT_FROM, bytes([99, 12, 1, 23, 59])) == (None, None, False)
    assert limits_of(bytes([26, 3, 29, 2, 30]), bytes([26, 10, 25, 2, 30])) == (
        "2026-03-29T02:30",
        "2026-10-25T02:30",
        False,
    )
    assert limits_of(bytes([26, 2, 30, 0, 0]), PERMANENT_UNTIL) == (None, None, True)


def test_passage_mode() -> None:
    row = parse_passage(bytes.fromhex("0105000800111e"))
    assert (row.weekly, row.day, row.start, row.end) == (True, 5, "08:00", "17:30")
    for raw in (b"", bytes(6), bytes(7), bytes(8)):
        with pytest.raises(FrameError):
            parse_passage(raw)


def test_the_log_keeps_its_codes_to_itself() -> None:
    raw = bytes([4]) + bytes([26, 5, 11, 15, 48, 8]) + bytes([80]) + b"\x06135791\x06135791"
    entry = log_entry(9, raw)
    assert (entry.seq, entry.time_local, entry.operation, entry.source) == (
        9,
        "2026-05-11T15:48:08",
        "unlock",
        "keypad",
    )
    assert "135791" not in repr(entry)
    assert split_log(bytes([len(raw)]) + raw) == [raw]


def test_times_of_the_log_are_told_in_utc_by_the_distance_measured_and_only_where_it_was() -> None:
    raw = bytes([4]) + bytes([26, 5, 11, 1, 30, 8]) + bytes([80])
    assert log_entry(9, raw).time_utc_estimated is UNSET
    assert log_entry(9, raw, 2 * 3600 + 7).time_utc_estimated == "2026-05-10T23:30:01Z"
    assert log_entry(9, raw, -3600).time_utc_estimated == "2026-05-11T02:30:08Z"
    never_set = bytes([4]) + bytes([0, 1, 1, 0, 0, 9]) + bytes([80])
    assert log_entry(9, never_set, 3600).time_utc_estimated is UNSET, "a clock that was never set tells nothing"
    table = join_list(None, [(9).to_bytes(4, "big") + raw])
    for offset, expected in ((3600, "2026-05-11T00:30:08Z"), (None, UNSET), ("3600", UNSET)):
        (entry,) = decode("ttlock", {"0008-log": table}, {"utc_offset_s": offset}).log
        assert entry.time_utc_estimated == expected
        assert entry.time_local == "2026-05-11T01:30:08"


# ---- settings -------------------------------------------------------------------------------------------------------


def test_settings_change_and_all_else_of_their_command_stays() -> None:
    current = bytes.fromhex("001e" + "0005" + "0384")
    assert values_of({Cmd.AUTO_LOCK: current}) == {"auto_lock_s": 30, "auto_lock_least_s": 5, "auto_lock_most_s": 900}
    assert set_request(Cmd.AUTO_LOCK, current, [("auto_lock_s", 30)]).hex() == "02001e", "the worked frame"
    assert set_request(Cmd.AUTO_LOCK, current + b"\x01", [("auto_lock_s", 60)]).hex() == "02003c01"
    assert set_request(Cmd.AUDIO, b"\x01\x03", [("audio", 0)]).hex() == "02000300"
    assert set_request(Cmd.AUDIO, b"\x01", [("audio", 0)]).hex() == "0200"
    mask = bytes.fromhex("00000007" + "00000004")
    assert set_request(Cmd.SWITCH, mask, [("tamper_alert", 1)]).hex() == "0200000007" + "00000005"
    for command, name in ((Cmd.SWITCH, "switch_9"), (Cmd.AUTO_LOCK, "auto_lock_most_s"), (Cmd.AUDIO, "audio_volume")):
        with pytest.raises(FrameError):
            set_request(command, {Cmd.SWITCH: mask, Cmd.AUTO_LOCK: current, Cmd.AUDIO: b"\x01"}[command], [(name, 1)])


def test_settings_of_a_table() -> None:
    table = join_list(None, [bytes([Cmd.AUTO_LOCK]) + bytes.fromhex("001e00050384"), bytes([Cmd.SHOW_PASSCODE, 1])])
    found = {item.key: (item.value, item.device_bound) for item in decode_settings(table, "0006-settings")}
    assert found["setting/ttlock.auto_lock_s"] == (30, False)
    assert found["setting/ttlock.auto_lock_most_s"] == (900, True)
    assert found["setting/ttlock.show_passcode"] == (1, False)


# ---- decoding -------------------------------------------------------------------------------------------------------

WEEKLY: Final = bytes.fromhex("00000007" + "00000004")
"""Feature words with passcodes, cards, fingers, and 34."""
CARD: Final = bytes.fromhex("abcdef01") + bytes([25, 1, 1, 0, 0]) + bytes([30, 12, 31, 23, 59])


def test_codes_cards_and_fingers_become_records() -> None:
    finger = bytes.fromhex("00000000002a") + PERMANENT_FROM + PERMANENT_UNTIL
    tables = {
        "0002-features": WEEKLY[:4],
        "0003-passcodes": join_list(None, [CAPTURED]),
        "0004-cards": join_list(None, [CARD]),
        "0005-fingers": join_list(None, [finger]),
    }
    sections = decode("ttlock", tables, {"address": "C1:5E:AA:11:22:33"})
    code, card, print_ = sections.credentials
    assert isinstance(code.data, PinData)
    assert code.data.digits.reveal() == "123456"
    assert isinstance(card.data, CardData)
    assert (card.data.number.reveal(), card.data.number_rule) == ("2882400001", "u32be")
    (dates,) = sections.schedules
    assert (dates.start_local, dates.end_local) == ("2025-01-01T00:00", "2030-12-31T23:59")
    assert card.schedules == (dates.key,) == ("schedule/card/1.dates",)
    assert (print_.key, print_.data_state) == ("fingerprint/42", "present_unreadable")
    assert sections.lock.serial == "C1:5E:AA:11:22:33"


def test_with_feature_34_a_limit_may_lie_behind_every_card_and_finger() -> None:
    sections = decode("ttlock", {"0002-features": WEEKLY, "0004-cards": join_list(None, [CARD])}, {})
    assert [(item.kind, item.why) for item in sections.schedules] == [("YearDay", None), ("Unknown", "unreadable")]
    assert sections.coverage["schedules"].state == "partial"


@given(st.dictionaries(st.sampled_from(ALL_TABLES), st.binary(max_size=120)))
def test_any_tables_give_records_or_an_error_of_ours(tables: dict[str, bytes]) -> None:
    try:
        sections = decode("ttlock", tables, {})
    except FrameError:
        return
    keys = [item.key for item in (*sections.credentials, *sections.schedules, *sections.lock_schedules)]
    assert len(set(keys)) == len(keys)


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_lists_come_apart_as_they_were_joined(items: list[bytes]) -> None:
    table = join_list(None, items)
    assert [data for _, data in split_list(table)] == items
    assert announced_of(table) is None
