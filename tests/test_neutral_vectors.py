"""The vectors of neutral-format 8, each in both directions, for the families that are built.

Those of Matter and Z-Wave (day numbers from 0, seconds since 2000, CRC-16, two entries for a window over midnight)
belong to families that are not built: they stand on that page as words to think in, and no code follows from them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

import pytest

from lockmigrate.formats import adopter, decode, fitted
from lockmigrate.formats.lists import join_list
from lockmigrate.formats.nuki_adopt import NukiAdopter, nuki_days
from lockmigrate.formats.nuki_records import parse_tail, unpack_code
from lockmigrate.formats.nuki_tables import neutral_days
from lockmigrate.formats.ttlock_records import parse_passage
from lockmigrate.model.adopted import Wanted, Window
from lockmigrate.model.document import Metadata, Snapshot, Table, from_sections, to_sections
from lockmigrate.model.records import CardData, PinData
from lockmigrate.model.results import RecordResult, Unit
from lockmigrate.model.secret import Secret
from lockmigrate.planning.plan import Plan, make_plan
from lockmigrate.planning.policy import Policy

# ---- snapshots made by hand -----------------------------------------------------------------------------------------


def snapshot_of(family: str, tables: Mapping[str, bytes], **variant: Any) -> Snapshot:
    """Decode tables as an operation would that has just read them, and send them through a backup's sections."""
    found = decode(family, tables, variant)
    raw = tuple(Table(name=name, data=data, rows=0, read_at_utc="") for name, data in tables.items())
    fields = {name: getattr(found, name) for name in found.__struct_fields__}
    snapshot = Snapshot(metadata=Metadata(suggestion_key=Secret(bytes(32))), tables=raw, **fields)
    again = from_sections(to_sections(snapshot), raw)
    assert again == snapshot, "a backup keeps it all"
    return again


def plan_of(source: Snapshot, target: Snapshot) -> Plan:
    unit = Unit(
        id="new", serial="2", family=target.lock.family, model=None, firmware=None, profile=target.lock.family,
        target=f"sim://{target.lock.family}", capabilities=target.capabilities,
    )  # fmt: skip
    across = adopter(source, target)
    return make_plan(source, target, unit, Policy(), fitted=fitted(source, target), adopter=across)


def of(plan: Plan, key: str) -> RecordResult:
    (found,) = (record for record in plan.records if record.key == key)
    return found


def terminal(*users: bytes, templates: bytes = b"", zones: Mapping[int, bytes] | None = None) -> Snapshot:
    """Make a terminal of records of 72 bytes; users in group 1 go by zone 1."""
    always = bytes([0, 0, 23, 59]) * 7
    rows = {**dict.fromkeys(range(1, 51), always), **(zones or {})}
    tables = {
        "0001-options": b"~ZKFPVersion=10\n",
        "0004-users": b"".join(users),
        "0005-templates": templates,
        "0006-zones": b"".join(struct.pack("<H", number) + row + bytes(2) for number, row in rows.items()),
        "0007-groups": b"".join(struct.pack("<B3HB", number, number == 1, 0, 0, 0) for number in range(1, 101)),
        "0008-combinations": b"".join(struct.pack("<B5BH", n, n == 1, 0, 0, 0, 0, n == 1) for n in range(1, 11)),
        "0009-verify": b"".join(user[:2] + bytes(22) for user in users),
    }
    return snapshot_of("zk", tables, record_bytes=72)


def person(uid: int, *, name: bytes = b"", pin: bytes = b"") -> bytes:
    """Lay out a user's record (ZK reference, section 7)."""
    return struct.pack("<HB8s24sIB4H24s", uid, 0, pin, name, 0, 1, 0, 0, 0, 0, str(1000 + uid).encode())


def nuki_lock(*codes: bytes) -> Snapshot:
    return snapshot_of("nuki", {"0007-codes": join_list(len(codes), codes)}, generation="1-4", code_slots=200)


def nuki_code(tail: bytes, code: int = 345678) -> bytes:
    """Lay out a keypad code with a limit (Nuki reference, 9.3)."""
    return struct.pack("<HI20sB7s7sHB", 7, code, b"Ada", 1, bytes(7), bytes(7), 0, 1) + tail


def ttlock_lock(*passage: bytes) -> Snapshot:
    features = (1 << 0 | 1 << 1 | 1 << 22).to_bytes(4, "big") + bytes(4)
    tables = {"0002-features": features, "0003-passcodes": join_list(0, []), "0004-cards": join_list(0, [])}
    return snapshot_of("ttlock", {**tables, "0007-passage": join_list(len(passage), passage)})


