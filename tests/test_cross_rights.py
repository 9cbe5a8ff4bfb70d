"""From any lock to a lock of another family: nobody can ever do more on the new lock than on the old one (rule R0).

Locks are made up (`generated_locks`), a plan is made, answered and carried out on the target's tables by a small
applicator written from the wire references, and both documents are judged by `who_may_enter`, which knows no planning.
"""

from __future__ import annotations

import random
import re
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import pytest
from generated_locks import (
    CLOSED,
    FAMILIES,
    FULL_ZONE,
    PERIOD,
    TT_ALWAYS_FROM,
    TT_ALWAYS_UNTIL,
    TT_FEATURES,
    Made,
    door_zone,
    items_of,
    listed,
    made,
    nuki_code,
    nuki_date,
    nuki_tail,
    snapshot_of,
    tt_code,
    tt_date,
    tt_features,
    unit_of,
    zk_combinations,
    zk_groups,
    zk_user,
    zk_verify,
    zk_zones,
)
from who_may_enter import READINGS, Token, card_token, digits_of, more_than, openings, opens, opens_at, wider

from lockmigrate.formats import adopter, fitted
from lockmigrate.formats.nuki_config import ADVANCED, CONFIG
from lockmigrate.model.document import Gap, Snapshot
from lockmigrate.model.reasons import REASONS
from lockmigrate.model.records import LOSS_CODES
from lockmigrate.model.results import RecordResult
from lockmigrate.model.steps import Step
from lockmigrate.planning.plan import Plan, make_plan
from lockmigrate.planning.policy import Answer, Decisions, Policy

BERLIN: Final = ZoneInfo("Europe/Berlin")
PAIRS: Final = [(old, new) for old in FAMILIES for new in FAMILIES if old != new]
ALIKE: Final = [(family, family) for family in ("nuki", "ttlock")]
"""Of one family; ZK to ZK has its own judge on the units' raw memory (test_zk_rights)."""


# ---- locks by hand --------------------------------------------------------------------------------------------------


def pin(digits: str) -> frozenset[Any]:
    return frozenset({("pin", digits)})


def nuki(*codes: bytes, fingers: Iterable[bytes] = (), serial: int = 1, zone_id: int = 37) -> Snapshot:
    """Return a Nuki lock with these keypad codes, in Berlin."""
    tables = dict(made("nuki", random.Random(serial), number=serial, full=False).tables)
    config = bytearray(tables["0002-config"])
    config[72:74] = struct.pack("<H", zone_id)
    tables |= {"0002-config": bytes(config), "0006-authorisations": listed([]), "0007-codes": listed(codes)}
    tables["0008-fingerprints"] = listed(fingers)
    return snapshot_of("nuki", tables, {"generation": "1-4", "code_slots": 200})


def ttlock(
    *codes: bytes, cards: Iterable[bytes] = (), passage: Iterable[bytes] = (), features: int = TT_FEATURES, mac: int = 1
) -> Snapshot:
    """Return a TTLock lock with these passcodes and cards."""
    tables = {
        "0001-device": b"model=SN202\nfirmware=5.1\n",
        "0002-features": tt_features(features),
        "0003-passcodes": listed(codes),
        "0004-cards": listed(cards),
        "0005-fingers": listed([]),
        "0007-passage": listed(passage),
    }
    return snapshot_of("ttlock", tables, {"address": f"C1:5E:AA:00:00:{mac:02X}"})


def zk(
    *users: bytes,
    zones: Mapping[int, bytes] | None = None,
    groups: Mapping[int, tuple[int, int, int, int]] | None = None,
    combinations: Mapping[int, tuple[int, ...]] | None = None,
    styles: Mapping[int, int] | None = None,
    gaps: tuple[Gap, ...] = (),
    tables: bool = True,
) -> Snapshot:
    """Return a terminal with these users."""
    uids = [int.from_bytes(user[:2], "little") for user in users]
    raw = {
        "0001-options": b"~ZKFPVersion=10",
        "0004-users": b"".join(users),
        "0009-verify": zk_verify(dict.fromkeys(uids, -1) | dict(styles or {})),
    }
    if tables:
        raw |= {
            "0006-zones": zk_zones(zones or {}),
            "0007-groups": zk_groups(groups or {}),
            "0008-combinations": zk_combinations(combinations or {}),
        }
    return snapshot_of("zk", raw, {"record_bytes": 72}, gaps)


