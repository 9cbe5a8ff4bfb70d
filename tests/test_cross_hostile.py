"""Attacks on plans between families: nothing widens, nothing is lost in silence, nothing crashes, no secret is told.

Locks are laid out by hand (`generated_locks`); every test says in its name what has to hold.
"""

from __future__ import annotations

import random
import struct
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import msgspec
import pytest
from generated_locks import (
    PERIOD,
    TT_ALWAYS_FROM,
    TT_ALWAYS_UNTIL,
    TT_FEATURES,
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
    zk_template,
    zk_user,
    zk_verify,
    zk_zones,
)
from msgspec.structs import replace

from lockmigrate.errors import ConfigError, LockmigrateError
from lockmigrate.formats import adopter, fitted
from lockmigrate.formats.nuki_adopt import NukiAdopter
from lockmigrate.model.adopted import Wanted, Window
from lockmigrate.model.document import Gap, Snapshot
from lockmigrate.model.records import CardData, Credential, PinData, Schedule
from lockmigrate.model.results import RecordResult
from lockmigrate.model.secret import Secret
from lockmigrate.operations import verify
from lockmigrate.operations.planned import plan_between
from lockmigrate.operations.restore import Prepared, Source
from lockmigrate.planning.civil import to_local, to_utc, zone_of
from lockmigrate.planning.new_pins import suggest, weak
from lockmigrate.planning.plan import Plan, make_plan
from lockmigrate.planning.policy import Answer, Decisions, Policy, read_decisions
from lockmigrate.planning.skeleton import document

WRITTEN: Final = ("copy", "adjust")
OFFICE: Final = bytes([9, 0, 17, 0]) * 7
DIGITS: Final = "358147"
OTHERS: Final = "964283"


# ---- locks and plans ------------------------------------------------------------------------------------------------


def nuki(*codes: bytes, zone_id: int = 37, fingers: Iterable[bytes] = (), people: Iterable[bytes] = ()) -> Snapshot:
    """Return a Nuki lock with these codes, in Berlin."""
    tables = dict(made("nuki", random.Random(3), number=3, full=False).tables)
    config = bytearray(tables["0002-config"])
    config[72:74] = struct.pack("<H", zone_id)
    tables |= {"0002-config": bytes(config), "0006-authorisations": listed(people), "0007-codes": listed(codes)}
    tables |= {"0008-fingerprints": listed(fingers), "0009-timers": listed([]), "0010-log": listed([])}
    return snapshot_of("nuki", tables, {"generation": "1-4", "code_slots": 200, "fingerprint_slots": 20})


def ttlock(
    *codes: bytes, cards: Iterable[bytes] = (), fingers: Iterable[bytes] = (), features: int = TT_FEATURES
) -> Snapshot:
    """Return a TTLock lock; such locks say nothing of a time zone."""
    tables = {
        "0001-device": b"model=SN202\nfirmware=5.1\n",
        "0002-features": tt_features(features),
        "0003-passcodes": listed(codes),
        "0004-cards": listed(cards),
        "0005-fingers": listed(fingers),
        "0007-passage": listed([]),
    }
    return snapshot_of("ttlock", tables, {"address": "C1:5E:AA:00:00:09"})


def zk(
    *users: bytes,
    zones: Mapping[int, bytes] | None = None,
    groups: Mapping[int, tuple[int, int, int, int]] | None = None,
    combinations: Mapping[int, tuple[int, ...]] | None = None,
    styles: Mapping[int, int] | None = None,
    fingers: Iterable[tuple[int, int]] = (),
    tables: bool = True,
    styles_read: bool = True,
) -> Snapshot:
    """Return a terminal with these users; fingers are (user number, flag)."""
    uids = [int.from_bytes(user[:2], "little") for user in users]
    raw = {"0001-options": b"~ZKFPVersion=10", "0004-users": b"".join(users)}
    raw["0005-templates"] = b"".join(zk_template(uid, 0, flag, b"SS21" + bytes(40)) for uid, flag in fingers)
    gaps: tuple[Gap, ...] = ()
    if styles_read:
        raw["0009-verify"] = zk_verify(dict.fromkeys(uids, -1) | dict(styles or {}))
    else:
        gaps += (Gap(section="verify_styles", record=None, code="no-public-layout", detail="not given out"),)
    if tables:
        raw |= {
            "0006-zones": zk_zones(zones or {}),
            "0007-groups": zk_groups(groups or {}),
            "0008-combinations": zk_combinations(combinations or {}),
        }
    absent = [] if tables else ["0006-zones", "0007-groups", "0008-combinations"]
    return snapshot_of("zk", raw, {"record_bytes": 72, "unsupported": absent}, gaps)


def finger(code_id: int) -> bytes:
    """Lay out a fingerprint of a Nuki keypad."""
    return struct.pack("<32sH20s", b"\x05" * 32, code_id, b"Thumb")


def answered(**by: str) -> Decisions:
    """Return decisions; a key has two underscores for its slash, a reason one for each dash: `pin__1="skip"`."""
    said = []
    for name, choice in by.items():
        if "__" in name:
            said.append(Answer(key=name.replace("__", "/"), choice=choice))  # type: ignore[arg-type]
        else:
            said.append(Answer(reason=name.replace("_", "-"), choice=choice))  # type: ignore[arg-type]
    return Decisions(answer=tuple(said))


def plan_of(
    source: Snapshot,
    target: Snapshot | None = None,
    decisions: Decisions | None = None,
    *,
    unconfirmed: frozenset[str] = frozenset(),
    **policy: Any,
) -> Plan:
    target = target if target is not None else nuki()
    said = Policy(decisions=decisions or Decisions(), **policy)
    return plan_between(source, target, unit_of(target), said, unconfirmed=unconfirmed)


