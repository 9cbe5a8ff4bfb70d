"""Raw dumps read by a profile's `[tables]`: what is right is read, what is cut refused, what is wrong explained."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vaults import Vault

from lockmigrate import formats
from lockmigrate.cli import main
from lockmigrate.errors import ConnectError, FrameError, ImageError, ProfileError, TornRead, Unsupported
from lockmigrate.formats import tables_fields, tables_layout, tables_schema, tables_types
from lockmigrate.formats.tables import MAX_IMAGE_BYTES, TABLE, Dump, compile_tables, read_image, recognises
from lockmigrate.formats.tables_values import CHECKS
from lockmigrate.model.document import from_sections, to_sections
from lockmigrate.model.records import CardData, Credential, PinData
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.profiles import PATH_VARIABLE, Profile, load_profile, parse_profile
from lockmigrate.protocols import Scope, Section
from lockmigrate.protocols.door import Door
from lockmigrate.protocols.dump import DumpLock
from lockmigrate.protocols.dump_door import check_variant, open_unit, read_file
from lockmigrate.targets import Access, open_target, parse_target

ROOT: Final = Path(__file__).parents[1]
NAME: Final = "example-keypad-eeprom"
PROFILE: Final = ROOT / "firmware_profiles" / f"{NAME}.toml"
DUMP: Final = ROOT / "docs" / "examples" / "example-keypad.bin"
GUIDE: Final = ROOT / "docs" / "adding-a-lock.md"
DATA: Final = DUMP.read_bytes()
TABLES: Final[dict[str, Any]] = tomllib.loads(PROFILE.read_text(encoding="utf-8"))["tables"]


@pytest.fixture(autouse=True)
def _no_folders_of_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PATH_VARIABLE, raising=False)


def maker() -> ModuleType:
    """The program that writes the example; it shares no code with the decoder."""
    spec = importlib.util.spec_from_file_location("make_example_dump", ROOT / "docs" / "make_example_dump.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def revealed(item: Credential) -> str:
    """A PIN or a card number."""
    assert isinstance(item.data, PinData | CardData)
    value = (item.data.digits if isinstance(item.data, PinData) else item.data.number).reveal()
    assert isinstance(value, str)
    return value


def opened(data: bytes, tables: dict[str, Any] = TABLES) -> Dump:
    return read_image(compile_tables(tables), data)


async def lock_of(path: Path, profile: Profile | None = None) -> DumpLock:
    return await open_unit(path, Door(target=f"image://{path.name}", port_id=path.name, profile=profile))


async def read_whole(lock: DumpLock, *, twice: bool = False) -> Reading:
    async for item in read_unit(lock, twice=twice):
        if isinstance(item, Reading):
            return item
    raise AssertionError


# ---- the example ----------------------------------------------------------------------------------------------------


def test_the_example_is_what_its_program_writes() -> None:
    assert maker().image() == DATA, "run: python docs/make_example_dump.py"


async def test_the_example_gives_the_people_that_its_program_put_in() -> None:
    made = maker()
    snapshot = (await read_whole(await lock_of(DUMP))).snapshot
    users = {item.key: item for item in snapshot.users}
    found = {item.key: item for item in snapshot.credentials}
    assert list(users) == [f"user/{number}" for _, number, *_ in made.PEOPLE]
    for _, number, state, pin, card, name, until, floor in made.PEOPLE:
        user = users[f"user/{number}"]
        disabled = state & 0x03 == made.DISABLED
        assert user.user_name == name
        assert user.user_status == ("OccupiedDisabled" if disabled else "OccupiedEnabled")
        assert user.privilege == ("admin" if state & made.ADMIN else "user")
        assert user.vendor["image"]["floor"] == floor
        assert isinstance(user.schedules, tuple) == (until is not None)
        assert (f"pin/{number}" in found) == bool(pin)
        assert (f"card/{number}" in found) == (card != made.NO_CARD)
        for kind, value in (("pin", pin), ("card", str(card))):
            item = found.get(f"{kind}/{number}")
            if item is not None:
                assert revealed(item) == value
                assert (item.user, item.status) == (user.key, "disabled" if disabled else "enabled")
                assert len(item.schedules) == (until is not None)
    spare = [(item.user, revealed(item)) for item in snapshot.credentials if item.key.startswith("card/100")]
    assert spare == [(f"user/{owner}" if owner else None, str(card)) for owner, card in made.SPARE_CARDS]
    for record, owner, finger, size in made.FINGERS:
        item = found[f"fingerprint/{record + 1}"]
        assert item.template is not None
        assert (item.user, item.template.origin_finger, item.template.size) == (f"user/{owner}", finger, size)
        at = 0x400 + 128 * record + 4
        assert snapshot.bytes_of(item.template.template) == DATA[at : at + size]


async def test_the_example_says_who_it_is_and_how_it_is_set() -> None:
    reading = await read_whole(await lock_of(DUMP))
    unit, snapshot = reading.unit, reading.snapshot
    assert (unit.id, unit.serial, unit.firmware) == ("example-keypad.bin", "EX240017", "1.04")
    assert (unit.family, unit.profile, unit.details["medium"]) == ("image", NAME, "file")
    assert unit.counts == {"users": 6, "pins": 5, "cards": 5, "fingerprints": 3}
    assert {item.key: item.value for item in snapshot.settings} == {
        "setting/image.open_time": 5,
        "setting/image.wrong_codes": 3,
        "setting/image.sounds": "keys, open door",
    }
    (key,) = snapshot.access_keys
    assert (key.key, key.secret.reveal()) == ("access_key/image.admin_code", "24681357")
    assert [(gap.record, gap.announced) for gap in snapshot.gaps] == [("schedule/people.2", True)]
    assert [(item.kind, item.why) for item in snapshot.schedules] == [("Unknown", "opaque")]
    assert snapshot.losses == ()


async def test_a_backup_is_decoded_again_from_its_own_variant() -> None:
    """What the drift check does, with everything having gone through JSON once."""
    lock = await lock_of(DUMP)
    snapshot = (await read_whole(lock)).snapshot
    variant = json.loads(json.dumps(lock.variant, allow_nan=False))
    again = formats.decode("image", {table.name: table.data for table in snapshot.tables}, variant)
    stored = from_sections(to_sections(snapshot), snapshot.tables)
    for name in ("users", "credentials", "schedules", "settings", "access_keys", "coverage", "losses", "attachments"):
        assert getattr(again, name) == getattr(stored, name), name
    assert stored.counts() == {
        "users": 6, "pins": 5, "cards": 5, "fingerprints": 3, "faces": 0, "schedules": 1,
    }  # fmt: skip


async def test_the_scheme_opens_a_dump_with_and_without_a_profile() -> None:
    for query in ("", f"?profile={NAME}"):
        lock = await open_target(parse_target(f"image://{DUMP}{query}"), Access())
        assert (await lock.identify()).profile == NAME
        await lock.close()


def test_a_profile_of_another_family_has_no_tables() -> None:
    text = (ROOT / "firmware_profiles" / "r503.toml").read_text(encoding="utf-8")
    with pytest.raises(ProfileError, match="tables: only a raw dump"):
        parse_profile(text + '\n[tables.codes]\nkind = "pin"\n', where="r503.toml")


# ---- a dump that is not whole ---------------------------------------------------------------------------------------


def without_size() -> dict[str, Any]:
    tables = copy.deepcopy(TABLES)
    del tables["image"]["size_bytes"]
    return tables


@pytest.mark.parametrize("tables", [TABLES, without_size()], ids=["with its size", "without its size"])
def test_a_dump_cut_at_any_byte_is_refused_and_told_where(tables: dict[str, Any]) -> None:
    layout = compile_tables(tables)
    for cut in range(1, len(DATA)):
        with pytest.raises(ImageError, match=rf"ends at {cut:#x}\b"):
            read_image(layout, DATA[:cut])


def test_the_refusal_of_a_cut_names_the_record() -> None:
    with pytest.raises(ImageError, match=r'inside record 2 of "people" \(0x80 to 0xa0\)') as caught:
        opened(DATA[:0x90])
    assert (caught.value.exit_code, caught.value.code) == (6, "bad-image")


@pytest.mark.parametrize(
    ("count", "more"),
    [
        (12, {}),
        ({"offset": 0, "type": "u8"}, {}),
        ({"offset": 0, "type": "u16be"}, {}),
        ("until-end", {}),
        ("until-mark", {"end_mark": "ff"}),
        ("until-mark", {"end_mark": {"field": "slot", "value": [0xEE]}}),
    ],
    ids=["number", "u8 counter", "u16 counter", "until end", "until FF", "until a value"],
)
def test_every_rule_for_the_count_refuses_a_cut_inside_a_record(count: Any, more: dict[str, Any]) -> None:
    fields = [
        {"name": "slot", "offset": 0, "type": "u8", "role": "slot"},
        {"name": "pin", "offset": 1, "type": "bcd", "size": 3, "role": "digits"},
    ]
    tables = {"codes": {"offset": 4, "record_bytes": 4, "count": count, "kind": "pin", "fields": fields, **more}}
    layout = compile_tables(tables)
    head = b"\x00\x0c\x00\x00" if isinstance(count, dict) and count["type"] == "u16be" else b"\x0c\x00\x00\x00"
    body = b"".join(bytes((slot, 0x12, 0x34, slot)) for slot in range(1, 13) if slot != 10)[: 4 * 11]
    data = head + body + bytes((0x0A, 0x98, 0x76, 0x54))
    ended = more.get("end_mark")
    whole = data + (b"" if not ended else b"\xff" * 4 if ended == "ff" else b"\xee\0\0\0")
    assert read_image(layout, whole).records == 12
    for cut in range(4, len(whole)):
        if count == "until-end" and cut > 4 and not cut % 4:
            continue  # the end of the image is the end of the table there, and only `size_bytes` can know better
        with pytest.raises(ImageError, match=rf"ends? at {cut:#x}|image at {cut:#x}"):
            read_image(layout, whole[:cut])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: b"XXXX" + data[4:], "of another model: its mark at 0x0"),
        (lambda data: data + b"\xff", "has 2049 bytes, one of this model has 2048"),
        (lambda data: data[:24] + b"\x11" + data[25:], 'counter of "spare_cards" at 0x18 says 17 records'),
    ],
)
def test_a_dump_of_something_else_is_refused(change: Callable[[bytes], bytes], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        opened(change(DATA))


def test_a_table_that_the_image_makes_too_long_does_not_reach_into_another() -> None:
    tables = copy.deepcopy(TABLES)
    tables["spare_cards"]["count"]["max"] = 255
    with pytest.raises(ImageError, match='"spare_cards" from 0x340 to 0x408 reaches into "fingers" at 0x400'):
        opened(DATA[:24] + b"\x19" + DATA[25:], tables)


def test_the_checksum_of_the_whole_image_is_checked() -> None:
    tables = copy.deepcopy(TABLES)
    tables["image"]["checksum"] = {"kind": "crc32", "offset": 2040, "over": [0, 2040]}
    data = DATA[:2040] + CHECKS["crc32"][1](DATA[:2040]).to_bytes(4, "little") + DATA[2044:]
    assert opened(data, tables).records == 12
    with pytest.raises(ImageError, match=r"checksum of the image \(crc32 at 0x7f8\) does not hold"):
        opened(data[:700] + b"\x01" + data[701:], tables)


# ---- what is odd is kept and marked, never guessed ------------------------------------------------------------------

PIN_FIELDS: Final[list[dict[str, Any]]] = [
    {"name": "number", "offset": 0, "type": "u8", "role": "slot"},
    {"name": "state", "offset": 1, "type": "u8", "role": "status", "enum": {"1": "enabled", "2": "disabled"}},
    {"name": "pin", "offset": 2, "type": "bcd", "size": 3, "role": "digits"},
    {"name": "name", "offset": 5, "type": "utf-8", "size": 6, "role": "name"},
    {"name": "rank", "offset": 11, "type": "u8", "role": "privilege", "enum": {"0": "user", "9": "admin"}},
]
PEOPLE: Final[dict[str, Any]] = {
    "offset": 0, "record_bytes": 12, "count": "until-end", "kind": ["user", "pin"], "empty": "ff", "fields": PIN_FIELDS,
}  # fmt: skip


def record(number: int = 1, state: int = 1, pin: str = "123456", name: bytes = b"Ada", rank: int = 0) -> bytes:
    return bytes((number, state)) + bytes.fromhex(pin) + name.ljust(6, b"\0") + bytes((rank,))


def marks_of(dump: Dump, key: str) -> list[str]:
    everything = {item.key: item for item in (*dump.sections.users, *dump.sections.credentials)}
    marks: list[str] = everything[key].vendor["image"].get("marks", [])
    return marks


def test_a_record_whose_checksum_fails_is_a_gap_and_no_record() -> None:
    dump = opened(DATA[:0x064] + b"\x43" + DATA[0x065:])
    assert "user/2" not in [item.key for item in dump.sections.users]
    assert "pin/2" not in [item.key for item in dump.sections.credentials]
    gap = next(gap for gap in dump.gaps if gap.code == "record-damaged")
    assert (gap.section, gap.record) == ("credentials", "people/1")
    assert "0x60" in gap.detail
    coverage = dump.sections.coverage
    assert [coverage[name].state for name in ("users", "credentials", "settings")] == ["partial", "partial", "full"]
    assert (coverage["users"].device_count, coverage["users"].read_count) == (6, 5)
    assert dump.damaged == 1


def test_a_finger_whose_user_is_damaged_is_not_simply_enabled() -> None:
    dump = opened(DATA[:0x085] + b"\x36" + DATA[0x086:])  # user 3, who has a time limit and a finger
    finger = next(item for item in dump.sections.credentials if item.key == "fingerprint/5")
    assert (finger.user, finger.status) == (None, "unknown")
    assert ("fingerprint/5", "user-missing") in [(loss.record, loss.code) for loss in dump.sections.losses]


def test_settings_whose_checksum_fails_are_not_given() -> None:
    dump = opened(DATA[:17] + b"\x06" + DATA[18:])
    assert dump.sections.settings == ()
    assert dump.sections.lock.serial is None
    assert [gap.record for gap in dump.gaps if gap.section == "settings"] == ["config/0"]


def test_a_slot_that_two_records_claim_belongs_to_neither() -> None:
    dump = opened(record(7, pin="111111") + record(8) + record(7, pin="222222", name=b"Bo"), {"people": PEOPLE})
    pin = next(item for item in dump.sections.credentials if item.key == "pin/7")
    assert (pin.data, pin.data_state, pin.status) == (None, "present_unreadable", "unknown")
    assert [(ref.offset, ref.size) for ref in pin.raw] == [(0, 12), (24, 12)]
    user = next(item for item in dump.sections.users if item.key == "user/7")
    assert (user.user_name, user.user_status) == (None, "OccupiedDisabled")
    assert marks_of(dump, "pin/7") == ["people/0 and people/2 claim this slot, and differ"]
    assert {(loss.record, loss.code) for loss in dump.sections.losses} == {
        ("user/7", "uid-duplicate"),
        ("pin/7", "uid-duplicate"),
    }
    assert [gap.record for gap in dump.gaps] == ["pin/7"]


def test_a_pin_beside_a_doubtful_user_is_doubtful_too() -> None:
    dump = opened(record(7) + record(7, pin="FFFFFF", name=b"Bo"), {"people": PEOPLE})
    (pin,) = dump.sections.credentials
    assert (revealed(pin), pin.user, pin.status) == ("123456", "user/7", "unknown")
    assert {(loss.record, loss.code) for loss in dump.sections.losses} == {
        ("user/7", "uid-duplicate"),
        ("pin/7", "uid-duplicate"),
    }


def test_a_slot_without_a_card_is_no_rival_of_one_with_a_card() -> None:
    fields = [{"name": "card", "offset": 0, "type": "u16le", "role": "card", "none": [0]}]
    table = {"record_bytes": 2, "count": 1, "kind": "card", "first_slot": 5, "fields": fields}
    dump = opened(b"\x39\x30\0\0", {"one": {**table, "offset": 0}, "two": {**table, "offset": 2}})
    assert [(item.key, revealed(item)) for item in dump.sections.credentials] == [("card/5", "12345")]
    assert [gap.record for gap in dump.gaps] == ["two/0"]


def test_a_record_that_stands_there_twice_is_believed_and_marked() -> None:
    dump = opened(record(7) + record(7), {"people": PEOPLE})
    assert revealed(next(item for item in dump.sections.credentials if item.key == "pin/7")) == "123456"
    assert marks_of(dump, "pin/7") == ["people/0 and people/1 are the same record"]
    assert dump.sections.losses == dump.gaps == ()


@pytest.mark.parametrize("pin", ["1A2345", "12F345", "F12345"])
def test_bytes_that_are_no_digits_are_no_pin(pin: str) -> None:
    dump = opened(record(pin=pin), {"people": PEOPLE})
    (item,) = dump.sections.credentials
    assert (item.data, item.data_state) == (None, "present_unreadable")
    assert marks_of(dump, "pin/1") == ["pin: the bytes are no digits"]
    assert [(loss.record, loss.code) for loss in dump.sections.losses] == [("pin/1", "pin-alphabet")]
    assert [(gap.record, gap.code) for gap in dump.gaps] == [("pin/1", "pin-alphabet")]


@pytest.mark.parametrize("name", [b"\xff\xfe", b"\xc3", b"a\x07b"])
def test_bytes_that_are_no_text_are_no_name(name: bytes) -> None:
    dump = opened(record(name=name), {"people": PEOPLE})
    (user,) = dump.sections.users
    assert (user.user_name, user.user_name_encoding) == (None, "unknown")
    assert user.user_name_raw == name.hex()
    assert [(loss.record, loss.code) for loss in dump.sections.losses] == [("user/1", "name-encoding")]


def test_what_lies_behind_the_end_of_a_name_is_not_its_part() -> None:
    (user,) = opened(record(name=b"Ada\0xy"), {"people": PEOPLE}).sections.users
    assert (user.user_name, user.user_name_raw) == ("Ada", b"Ada".hex())


def test_a_value_that_the_mapping_does_not_have_is_marked_and_opens_nothing() -> None:
    dump = opened(record(state=3, rank=7), {"people": PEOPLE})
    (user,), (pin,) = dump.sections.users, dump.sections.credentials
    assert (user.user_status, user.privilege, pin.status) == ("OccupiedDisabled", None, "unknown")
    assert marks_of(dump, "user/1") == ["rank: 7 is not in the mapping", "state: 3 is not in the mapping"]


def test_a_record_that_gives_nothing_is_told_of() -> None:
    tables = {"codes": {**PEOPLE, "kind": "pin", "fields": PIN_FIELDS[:3]}}
    dump = opened(record(pin="FFFFFF"), tables)
    assert dump.sections.credentials == ()
    assert [(gap.record, gap.code) for gap in dump.gaps] == [("codes/0", "record-blank")]


def test_a_duress_mark_that_is_not_known_is_taken_for_one() -> None:
    fields = [
        {"name": "pin", "offset": 0, "type": "bcd", "size": 2, "role": "digits"},
        {"name": "alarm", "offset": 2, "type": "u8", "role": "duress", "enum": {"0": "no", "1": "yes"}},
    ]
    table = {"offset": 0, "record_bytes": 3, "count": 3, "kind": "pin", "first_slot": 0, "fields": fields}
    dump = opened(bytes.fromhex("123400 123401 123402"), {"codes": table})
    assert [item.duress for item in dump.sections.credentials] == [False, True, True]


def one_field(kind: str, raw: bytes, **more: Any) -> Dump:
    """A dump of one record: one field, and behind it a byte that says how long it is."""
    size = {} if more["type"].startswith("u") and more["type"] != "utf-8" else {"size": len(raw) - 1}
    first = {"name": "it", "offset": 0, **size, **more}
    length = {"name": "length", "offset": len(raw) - 1, "type": "u8"}
    rest = {"count": 1, "kind": kind, "fields": [first, length]}
    if kind != "setting":
        rest["first_slot"] = 1
    return opened(raw, {"it": {"offset": 0, "record_bytes": len(raw), **rest}})


@pytest.mark.parametrize(
    ("raw", "more", "digits"),
    [
        ("12 34 56 00 05", {"type": "bcd", "length": "length"}, "12345"),
        ("12 34 56 00 09", {"type": "bcd", "length": "length"}, None),
        ("00 01 23 45 05", {"type": "bcd", "length": "length", "align": "right"}, "12345"),
        ("21 43 F5 00", {"type": "bcd", "nibbles": "low-first"}, "12345"),
        ("A1 23 45 00", {"type": "bcd", "align": "right", "fill": 0xA}, "12345"),
        ("00 00 00 00", {"type": "bcd"}, "000000"),
        ("01 02 03 FF 00", {"type": "digit-bytes"}, "123"),
        ("01 0B 03 FF 00", {"type": "digit-bytes"}, None),
        ("31 32 33 00 39 00", {"type": "ascii"}, "123"),
        ("31 32 41 00 00", {"type": "ascii"}, None),
        ("31 32 33 34 02", {"type": "ascii", "length": "length"}, "12"),
        ("39 30 00 00 05", {"type": "u32le", "digits": 6}, "012345"),
        ("39 30 00 00 07", {"type": "u32le", "length": "length"}, "0012345"),
        ("39 30 00 00 03", {"type": "u32le", "length": "length"}, None),
    ],
)
def test_a_pin_is_read_as_it_is_written(raw: str, more: dict[str, Any], digits: str | None) -> None:
    (item,) = one_field("pin", bytes.fromhex(raw), role="digits", **more).sections.credentials
    assert (None if item.data is None else revealed(item)) == digits


@pytest.mark.parametrize(
    ("raw", "more", "number"),
    [
        ("00 C0 FF EE 00", {"type": "bytes"}, "00c0ffee"),
        ("04 A1 B2 C3 D4 E5 F6 04", {"type": "bytes", "length": "length"}, "04a1b2c3"),
        ("04 A1 B2 05", {"type": "bytes", "length": "length"}, None),
        ("00 C0 FF EE 00", {"type": "bytes", "number_rule": "u32be"}, "12648430"),
        ("EE FF C0 00 00", {"type": "bytes", "number_rule": "u32le"}, "12648430"),
        ("EE FF C0 00", {"type": "u24le", "number_rule": "wiegand26"}, "12648430"),
        ("12 64 84 30 00", {"type": "bcd"}, "12648430"),
        ("12 6B 84 30 00", {"type": "bcd"}, None),
        ("41 31 00 00 00", {"type": "ascii"}, "A1"),
        ("41 FE 00 00 00", {"type": "ascii"}, None),
    ],
)
def test_a_card_is_read_by_its_rule(raw: str, more: dict[str, Any], number: str | None) -> None:
    (item,) = one_field("card", bytes.fromhex(raw), role="card", **more).sections.credentials
    assert (None if item.data is None else revealed(item)) == number


def test_a_template_longer_than_its_field_is_a_gap() -> None:
    dump = one_field("fingerprint", b"\x01\x02\x03\x04", type="bytes", length="length", role="template")
    (item,) = dump.sections.credentials
    assert (item.data, item.data_state) == (None, "present_unreadable")
    assert [(gap.record, gap.code) for gap in dump.gaps] == [("fingerprint/1", "template-unreadable")]


def test_a_template_of_a_kind_that_nobody_names_is_written_nowhere_else() -> None:
    (item,) = one_field("face", b"\x01\x02\x03\x04", type="bytes", role="template").sections.credentials
    assert item.key == "face/1"
    assert item.template is not None
    assert re.fullmatch(r"unknown/[0-9a-f]{8}/3", item.template.template_format)


@pytest.mark.parametrize(
    ("raw", "more", "value"),
    [
        ("05 00", {"type": "u8"}, 5),
        ("05 00", {"type": "u8", "flags": {"1": "a", "2": "b", "4": "c"}}, "a, c"),
        ("85 00", {"type": "u8", "flags": {"1": "a"}}, "a, 0x84"),
        ("00 00", {"type": "u8", "flags": {"1": "a"}}, "none"),
        ("05 00", {"type": "u8", "enum": {"5": "loud"}}, "loud"),
        ("06 00", {"type": "u8", "enum": {"5": "loud"}}, 6),
        ("12 34 00", {"type": "u16be", "mask": 0x0FF0}, 0x23),
        ("12 34 00", {"type": "u16le", "mask": 0x0FF0}, 0x41),
        ("41 00 FF 00", {"type": "ascii"}, "A"),
        ("C3 00", {"type": "utf-8"}, None),
        ("C3 28 00", {"type": "bytes"}, "c328"),
    ],
)
def test_a_setting_is_a_number_a_word_or_a_text(raw: str, more: dict[str, Any], value: Any) -> None:
    sections = one_field("setting", bytes.fromhex(raw), role="setting", **more).sections
    assert [(item.key, item.value) for item in sections.settings] == [("setting/image.it", value)]
    assert [loss.code for loss in sections.losses] == ([] if value is not None else ["no-public-layout"])


# ---- any layout, with records built by somebody else ----------------------------------------------------------------


def crc(data: bytes, *, width: int, poly: int, init: int, turned: bool, end: int) -> int:
    """Compute a CRC bit by bit, as the catalogue defines it."""
    value = init
    for byte in data:
        byte = int(f"{byte:08b}"[::-1], 2) if turned else byte
        value ^= byte << (width - 8)
        for _ in range(8):
            value = (value << 1 ^ (poly if value >> (width - 1) & 1 else 0)) & ((1 << width) - 1)
    return (int(f"{value:0{width}b}"[::-1], 2) if turned else value) ^ end


CRCS: Final = {
    "crc8-smbus": (8, 0x07, 0, False, 0, 0xF4),
    "crc8-maxim": (8, 0x31, 0, True, 0, 0xA1),
    "crc16-arc": (16, 0x8005, 0, True, 0, 0xBB3D),
    "crc16-modbus": (16, 0x8005, 0xFFFF, True, 0, 0x4B37),
    "crc16-usb": (16, 0x8005, 0xFFFF, True, 0xFFFF, 0xB4C8),
    "crc16-xmodem": (16, 0x1021, 0, False, 0, 0x31C3),
    "crc16-ccitt-false": (16, 0x1021, 0xFFFF, False, 0, 0x29B1),
    "crc16-kermit": (16, 0x1021, 0, True, 0, 0x2189),
    "crc16-x25": (16, 0x1021, 0xFFFF, True, 0xFFFF, 0x906E),
    "crc32": (32, 0x04C11DB7, 0xFFFFFFFF, True, 0xFFFFFFFF, 0xCBF43926),
}
"""Width, polynomial, start, reflected, last exclusive or, and the catalogue's check value of "123456789"."""