# ---- days of the week -----------------------------------------------------------------------------------------------

DAYS: Final = {
    "Monday to Friday": (0x3E, 0x7C, (1, 2, 3, 4, 5)),
    "Saturday and Sunday": (0x41, 0x03, (6, 7)),
    "Monday": (0x02, 0x40, (1,)),
    "Sunday": (0x01, 0x01, (7,)),
    "Wednesday and Friday": (0x28, 0x14, (3, 5)),
    "all": (0x7F, 0x7F, (1, 2, 3, 4, 5, 6, 7)),
}
"""Days to the neutral mask, Nuki's mask, TTLock's numbers."""
days = pytest.mark.parametrize(("neutral", "nuki", "ttlock"), DAYS.values(), ids=DAYS)


@days
def test_days_between_the_neutral_mask_and_nukis(neutral: int, nuki: int, ttlock: tuple[int, ...]) -> None:
    assert (neutral_days(nuki), nuki_days(neutral)) == (neutral, nuki)


@days
def test_days_that_a_nuki_lock_is_given_read_back_as_they_were(
    neutral: int, nuki: int, ttlock: tuple[int, ...]
) -> None:
    wanted = Wanted(key="pin/1", number=1, value="345678", week=Window(neutral, 8 * 60, 17 * 60 + 30))
    tail = unpack_code(NukiAdopter().build("pin", wanted).record).tail
    assert tail == bytes(14) + bytes([nuki, 8, 0, 17, 30])
    (week,) = nuki_lock(nuki_code(tail)).schedules
    assert (week.kind, week.days_mask, week.start, week.end) == ("WeekDay", neutral, "08:00", "17:30")


@days
def test_days_of_a_ttlock_lock_are_numbers_and_go_to_the_next_lock_as_such(
    neutral: int, nuki: int, ttlock: tuple[int, ...]
) -> None:
    rows = [bytes([1, number, 0, 8, 0, 17, 30]) for number in ttlock]
    old = ttlock_lock(*rows)
    found = [item.days_mask for item in old.lock_schedules]
    assert [mask.bit_count() for mask in found] == [1] * len(ttlock)
    assert sum(found) == neutral
    assert [step.value for step in plan_of(old, ttlock_lock()).steps if step.kind == "lock_schedule"] == rows


def test_no_day_at_all_is_every_day_where_the_family_says_so() -> None:
    """Nuki's mask 0 and TTLock's day 0 in passage mode (neutral-format 3)."""
    assert neutral_days(0) == 0x7F
    (held_open,) = ttlock_lock(bytes([1, 0, 0, 8, 0, 17, 30])).lock_schedules
    assert held_open.days_mask == 0x7F
    (week,) = nuki_lock(nuki_code(bytes(14) + bytes([0, 8, 0, 17, 30]))).schedules
    assert week.days_mask == 0x7F


# ---- ZK: Ned, names, fingers ----------------------------------------------------------------------------------------

NED: Final = (
    struct.pack("<HB8s24sI", 13, 0, b"444", b"Ned", 222) + bytes.fromhex("020100010002000000") + b"555".ljust(24, b"\0")
)
"""User 13 of adrobinoga/zk-protocol, sections/data-user.md."""


def test_ned_is_read_in_neutral_words_and_written_with_the_very_bytes_of_his_groups_and_zones() -> None:
    old = terminal(NED)
    (user,) = old.users
    assert (user.key, user.user_name, user.external_id, user.group) == ("user/13", "Ned", "555", "group/2")
    assert user.schedules == ("schedule/1", "schedule/2")
    assert user.vendor["zk"]["tail"] == "020100010002000000"
    pin, card = old.credentials
    assert isinstance(pin.data, PinData)
    assert isinstance(card.data, CardData)
    assert (pin.data.digits.reveal(), card.data.number.reveal()) == ("444", "222")
    (step,) = (step for step in plan_of(old, terminal()).steps if step.key == "user/13")
    assert step.value == NED
    assert NED[39:48] == bytes.fromhex("02 0100 0100 0200 0000")
    assert step.also == ("pin/13", "card/13")