def of(plan: Plan, key: str) -> RecordResult:
    (found,) = [record for record in plan.records if record.key == key]
    return found


def written(plan: Plan) -> set[str]:
    return {step.key for step in plan.steps if step.action == "put"}


def on_nuki(plan: Plan, key: str) -> tuple[str, bytes]:
    """Return digits and name of a code that is written to a Nuki lock."""
    (value,) = [step.value for step in plan.steps if step.key == key]
    assert isinstance(value, bytes)
    return str(int.from_bytes(value[2:6], "little")), value[6:26].rstrip(b"\0")


def held_after(plan: Plan, *keys: str, zone_id: int = 37) -> Snapshot:
    """Return a Nuki lock that holds what a plan writes."""
    codes = []
    for number, step in enumerate(step for step in plan.steps if step.key in keys):
        value = step.value
        assert isinstance(value, bytes)
        digits, limited = str(int.from_bytes(value[2:6], "little")), bool(value[27])
        codes.append(
            nuki_code(
                number + 1,
                digits,
                name=value[6:26].rstrip(b"\0"),
                enabled=bool(value[26]),
                limited=limited,
                tail=value[28:47] if limited else None,
            )
        )
    return nuki(*codes, zone_id=zone_id)


# ---- 1: nobody can do more on the new lock --------------------------------------------------------------------------


def test_a_way_of_verifying_that_was_never_read_does_not_become_one_pin_that_opens() -> None:
    plan = plan_of(zk(zk_user(1, password=b"358147", ident="1"), styles_read=False))
    assert of(plan, "pin/1").outcome not in WRITTEN, "it may have to prove two things; nobody asked"


def test_what_the_first_group_allows_is_asked_about_where_no_group_was_read() -> None:
    plan = plan_of(zk(zk_user(1, password=b"358147", ident="1"), tables=False))
    told = " ".join((*plan.warnings, *of(plan, "user/1").reasons, *of(plan, "pin/1").reasons))
    assert of(plan, "pin/1").outcome not in WRITTEN or "zone-table-unknown" in told


def test_letting_unknown_hours_through_does_not_let_an_unknown_way_of_verifying_through() -> None:
    source = zk(zk_user(1, password=b"358147", group=5, ident="1"), tables=False)
    assert of(plan_of(source), "user/1").outcome == "needs_input"
    plan = plan_of(source, None, answered(zone_table_unknown="write"))
    assert of(plan, "pin/1").outcome not in WRITTEN or "rule-unsupported" in of(plan, "user/1").reasons


def test_one_answer_by_key_settles_no_question_that_was_not_shown_with_it() -> None:
    users = (zk_user(1, password=b"358147", group=5, ident="7"), zk_user(2, password=b"472915", ident="7"))
    source = zk(*users, tables=False)
    shown = of(plan_of(source), "user/1")
    assert shown.reasons[:1] == ("user-id-duplicate",)
    after = of(plan_of(source, None, answered(user__1="write")), "user/1")
    assert after.outcome == "needs_input" or "zone-table-unknown" in shown.reasons, "its hours were never asked about"


def test_one_override_settles_no_refusal_that_was_not_shown_with_it() -> None:
    # It has to prove two things, and its group heeds holidays.
    source = zk(zk_user(1, password=b"358147", group=2, ident="1"), groups={2: (1, 0, 0, 0x80 | 9)},
                combinations={2: (2,)})  # fmt: skip
    shown = of(plan_of(source), "user/1")
    assert shown.outcome == "refuse"
    after = of(plan_of(source, None, answered(user__1="override")), "user/1")
    assert after.outcome == "refuse" or "holiday-unsupported" in shown.reasons


def test_two_refusals_of_one_reason_are_told_both() -> None:
    source = zk(zk_user(1, password=b"358147", group=2, ident="1"), groups={2: (1, 0, 0, 9)}, combinations={2: (2, 3)})
    said = of(plan_of(source), "user/1").detail or ""
    assert "two things" in said
    assert "together with others" in said


def test_overriding_lost_hours_does_not_say_by_which_number_a_card_is_known() -> None:
    source = zk(zk_user(1, card=0x12358147, own=(1, 0, 0), ident="1"), zones={1: OFFICE})
    shown = of(plan_of(source, ttlock()), "card/1")
    assert (shown.outcome, set(shown.reasons)) == ("refuse", {"schedule-unsupported", "card-number-rule"})
    after = of(plan_of(source, ttlock(), answered(card__1="override")), "card/1")
    assert after.outcome == "needs_input"
    assert after.reasons == ("card-number-rule",)


def test_that_people_share_a_pin_is_another_question_than_that_a_stranger_has_it() -> None:
    source = zk(zk_user(1, password=b"358147", ident="1"), zk_user(2, password=b"358147", ident="2"))
    target = nuki(nuki_code(9, DIGITS, name=b"Somebody else"))
    decisions = answered(pin__1="write", pin__2="skip")
    assert of(plan_of(source, nuki(), decisions), "pin/1").outcome == "adjust", "of the old unit's people it is settled"
    before = plan_of(source, target, existing="merge")
    assert "new lock has" not in (of(before, "pin/1").detail or ""), "what the target holds was not even asked yet"
    plan = plan_of(source, target, decisions, existing="merge")
    assert "pin/1" not in written(plan), "it would write over a stranger's code, which nobody was asked about"


@pytest.mark.parametrize("existing", ["merge", "replace", None])
def test_a_code_that_happens_to_be_equal_does_not_answer_whether_a_limit_may_go(existing: Any) -> None:
    source = nuki(nuki_code(1, DIGITS, name=b"Cleaner", limited=True))
    assert of(plan_of(source, ttlock()), "pin/1").outcome == "needs_input"
    plan = plan_of(source, ttlock(tt_code(DIGITS)), existing=existing)
    assert of(plan, "pin/1").outcome not in WRITTEN, "nobody said that it may open at all hours"