def expected_check(kind: str, data: bytes) -> int:
    if kind in CRCS:
        width, poly, init, turned, end, _ = CRCS[kind]
        return crc(data, width=width, poly=poly, init=init, turned=turned, end=end)
    total = sum(data)
    folded = 0
    for byte in data:
        folded ^= byte
    return {"sum8": total % 256, "sum8-negated": -total % 256, "sum16": total % 65536, "xor8": folded}[kind]


@pytest.mark.parametrize("kind", CHECKS)
def test_every_checksum_is_that_of_the_catalogue(kind: str) -> None:
    if kind in CRCS:
        assert CHECKS[kind][1](b"123456789") == CRCS[kind][-1]
    for data in (b"", b"\0", bytes(range(256)), b"\xff" * 99, b"abc" * 43):
        if data or kind != "xor8":
            assert CHECKS[kind][1](data) == expected_check(kind, data), (kind, len(data))


def pack_digits(digits: str, size: int, *, low_first: bool, fill: str, right: bool) -> bytes:
    text = digits.rjust(2 * size, fill) if right else digits.ljust(2 * size, fill)
    pairs = [text[at : at + 2] for at in range(0, len(text), 2)]
    return bytes(int(pair[::-1] if low_first else pair, 16) for pair in pairs)


DIGITS: Final = st.text("0123456789", min_size=1, max_size=8)
NAMES: Final = st.text(st.sampled_from("abcXYZ 09é林小满何一诺夜班"), max_size=4).map(str.strip)
Part = tuple[dict[str, Any], Callable[[Any], bytes]]
"""A field of a profile, and how somebody else writes a value into it."""