def test_a_name_in_gbk_keeps_its_bytes_and_gets_them_back() -> None:
    raw = "张伟".encode("gbk")
    assert len(raw.decode("utf-8", "ignore")) == 1, "what other tools make of it: one wrong character"
    old = terminal(person(1, name=raw))
    (user,) = old.users
    assert (user.user_name, user.user_name_encoding, user.user_name_raw) == ("张伟", "gbk", raw.hex())
    (step,) = (step for step in plan_of(old, terminal()).steps if step.key == "user/1")
    assert isinstance(step.value, bytes)
    assert step.value[11:35] == raw.ljust(24, b"\0")


def test_a_fingers_number_has_no_iso_code_and_goes_back_as_it_came() -> None:
    entries = [struct.pack("<HHBB", 106, 1, number, 1) + bytes([number] * 100) for number in range(10)]
    old = terminal(person(1), templates=b"".join(entries))
    templates = [item.template for item in old.credentials if item.template is not None]
    assert [(item.finger, item.origin_finger) for item in templates] == [(0, number) for number in range(10)]
    steps = [step for step in plan_of(old, terminal()).steps if step.kind == "fingerprint"]
    assert [(step.origin["user_index"], step.origin["finger"]) for step in steps] == [(1, n) for n in range(10)]


# ---- a window over midnight: Friday 22:00 to 06:00 ------------------------------------------------------------------

FRIDAY: Final = 0x20
CLOSED: Final = bytes([23, 59, 0, 0])


def test_a_nuki_window_over_midnight_is_kept_as_read_and_copied_to_another_nuki_lock_only() -> None:
    """What it means there is not published (neutral-format 6.7), so nothing else is made of it on anybody's behalf."""
    tail = bytes(14) + bytes([nuki_days(FRIDAY), 22, 0, 6, 0])
    old = nuki_lock(nuki_code(tail))
    (week,) = old.schedules
    assert (week.kind, week.why) == ("Unknown", "opaque")
    assert (week.days_mask, week.start, week.end) == (FRIDAY, "22:00", "06:00")
    made = plan_of(old, nuki_lock())
    assert of(made, "pin/7").outcome == "copy"
    (step,) = (step for step in made.steps if step.kind == "pin")
    assert isinstance(step.value, bytes)
    assert unpack_code(step.value).tail == tail
    assert (parse_tail(tail).from_local, parse_tail(tail).until_local) == ("22:00", "06:00")
    across = plan_of(old, ttlock_lock())
    assert of(across, "pin/7").outcome in ("needs_input", "refuse")
    assert across.steps == ()


def test_a_terminals_row_that_ends_before_it_begins_is_closed_and_opens_nothing_elsewhere() -> None:
    zone = CLOSED * 5 + bytes([22, 0, 6, 0]) + CLOSED
    old = terminal(person(1, name=b"Ada", pin=b"345678"), zones={1: zone})
    (table,) = (item for item in old.schedules if item.key == "schedule/1")
    assert (table.kind, table.days[5].start, table.days[5].end) == ("WeekTable", "22:00", "06:00")
    (step,) = (step for step in plan_of(old, terminal()).steps if step.key == "schedule/1")
    assert isinstance(step.value, bytes)
    assert zone in step.value, "the rows themselves go to another terminal as they are"
    across = plan_of(old, nuki_lock())
    assert (of(across, "pin/1").outcome, of(across, "pin/1").follows) == ("skip", "user/1")
    assert of(across, "user/1").reasons == ("schedule-unsupported",)
    assert across.steps == ()


def test_a_terminals_two_halves_of_a_night_are_more_than_one_nuki_code_can_say() -> None:
    zone = CLOSED * 5 + bytes([22, 0, 23, 59]) + bytes([0, 0, 6, 0])
    old = terminal(person(1, name=b"Ada", pin=b"345678"), zones={1: zone})
    across = plan_of(old, nuki_lock())
    assert (of(across, "pin/1").outcome, of(across, "pin/1").reasons) == ("needs_input", ("schedule-unsupported",))
    assert across.steps == ()


def test_passage_mode_over_midnight_goes_to_the_next_ttlock_lock_as_it_came() -> None:
    raw = bytes([1, 5, 0, 22, 0, 6, 0])
    old = ttlock_lock(raw)
    (held_open,) = old.lock_schedules
    assert (held_open.days_mask, held_open.start, held_open.end) == (FRIDAY, "22:00", "06:00")
    assert (parse_passage(raw).start, parse_passage(raw).end) == ("22:00", "06:00")
    assert [step.value for step in plan_of(old, ttlock_lock()).steps if step.kind == "lock_schedule"] == [raw]