def test_that_a_pin_is_simple_is_another_question_than_that_people_share_it() -> None:
    source = zk(zk_user(1, password=b"333333", ident="1"), zk_user(2, password=b"333333", ident="2"))
    assert set(of(plan_of(source), "pin/1").reasons) >= {"pin-duplicate"}
    plan = plan_of(source, None, answered(pin_weak="write"))
    assert "pin/1" not in written(plan), "nobody was told that it opens for two"


def test_a_simple_pin_that_was_written_as_decided_counts_as_done_again() -> None:
    source = zk(zk_user(1, password=b"333333", name=b"Ada", ident="1"))
    first = plan_of(source, None, answered(pin_weak="write"))
    assert of(plan_of(source, held_after(first, "pin/1")), "pin/1").done


def test_a_code_that_was_decided_is_done_when_the_same_decisions_are_given_again() -> None:
    source = nuki(nuki_code(1, DIGITS, name=b"Cleaner", limited=True))
    again = plan_of(source, ttlock(tt_code(DIGITS)), answered(schedule_unreadable="write"))
    assert of(again, "pin/1").done
    assert not again.steps


def test_a_pin_of_nobody_known_is_asked_about() -> None:
    source = zk(zk_user(1, password=b"358147", own=(1, 0, 0), ident="1"), zones={1: OFFICE})
    lost = replace(source, users=())
    stray = replace(source, credentials=(replace(source.credentials[0], user="user/99"),))
    for snapshot in (lost, stray):
        assert of(plan_of(snapshot), "pin/1").outcome not in WRITTEN, "what limits it is not known"


def test_leaving_out_by_key_leaves_out_or_says_that_it_does_not() -> None:
    plan = plan_of(nuki(nuki_code(1, DIGITS, name=b"Ex")), ttlock(), answered(pin__1="skip"))
    assert "pin/1" not in written(plan) or any("pin/1" in line for line in plan.warnings)


def test_another_pin_by_key_is_given_or_said_not_to_be() -> None:
    decisions = Decisions(answer=(Answer(key="pin/1", choice="value", value=OTHERS),))
    plan = plan_of(zk(zk_user(1, password=b"358147", ident="1")), None, decisions)
    assert on_nuki(plan, "pin/1")[0] == OTHERS or any("pin/1" in line for line in plan.warnings)


def test_a_time_zone_that_does_not_exist_is_not_replaced_by_another_one() -> None:
    code = tt_code(DIGITS, PERIOD, start=tt_date(2026, 6, 1, 8), end=tt_date(2027, 6, 1, 8))
    decisions = Decisions(answer=(Answer(reason="zone-differs", choice="value", value="America/New_Yrok"),))
    plan = plan_of(ttlock(code), nuki(zone_id=37), decisions)
    assert of(plan, "pin/1").outcome == "needs_input" or any("New_Yrok" in line for line in plan.warnings)


def test_by_whose_time_zone_dates_are_turned_is_said() -> None:
    code = tt_code(DIGITS, PERIOD, start=tt_date(2026, 6, 1, 8), end=tt_date(2027, 6, 1, 8))
    plan = plan_of(ttlock(code), nuki(zone_id=37))
    told = " ".join((*plan.warnings, *(record.detail or "" for record in plan.records)))
    assert of(plan, "pin/1").outcome == "needs_input" or "Europe/Berlin" in told, "a new lock may be set to any zone"


def test_hours_of_the_day_are_not_given_to_a_lock_that_does_not_know_what_time_it_is() -> None:
    source = zk(zk_user(1, password=b"358147", own=(1, 0, 0), ident="1"), zones={1: OFFICE})
    plan = plan_of(source, nuki(zone_id=0xFFFF))
    told = " ".join((*plan.warnings, *of(plan, "pin/1").reasons))
    assert of(plan, "pin/1").outcome not in WRITTEN or "zone" in told


def test_bytes_behind_a_code_that_nobody_has_explained_are_asked_about() -> None:
    source = ttlock(tt_code(DIGITS, rest=b"\x00\x01"))
    assert of(plan_of(source, ttlock(features=TT_FEATURES)), "pin/1").outcome == "needs_input", "so it is in one family"
    assert of(plan_of(source, nuki()), "pin/1").outcome == "needs_input", "they may well be a limit"


def test_a_date_that_does_not_exist_is_no_licence_to_open_for_ever() -> None:
    source = nuki(nuki_code(1, DIGITS, limited=True, tail=nuki_tail(end=nuki_date(2026, 2, 30))))
    plan = plan_of(source, ttlock(), answered(schedule_unreadable="write"))
    assert of(plan, "pin/1").outcome not in WRITTEN, "one reason stands for limits unread and for dates that are none"


def test_a_stranger_is_not_written_over_because_a_run_had_begun_with_other_digits() -> None:
    source = zk(zk_user(1, password=b"1234", ident="1"))
    target = nuki(nuki_code(9, OTHERS, name=b"Somebody else"))
    decisions = Decisions(answer=(Answer(key="pin/1", choice="value", value=OTHERS),))
    plan = plan_of(source, target, decisions, existing="merge", unconfirmed=frozenset({"pin/1"}))
    assert of(plan, "pin/1").outcome == "needs_input" or "pin/9" in plan.overwrites


@pytest.mark.parametrize("existing", ["merge", "replace"])
def test_a_strangers_card_does_not_tell_how_the_new_lock_numbers_cards(existing: Any) -> None:
    stranger = (0x47813512).to_bytes(4, "big") + TT_ALWAYS_FROM + TT_ALWAYS_UNTIL
    source = zk(zk_user(1, card=0x12358147, ident="1"))
    record = of(plan_of(source, ttlock(cards=[stranger]), existing=existing), "card/1")
    assert record.outcome == "needs_input", f"nobody decided that, yet it says: {record.detail}"