@st.composite
def pin_parts(draw: st.DrawFn) -> Part:
    style = draw(st.sampled_from(["bcd", "digit-bytes", "ascii", "number"]))
    if style == "bcd":
        low, right, fill = draw(st.booleans()), draw(st.booleans()), draw(st.sampled_from("ABCDEF"))
        field = {
            "type": "bcd", "size": 5, "nibbles": "low-first" if low else "high-first",
            "align": "right" if right else "left", "fill": int(fill, 16),
        }  # fmt: skip
        return field, lambda text: pack_digits(text, 5, low_first=low, fill=fill, right=right)
    if style == "digit-bytes":
        fill_byte = draw(st.sampled_from([0x0A, 0x2A, 0xFF]))
        return {"type": style, "size": 9, "fill": fill_byte}, lambda text: bytes(map(int, text)).ljust(
            9, bytes((fill_byte,))
        )
    if style == "ascii":
        pad = draw(st.sampled_from([b"\0", b"\xff", b" "]))
        field = {"type": style, "size": 9, **({"fill": 0x20} if pad == b" " else {})}
        return field, lambda text: text.encode("ascii").ljust(9, pad)
    order = draw(st.sampled_from(["little", "big"]))
    name = "u32le" if order == "little" else "u32be"
    return {"type": name, "digits": 8}, lambda text: int(text.rjust(8, "0")).to_bytes(4, order)