def at(text: str, zone: tzinfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def utc(text: str) -> datetime:
    return at(text, UTC)


# ---- the judge, by hand ---------------------------------------------------------------------------------------------


def test_weekly_hours_of_a_nuki_code_are_those_of_the_door_and_its_dates_are_utc() -> None:
    tail = nuki_tail(nuki_date(2026, 7, 1, 6), nuki_date(2026, 8, 1), 0x40, (8, 0, 17, 30))
    lock = nuki(nuki_code(1, "345678", limited=True, tail=tail))
    for moment, open_ in {
        "2026-07-06T07:59": False,  # a Monday
        "2026-07-06T08:00": True,
        "2026-07-06T17:29": True,
        "2026-07-06T17:30": False,
        "2026-07-07T12:00": False,
        "2026-06-29T12:00": False,
        "2026-08-03T12:00": False,
    }.items():
        assert (pin("345678") in opens_at(lock, BERLIN, at(moment))) is open_, moment
    assert not opens_at(lock, BERLIN, utc("2026-07-06T05:59"))
    assert pin("345678") in opens_at(lock, BERLIN, utc("2026-07-06T06:00"))


@pytest.mark.parametrize(
    ("days", "weekday"), [(0x40, 6), (0x20, 7), (0x10, 8), (0x08, 9), (0x04, 10), (0x02, 11), (0x01, 12)]
)
def test_each_day_of_a_nuki_week_is_its_own(days: int, weekday: int) -> None:
    lock = nuki(nuki_code(1, "345678", limited=True, tail=nuki_tail(days=days)))
    open_on = [day for day in range(6, 13) if opens_at(lock, BERLIN, at(f"2026-07-{day:02}T12:00"))]
    assert open_on == [weekday], "the sixth of July is a Monday"


def test_a_code_that_is_off_or_limited_by_what_nobody_knows_grants_nothing() -> None:
    night = nuki_tail(window=(22, 0, 6, 0))
    odd = nuki_tail(end=nuki_date(2026, 2, 30))
    lock = nuki(
        nuki_code(1, "345678", enabled=False),
        nuki_code(2, "456123", limited=True, tail=night),
        nuki_code(3, "555555", limited=True, tail=odd),
        nuki_code(4, "771234", limited=True),
        nuki_code(5, "918273", limited=True, tail=bytes(19)),
        nuki_code(6, "987654", tail=odd),
    )
    assert opens_at(lock, BERLIN, at("2026-07-06T23:00")) == {pin("918273"), pin("987654")}, (
        "a limit of zeros limits nothing, one that is off neither"
    )


def test_the_clock_of_a_ttlock_lock_shows_half_past_two_twice_in_autumn() -> None:
    lock = ttlock(tt_code("1234", PERIOD, end=tt_date(2026, 10, 25, 2, 30)))
    open_at = {
        text: pin("1234") in opens_at(lock, BERLIN, utc(f"2026-10-25T{text}"))
        for text in ("00:29", "00:30", "00:59", "01:00", "01:29", "01:30")
    }
    assert open_at == {"00:29": True, "00:30": False, "00:59": False, "01:00": True, "01:29": True, "01:30": False}


@pytest.mark.parametrize(
    ("until", "too_long"),
    [
        (nuki_date(2026, 10, 25, 0, 30), False),
        (nuki_date(2026, 10, 25, 0, 30, 1), True),
        (nuki_date(2026, 10, 25, 1, 30), True),
        (nuki_date(2026, 10, 24), False),
        (bytes(7), True),
    ],
)
def test_a_window_that_ends_in_the_hour_that_comes_twice_may_only_end_at_its_first(
    until: bytes, too_long: bool
) -> None:
    source = ttlock(tt_code("345678", PERIOD, end=tt_date(2026, 10, 25, 2, 30)))
    target = nuki(nuki_code(1, "345678", limited=True, tail=nuki_tail(end=until)), serial=2)
    assert bool(wider(target, nuki(serial=2), source, BERLIN)) is too_long


@pytest.mark.parametrize(
    ("since", "too_early"),
    [
        (nuki_date(2026, 3, 29, 0, 59, 59), True),
        (nuki_date(2026, 3, 29, 0, 30), True),
        (nuki_date(2026, 3, 29, 1), False),
        (nuki_date(2026, 3, 29, 1, 30), False),
    ],
)
def test_a_window_that_begins_in_the_hour_that_is_left_out_begins_behind_it(since: bytes, too_early: bool) -> None:
    source = ttlock(tt_code("345678", PERIOD, start=tt_date(2026, 3, 29, 2, 30), end=TT_ALWAYS_UNTIL))
    target = nuki(nuki_code(1, "345678", limited=True, tail=nuki_tail(start=since)), serial=2)
    assert bool(wider(target, nuki(serial=2), source, BERLIN)) is too_early


@pytest.mark.parametrize(("second", "too_long"), [(0, False), (59, False)])
def test_seconds_are_cut_inward_and_a_minute_too_much_is_seen(second: int, too_long: bool) -> None:
    source = nuki(nuki_code(1, "345678", limited=True, tail=nuki_tail(end=nuki_date(2026, 7, 1, 10, 0, second))))
    target = ttlock(tt_code("345678", PERIOD, end=tt_date(2026, 7, 1, 12, 0)), mac=2)
    assert bool(wider(target, ttlock(mac=2), source, BERLIN)) is too_long
    later = ttlock(tt_code("345678", PERIOD, end=tt_date(2026, 7, 1, 12, 1)), mac=2)
    assert wider(later, ttlock(mac=2), source, BERLIN)
    assert wider(target, ttlock(mac=2), source, UTC), "in another zone the same minute is two hours later"


def test_always_is_more_than_until_the_end_of_the_century() -> None:
    source = nuki(nuki_code(1, "345678", limited=True, tail=nuki_tail(end=nuki_date(2150, 1, 1))))
    target = ttlock(tt_code("345678", PERIOD, end=TT_ALWAYS_UNTIL), mac=2)
    assert wider(target, ttlock(mac=2), source, BERLIN)
    assert not wider(
        ttlock(tt_code("345678", PERIOD, end=tt_date(2099, 12, 31, 23, 58)), mac=2), source, source, BERLIN
    )


def test_the_hours_of_a_week_are_compared_to_the_minute_however_long_ago_the_dates_lie() -> None:
    week = nuki_tail(days=0x7C, window=(8, 0, 17, 30))
    source = nuki(nuki_code(1, "345678", limited=True, tail=week))
    for tail, more in {
        nuki_tail(days=0x7C, window=(8, 0, 17, 30)): False,
        nuki_tail(days=0x40, window=(9, 0, 9, 1)): False,
        nuki_tail(days=0x7C, window=(8, 0, 17, 31)): True,
        nuki_tail(days=0x7D, window=(8, 0, 17, 30)): True,
        nuki_tail(
            nuki_date(2026, 7, 5), nuki_date(2026, 7, 6), 0x7C, (7, 0, 18, 0)
        ): False,  # from a Sunday to 2 o'clock
        nuki_tail(nuki_date(2026, 7, 5), nuki_date(2026, 7, 7), 0x7C, (7, 0, 18, 0)): True,
        nuki_tail(nuki_date(2026, 7, 6, 6), nuki_date(2026, 7, 6, 15, 30)): False,
        nuki_tail(nuki_date(2026, 7, 6, 5, 59, 59), nuki_date(2026, 7, 6, 15, 30)): True,
    }.items():
        target = nuki(nuki_code(1, "345678", limited=True, tail=tail), serial=2)
        assert bool(wider(target, nuki(serial=2), source, BERLIN)) is more


def test_what_two_records_allow_together_is_allowed() -> None:
    source = zk(
        zk_user(1, password=b"345678", own=(1, 0, 0), ident="1"),
        zk_user(2, password=b"345678", own=(2, 0, 0), ident="2"),
        zones={1: bytes([8, 0, 12, 0]) * 7, 2: bytes([12, 0, 17, 30]) * 7},
    )
    both = nuki(nuki_code(1, "345678", limited=True, tail=nuki_tail(window=(8, 0, 17, 30))), serial=2)
    assert not wider(both, nuki(serial=2), source, BERLIN)
    more = nuki(nuki_code(1, "345678", limited=True, tail=nuki_tail(window=(8, 0, 17, 31))), serial=2)
    (line,) = wider(more, nuki(serial=2), source, BERLIN)
    assert "345678" in line
    assert "17:30" in line


def test_days_of_a_terminal() -> None:
    person = zk_user(1, password=b"1234", own=(1, 0, 0), ident="1")

    def is_open(zone: bytes, moment: str) -> bool:
        return pin("1234") in opens_at(zk(person, zones={1: zone}), BERLIN, at(moment))

    assert is_open(FULL_ZONE, "2026-07-05T23:59"), "00:00-23:59 is how a terminal says all day"
    assert not is_open(CLOSED * 7, "2026-07-05T23:59")
    assert not is_open(bytes([22, 0, 6, 0]) * 7, "2026-07-05T23:00"), "a start later than the end is a closed day"
    sunday = bytes([9, 0, 17, 30]) + CLOSED * 6
    assert [is_open(sunday, f"2026-07-{day:02}T10:00") for day in range(5, 12)] == [True] + [False] * 6
    assert not is_open(sunday, "2026-07-05T17:30")
    assert not is_open(bytes([9, 0, 25, 0]) * 7, "2026-07-05T10:00"), "hours that do not exist are not known"


def test_tables_of_a_person_unite_and_own_tables_replace_those_of_the_group() -> None:
    zones = {1: bytes([8, 0, 12, 0]) * 7, 2: bytes([14, 0, 17, 0]) * 7}
    lock = zk(
        zk_user(1, password=b"1111", own=(1, 2, 0), ident="1"),
        zk_user(2, password=b"2222", ident="2"),
        zk_user(3, password=b"3333", own=(0, 0, 0), ident="3"),
        zk_user(4, password=b"4444", own=(2, 0, 0), ident="4"),
        zones=zones,
    )
    assert opens_at(lock, BERLIN, at("2026-07-06T09:00")) == {pin("1111"), pin("2222")}
    assert opens_at(lock, BERLIN, at("2026-07-06T15:00")) == {pin("1111"), pin("4444")}


def test_a_group_opens_only_in_a_combination_and_alone_only_where_it_stands_alone() -> None:
    person = zk_user(1, password=b"1234", group=2, ident="1")
    groups = {2: (1, 0, 0, 0)}
    noon = at("2026-07-06T12:00")
    assert opens_at(zk(person, groups=groups), BERLIN, noon) == set()
    assert pin("1234") in opens_at(zk(person, groups=groups, combinations={3: (2,)}), BERLIN, noon)
    for together in [(1, 2), (2, 2), (1, 2, 3)]:
        ways = opens_at(zk(person, groups=groups, combinations={3: together}), BERLIN, noon)
        assert ways
        assert all(len(way) == len(together) for way in ways), together
    first = zk_user(1, password=b"1234", ident="1")
    assert pin("1234") in opens_at(zk(first), BERLIN, noon), "as from the factory group 1 stands alone"
    assert opens_at(zk(first, combinations={1: ()}), BERLIN, noon) == set()


@pytest.mark.parametrize(
    ("style", "ways"),
    [
        (0, {"pin", "card"}),
        (1, set()),
        (2, {"id"}),
        (3, {"pin"}),
        (4, {"card"}),
        (5, {"pin"}),
        (6, {"card"}),
        (7, {"pin", "card"}),
        (8, set()),
        (9, set()),
        (11, {"card+pin"}),
        (14, set()),
    ],
)
def test_ways_of_verifying(style: int, ways: set[str]) -> None:
    person = zk_user(1, password=b"1234", card=77, ident="1")
    for lock in (zk(person, styles={1: style}), zk(person, groups={1: (1, 0, 0, style)})):
        if style == 0 and lock.users[0].vendor["zk"]["verify_mode"]:
            continue
        found = opens_at(lock, BERLIN, at("2026-07-06T12:00"))
        assert {"+".join(sorted(token[0] for token in way)) for way in found} == ways


def test_a_terminal_that_does_not_tell_its_styles_or_tables_grants_nothing_and_may_open_always() -> None:
    person = zk_user(1, password=b"345678", ident="1")
    gap = Gap(section="verify_styles", record=None, code="no-public-layout", detail="")
    noon = at("2026-07-06T12:00")
    silent = zk(person, styles={}, gaps=(gap,))
    silent = msgspec.structs.replace(
        silent, users=tuple(msgspec.structs.replace(user, vendor={"zk": {}}) for user in silent.users)
    )
    for lock in (silent, zk(person, tables=False)):
        assert opens_at(lock, BERLIN, noon) == set()
        assert wider(nuki(nuki_code(1, "345678"), serial=2), nuki(serial=2), lock, BERLIN)
        assert wider(lock, zk(), nuki(nuki_code(1, "345678", limited=True, tail=nuki_tail(days=1))), BERLIN)


def test_rights_that_only_one_reading_gives_are_not_relied_on() -> None:
    person = zk_user(1, password=b"345678", ident="1")
    nowhere = zk(person, groups={1: (0, 0, 0, 0)}, combinations={1: (1,)})
    assert {bool(opens(nowhere, reading)) for reading in READINGS} == {True, False}
    assert wider(nuki(nuki_code(1, "345678"), serial=2), nuki(serial=2), nowhere, BERLIN)


def test_disabled_people_open_nothing_and_program_nothing() -> None:
    assert not opens(zk(zk_user(1, privilege=15, password=b"1234", card=77, ident="1")))
    owner = zk(zk_user(1, privilege=14, password=b"1234", ident="1"))
    assert frozenset({("programs", "1")}) in opens(owner)
    assert wider(owner, zk(), ttlock(tt_code("1234")), BERLIN), "nobody becomes an administrator by a migration"


def test_a_card_is_its_number_and_its_width() -> None:
    short, long = ((0x12345678).to_bytes(width, "big") + TT_ALWAYS_FROM + TT_ALWAYS_UNTIL for width in (4, 8))
    assert wider(ttlock(cards=[long], mac=2), ttlock(mac=2), ttlock(cards=[short]), BERLIN)
    person = zk(zk_user(1, card=0x12345678, ident="1"))
    assert not wider(ttlock(cards=[short], mac=2), ttlock(mac=2), person, BERLIN)
    turned = (0x78563412).to_bytes(4, "big") + TT_ALWAYS_FROM + TT_ALWAYS_UNTIL
    assert wider(ttlock(cards=[turned], mac=2), ttlock(mac=2), person, BERLIN)


def test_a_card_with_limits_that_cannot_be_read_grants_nothing_and_stays_what_it_was_on_its_own_lock() -> None:
    card = (77).to_bytes(4, "big") + TT_ALWAYS_FROM + TT_ALWAYS_UNTIL
    limited = ttlock(cards=[card], features=TT_FEATURES | 1 << 34)
    plain = ttlock(cards=[card], mac=2)
    assert wider(plain, ttlock(mac=2), limited, BERLIN)
    assert not wider(limited, limited, ttlock(), BERLIN)
    assert not wider(plain, ttlock(mac=2), limited, BERLIN, granted=["card/1"])


def test_what_the_target_opened_before_is_no_news() -> None:
    before = ttlock(tt_code("1234"), tt_code("5678", PERIOD, end=tt_date(2026, 1, 1)), mac=2)
    assert not wider(before, before, ttlock(), BERLIN)
    after = ttlock(tt_code("1234"), tt_code("5678"), mac=2)
    assert "5678" in "".join(wider(after, before, ttlock(), BERLIN))


def test_a_code_for_one_time_may_be_spent_and_is_not_made_to_last() -> None:
    once = ttlock(tt_code("345678", 2, end=TT_ALWAYS_UNTIL))
    assert wider(ttlock(tt_code("345678"), mac=2), ttlock(mac=2), once, BERLIN)
    assert wider(nuki(nuki_code(1, "345678"), serial=2), nuki(serial=2), once, BERLIN)


def test_a_cyclic_code_opens_at_hours_that_only_its_own_word_says() -> None:
    old = ttlock(tt_code("1234", 4, cycle=b"\x01\x05"))
    assert opens_at(old, BERLIN, at("2026-07-06T12:00")) == set()
    assert not wider(ttlock(tt_code("1234", 4, cycle=b"\x01\x05"), mac=2), ttlock(mac=2), old, BERLIN)
    assert wider(ttlock(tt_code("1234", 4, cycle=b"\x04\x19"), mac=2), ttlock(mac=2), old, BERLIN)
    assert wider(ttlock(tt_code("1234"), mac=2), ttlock(mac=2), old, BERLIN)


def test_what_a_newer_firmware_appends_to_a_code_may_be_a_limit() -> None:
    old = ttlock(tt_code("345678", rest=b"\x01"))
    assert opens_at(old, BERLIN, at("2026-07-06T12:00")) == set()
    assert not wider(old, old, old, BERLIN)
    assert wider(ttlock(tt_code("345678"), mac=2), ttlock(mac=2), old, BERLIN)
    assert wider(nuki(nuki_code(1, "345678")), nuki(), old, BERLIN)


def test_fingers_have_the_rights_of_their_code() -> None:
    finger = struct.pack("<32sH20s", b"f" * 32, 5, b"Thumb")
    before = nuki(nuki_code(5, "345678", limited=True, tail=nuki_tail(days=0x40)), fingers=[finger], serial=2)
    after = nuki(nuki_code(5, "345678"), fingers=[finger], serial=2)
    (line,) = wider(after, before, ttlock(tt_code("345678")), BERLIN)
    assert line.startswith("finger")
    off = nuki(nuki_code(5, "345678", enabled=False), fingers=[finger], serial=2)
    assert not opens(off)


def test_a_door_that_opens_by_itself_is_a_right_too() -> None:
    passage = ttlock(passage=[bytes([1, 5, 0, 8, 0, 17, 30])], mac=2)
    friday, saturday = at("2026-07-10T12:00"), at("2026-07-11T12:00")
    assert opens_at(passage, BERLIN, friday)
    assert not opens_at(passage, BERLIN, saturday)
    assert wider(passage, ttlock(mac=2), nuki(), BERLIN)
    assert not wider(passage, ttlock(mac=2), ttlock(passage=[bytes([1, 0, 0, 0, 0, 0, 0])]), BERLIN)


def test_new_digits_stand_for_the_record_that_they_replace() -> None:
    source = ttlock(tt_code("1234", PERIOD, end=tt_date(2026, 7, 1)))
    end = nuki_date(2026, 6, 30, 22)
    target = nuki(nuki_code(1, "918273", limited=True, tail=nuki_tail(end=end)), serial=2)
    assert wider(target, nuki(serial=2), source, BERLIN)
    assert not wider(target, nuki(serial=2), source, BERLIN, instead={("pin", "918273"): "pin/1"})
    assert wider(target, nuki(serial=2), source, BERLIN, instead={("pin", "918274"): "pin/1"})
    longer = nuki(nuki_code(1, "918273"), serial=2)
    assert wider(longer, nuki(serial=2), source, BERLIN, instead={("pin", "918273"): "pin/1"})


def test_another_code_is_never_covered() -> None:
    source = nuki(nuki_code(1, "345678"))
    assert wider(ttlock(tt_code("345679"), mac=2), ttlock(mac=2), source, BERLIN)
    assert wider(ttlock(tt_code("0345678"), mac=2), ttlock(mac=2), source, BERLIN)
    assert not wider(ttlock(tt_code("345678"), mac=2), ttlock(mac=2), source, BERLIN)


@pytest.mark.parametrize("family", FAMILIES)
def test_made_up_locks_are_the_same_for_the_same_seed_and_hold_every_oddity(family: str) -> None:
    seen: Counter[str] = Counter()
    for seed in range(150):
        lock = made(family, random.Random(seed))
        assert lock.tables == made(family, random.Random(seed)).tables
        snapshot = lock.snapshot
        assert all(snapshot.bytes_of(ref) for item in snapshot.credentials for ref in item.raw)
        assert not wider(snapshot, snapshot, snapshot, BERLIN), "nothing is more than itself"
        seen.update(item.credential_type + " " + item.status for item in snapshot.credentials)
        seen.update(item.kind + " " + (item.why or "") for item in snapshot.schedules)
        seen["user off"] += sum(user.user_status == "OccupiedDisabled" for user in snapshot.users)
        seen["opens"] += len(openings(snapshot))
    wanted = {
        "nuki": ("PIN enabled", "PIN disabled", "Fingerprint unknown", "AppKey enabled", "YearDay ", "WeekDay ",
                 "Unknown opaque", "Unknown impossible-date", "Unknown unreadable"),
        "ttlock": ("PIN enabled", "PIN unknown", "RFID enabled", "Fingerprint enabled", "YearDay ", "Unknown opaque",
                   "Unknown impossible-date", "Unknown unreadable"),
        "zk": ("PIN enabled", "PIN disabled", "RFID enabled", "Fingerprint enabled", "WeekTable ", "Unknown opaque",
               "Unknown missing-table", "user off"),
    }[family]  # fmt: skip
    assert {name: seen[name] for name in (*wanted, "opens") if not seen[name]} == {}


# ---- what a step does to a lock, from the references ----------------------------------------------------------------


def carried_out(lock: Made, steps: Iterable[Step]) -> Made:
    """Return the lock after these steps; a step that a real one would refuse is a failure."""
    tables = dict(lock.tables)
    for step in steps:
        {"nuki": _on_nuki, "ttlock": _on_ttlock, "zk": _on_zk}[lock.family](tables, step)
    if lock.family == "zk" and "0003-capacity" in tables:
        width = lock.variant["record_bytes"]
        words = list(struct.unpack("<20I", tables["0003-capacity"]))
        words[4] = words[13] = len(tables["0004-users"]) // width
        words[6] = len(_templates(tables["0005-templates"]))
        tables["0003-capacity"] = struct.pack("<20I", *words)
    return replace(lock, tables=tables)


def _value(step: Step) -> bytes:
    assert isinstance(step.value, bytes), step
    return step.value


def _on_nuki(tables: dict[str, bytes], step: Step) -> None:
    if step.kind == "setting":
        _nuki_setting(tables, step)
        return
    name, ident = {"pin": ("0007-codes", "code_id"), "lock_schedule": ("0009-timers", "timer_id")}[step.kind]
    rows = items_of(tables[name])
    size = 2 if step.kind == "pin" else 1
    number = step.origin.get(ident)
    place = next((index for index, row in enumerate(rows) if int.from_bytes(row[:size], "little") == number), None)
    if step.action == "remove":
        assert place is not None
        del rows[place]
        if step.kind == "pin":  # deleting a code deletes its fingerprints (9.3)
            fingers = [
                row for row in items_of(tables["0008-fingerprints"]) if row[32:34] != number.to_bytes(2, "little")
            ]
            tables["0008-fingerprints"] = listed(fingers)
    elif step.kind == "lock_schedule":
        new = 1 + max((row[0] for row in rows), default=0)
        if place is None:
            rows.append(bytes([new]) + _value(step)[1:])
        else:
            rows[place] = rows[place][:1] + _value(step)[1:]
    else:
        fingers = items_of(tables["0008-fingerprints"])
        free = 1 + max([int.from_bytes(row[:2], "little") for row in rows] + [1000])
        free += any(int.from_bytes(row[32:34], "little") == free for row in fingers)
        _nuki_put(rows, _value(step), place, free)
    tables[name] = listed(rows)


def _nuki_put(rows: list[bytes], value: bytes, place: int | None, ident: int) -> None:
    """Update Keypad Code, else Add Keypad Code (9.3): digits of other codes are refused."""
    _, code, name, enabled, limited, tail = struct.unpack("<HI20sBB19s", value)
    digits = str(code)
    assert len(digits) == 6, "six digits"
    assert set(digits) <= set("123456789"), "a keypad has no zero"
    assert not digits.startswith("12")
    taken = {int.from_bytes(row[2:6], "little"): index for index, row in enumerate(rows)}
    if place is not None and int.from_bytes(rows[place][2:6], "little") != code:
        place = None  # the executor never gives a code of somebody else other digits
    if place is not None:
        ident = int.from_bytes(rows[place][:2], "little")
    else:
        assert code not in taken, "0x2A: the code exists"
    row = nuki_code(
        ident, digits, name=name, enabled=enabled != 0, limited=limited != 0, tail=tail if limited else None
    )
    if place is None:
        rows.append(row)
    else:
        rows[place] = row


def _nuki_setting(tables: dict[str, bytes], step: Step) -> None:
    for table, fields in (("0002-config", CONFIG), ("0003-advanced", ADVANCED)):
        for item in fields:
            if step.key == f"setting/nuki.{item.name}":
                raw = bytearray(tables[table])
                raw[item.at : item.end] = _nuki_field(item.kind, step.value)
                tables[table] = bytes(raw)
                return
    raise AssertionError(step.key)


def _nuki_field(kind: str, value: Any) -> bytes:
    if kind == "text":
        return str(value).encode().ljust(32, b"\x00")
    if kind == "f32":
        return struct.pack("<f", float(value))
    if kind == "time":
        return bytes(int(part) for part in str(value).split(":"))
    return struct.pack({"u8": "<B", "u16": "<H", "i16": "<h"}[kind], value)


def _on_ttlock(tables: dict[str, bytes], step: Step) -> None:
    if step.kind == "setting":
        _ttlock_setting(tables, step)
        return
    name = {
        "pin": "0003-passcodes",
        "card": "0004-cards",
        "fingerprint": "0005-fingers",
        "lock_schedule": "0007-passage",
    }
    rows = items_of(tables[name[step.kind]])
    value = _value(step)
    assert step.kind != "fingerprint" or step.action == "remove", "a finger has to be enrolled"

    def identity(row: bytes) -> bytes:
        if step.kind == "pin":
            return row[2 : 2 + row[1]]
        return row if step.kind == "lock_schedule" else row[:-10]

    place = next((index for index, row in enumerate(rows) if identity(row) == identity(value)), None)
    if step.action == "remove":
        assert place is not None
        del rows[place]
    elif place is None:
        if step.kind == "pin":
            assert value[0] in (1, 2, 3, 4)
            assert 4 <= value[1] <= 9
            assert identity(value).isdigit()
        rows.append(value)
    else:
        assert step.kind == "lock_schedule" or not step.was_empty, "14: the code exists"
        rows[place] = value
    tables[name[step.kind]] = listed(rows)


def _ttlock_setting(tables: dict[str, bytes], step: Step) -> None:
    """Section 10; switches are bits of the second word."""
    places = {"auto_lock_s": (0x36, 0, 2), "audio": (0x62, 0, 1), "audio_volume": (0x62, 1, 1),
              "show_passcode": (0x59, 0, 1), "remote_unlock": (0x37, 0, 1), "lamp_s": (0x67, 0, 2)}  # fmt: skip
    bits = {"tamper_alert": 0, "reset_button": 1, "privacy_lock": 2}
    rows = {row[0]: bytearray(row[1:]) for row in items_of(tables["0006-settings"])}
    setting, value = step.key.removeprefix("setting/ttlock."), step.value
    assert isinstance(value, int)
    if setting in bits:
        word = int.from_bytes(rows[0x68][4:8], "big") & ~(1 << bits[setting]) | value << bits[setting]
        rows[0x68][4:8] = word.to_bytes(4, "big")
    else:
        command, begin, size = places[setting]
        rows[command][begin : begin + size] = value.to_bytes(size, "big")
    tables["0006-settings"] = listed(bytes([command]) + bytes(raw) for command, raw in rows.items())


def _templates(table: bytes) -> dict[tuple[int, int], tuple[int, bytes]]:
    found, begin = {}, 0
    while begin < len(table):
        size, uid, finger, flag = struct.unpack_from("<HHBB", table, begin)
        found[uid, finger] = flag, table[begin + 6 : begin + size]
        begin += size
    return found


def _on_zk(tables: dict[str, bytes], step: Step) -> None:
    if step.kind in ("schedule", "group", "combination"):
        _zk_table(tables, step)
    elif step.kind == "setting":
        lines = dict(line.split("=", 1) for line in tables["0001-options"].decode().split("\n"))
        assert step.key == "setting/zk.LockOn", "all other options are the unit's own"
        lines["LockOn"] = str(step.value)
        tables["0001-options"] = "\n".join(f"{name}={value}" for name, value in lines.items()).encode()
    elif step.kind == "fingerprint":
        held = _templates(tables["0005-templates"])
        place = step.origin["user_index"], step.origin["finger"]
        if step.action == "remove":
            held.pop(place, None)
        else:
            held[place] = step.origin.get("flag", 1), _value(step)
        _put_templates(tables, held)
    else:
        _zk_put(tables, step)


def _put_templates(tables: dict[str, bytes], held: Mapping[tuple[int, int], tuple[int, bytes]]) -> None:
    tables["0005-templates"] = b"".join(
        struct.pack("<HHBB", len(data) + 6, *place, flag) + data for place, (flag, data) in held.items()
    )


def _zk_put(tables: dict[str, bytes], step: Step) -> None:
    uid = step.origin["user_index"]
    record = _value(step) if step.action == "put" else b""
    assert step.action == "remove" or len(record) in (28, 72)
    users, styles = tables["0004-users"], tables.get("0009-verify")
    width = len(record) or (72 if len(users) % 72 == 0 and len(users) % 28 else 28 if len(users) % 72 else 72)
    # Two records may claim one number; whoever is not meant stays as they are.
    rows = [users[at : at + width] for at in range(0, len(users), width)]
    mine = [at for at, row in enumerate(rows) if int.from_bytes(row[:2], "little") == uid]
    modes = {} if styles is None else {
        int.from_bytes(styles[at : at + 2], "little"): styles[at + 2] for at in range(0, len(styles), 24)
    }  # fmt: skip
    if step.action == "remove":
        rows = [row for at, row in enumerate(rows) if at not in mine]
        modes.pop(uid, None)
        _put_templates(
            tables, {place: data for place, data in _templates(tables["0005-templates"]).items() if place[0] != uid}
        )
    else:
        assert not (step.was_empty and mine), "somebody has this number"
        fresh = struct.pack("<H", uid) + record[2:]
        rows = [fresh if mine[:1] == [at] else row for at, row in enumerate(rows) if at not in mine[1:]]
        rows += [] if mine else [fresh]
        wanted = step.origin.get("verify")
        modes[uid] = wanted if isinstance(wanted, int) else modes.get(uid, 0)
    tables["0004-users"] = b"".join(rows)
    if styles is not None:
        tables["0009-verify"] = b"".join(struct.pack("<HB21x", *row) for row in modes.items())
    else:
        assert not step.origin.get("verify"), "the unit does not take a way of verifying"


def _zk_table(tables: dict[str, bytes], step: Step) -> None:
    name, size, build = {
        "schedule": ("0006-zones", 32, zk_zones),
        "group": ("0007-groups", 8, zk_groups),
        "combination": ("0008-combinations", 8, zk_combinations),
    }[step.kind]
    number = step.origin["number"]
    begin = (number - 1) * size
    factory: bytes = build({})[begin : begin + size]
    value = _value(step) if step.action == "put" else factory
    if step.kind == "schedule" and len(value) == 28:
        value = factory[:2] + value + factory[30:]
    assert len(value) == size
    table = tables[name]
    tables[name] = (
        table[:begin] + factory[: 2 if size == 32 else 1] + value[2 if size == 32 else 1 :] + table[begin + size :]
    )


def test_the_applicator_by_hand() -> None:
    """What is judged is what the wire references say that a step does."""
    lock = made("nuki", random.Random(1), number=2, full=False)
    value = struct.pack("<HI20sBB19s", 0, 345678, b"Ada", 1, 1, nuki_tail(days=0x40))
    put = Step(key="pin/1", kind="pin", action="put", origin={}, value=value)
    lock = carried_out(lock, [put])
    assert pin("345678") in opens_at(lock.snapshot, BERLIN, at("2026-07-06T12:00"))
    assert pin("345678") not in opens_at(lock.snapshot, BERLIN, at("2026-07-07T12:00"))
    with pytest.raises(AssertionError, match="0x2A"):
        carried_out(lock, [put])
    (code,) = [item for item in lock.snapshot.credentials if item.credential_type == "PIN"]
    off = struct.pack("<HI20sBB19s", 0, 345678, b"Ada", 0, 0, bytes(19))
    lock = carried_out(lock, [replace(put, value=off, origin=dict(code.origin), was_empty=False)])
    assert pin("345678") not in opens(lock.snapshot)

    lock = made("ttlock", random.Random(1), number=2, full=False)
    put = Step(key="pin/1", kind="pin", action="put", origin={}, value=tt_code("1234"))
    lock = carried_out(lock, [put])
    assert set(opens(lock.snapshot)) == {pin("1234")}
    with pytest.raises(AssertionError, match="exists"):
        carried_out(lock, [put])
    assert not opens(carried_out(lock, [replace(put, action="remove")]).snapshot)

    lock = Made("zk", {table.name: table.data for table in zk().tables}, {"record_bytes": 72}, None)
    lock = replace(lock, tables=lock.tables | {"0005-templates": b""})
    user = zk_user(9, password=b"1234", card=77, ident="5")
    put = Step(key="user/3", kind="user", action="put", origin={"user_index": 3, "verify": 0x83}, value=user)
    lock = carried_out(lock, [put])
    assert set(opens(lock.snapshot)) == {pin("1234")}, "the style lets the password alone open"
    closed = Step(key="schedule/1", kind="schedule", action="put", origin={"number": 1}, value=CLOSED * 7)
    assert not opens(carried_out(lock, [closed]).snapshot)
    assert not opens(carried_out(lock, [replace(put, action="remove", value=None)]).snapshot)


# ---- one migration --------------------------------------------------------------------------------------------------

PIN_REASONS: Final = frozenset(reason for reason in LOSS_CODES if reason.startswith("pin-"))
"""A person may choose other digits."""
WORD_OF_THE_OWNER: Final = frozenset({"schedule-unreadable", "zone-table-unknown"})
"""Answered with "write", somebody says that there is no limit behind it: then there is none. The same with
`rule-unsupported` where the old unit told neither the person's way of verifying nor the group's."""
CREDENTIALS: Final = ("pin", "card", "fingerprint", "face")
CHOSEN: Final = ("739164", "864975", "345678", "771234")
"""Digits that somebody thinks of: every family takes them, and some are taken."""
Answers = dict[str, tuple[str, str | None]]
"""Key to choice and value."""


@dataclass
class Case:
    """Two locks, and how far a person got with a plan."""

    seed: int
    old: Made
    new: Made
    existing: Any
    answering: str
    """`none`, `skip` for whatever is asked, `answer` for what can be answered otherwise."""
    zone: tzinfo
    now_local: str | None = None
    answers: Answers = field(default_factory=dict)
    asked: dict[str, frozenset[str]] = field(default_factory=dict)
    """Key to all reasons that it was ever asked about for."""

    def __post_init__(self) -> None:
        self.source, self.before = self.old.snapshot, self.new.snapshot

    def __str__(self) -> str:
        return (
            f"case({self.seed}, {self.old.family!r}, {self.new.family!r}): existing={self.existing} "
            f"{self.answering} in {self.zone}, answered {self.answers}"
        )

    def policy(self) -> Policy:
        answer = [
            Answer(key=key, choice=choice, value=value)  # type: ignore[arg-type]
            for key, (choice, value) in self.answers.items()
        ]
        now_utc = None if self.now_local is None else at(self.now_local, self.zone).astimezone(UTC)
        return Policy(
            existing=self.existing,
            decisions=Decisions(answer=tuple(answer)),
            now_local=self.now_local,
            now_utc=None if now_utc is None else now_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )

    def plan(self, target: Snapshot | None = None) -> Plan:
        target = target or self.before
        return make_plan(
            self.source,
            target,
            unit_of(self.before),
            self.policy(),
            fitted=fitted(self.source, target),
            adopter=adopter(self.source, target),
        )

    def decided(self) -> Plan:
        """Return the plan after everything that it asks has been answered, as far as that goes."""
        plan = self.plan()
        for _ in range(6):
            pending = [one for one in plan.records if one.outcome in ("needs_input", "refuse") and one.follows is None]
            if self.answering == "none" or plan.executable or not self._answer(pending):
                return plan
            plan = self.plan()
        return plan

    def _answer(self, pending: list[RecordResult]) -> bool:
        """Answer what is asked; False if nothing new can be said."""
        rng = random.Random(self.seed)
        news = False
        for one in pending:
            key, reasons = one.key, frozenset(one.reasons)
            said = self.answers.get(key)
            self.asked[key] = self.asked.get(key, frozenset()) | reasons
            answer: tuple[str, str | None] = ("skip", None)
            if said is None and one.outcome == "needs_input" and self.answering == "answer":
                answer = ("write", None)
                if reasons & PIN_REASONS:
                    answer = rng.choice([("suggest", None), ("value", rng.choice(CHOSEN))])
                elif "card-number-rule" in reasons:
                    answer = rng.choice([("write", None), ("value", "same"), ("value", "reversed")])
            if said is None or (said[0] != "skip"):
                self.answers[key] = answer
                news = True
        return news

    def instead(self, plan: Plan) -> dict[Token, str]:
        """Return what was chosen in the place of records, as the plan writes it, to their keys."""
        chosen = {key for key, (choice, _) in self.answers.items() if choice in ("suggest", "value")}
        held = {item.key: item for item in self.source.credentials}
        found: dict[Token, str] = {}
        for step in plan.steps:
            carried = {step.key, *step.also} & chosen if step.action == "put" else set()
            if self.new.family == "zk" and step.action == "put" and step.key in self.granted():
                found["id", str(int.from_bytes(_value(step)[:2], "little"))] = (
                    step.key
                )  # it may open by its number alone
            for key in carried:
                if held[key].credential_type == "PIN":
                    found["pin", _digits_written(self.new.family, _value(step))] = key
        for key in chosen:
            number = card_token(held[key])
            if number is not None and self.answers[key][1] == "reversed":
                turned = number[1].to_bytes(number[2], "big")[::-1]
                found["card", int.from_bytes(turned, "big"), number[2]] = key
        return found

    def granted(self) -> set[str]:
        written = {key for key, (choice, _) in self.answers.items() if choice == "write"}
        untold = self.old.family == "zk" and (self.old.gaps or "0007-groups" not in self.old.tables)
        words = WORD_OF_THE_OWNER | ({"rule-unsupported"} if untold else set())
        return {key for key in written if self.asked[key] & words}


def _digits_written(family: str, value: bytes) -> str:
    if family == "nuki":
        return str(int.from_bytes(value[2:6], "little"))
    if family == "ttlock":
        return value[2 : 2 + value[1]].decode()
    return value[3 : 11 if len(value) == 72 else 8].split(b"\0")[0].decode("ascii", "replace")


def case(seed: int, old: str, new: str) -> Case:
    """Make two locks and choose how the person goes about it; the same for the same seed."""
    rng = random.Random(f"{seed} {old} {new}")
    mine = made(old, rng, number=1)
    fresh = rng.random() < 0.5
    theirs = made(new, rng, number=2, full=not fresh)
    return Case(
        seed=seed,
        old=mine,
        new=theirs,
        existing=rng.choice([None, None, "merge"] if fresh else ["merge", "merge", "replace", "replace", None]),
        answering=rng.choice(["none", "skip", "skip", "answer", "answer", "answer"]),
        zone=door_zone(rng, mine, theirs),
        now_local=rng.choice([None, None, "2026-11-25T12:00", "2026-07-01T08:00"]),
    )


# ---- what has to hold for each ------------------------------------------------------------------------------------


def source_keys(source: Snapshot) -> list[str]:
    sections = (
        source.users, source.credentials, source.groups, source.combinations, source.schedules,
        source.lock_schedules, source.settings, source.access_keys,
    )  # fmt: skip
    return [item.key for section in sections for item in section]


def secrets_of(*locks: Snapshot) -> set[str]:
    found = {digits_of(item) or "" for lock in locks for item in lock.credentials}
    for lock in locks:
        for item in lock.credentials:
            if item.credential_type == "RFID" and item.data is not None:
                number = str(item.data.number.reveal())  # type: ignore[union-attr]
                found |= {number, f"{int(number):x}"}
        found |= {str(item.secret.reveal()) for item in lock.access_keys}
    return {text for text in found if len(text) >= 4}


def insist(so: bool, otherwise: str) -> None:
    """An assertion without pytest's own words, which repeat long lists."""
    if not so:
        raise AssertionError(otherwise)


def told_of_every_record(one: Case, plan: Plan) -> None:
    expected = Counter(source_keys(one.source))
    listed_ = Counter(record.key for record in plan.records)
    more = listed_ - expected
    assert set(more) <= ({"log"} if one.source.log else set()), more
    assert not expected - listed_, expected - listed_
    assert not one.source.log or listed_["log"] == 1
    assert set(expected.values()) == {1}
    for record in plan.records:
        assert set(record.reasons) <= LOSS_CODES | set(REASONS), record
        insist(record.outcome == "copy" or record.reasons, f"{record.key} is not told why it is {record.outcome}")


def writes_only_what_it_tells(_: Case, plan: Plan) -> None:
    """Each write belongs to a record that is promised, and each promise is written or was true already."""
    outcomes = {record.key: record for record in plan.records}
    carried: set[str] = set()
    for step in plan.steps:
        if step.action == "put":
            carried |= {step.key, *step.also}
            assert outcomes[step.key].outcome in ("copy", "adjust"), step
            assert not outcomes[step.key].done, step
    for record in plan.records:
        if record.kind in ("pin", "card") and record.outcome in ("copy", "adjust") and not record.done:
            insist(record.key in carried or record.follows is not None, f"{record.key} is promised and not written")


def keeps_secrets(one: Case, plan: Plan) -> None:
    text = repr(plan) + msgspec.json.encode([plan.records, plan.losses, plan.warnings]).decode()
    new = {str(token[1]) for token in one.instead(plan) if token[0] != "id"}
    words = set(re.findall(r"[0-9]+|[0-9a-f]{6,}", text))
    said = words & (secrets_of(one.source, one.before) | new)
    insist(not said, f"{len(said)} secrets are said aloud")


def told_of_every_change(one: Case, plan: Plan) -> None:
    """What is called a copy opens at all the times that the source's record does, under the name that it had."""
    after, instead = carried_out(one.new, plan.steps).snapshot, one.instead(plan)
    copies = {record.key for record in plan.records if record.outcome == "copy"}
    held = {item.key: item for item in one.source.credentials}
    for reading in READINGS if "zk" in (one.old.family, one.new.family) else READINGS[-1:]:
        # What can be read on neither lock may be the same on both.
        here = [
            replace(opening, terms=tuple(replace(term, unknown=frozenset()) for term in opening.terms))
            for opening in openings(after, reading, whole_days=True)
        ]
        for opening in openings(one.source, reading, whole_days=False):
            keys = opening.keys & copies & held.keys()
            known = tuple(term for term in opening.terms if not term.unknown)
            if keys and known and len(opening.way) == 1:
                narrower = more_than([replace(opening, terms=known)], here, one.zone)
                insist(not narrower, f"{sorted(keys)} is called a copy, but on the old lock {narrower}")
    names = {item.name for item in after.credentials if isinstance(item.name, str)}
    names |= {user.user_name for user in after.users if user.user_name}
    for key in copies & held.keys():
        name = held[key].name
        insist(not name or name in names, f"{key} is called a copy and loses its name")
        insist(key not in instead.values(), f"{key} is called a copy and has got other digits")
    if one.new.family != "zk":
        users = {user.key for user in one.source.users}
        insist(not copies & users, "nobody is known here")


def same_again(one: Case, plan: Plan) -> None:
    insist(replace(one).plan() == plan, "the same inputs give another plan")


def never_wider(one: Case, plan: Plan) -> None:
    """Neither at the end nor wherever somebody pulls the plug."""
    cut = random.Random(one.seed).randrange(len(plan.steps) + 1)
    for steps in (plan.steps[:cut], plan.steps):
        after = carried_out(one.new, steps).snapshot
        since = at(one.now_local, one.zone) if one.new.family == "zk" and one.now_local else None
        news = wider(
            after, one.before, one.source, one.zone, instead=one.instead(plan), granted=one.granted(), since=since
        )
        where = "" if steps == plan.steps else f" after {cut} of {len(plan.steps)} steps"
        insist(not news, "\n  ".join([f"wider{where}:", *news]))


def converges(one: Case, plan: Plan) -> None:
    """A plan that was carried out has nothing left to do; without --existing replace it took nothing away."""
    removed = [step.key for step in plan.steps if step.action == "remove"]
    insist(not removed or one.existing == "replace", f"{removed} was to stay")
    again = one.plan(carried_out(one.new, plan.steps).snapshot)
    insist(not again.steps, f"planned once more it still wants {[(step.action, step.key) for step in again.steps]}")
    written = {step.key for step in plan.steps if step.action == "put"}
    undone = [record.key for record in again.records if record.key in written and not record.done]
    insist(not undone, f"{undone} was written and does not count as done")


FOR_EVERY_PLAN: Final = (told_of_every_record, writes_only_what_it_tells, keeps_secrets, same_again)
FOR_A_PLAN_THAT_IS_CARRIED_OUT: Final = (never_wider, told_of_every_change, converges)


def check(seed: int, old: str, new: str) -> str:
    """Check everything of one migration; returns how far it went."""
    one = case(seed, old, new)
    faults: list[str] = []
    plan = one.decided()
    for holds in (*FOR_EVERY_PLAN, *(FOR_A_PLAN_THAT_IS_CARRIED_OUT if plan.executable else ())):
        try:
            holds(one, plan)
        except AssertionError as error:
            faults.append(str(error))
    if faults:
        raise AssertionError("\n".join([str(one), *faults]))
    if not plan.executable:
        return "blocked by " + " ".join(plan.blocked_by)
    return "done" if plan.steps else "nothing to do"


def swept(old: str, new: str, seeds: range) -> Counter[str]:
    """Check many cases; all that fail are counted, the first few are told in full."""
    ends: Counter[str] = Counter()
    failed: list[str] = []
    for seed in seeds:
        try:
            ends[check(seed, old, new)] += 1
        except AssertionError as error:
            failed.append(str(error))
        except Exception as error:  # noqa: BLE001 - a plan that falls over is a finding like the others
            failed.append(f"case({seed}, {old!r}, {new!r}): {error!r}")
    if failed:
        pytest.fail("\n\n".join([f"{len(failed)} of {len(seeds)} fail", *failed[:8]]), pytrace=False)
    return ends


@pytest.mark.parametrize(("old", "new"), PAIRS + ALIKE)
def test_no_right_grows_between_locks(old: str, new: str) -> None:
    assert swept(old, new, range(60)).total() == 60


@pytest.mark.sweep
@pytest.mark.parametrize(("old", "new"), PAIRS + ALIKE)
def test_no_right_grows_between_thousands_of_locks(old: str, new: str) -> None:
    assert swept(old, new, range(1000, 2500)).total() == 1500