# ---- 1: what people do by hand because the list tells them ----------------------------------------------------------


def test_a_finger_with_office_hours_is_not_put_on_the_list_as_if_it_had_none() -> None:
    source = zk(zk_user(1, name=b"Ada", own=(1, 0, 0), ident="1"), zones={1: OFFICE}, fingers=[(1, 1)])
    record = of(plan_of(source, ttlock()), "fingerprint/1.0")
    assert record.outcome != "re_enrol" or "09:00" in (record.detail or "")


def test_a_finger_that_opens_nothing_alone_is_not_enrolled() -> None:
    source = zk(zk_user(1, password=b"358147", ident="1"), styles={1: 3}, fingers=[(1, 1)])
    assert of(plan_of(source), "fingerprint/1.0").outcome != "re_enrol", "on the old unit only its PIN opens"


def test_a_finger_of_somebody_switched_off_is_not_enrolled() -> None:
    source = zk(zk_user(1, password=b"358147", privilege=1, ident="1"), fingers=[(1, 1)])
    assert source.users[0].user_status == "OccupiedDisabled"
    record = of(plan_of(source), "fingerprint/1.0")
    assert record.outcome != "re_enrol" or "switched off" in (record.detail or "")


@pytest.mark.parametrize(
    ("how", "now"),
    [({"enabled": False}, None), ({"limited": True, "tail": nuki_tail(end=nuki_date(2024, 1, 1))}, "2026-01-01")],
    ids=["switched off", "over"],
)
def test_a_finger_of_a_code_that_opens_nothing_is_not_enrolled(how: dict[str, Any], now: str | None) -> None:
    source = nuki(nuki_code(1, DIGITS, **how), fingers=[finger(1)])
    plan = plan_of(source, ttlock(), now_utc=now and f"{now}T00:00:00Z", now_local=now and f"{now}T00:00")
    assert of(plan, "pin/1").outcome == "skip"
    assert of(plan, "fingerprint/0").outcome != "re_enrol", "the rights of its code are none"


def test_a_finger_of_a_code_with_hours_is_told_with_its_hours() -> None:
    tail = nuki_tail(end=nuki_date(2027, 1, 1), days=0x7C, window=(8, 0, 17, 30))
    source = nuki(nuki_code(1, DIGITS, limited=True, tail=tail), fingers=[finger(1)])
    record = of(plan_of(source, ttlock()), "fingerprint/0")
    assert record.outcome != "re_enrol" or ("08:00" in (record.detail or "") and "2027" in (record.detail or ""))


def test_a_finger_that_may_have_a_weekly_limit_is_told_with_the_doubt() -> None:
    source = ttlock(fingers=[(7).to_bytes(6, "big") + TT_ALWAYS_FROM + TT_ALWAYS_UNTIL], features=TT_FEATURES | 1 << 34)
    record = of(plan_of(source, nuki()), "fingerprint/7")
    assert record.outcome != "re_enrol" or "schedule-unreadable" in record.reasons or "week" in (record.detail or "")


def test_an_app_that_was_switched_off_is_not_invited_again_in_silence() -> None:
    people = [
        struct.pack("<IB32sBB", number, 0, name, on, 1) + nuki_date(2024, 1, 1) + bytes(7) + struct.pack("<HB", 0, 0)
        for number, name, on in ((1, b"lockmigrate", 1), (2, b"Former tenant", 0))
    ]
    record = of(plan_of(nuki(people=people), ttlock()), "app_key/2")
    assert record.outcome == "skip" or "switched off" in (record.detail or "")


# ---- 1: times -------------------------------------------------------------------------------------------------------


def test_no_day_at_all_does_not_become_every_day() -> None:
    wanted = Wanted(key="pin/1", number=1, value=DIGITS, week=Window(0, 540, 1020))
    try:
        record = NukiAdopter().build("pin", wanted).record
    except LockmigrateError:
        return
    assert record[28 + 14] != 0, "a Nuki lock reads no day as every day"


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
def test_dates_go_inward_there_and_back_at_every_half_hour_around_a_change_of_the_clock(zone: str) -> None:
    where = zone_of(zone)
    assert where is not None
    for day in (("2026-03-29", "2026-10-25"), ("2026-03-08", "2026-11-01"), ("2026-10-04", "2026-04-05")):
        for date in day:
            for half in range(48):
                local = f"{date}T{half // 2:02}:{half % 2 * 30:02}"
                start, end = to_utc(local, where, "start")[0], to_utc(local, where, "end")[0]
                assert start >= end
                assert to_local(start, where, "start")[0] >= local
                assert to_local(end, where, "end")[0] <= local or start == end


def test_hours_of_every_day_from_midnight_to_2359_limit_nothing() -> None:
    tail = nuki_tail(days=0x7F, window=(0, 0, 23, 59))
    assert of(plan_of(nuki(nuki_code(1, DIGITS, limited=True, tail=tail)), ttlock()), "pin/1").outcome in WRITTEN


def test_until_the_end_of_the_calendar_becomes_the_last_day_that_the_new_lock_knows() -> None:
    tail = nuki_tail(end=nuki_date(9999, 12, 31, 23, 59, 59))
    record = of(plan_of(nuki(nuki_code(1, DIGITS, limited=True, tail=tail), zone_id=37), ttlock()), "pin/1")
    assert (record.outcome, record.reasons) == ("adjust", ("name-not-stored", "time-rounded")) or (
        record.outcome,
        record.reasons,
    ) == ("adjust", ("time-rounded",))