@st.composite
def name_parts(draw: st.DrawFn) -> Part:
    codec = draw(st.sampled_from(["utf-8", "utf-16le", "utf-16be"]))
    size = draw(st.sampled_from([12, 16]))
    filler = draw(st.sampled_from([b"\0", b"\xff"]))
    return {"type": codec, "size": size}, lambda text: text.encode(codec).ljust(size, filler)


@st.composite
def card_parts(draw: st.DrawFn) -> Part:
    size, order = draw(st.sampled_from([2, 3, 4, 8])), draw(st.sampled_from(["little", "big"]))
    if draw(st.booleans()):
        return (
            {"type": f"u{8 * size}{'le' if order == 'little' else 'be'}", "none": [0]},
            lambda number: (number % 256**size).to_bytes(size, order),
        )
    return {"type": "bytes", "size": size, "none": "00"}, lambda number: (number % 256**size).to_bytes(size, "big")


@st.composite
def layouts(draw: st.DrawFn) -> tuple[dict[str, Any], bytes, list[dict[str, Any]]]:
    """A layout, an image that somebody else built by it, and what is in it."""
    pin, card, name = draw(pin_parts()), draw(card_parts()), draw(name_parts())
    slot_order = draw(st.sampled_from(["little", "big"]))
    parts: dict[str, Part] = {
        "slot": (
            {"type": "u16le" if slot_order == "little" else "u16be", "role": "slot"},
            lambda number: number.to_bytes(2, slot_order),
        ),
        "digits": ({**pin[0], "role": "digits"}, pin[1]),
        "card": ({**card[0], "role": "card"}, card[1]),
        "name": ({**name[0], "role": "name"}, name[1]),
        "on": (
            {"type": "u8", "mask": 0x30, "role": "status", "enum": {"2": "enabled", "0x1": "disabled"}},
            lambda on: bytes((0xCF & 0x8A | (0x20 if on else 0x10),)),
        ),
    }
    order = draw(st.permutations(list(parts)))
    at, fields, places = draw(st.integers(0, 3)), [], {}
    for key in order:
        size = len(parts[key][1]({"slot": 1, "digits": "1", "card": 1, "name": "a", "on": True}[key]))
        fields.append({"name": key, "offset": at, **parts[key][0]})
        places[key] = at
        at += size + draw(st.integers(0, 2))
    check = draw(st.sampled_from([None, *CHECKS]))
    check_order = draw(st.sampled_from(["little", "big"]))
    width = CHECKS[check][0] if check else 0
    people = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "slot": st.integers(0, 0xFFFE), "digits": DIGITS, "card": st.integers(0, 2**64 - 1),
                    "name": NAMES, "on": st.booleans(), "gap": st.booleans(),
                }
            ),
            unique_by=lambda person: person["slot"], max_size=6,
        )
    )  # fmt: skip
    body, count = b"", 0
    for person in people:
        raw = bytearray(b"\xa5" * at)
        for key in parts:
            value = parts[key][1](person[key])
            raw[places[key] : places[key] + len(value)] = value
        sealed = bytes(raw) + (expected_check(check, bytes(raw)).to_bytes(width, check_order) if check else b"")
        blank = b"\xff" * len(sealed) if person["gap"] else b""
        body += blank + sealed
        count += 1 + bool(blank)
    offset = draw(st.integers(3, 40))
    rule = draw(st.sampled_from(["number", "counter", "until-end", "until-mark"]))
    if rule in ("number", "until-end") and not people:
        body, count = b"\xff" * (at + width), 1
    tables: dict[str, Any] = {
        "offset": offset, "record_bytes": at + width, "kind": ["user", "pin", "card"], "fields": fields,
        "empty": "ff",
        "count": {"number": count, "counter": {"offset": 1, "type": "u16be"}}.get(rule, rule),
    }  # fmt: skip
    if check:
        tables["checksum"] = {"kind": check, "offset": at, "endianness": check_order}
    tail = b""
    if rule == "until-mark":
        tables["end_mark"], tail = "00", bytes(at + width)
    elif rule != "until-end":
        tail = draw(st.binary(max_size=9))
    image = b"\x5a" + count.to_bytes(2, "big") + b"\x5a" * (offset - 3) + body + tail
    return {"image": {"magic": {"offset": 0, "hex": "5a"}}, "people": tables}, image, people