@pytest.mark.parametrize(
    "tail",
    [
        nuki_tail(start=nuki_date(2026, 13, 1)),
        nuki_tail(end=b"\xff" * 7),
        nuki_tail(start=nuki_date(2030, 1, 1), end=nuki_date(2029, 1, 1)),
        nuki_tail(start=nuki_date(9999, 12, 31, 23, 59, 59)),
        nuki_tail(end=nuki_date(1000, 1, 1)),
        nuki_tail(end=nuki_date(999, 1, 1)),
        nuki_tail(days=0x80),
        nuki_tail(days=0x7C, window=(24, 0, 25, 61)),
    ],
    ids=[
        "month 13",
        "all ones",
        "ends before it starts",
        "starts at the end",
        "ended in 1000",
        "ended in 999",
        "day 8",
        "hour 24",
    ],
)
@pytest.mark.parametrize("zone_id", [37, 44, 0xFFFF], ids=["Berlin", "Honolulu", "none"])
def test_absurd_dates_neither_crash_nor_open(tail: bytes, zone_id: int) -> None:
    plan = plan_of(nuki(nuki_code(1, DIGITS, limited=True, tail=tail), zone_id=zone_id), ttlock())
    assert of(plan, "pin/1").outcome not in WRITTEN


# ---- 2 and 3: outcomes, answers, and what a run finds again ---------------------------------------------------------


def test_an_override_of_two_proofs_lets_the_pin_through() -> None:
    source = zk(zk_user(1, password=b"358147", ident="1"), styles={1: 9})
    assert of(plan_of(source), "user/1").outcome == "refuse"
    plan = plan_of(source, None, answered(user__1="override"))
    assert "pin/1" in written(plan), "an override that writes nothing is no override"


def test_a_limit_that_was_overridden_away_is_not_called_written() -> None:
    tail = nuki_tail(days=0x7C, window=(8, 0, 17, 30))
    source = nuki(nuki_code(1, DIGITS, limited=True, tail=tail))
    plan = plan_of(source, ttlock(), answered(pin__1="override"))
    assert "pin/1" in written(plan)
    (limit,) = [record for record in plan.records if record.kind == "schedule"]
    assert limit.outcome not in WRITTEN, "it would be reported as proven on a lock that does not hold it"


def test_a_table_whose_hours_were_overridden_away_is_not_called_kept() -> None:
    source = zk(zk_user(1, card=77, own=(1, 0, 0), ident="1"), zones={1: OFFICE})
    said = (Answer(key="card/1", choice="override"), Answer(key="card/1", choice="value", value="same"))
    plan = plan_of(source, ttlock(), Decisions(answer=said))
    assert "card/1" in written(plan)
    assert of(plan, "schedule/1").outcome not in WRITTEN


async def test_a_lock_is_as_the_backup_would_leave_it_though_a_code_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    code = tt_code(DIGITS, PERIOD, start=tt_date(2020, 1, 1), end=tt_date(2020, 2, 1))
    source, target = ttlock(code), nuki()
    unit = unit_of(source)
    assert not plan_of(source, target, now_utc="2026-01-01T00:00:00Z", now_local="2026-01-01T00:00").steps

    async def prepared(lock: Any, given: Any, policy: Policy, journal: Any) -> Any:
        plan = make_plan(source, target, unit_of(target), policy, fitted=fitted(source, target),
                         adopter=adopter(source, target))  # fmt: skip
        reading = SimpleNamespace(unit=unit_of(target), snapshot=target)
        yield Prepared(lock=lock, source=given, target=reading, plan=plan, policy=policy)  # type: ignore[arg-type]

    monkeypatch.setattr(verify, "prepare", prepared)
    given = Source(file="old.age", backup_id="0" * 32, unit=unit, snapshot=source)
    opened: Any = SimpleNamespace(source=given, refusal=None, signer=None, trust="trusted", label=None)
    results = [item async for item in verify.verify_unit(None, opened, None)]  # type: ignore[arg-type]
    assert results[-1].exit_code == 0, "a restore would write nothing, and nothing else is there (decision 16)"


def test_a_renewed_pin_with_a_long_name_counts_as_done_when_run_again_without_options() -> None:
    source = zk(zk_user(1, password=b"1234", name=b"Maximilian Mustermann X", ident="1"))
    first = plan_of(source, suggest=True)
    assert of(first, "pin/1").new_pin
    target = held_after(first, "pin/1")
    assert of(plan_of(source, target, suggest=True), "pin/1").done
    assert of(plan_of(source, target), "pin/1").done


def test_suggestions_are_the_same_again_whatever_the_target_holds_by_then() -> None:
    source = zk(*(zk_user(one, password=b"1234", name=b"N%d" % one, ident=str(one)) for one in range(1, 9)))
    first = plan_of(source, suggest=True)
    keys = [f"pin/{one}" for one in range(1, 9)]
    digits = {key: on_nuki(first, key)[0] for key in keys}
    assert len(set(digits.values())) == 8
    again = plan_of(source, held_after(first, "pin/2", "pin/5"), suggest=True)
    assert written(again) == set(keys) - {"pin/2", "pin/5"}
    assert {key: on_nuki(again, key)[0] for key in written(again)} == {key: digits[key] for key in written(again)}


def test_the_reason_that_a_code_is_written_over_stays_with_it() -> None:
    source = nuki(nuki_code(1, DIGITS, name=b""))
    target = ttlock(tt_code(DIGITS, PERIOD, start=tt_date(2026, 1, 1), end=tt_date(2026, 2, 1)))
    plan = plan_of(source, target, answered(pin__1="write"), existing="merge")
    assert "pin/1" in written(plan)
    assert "pin-duplicate" in of(plan, "pin/1").reasons


def test_a_shared_card_is_not_called_a_shared_pin() -> None:
    source = zk(zk_user(1, card=77, ident="1"), zk_user(2, card=77, ident="2"))
    plan = plan_of(source, ttlock(), answered(card_number_rule="write"))
    record = of(plan, "card/2")
    assert record.outcome in ("needs_input", *WRITTEN)
    assert "pin-duplicate" not in record.reasons


def test_a_new_pin_that_is_the_old_one_is_not_called_new() -> None:
    source = zk(zk_user(1, password=b"358147", ident="1"), zk_user(2, password=b"358147", ident="2"))
    said = (Answer(key="pin/1", choice="value", value=DIGITS), Answer(key="pin/2", choice="skip"))
    record = of(plan_of(source, None, Decisions(answer=said)), "pin/1")
    assert not (record.outcome in WRITTEN and record.new_pin)


def test_one_pin_given_for_a_reason_goes_to_one_person_only() -> None:
    source = zk(zk_user(1, password=b"1234", ident="1"), zk_user(2, password=b"4321", ident="2"))
    plan = plan_of(source, None, Decisions(answer=(Answer(reason="pin-length", choice="value", value=OTHERS),)))
    assert [of(plan, key).outcome for key in ("pin/1", "pin/2")] == ["adjust", "needs_input"]


@pytest.mark.parametrize("value", ["123456", "12345", "٣٤٥٦٧٨", "35814a", "", " 358147", 358149, DIGITS, "9" * 5000])
def test_a_given_pin_that_does_not_do_is_not_written(value: Any) -> None:
    source = zk(zk_user(1, password=b"1234", ident="1"), zk_user(2, password=b"358147", ident="2"))
    plan = plan_of(source, None, Decisions(answer=(Answer(key="pin/1", choice="value", value=value),)))
    record = of(plan, "pin/1")
    assert (record.outcome, record.new_pin) == ("needs_input", False)
    assert not value or str(value) not in repr(record)


@pytest.mark.parametrize("existing", ["merge", "replace"])
def test_a_given_pin_that_a_stranger_has_is_not_taken_from_them_in_silence(existing: Any) -> None:
    source = zk(zk_user(1, password=b"1234", ident="1"))
    target = nuki(nuki_code(9, OTHERS, name=b"Somebody else"))
    decisions = Decisions(answer=(Answer(key="pin/1", choice="value", value=OTHERS),))
    plan = plan_of(source, target, decisions, existing=existing)
    assert of(plan, "pin/1").outcome == "needs_input" or "pin/9" in (*plan.overwrites, *plan.removals)


def test_a_limit_whose_holder_is_gone_is_still_told() -> None:
    stray = Schedule(key="schedule/x", origin={"holder": "pin/99"}, kind="YearDay", end_local="2027-01-01T00:00")
    plan = plan_of(replace(ttlock(tt_code(DIGITS)), schedules=(stray,)))
    assert (of(plan, "schedule/x").outcome, of(plan, "schedule/x").reasons) == ("skip", ("user-missing",))


def _full() -> Snapshot:
    """Return a Nuki lock with room for one code."""
    lock = nuki()
    offered = lock.capabilities.credentials.pin
    assert offered is not None
    credentials = replace(lock.capabilities.credentials, pin=replace(offered, slots=1))
    return replace(lock, capabilities=replace(lock.capabilities, credentials=credentials))


def _three() -> Snapshot:
    return zk(*(zk_user(one, password=b"%06d" % (358140 + one), ident=str(one)) for one in range(2, 5)))


_FAR: Final = tt_code(DIGITS, PERIOD, start=tt_date(2026, 1, 1), end=tt_date(2027, 1, 1))


@pytest.mark.parametrize(
    ("reason", "source", "target"),
    [
        ("capacity", lambda: _three(), _full),
        ("pin-duplicate", lambda: ttlock(_FAR), lambda: nuki(nuki_code(9, DIGITS, name=b"Somebody"))),
        ("pin-length", lambda: zk(zk_user(1, password=b"1234", ident="1")), lambda: nuki()),
    ],
    ids=["capacity", "pin-duplicate", "pin-length"],
)
def test_a_decisions_file_offers_what_settles_its_question_and_nothing_else(
    reason: str, source: Any, target: Any
) -> None:
    old, new = source(), target()
    plan = plan_of(old, new, existing="merge")
    asked = [record for record in plan.records if reason in record.reasons and record.outcome == "needs_input"]
    lines = document(Decisions(), plan.records).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(f'reason = "{reason}"'))
    offered = lines[at + 1].partition("#")[2].split("a file")[0]
    for choice, value in (("write", None), ("suggest", None), ("value", "981234")):
        said = Decisions(answer=(Answer(reason=reason, choice=choice, value=value),))  # type: ignore[arg-type]
        after = of(plan_of(old, new, said, existing="merge"), asked[0].key)
        settled = reason not in after.reasons or after.outcome != "needs_input"
        assert settled == (choice in offered), f"{choice}: offered is {offered!r}"


# ---- secrets --------------------------------------------------------------------------------------------------------


def test_a_pin_that_was_given_does_not_become_the_name_of_its_code() -> None:
    source = zk(zk_user(1, password=b"1234", name=b"\xff\xfe\x81\x20\xff", ident="1"))
    user = replace(source.users[0], user_name=None, user_name_raw="fffe8120ff", user_name_encoding="unknown")
    source = replace(source, users=(user,))
    assert "name-encoding" in of(plan_of(source), "pin/1").reasons
    plan = plan_of(source, None, Decisions(answer=(Answer(key="pin/1", choice="value", value=OTHERS),)))
    if "pin/1" in written(plan):
        assert on_nuki(plan, "pin/1")[1] != OTHERS.encode(), "a name is shown to everybody who looks at the list"


def test_an_answer_that_holds_a_pin_does_not_print_it() -> None:
    policy = Policy(decisions=Decisions(answer=(Answer(key="pin/1", choice="value", value=OTHERS),)))
    assert OTHERS not in repr(policy)