@given(layouts())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_layout_gives_back_what_somebody_else_wrote_by_it(
    built: tuple[dict[str, Any], bytes, list[dict[str, Any]]],
) -> None:
    tables, image, people = built
    dump = opened(image, tables)
    users = {item.key: item for item in dump.sections.users}
    found = {item.key: item for item in dump.sections.credentials}
    pin_field, card_field = (
        next(item for item in tables["people"]["fields"] if item["name"] == name) for name in ("digits", "card")
    )
    assert len(users) == len(people)
    for person in people:
        key = str(person["slot"])
        assert users[f"user/{key}"].user_name == (person["name"] or None)
        digits = person["digits"].rjust(8, "0") if "digits" in pin_field else person["digits"]
        assert revealed(found[f"pin/{key}"]) == digits
        assert found[f"pin/{key}"].status == ("enabled" if person["on"] else "disabled")
        size = card_field.get("size") or int(re.sub(r"\D", "", card_field["type"])) // 8
        number = person["card"] % 256**size
        text = number.to_bytes(size, "big").hex() if card_field["type"] == "bytes" else str(number)
        assert (revealed(found[f"card/{key}"]) if number else None) == (text if number else None)
        assert (f"card/{key}" in found) == bool(number)
    assert dump.damaged == dump.marked == 0
    assert dump.gaps == dump.sections.losses == ()
    variant = json.loads(json.dumps({"tables": tables}))
    assert formats.decode("image", {TABLE: image}, variant) == dump.sections
    if "checksum" in tables["people"] and people:
        at = tables["people"]["offset"] + tables["people"]["record_bytes"] * bool(people[0]["gap"])
        broken = image[:at] + bytes((image[at] ^ 1,)) + image[at + 1 :]
        assert opened(broken, tables).damaged == 1


# ---- each mistake in a profile, and what is said of it --------------------------------------------------------------


def changed(path: str, value: Any, *, drop: bool = False) -> dict[str, Any]:
    tables = copy.deepcopy(TABLES)
    here: Any = tables
    parts = path.split(".")
    for part in parts[:-1]:
        here = here[int(part)] if isinstance(here, list) else here[part]
    if drop:
        del here[parts[-1]]
    elif isinstance(here, list):
        here[int(parts[-1])] = value
    else:
        here[parts[-1]] = value
    return tables


def field(**more: Any) -> dict[str, Any]:
    return {"name": "extra", "offset": 29, "type": "u8", **more}


def refusal(tables: Any) -> str:
    with pytest.raises(ProfileError) as caught:
        compile_tables(tables)
    assert caught.value.exit_code == 2
    return caught.value.message