@pytest.mark.parametrize("value", [OTHERS, int(OTHERS), f" {OTHERS}", f"{OTHERS[:3]} {OTHERS[3:]}", f"{OTHERS}\n"])
@pytest.mark.parametrize("by", [{"key": "pin/1"}, {"reason": "pin-length"}])
def test_a_decisions_file_never_holds_digits_however_they_were_given(value: Any, by: dict[str, str]) -> None:
    decisions = Decisions(answer=(Answer(choice="value", value=value, **by),))
    plan = plan_of(zk(zk_user(1, password=b"1234", ident="1")), None, decisions)
    assert OTHERS[:3] not in document(decisions, plan.records)


@pytest.mark.parametrize(
    "value", [OTHERS, f'"{OTHERS} "', f'"{OTHERS[:3]} {OTHERS[3:]}"'], ids=["number", "blank", "two"]
)
def test_a_decisions_file_that_others_can_read_holds_no_digits_in_any_form(tmp_path: Path, value: str) -> None:
    path = tmp_path / "answers.toml"
    path.write_text(f'[[answer]]\nkey = "pin/1"\nchoice = "value"\nvalue = {value}\n')
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others"):
        read_decisions(path)


@pytest.mark.parametrize("field", ["choice", "reason"])
def test_digits_in_the_wrong_place_are_not_repeated_by_the_error(tmp_path: Path, field: str) -> None:
    path = tmp_path / "answers.toml"
    rest = 'key = "pin/1"' if field == "choice" else 'choice = "skip"'
    path.write_text(f'[[answer]]\n{rest}\n{field} = "{OTHERS}"\n')
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        read_decisions(path)
    assert OTHERS not in str(caught.value) + str(caught.value.hint)


def test_a_decisions_file_with_a_pin_left_out_asks_for_it_again() -> None:
    source = zk(zk_user(1, password=b"1234", ident="1"))
    decisions = Decisions(answer=(Answer(key="pin/1", choice="value", value=OTHERS),))
    text = document(decisions, plan_of(source, None, decisions).records)
    again = msgspec.convert(tomllib.loads(text), Decisions)
    assert of(plan_of(source, None, again), "pin/1").outcome == "needs_input", "the person would be left out instead"


@pytest.mark.parametrize(
    "decisions",
    [
        Decisions(guards={"older-firmware": "write", "same-unit": "skip"}),
        Decisions(guards={"a b": 'say "so"'}),
        Decisions(answer=(Answer(key='pin/"1"\\', choice="skip"),)),
        Decisions(answer=(Answer(reason="name-encoding", choice="value", value='Ada "A\\B" \n\t\x01'),)),
    ],
    ids=["two guards", "a guard of words", "a key with quotes", "a name with lines"],
)
def test_a_decisions_file_is_read_back_as_it_was_meant(decisions: Decisions) -> None:
    assert msgspec.convert(tomllib.loads(document(decisions, [])), Decisions) == decisions


def test_no_digits_are_said_aloud_whatever_is_wrong_with_them() -> None:
    source = zk(
        zk_user(1, password=b"1234", ident="1"), zk_user(2, password=b"358147", card=0x12358147, ident="2"),
        zk_user(3, password=b"358147", ident="3"), zk_user(4, password=b"120000", ident="4"),
    )  # fmt: skip
    for target in (nuki(nuki_code(9, DIGITS)), ttlock(tt_code(DIGITS))):
        for policy in ({}, {"suggest": True, "existing": "merge"}, {"existing": "replace"}):
            plan = plan_of(source, target, **policy)  # type: ignore[arg-type]
            text = repr(plan) + msgspec.json.encode([plan.records, plan.losses, plan.warnings]).decode()
            text += document(Decisions(), plan.records)
            assert not [one for one in ("358147", "120000", str(0x12358147), "12358147") if one in text]


# ---- 4: whatever a backup holds -------------------------------------------------------------------------------------


def card(number: int, value: str) -> Credential:
    return Credential(
        key=f"card/{number}", origin={}, credential_type="RFID", data=CardData(number=Secret(value)), schedules=()
    )


def pin(number: int, digits: str, **more: Any) -> Credential:
    return Credential(
        key=f"pin/{number}", origin={}, credential_type="PIN", data=PinData(digits=Secret(digits)), **more
    )


def bare(*credentials: Credential, schedules: tuple[Schedule, ...] = ()) -> Snapshot:
    """Return records without a table behind them, as of a terminal."""
    empty = zk()
    return replace(empty, credentials=credentials, schedules=schedules)


@pytest.mark.parametrize(
    "digits", ["", "٣٤٥٦٧٨", "²³¹²³¹", "12ab", "\x00" * 6, "9" * 5000, "-45678", "+45678", "３４５６７８"]
)
def test_no_pin_crashes_a_plan_or_is_written_as_another(digits: str) -> None:
    for target in (nuki(), ttlock()):
        plan = plan_of(bare(pin(1, digits)), target)
        assert of(plan, "pin/1").outcome == "needs_input"
        again = plan_of(bare(pin(1, digits)), target, suggest=True)
        assert of(again, "pin/1").outcome == "adjust"


@pytest.mark.parametrize("value", ["", "-1", "٣٤٥", "1e9", "9" * 5000, str(1 << 64), "0x12"])
def test_no_card_number_crashes_a_plan(value: str) -> None:
    plan = plan_of(bare(card(1, value)), ttlock(), answered(card_number_rule="write"))
    assert of(plan, "card/1").outcome in ("needs_input", "refuse")
    assert "card/1" not in written(plan_of(bare(card(1, value)), ttlock(), answered(card__1="override")))


@pytest.mark.parametrize("name", ["", " ", "\x00", "A" * 5000, "ä" * 11, "👩‍👩‍👧‍👦" * 3, "a\nb"])
def test_no_name_crashes_a_plan(name: str) -> None:
    plan = plan_of(bare(pin(1, DIGITS, name=name)))
    assert of(plan, "pin/1").outcome in (*WRITTEN, "needs_input")