MISTAKES: Final = [
    ("people.fields.2.type", "u17", 'tables.people.fields.2.type: "u17" is no type; did you mean "u16"?'),
    ("people.fields.3.type", "bdc", 'tables.people.fields.3.type: "bdc" is no type; did you mean "bcd"?'),
    ("people.fields.5.type", "utf8", 'tables.people.fields.5.type: "utf8" is no type; did you mean "utf-8"?'),
    ("people.fields.3.rôle", "digits", "tables.people.fields.3.rôle: unknown key"),
    ("people.fields.3.sise", 4, 'tables.people.fields.3.sise: unknown key; did you mean "size"?'),
    ("people.offzet", 4, 'tables.people.offzet: unknown key; did you mean "offset"?'),
    ("image.magik", 4, 'tables.image.magik: unknown key; did you mean "magic"?'),
    ("people.offset", -1, "tables.people.offset: -1 is not between 0 and 2047"),
    ("people.offset", "0x40", 'tables.people.offset: "0x40" is text; write the number without quotes'),
    ("people.offset", 1.5, "tables.people.offset: a whole number is needed, 1.5 is none"),
    ("people.offset", True, "tables.people.offset: a whole number is needed, true is none"),
    ("people.record_bytes", 28, "tables.people.fields.7.offset: 28 is not between 0 and 27"),
    ("people.record_bytes", 31, "tables.people.checksum.offset: 31 is not between 0 and 30"),
    ("people.record_bytes", 0, "tables.people.record_bytes: 0 is not between 1 and 65536"),
    ("people.count", 240, "tables.people.count: 240 records of 32 bytes from 0x40 end behind the image (0x800)"),
    ("people.count", 0, "tables.people.count: 0 is not between 1 and 65536"),
    ("people.count", "until-ende", 'tables.people.count: "until-ende" is no rule for the count; did you'),
    ("people.count", "until-mark", 'tables.people.end_mark: is needed where count = "until-mark"'),
    ("people.count", {"offset": 1}, "tables.people.count.type: is needed and not there"),
    ("people.count", {"offset": 1, "type": "bcd"}, 'tables.people.count.type: "bcd" is no type'),
    ("people.end_mark", "ff", 'tables.people.end_mark: has no meaning here: only where count = "until-mark"'),
    ("people.kind", "pni", 'tables.people.kind: "pni" is no kind of record; did you mean "pin"?'),
    ("people.kind", [], "tables.people.kind: is needed and not there; one or several of user, pin"),
    ("people.kind", ["user", "pin"], 'tables.people.fields.4.role: "card" belongs to card, and kind is user, pin'),
    ("people.kind", ["pin", "card"], 'tables.people.fields.2.role: "privilege" belongs to user, and kind is pin, card'),
    ("people.kind", ["user", "setting"], "tables.people.kind: settings are a table of their own"),
    ("people.empty", "fe", 'tables.people.empty: "fe" is none of "ff", "00" and {field = …, value = …}'),
    ("people.empty", {"field": "no", "value": 1}, 'tables.people.empty.0.field: "no" is no field of this table'),
    ("people.empty", {"field": "pin", "value": 1}, 'tables.people.empty.0.field: "pin" is no number'),
    ("people.empty", {"field": "state"}, "tables.people.empty.0.value: both field and value are needed"),
    ("people.empty", {"field": "state", "value": 4}, "tables.people.empty.0.value: 4 is not between 0 and 3"),
    ("people.first_slot", 1, 'tables.people.first_slot: has no meaning here: a field has role = "slot"'),
    ("people.fields.0.role", "info", 'tables.people.first_slot: is needed where no field has role = "slot"'),
    ("people.fields.3.role", "info", 'tables.people.fields: a pin needs a field with role = "digits"'),
    ("people.fields.0.type", "u32", 'tables.people.fields.0.type: "slot" cannot be u32le; it is a number of at'),
    ("people.fields.5.type", "bytes", 'tables.people.fields.5.type: "name" cannot be bytes; it is a text'),
    ("people.fields.4.role", "digits", 'tables.people.fields.4.digits: a number keeps no zeros in front'),
    ("people.fields.5.offset", 10, 'tables.people.fields.5.offset: "name" lies on "card"'),
    ("people.fields.5.offset", 20, "tables.people.fields.5.offset: 14 bytes from 20 end behind the record of 32 bytes"),
    ("people.fields.2.mask", 0x03, 'tables.people.fields.2.offset: "rights" lies on "state"'),
    ("people.fields.2.mask", 0x81, "tables.people.fields.2.mask: 0x81 has bits that do not lie side by side"),
    ("people.fields.2.mask", 0x100, "tables.people.fields.2.mask: 256 is not between 1 and 255"),
    ("people.fields.3.mask", 1, "tables.people.fields.3.mask: has no meaning here: only for numbers"),
    ("people.fields.3.size", None, "tables.people.fields.3.size: a whole number is needed, this value is none"),
    ("people.fields.4.size", 4, "tables.people.fields.4.size: has no meaning here: a number's size is that of"),
    ("people.fields.3.fill", 3, "tables.people.fields.3.fill: 3 is not between 10 and 15"),
    ("people.fields.3.nibbles", "low", 'tables.people.fields.3.nibbles: "low" is no order of nibbles; did you'),
    ("people.fields.3.align", "middle", 'tables.people.fields.3.align: "middle" is no side; known are left, right'),
    ("people.fields.3.length", "long", 'tables.people.fields.3.length: "long" is no number among the fields'),
    ("people.fields.3.length", "name", 'tables.people.fields.3.length: "name" is no number among the fields'),
    ("people.fields.3.name", "card", 'tables.people.fields.4.name: "card" is there twice'),
    ("people.fields.3.name", "PIN code", 'tables.people.fields.3.name: "PIN code": a letter first'),
    ("people.fields.1.enum", {"1": "enabled", "0x01": "disabled"}, "tables.people.fields.1.enum.0x01: 1 is there tw"),
    ("people.fields.1.enum", {"4": "enabled"}, "tables.people.fields.1.enum.4: the field has no value above 3"),
    ("people.fields.1.enum", {"1": "on"}, 'tables.people.fields.1.enum.1: "on" is no word for this role; known'),
    ("people.fields.1.enum", {"x": "enabled"}, "tables.people.fields.1.enum.x: a number is needed on the left"),
    ("people.fields.1.enum", {}, "tables.people.fields.1.enum: a table of 1 to 256 numbers and words is needed"),
    ("people.fields.4.number_rule", "u32", 'tables.people.fields.4.number_rule: "u32" is no rule; did you mean "u32le'),
    ("people.fields.4.none", ["ff"], 'tables.people.fields.4.none: a whole number is needed, "ff" is none'),
    ("people.fields.6.none", ["fe"], 'tables.people.fields.6.none: "fe" is neither "ff" nor "00"'),
    ("people.fields.7.role", "permission", "tables.people.fields.7.none: is needed: which values mean that there"),
    ("people.fields.7.role", "permision", 'tables.people.fields.7.role: "permision" is no role; did you mean "perm'),
    ("people.fields", {"pin": {}}, "tables.people.fields: a list of tables is needed"),
    ("people.fields", [], "tables.people.fields: at least one field is needed"),
    ("people.fields.7", "floor", 'tables.people.fields.7: a table is needed, "floor" is none'),
    ("people.checksum.kind", "crc16", 'tables.people.checksum.kind: "crc16" is no kind of checksum; did you mean'),
    ("people.checksum.offset", 32, "tables.people.checksum.offset: 32 is not between 0 and 31"),
    ("people.checksum.over", [0, 32], "tables.people.checksum.over: [0, 32] covers the checksum itself at 31"),
    ("people.checksum.over", [5], "tables.people.checksum.over: two offsets are needed: [first, behind the last]"),
    ("people.checksum.over", [5, 5], "tables.people.checksum.over: [5, 5] covers no bytes"),
    ("people", 7, "tables.people: a table is needed, 7 is none"),
    ("People", {}, "tables.People: names begin with a letter; lower-case letters, digits and _ only"),
    ("fingers.offset", 0x320, "tables.fingers.offset: begins at 0x320, inside people, which ends at 0x340"),
    ("fingers.fields.3.length", "template", 'tables.fingers.fields.3.length: "template" is no number among the fields'),
    ("fingers.fields.3.format", "x", "tables.fingers.fields.3.format: two to four words with / between"),
    ("fingers.first_slot", 65535, "tables.fingers.first_slot: the last record would have slot 65542, above 65535"),
    ("config.count", 2, "tables.config.count: a table of settings has one record"),
    ("config.first_slot", 2, "tables.config.first_slot: has no meaning here: settings have no slots"),
    ("config.fields.0.role", "name", 'tables.config.fields.0.role: "name" belongs to user, and kind is setting'),
    ("config.fields.4.flags", {"3": "both"}, "tables.config.fields.4.flags: each flag is one bit"),
    ("image.size_bytes", 0, "tables.image.size_bytes: 0 is not between 1 and 67108864"),
    ("image.size_bytes", 64, "tables.people.offset: 64 is not between 0 and 63"),
    ("image.endianness", "mixed", 'tables.image.endianness: "mixed" is no byte order; known are little, big'),
    ("image.magic.text", "EXKP…", "tables.image.magic.0.text: only ASCII; write other bytes as hex"),
    ("image.magic.hex", "45", "tables.image.magic.0.hex: either hex or text is needed"),
    ("image.magic", {"offset": 0, "hex": "4x"}, 'tables.image.magic.0.hex: "4x" is not pairs of hex digits'),
    ("image.magic.offset", 2046, "tables.image.magic: ends behind the image"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "said"), MISTAKES, ids=[f"{path}-{at}" for at, (path, *_) in enumerate(MISTAKES)]
)
def test_a_mistake_is_explained_with_its_path(path: str, value: Any, said: str) -> None:
    wrong = changed(path, value)
    spec, problems = tables_schema.parse_tables(wrong)
    assert spec is None
    assert [problem for problem in problems if problem.startswith(said)], problems
    assert refusal(wrong) == problems[0]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("people.offset", "tables.people.offset: is needed and not there"),
        ("people.record_bytes", "tables.people.record_bytes: is needed and not there"),
        ("people.count", "tables.people.count: is needed and not there; a number, a counter"),
        ("people.fields", "tables.people.fields: at least one field is needed"),
        ("fingers.first_slot", 'tables.fingers.first_slot: is needed where no field has role = "slot"'),
        ("image.endianness", "tables.config.checksum.endianness: crc16-modbus has 2 bytes; say in which order"),
    ],
)
def test_what_is_missing_is_named(path: str, said: str) -> None:
    assert refusal(changed(path, None, drop=True)).startswith(said)


def test_without_a_byte_order_the_nearest_type_is_one_that_has_it() -> None:
    tables = {"codes": {**PEOPLE, "kind": "pin", "fields": [*PIN_FIELDS[:3], field(offset=8, type="u17")]}}
    assert refusal(tables) == 'tables.codes.fields.3.type: "u17" is no type; did you mean "u16le"?'
    tables["codes"]["fields"][3]["type"] = "u16"
    assert "write u16le or u16be, or set tables.image.endianness" in refusal(tables)