@pytest.mark.parametrize(
    "limit",
    [
        Schedule(key="s", origin={}, kind="WeekDay", days_mask=0x3E, start="9", end="x"),
        Schedule(key="s", origin={}, kind="WeekDay", days_mask=0x3E, start="25:99", end="99:99"),
        Schedule(key="s", origin={}, kind="WeekDay", days_mask=0, start="09:00", end="17:00"),
        Schedule(key="s", origin={}, kind="WeekDay", days_mask=1 << 70, start="09:00", end="17:00"),
        Schedule(key="s", origin={}, kind="YearDay", start_local="tomorrow"),
        Schedule(key="s", origin={}, kind="YearDay", end_local="2026-02-30T00:00"),
        Schedule(key="s", origin={}, kind="YearDay", end_local="0001-01-01T00:00"),
        Schedule(key="s", origin={}, kind="YearDay", end_utc="9999-12-31T23:59:59Z", start_utc="oops"),
        Schedule(key="s", origin={"holder": 7}, kind="MonthDay"),
    ],
)
def test_no_limit_crashes_a_plan_or_opens_more(limit: Schedule) -> None:
    for target in (nuki(), ttlock()):
        try:
            plan = plan_of(bare(pin(1, DIGITS, schedules=("s",)), schedules=(limit,)), target)
        except LockmigrateError:
            continue
        assert of(plan, "pin/1").outcome not in WRITTEN


@pytest.mark.parametrize(
    "change",
    [{"group": "group/x"}, {"group": "group/9999"}, {"schedules": ("schedule/x",)}, {"schedules": ("schedule/77",)}],
    ids=str,
)
def test_no_dangling_reference_of_a_user_crashes_a_plan_or_opens_more(change: dict[str, Any]) -> None:
    source = zk(zk_user(1, password=b"358147", ident="1"))
    source = replace(source, users=(replace(source.users[0], **change),))
    try:
        plan = plan_of(source)
    except LockmigrateError:
        return
    assert of(plan, "pin/1").outcome not in WRITTEN


def test_a_backup_of_nothing_is_a_plan_of_nothing() -> None:
    for source, target in ((zk(), nuki()), (nuki(), ttlock()), (ttlock(), nuki())):
        plan = plan_of(replace(source, settings=(), access_keys=()), target)
        assert plan.executable
        assert not plan.steps


def test_a_target_without_a_keypad_or_silent_about_it_gets_no_codes() -> None:
    source = ttlock(tt_code(DIGITS))
    for target in (ttlock(features=0), ttlock(features=1 << 1)):
        plan = plan_of(nuki(nuki_code(1, DIGITS)), target)
        assert of(plan, "pin/1").outcome == "needs_input"
        assert not plan.executable
    tables = dict(made("nuki", random.Random(3), number=3, full=False).tables)
    del tables["0007-codes"]
    silent = snapshot_of("nuki", tables, {"generation": "1-4", "code_slots": 200, "unsupported": ["0007-codes"]})
    assert of(plan_of(source, silent), "pin/1").reasons == ("no-keypad",)


def test_what_an_interrupted_run_began_under_the_same_key_is_not_a_strangers() -> None:
    source = ttlock(tt_code(DIGITS))
    torn = nuki(nuki_code(9, DIGITS, name=b"pin 1", limited=True, tail=nuki_tail(end=nuki_date(2000, 1, 2))))
    plan = plan_of(source, torn, existing="merge", unconfirmed=frozenset({"pin/1"}))
    assert written(plan) == {"pin/1"}
    assert of(plan_of(source, torn, existing="merge"), "pin/1").outcome == "needs_input"


def test_weak_digits_are_never_suggested() -> None:
    pin_rules = nuki().capabilities.credentials.pin
    assert pin_rules is not None
    found = [suggest(b"k" * 32, "unit", f"pin/{one}", pin_rules, ()) for one in range(300)]
    assert all(digits is not None and len(digits) == 6 and "0" not in digits for digits in found)
    assert not [digits for digits in found if digits is None or weak(digits) or digits.startswith("12")]


@pytest.mark.parametrize("existing", ["merge", "replace"])
def test_fingers_that_hang_on_a_code_do_not_get_the_rights_of_another_one(existing: Any) -> None:
    ended = nuki_tail(end=nuki_date(2020, 1, 1))
    target = nuki(nuki_code(9, DIGITS, name=b"Theirs", limited=True, tail=ended), fingers=[finger(9)])
    plan = plan_of(ttlock(tt_code(DIGITS)), target, answered(pin__1="write"), existing=existing)
    assert [(step.action, step.key) for step in plan.steps if step.kind == "pin"] == [
        ("remove", "pin/9"), ("put", "pin/1"),
    ]  # fmt: skip
    assert plan.needs["put", "pin/1"] == (("remove", "pin/9"),), "without the one the other must not happen"
    assert any("1 fingers of the new lock's own people" in line for line in plan.warnings)


@pytest.mark.parametrize(("end", "reasons"), [((24, 0), ("end-2400",)), ((23, 59), ())])
def test_a_window_until_midnight_ends_a_minute_sooner_and_says_so(
    end: tuple[int, int], reasons: tuple[str, ...]
) -> None:
    zone = bytes([18, 0, *end]) * 7
    plan = plan_of(zk(zk_user(1, password=b"358147", own=(1, 0, 0), ident="1"), zones={1: zone}))
    assert of(plan, "pin/1").reasons == reasons
    (step,) = [step for step in plan.steps if step.key == "pin/1"]
    assert isinstance(step.value, bytes)
    assert step.value[28 + 15 :] == bytes([18, 0, 23, 59])