@pytest.mark.parametrize("tables", [None, 7, "x", [], {}, {"image": {}}, {"image": 3}])
def test_what_is_no_layout_at_all_is_refused(tables: Any) -> None:
    assert refusal(tables).startswith("tables")


def test_several_mistakes_are_named_at_once() -> None:
    tables = changed("people.fields.3.type", "bdc")
    tables["people"]["offzet"] = 3
    with pytest.raises(ProfileError) as caught:
        compile_tables(tables)
    assert "offzet" in (caught.value.hint or "")


def test_a_setting_is_named_once_in_the_whole_dump() -> None:
    tables = copy.deepcopy(TABLES)
    tables["more"] = {
        "offset": 0x7C0, "record_bytes": 8, "count": 1, "kind": "setting",
        "fields": [field(name="open_time", offset=0, role="setting")],
    }  # fmt: skip
    tables["fingers"]["count"] = 7
    assert refusal(tables) == "tables.more.fields: setting open_time is in config already"


def test_numbers_of_a_layout_need_a_source() -> None:
    text = PROFILE.read_text(encoding="utf-8").replace('"tables" = ["invented"]', '"tables.people" = ["invented"]')
    with pytest.raises(ProfileError, match=r"tables\.image\.size_bytes: a number without a source"):
        parse_profile(text, where="example")


def test_the_family_checks_its_profiles() -> None:
    check_variant(load_profile("image"))
    good = load_profile(NAME)
    check_variant(good)
    for wrong, said in (
        (msgspec.structs.replace(good, variant={"speed": 1}), "variant.speed: unknown key"),
        (msgspec.structs.replace(good, tables={}), "tables: is needed and not there"),
        (msgspec.structs.replace(good, tables=changed("people.offset", -1)), "tables.people.offset: -1 is not between"),
    ):
        with pytest.raises(ProfileError, match=re.escape(f'the profile "{NAME}": {said}')):
            check_variant(wrong)


def test_profiles_check_explains_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"{NAME}.toml"
    path.write_text(PROFILE.read_text(encoding="utf-8").replace('"u16", role = "slot"', '"u17", role = "slot"'))
    assert main(["profiles", "check", str(path)]) == 2
    assert 'tables.people.fields.0.type: "u17" is no type; did you mean "u16"?' in capsys.readouterr().err


# ---- hostile --------------------------------------------------------------------------------------------------------

_SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["ff", "00", "until-end", "until-mark", "pin", "u16be", "bcd", "bytes", "slot", "digits", "setting"]
    ),
)
_VALUES: Final = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def _paths(here: Any, path: str = "") -> list[str]:
    found = [path] if path else []
    if isinstance(here, dict):
        found += [deeper for key, value in here.items() for deeper in _paths(value, f"{path}.{key}".lstrip("."))]
    elif isinstance(here, list):
        found += [deeper for at, value in enumerate(here) for deeper in _paths(value, f"{path}.{at}")]
    return found


PATHS: Final = _paths(TABLES)


@given(st.sampled_from(PATHS), _VALUES)
@settings(max_examples=250, deadline=None)
def test_any_value_anywhere_gives_a_layout_or_a_profile_error(path: str, value: Any) -> None:
    try:
        layout = compile_tables(changed(path, value))
    except ProfileError as error:
        assert error.message.startswith("tables")  # noqa: PT017 - both outcomes are right, each with its own proof
        return
    try:
        read_image(layout, DATA)
    except ImageError as error:
        assert error.exit_code == 6  # noqa: PT017


@given(_VALUES)
@settings(max_examples=100, deadline=None)
def test_any_variant_in_a_backup_gives_sections_or_a_frame_error(value: Any) -> None:
    with pytest.raises(FrameError):
        formats.decode("image", {TABLE: DATA}, {"tables": value})


@given(st.lists(st.tuples(st.integers(4, len(DATA) - 1), st.integers(0, 255)), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_bytes_in_a_dump_give_records_or_an_image_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(DATA)
    for at, value in changes:
        data[at] = value
    loose = copy.deepcopy(TABLES)
    for table in loose.values():
        table.pop("checksum", None)
    try:
        dump = opened(bytes(data), loose)
    except ImageError:
        return
    sections = dump.sections
    keys = [item.key for item in (*sections.users, *sections.credentials, *sections.schedules, *sections.settings)]
    assert len(set(keys)) == len(keys)
    gone = {gap.record for gap in dump.gaps}
    assert {item.key for item in sections.credentials if item.data is None} <= gone
    assert json.dumps(msgspec.to_builtins([sections.losses, dump.gaps]))


def small(count: Any, *, record_bytes: int = 1, fields: int = 1) -> dict[str, Any]:
    parts = [{"name": "pin", "offset": 0, "type": "u8", "digits": 3, "role": "digits"}]
    parts += [{"name": f"f{at}", "offset": at, "type": "u8"} for at in range(1, fields)]
    table = {"offset": 0, "record_bytes": record_bytes, "count": count, "kind": "pin", "first_slot": 0, "fields": parts}
    return {"codes": table}


def test_more_records_than_any_unit_has_are_refused_unread() -> None:
    with pytest.raises(ImageError, match="more than any unit has"):
        opened(bytes(70_000), small("until-end"))
    fields = tables_schema.MAX_FIELDS
    records = tables_layout.MAX_VALUES // fields + 1
    with pytest.raises(ImageError, match="more than any unit has"):
        opened(bytes(records * fields), small("until-end", record_bytes=fields, fields=fields))
    with pytest.raises(ImageError, match="above 65535"):
        opened(bytes(10), {"codes": {**small("until-end")["codes"], "first_slot": 65530}})


def test_layouts_with_more_of_anything_than_we_allow_are_refused() -> None:
    assert "more than 64 fields" in refusal(small(1, record_bytes=65, fields=65))
    many = {f"t{at}": {**small(1)["codes"], "offset": at} for at in range(33)}
    assert "more than 32 tables" in refusal(many)
    wide = {f"t{at}": {**small(65_536)["codes"], "offset": 65_536 * at} for at in range(2)}
    assert "131072 records in all" in refusal(wide)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(MAX_IMAGE_BYTES + 1)
    with pytest.raises(ImageError) as caught:
        read_file(path)
    assert caught.value.code == "too-large"


# ---- opening --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "code"), [("absent.bin", "not-found"), (".", "open-failed"), ("a\0b", "open-failed")])
async def test_what_is_no_file_is_not_opened(tmp_path: Path, name: str, code: str) -> None:
    with pytest.raises(ConnectError) as caught:
        await lock_of(tmp_path / name)
    assert caught.value.code == code
    assert str(tmp_path) not in caught.value.message


async def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.bin"
    path.touch()
    with pytest.raises(ImageError, match=r'the image "empty\.bin" is empty'):
        await lock_of(path)


async def test_a_dump_that_nobody_knows_wants_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "unknown.bin"
    path.write_bytes(bytes(2048))
    with pytest.raises(ProfileError) as caught:
        await lock_of(path)
    assert "--profile" in (caught.value.hint or "")


async def test_a_dump_that_two_profiles_recognise_wants_one_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = PROFILE.read_text(encoding="utf-8").replace(f'name = "{NAME}"', 'name = "twin"')
    (tmp_path / "twin.toml").write_text(twin, encoding="utf-8")
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path))
    with pytest.raises(ProfileError, match=f"several profiles recognise this dump: {NAME}, twin"):
        await lock_of(DUMP)
    assert (await (await lock_of(DUMP, load_profile("twin"))).identify()).profile == "twin"


async def test_of_two_profiles_with_one_mark_the_size_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = PROFILE.read_text(encoding="utf-8").replace(f'name = "{NAME}"', 'name = "large"')
    (tmp_path / "large.toml").write_text(large.replace("size_bytes = 2048", "size_bytes = 4096"), encoding="utf-8")
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path))
    assert (await (await lock_of(DUMP)).identify()).profile == NAME
    (tmp_path / "big.bin").write_bytes(DATA.ljust(4096, b"\xff"))
    assert (await (await lock_of(tmp_path / "big.bin")).identify()).profile == "large"


async def test_a_broken_profile_of_ones_own_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PROFILE.read_text(encoding="utf-8").replace(f'name = "{NAME}"', 'name = "draft"')
    (tmp_path / "draft.toml").write_text(text.replace("offset = 0x040", "offset = -1"), encoding="utf-8")
    (tmp_path / "worse.toml").write_text("schema = 1", encoding="utf-8")
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path))
    assert (await (await lock_of(DUMP)).identify()).profile == NAME


async def test_the_generic_profile_and_one_of_another_family_read_no_dump() -> None:
    with pytest.raises(ProfileError, match="tables: is needed"):
        await lock_of(DUMP, load_profile("image"))
    with pytest.raises(ProfileError) as caught:
        await lock_of(DUMP, load_profile("r503"))
    assert caught.value.code == "wrong-profile"


def test_a_layout_without_marks_recognises_nothing() -> None:
    assert recognises(compile_tables(TABLES), DATA)
    assert not recognises(compile_tables(changed("image.magic", None, drop=True)), DATA)


async def test_a_dump_is_read_only() -> None:
    lock = await lock_of(DUMP)
    for attempt in (lambda: lock.write([]), lambda: lock.erase(Scope.PEOPLE)):
        with pytest.raises(Unsupported, match="read only"):
            attempt()
    with pytest.raises(Unsupported, match="read only"):
        await lock.touch(1.0)
    assert await lock.rehearse_write(b"x") is None
    assert [item async for item in lock.read(frozenset({Section.LOG}))] == []
    await lock.close()
    await lock.close()


async def test_a_dump_that_is_still_being_written_is_a_torn_read(tmp_path: Path) -> None:
    path = tmp_path / "growing.bin"
    path.write_bytes(DATA)
    lock = await lock_of(path)
    versions = iter(range(100))

    def grow() -> bytes:
        return DATA[:-1] + bytes((next(versions),))

    lock._fetch = grow
    with pytest.raises(TornRead):
        await read_whole(lock)
    with pytest.raises(TornRead):
        async for _ in lock.read(twice=True):
            pass


async def test_a_dump_that_is_cut_while_it_is_open_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.bin"
    path.write_bytes(DATA)
    lock = await lock_of(path)
    path.write_bytes(DATA[:1000])
    with pytest.raises(ImageError, match="the image is cut"):
        await lock.identify()
    path.unlink()
    with pytest.raises(ConnectError):
        await lock.identify()


# ---- secrets --------------------------------------------------------------------------------------------------------


async def test_no_secret_is_ever_printed() -> None:
    made = maker()
    secrets = [pin for _, _, _, pin, *_ in made.PEOPLE if pin] + ["24681357"]
    secrets += [str(card) for _, _, _, _, card, *_ in made.PEOPLE if card != made.NO_CARD]
    secrets += [f"{card:08x}" for _, _, _, _, card, *_ in made.PEOPLE if card != made.NO_CARD]
    secrets += [form for _, card in made.SPARE_CARDS for form in (str(card), f"{card:08x}")]
    at = [0x400 + 128 * record + 4 for record, *_ in made.FINGERS]
    secrets += [form for start in at for form in (DATA[start : start + 8].hex(), repr(DATA[start : start + 8])[2:-1])]
    lock = await lock_of(DUMP)
    reading = await read_whole(lock)
    layout = compile_tables(TABLES)
    said = [
        repr(item)
        for item in (lock, reading, opened(DATA), layout, *tables_layout.read_rows(layout, DATA), reading.snapshot)
    ]
    said += [json.dumps(msgspec.to_builtins(part)) for part in (reading.unit, reading.snapshot.gaps)]
    loose = copy.deepcopy(TABLES)
    for table in loose.values():
        table.pop("checksum", None)
    for broken in (DATA[:0x66] + b"\x01" + DATA[0x67:], DATA[:0x43] + b"\xab" + DATA[0x44:]):
        for tables in (TABLES, loose):
            dump = opened(broken, tables)
            said.append(repr((dump, dump.gaps, dump.sections.losses)))
    for cut in range(1, len(DATA), 61):
        with pytest.raises(ImageError) as caught:
            opened(DATA[:cut])
        said.append(f"{caught.value.message} {caught.value.hint} {caught.value!r}")
    for secret in secrets:
        assert not [text for text in said if secret in text], "a secret was printed"


def test_fields_without_a_role_are_kept_as_bytes_and_not_shown() -> None:
    fields = [*PIN_FIELDS[:3], field(offset=5, type="u32le", name="spare"), field(offset=9, name="seen", role="info")]
    dump = opened(record(), {"codes": {**PEOPLE, "kind": "pin", "fields": fields}})
    (item,) = dump.sections.credentials
    assert item.vendor["image"] == {"table": "codes", "record": 0, "seen": 0}
    assert [(ref.offset, ref.size) for ref in item.raw] == [(0, 12)]


# ---- the guide ------------------------------------------------------------------------------------------------------


BLOCK: Final = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def guide_steps() -> list[tuple[str, str, str]]:
    """Every block of the guide from part A on: its language, the file it is, its text."""
    text = GUIDE.read_text(encoding="utf-8")
    return [(word, path or "", body) for word, path, body in BLOCK.findall(text[text.index("## A.") :])]


def squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


class Shell:
    """The few commands that the guide uses, in a folder that looks like this repository."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        for name in ("docs/examples", "firmware_profiles"):
            shutil.copytree(ROOT / name, folder / name)
        vault = Vault(folder / "keys")
        monkeypatch.setenv("LOCKMIGRATE_CONFIG_DIR", str(vault.config))
        monkeypatch.setenv("LOCKMIGRATE_PASSPHRASE_FILE", str(vault.passphrase_file))
        monkeypatch.chdir(folder)

    def run(self, line: str) -> str:
        """Run a line of the guide; a comment behind it says which exit code it must have, else 0."""
        wanted = int(line.partition("  # exit code ")[2] or 0)
        words = shlex.split(line, comments=True)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self._monkeypatch.setenv(name, value)
        elif words[0] == "mkdir":
            Path(words[1]).mkdir()
        elif words[0] == "cp":
            shutil.copy(words[1], words[2])
        elif words[:2] == ["python", "-c"]:
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(words[2], "guide", "exec"), {})  # noqa: S102 - our own guide
            return printed.getvalue()
        else:
            assert words[:3] == ["python", "-m", "lockmigrate"], line
            code = main(words[3:])
            out = self._capsys.readouterr()
            assert code == wanted, f"{line}\n{out.out}{out.err}"
            return out.out + out.err
        return ""


def test_the_guide_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(tmp_path, monkeypatch, capsys)
    printed = ""
    for word, path, body in guide_steps():
        if word == "toml":
            assert path
            Path(path).write_text(body, encoding="utf-8")
        elif word == "sh":
            printed = "\n".join(shell.run(line) for line in body.splitlines() if line.strip())
        else:
            assert word == "text"
            said = "\n".join(squeezed(printed))
            assert [line for line in squeezed(body) if line not in said] == [], said


def test_the_guide_names_only_files_that_are_there() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:docs|firmware_profiles|lockmigrate|tests)/[\w/.-]+\.\w+)`", text))
    named |= {f"docs/{path}" for path in re.findall(r"\]\(([\w/.-]+\.\w+)\)", text)}
    assert sorted(path for path in named if "NAME" not in path and not (ROOT / path).exists()) == []


def test_the_guide_has_every_key_and_word_of_a_layout() -> None:
    words = set(re.findall(r"[\w-]+", " ".join(re.findall(r"`([^`\n]+)`", GUIDE.read_text(encoding="utf-8")))))
    needed = {*tables_fields.ROLES, *tables_fields.KINDS, *tables_fields.RULES, *CHECKS, *tables_types.SIZED}
    needed |= {"nibbles", "align", *tables_fields.Field.__dataclass_fields__, *tables_types.UNORDERED}
    needed |= {"size_bytes", "endianness", "magic", "count", "first_slot", "empty", "end_mark", "over", "max"}
    assert needed - words - {"low_first", "right"} == set()
