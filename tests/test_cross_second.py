"""A second round of attacks on moves between families: PINs told on paper, people of a terminal, files of decisions.

What is told has to be what is written, whoever answered and in whatever way. Locks are laid out by hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from generated_locks import PERIOD, nuki_code, nuki_date, nuki_tail, snapshot_of, tt_code, tt_date, unit_of, zk_user
from msgspec.structs import replace
from test_cross_hostile import DIGITS, OFFICE, OTHERS, WRITTEN, answered, finger, nuki, of, plan_of, ttlock, written, zk

from lockmigrate.cli.session import load_answers, with_answers
from lockmigrate.errors import ConfigError, LockmigrateError
from lockmigrate.formats import age
from lockmigrate.formats.age_keys import X25519Identity
from lockmigrate.formats.ttlock_records import parse_passcode
from lockmigrate.formats.zk_records import parse_user, password_of
from lockmigrate.model.document import Gap, Snapshot
from lockmigrate.model.report import NewPin, RecordSeen, ReportResult
from lockmigrate.model.results import PlanResult, RestoreResult
from lockmigrate.model.secret import Secret
from lockmigrate.operations.new_pins import new_pins
from lockmigrate.operations.on_paper import plan_for_profile
from lockmigrate.operations.report import Saved, gather
from lockmigrate.operations.restore import Source, _noted
from lockmigrate.planning.new_pins import suggestions
from lockmigrate.planning.plan import Plan
from lockmigrate.planning.policy import Answer, Decisions, Policy
from lockmigrate.planning.skeleton import document
from lockmigrate.report.page import render_pins

UNREAD_GROUP: Final = Answer(reason="zone-table-unknown", choice="write")
SUGGEST: Final = Answer(reason="pin-length", choice="suggest")
NO_STYLES: Final = Gap(section="verify_styles", record=None, code="no-public-layout", detail="not given out")
TABLES: Final = ["0006-zones", "0007-groups", "0008-combinations"]


# ---- locks, plans, pages --------------------------------------------------------------------------------------------


def narrow(*users: bytes, width: int = 28) -> Snapshot:
    """Return a terminal with short records, which gives none of its tables out."""
    raw = {"0001-options": b"~ZKFPVersion=9", "0004-users": b"".join(users), "0005-templates": b""}
    return snapshot_of("zk", raw, {"record_bytes": width, "unsupported": TABLES}, (NO_STYLES,))


def long_pins() -> Snapshot:
    """Return a terminal with two people whose PINs short records have no room for."""
    return zk(
        zk_user(3, password=b"35814796", name=b"Ada", ident="3"),
        zk_user(4, password=b"35814797", name=b"Bo", ident="4"),
    )


def saying(*answers: Answer) -> Decisions:
    return Decisions(answer=answers)


def value(digits: str, *, key: str | None = None, reason: str | None = None) -> Answer:
    return Answer(key=key, reason=reason, choice="value", value=digits)


def on_unit(plan: Plan, family: str) -> dict[str, str]:
    """Return the digits that a plan writes, by the key of its steps, read out of their bytes."""
    found = {}
    for step in plan.steps:
        if step.action == "put" and isinstance(step.value, bytes) and step.kind in ("pin", "user"):
            if family == "nuki":
                found[step.key] = str(int.from_bytes(step.value[2:6], "little"))
            elif family == "ttlock":
                found[step.key] = parse_passcode(step.value).code
            else:
                found[step.key] = password_of(parse_user(step.value)).decode()
    return found


def restored(
    plan: Plan,
    source: Snapshot,
    target: Snapshot,
    *,
    unit: str = "new",
    backup: str = "0" * 32,
    failed: Iterable[str] = (),
) -> Saved:
    """Return what a restore of a plan would have printed; what `failed` names was refused by the unit."""
    records = [
        replace(record, proof=None, reasons=(*record.reasons, "write-refused"))
        if record.key in failed
        else replace(record, proof="V4")
        for record in plan.records
    ]
    result = RestoreResult(
        exit_code=0, file="old.age", backup_id=backup, source=unit_of(source), unit=unit_of(target, unit),
        records=tuple(records),
    )  # fmt: skip
    return Saved(file="restored.json", result=result, dated="2026-11-25T11:00:00Z")


def told(saved: Iterable[Saved], sources: dict[str, Snapshot], decisions: Decisions) -> list[tuple[str, str]]:
    """Return keys and digits of the page of new PINs."""
    opened: Any = [
        SimpleNamespace(source=SimpleNamespace(backup_id=name, snapshot=source)) for name, source in sources.items()
    ]
    return [(pin.record.key, str(pin.digits.reveal())) for pin in new_pins(gather([], list(saved)), opened, decisions)]


def page(plan: Plan, source: Snapshot, target: Snapshot, decisions: Decisions) -> dict[str, str]:
    """Return the page of one restore; empty where the page refuses to be made, which is no lie."""
    with contextlib.suppress(ConfigError):
        return dict(told([restored(plan, source, target)], {"0" * 32: source}, decisions))
    return {}


# ---- the page tells what the lock has -------------------------------------------------------------------------------


def test_a_pin_that_was_given_under_the_users_key_is_the_one_on_the_page() -> None:
    # Between terminals it is the user that the plan asks about, and the PIN that gets the new digits.
    source, target = long_pins(), narrow()
    decisions = saying(value("94271", key="user/3"), SUGGEST, UNREAD_GROUP)
    plan = plan_of(source, target, decisions)
    assert on_unit(plan, "zk")["user/3"] == "94271"
    told_ = page(plan, source, target, decisions)
    assert told_.get("pin/3", "94271") == "94271", "the page tells another PIN than the terminal has"


def test_a_pin_that_was_given_under_the_pins_key_is_given_or_is_not_on_the_page() -> None:
    source, target = long_pins(), narrow()
    decisions = saying(value("94271", key="pin/3"), UNREAD_GROUP)
    plan = plan_of(source, target, decisions, suggest=True)
    told_ = page(plan, source, target, decisions)
    assert told_.get("pin/3") in (None, on_unit(plan, "zk")["user/3"])


def test_an_answer_under_the_users_key_is_not_said_to_change_nothing() -> None:
    plan = plan_of(long_pins(), narrow(), saying(value("94271", key="user/3"), SUGGEST, UNREAD_GROUP))
    assert not [line for line in plan.warnings if "changes nothing" in line]


def test_a_decisions_file_that_is_written_out_does_not_settle_by_reason_what_was_given_by_key() -> None:
    decisions = saying(value("94271", key="user/3"), Answer(key="user/4", choice="suggest"), UNREAD_GROUP)
    plan = plan_of(long_pins(), narrow(), decisions)
    lines = document(decisions, plan.records).splitlines()
    assert 'reason = "pin-length"' not in lines, "user/3 would silently get a suggestion instead of what was given"


def test_the_page_tells_a_suggestion_where_the_option_gave_it_before_an_answer_to_another_reason() -> None:
    source, target = ttlock(tt_code("1230")), nuki()
    decisions = saying(value(OTHERS, reason="pin-alphabet"))
    plan = plan_of(source, target, decisions, suggest=True)
    assert page(plan, source, target, decisions).get("pin/1") in (None, on_unit(plan, "nuki")["pin/1"])


def test_an_answer_that_is_no_pin_does_not_keep_the_page_from_being_made() -> None:
    source, target = zk(zk_user(1, password=b"1230", name=b"\xff\xfe\x80\x81", ident="1")), nuki()
    decisions = saying(value("Somebody", reason="name-encoding"))
    plan = plan_of(source, target, decisions, suggest=True)
    assert "name-encoding" in of(plan, "pin/1").reasons
    assert page(plan, source, target, decisions) == on_unit(plan, "nuki")


def test_a_page_that_is_made_without_the_decisions_tells_no_other_pin() -> None:
    source, target = ttlock(tt_code("1230")), nuki()
    plan = plan_of(source, target, saying(value(OTHERS, key="pin/1")))
    assert page(plan, source, target, Decisions()).get("pin/1") in (None, OTHERS)


def test_an_answer_for_one_backup_is_not_told_of_another_one() -> None:
    one, two, target = ttlock(tt_code("1230")), ttlock(tt_code("4560")), nuki()
    decisions = saying(value(OTHERS, key="pin/1"))
    mine, theirs = plan_of(one, target, decisions), plan_of(two, target, suggest=True)
    saved = [
        restored(mine, one, target, unit="front", backup="1" * 32),
        restored(theirs, two, target, unit="back", backup="2" * 32),
    ]
    with contextlib.suppress(ConfigError):
        pins = [digits for _, digits in told(saved, {"1" * 32: one, "2" * 32: two}, decisions)]
        assert sorted(pins) == sorted([OTHERS, on_unit(theirs, "nuki")["pin/1"]])


def test_two_old_locks_that_go_into_one_new_lock_are_both_told() -> None:
    one, two, target = ttlock(tt_code("1230")), ttlock(tt_code("4560")), nuki()
    two = replace(two, metadata=replace(two.metadata, suggestion_key=Secret(b"another lock".ljust(32))))
    plans = [plan_of(source, target, suggest=True, existing="merge") for source in (one, two)]
    saved = [
        restored(plan, source, target, backup=name * 32)
        for plan, source, name in zip(plans, (one, two), "12", strict=True)
    ]
    pins = [digits for _, digits in told(saved, {"1" * 32: one, "2" * 32: two}, Decisions())]
    assert sorted(pins) == sorted(on_unit(plan, "nuki")["pin/1"] for plan in plans)


def test_a_plan_for_a_model_that_nobody_has_yet_gives_no_pins_to_hand_out() -> None:
    source = ttlock(tt_code("1230"))
    given = Source(file="old.age", backup_id="0" * 32, unit=unit_of(source), snapshot=source)
    result: PlanResult = plan_for_profile(given, "nuki", Policy(suggest=True))
    saved = Saved(file="plan.json", result=result, dated="2026-11-25T11:00:00Z")
    with contextlib.suppress(ConfigError):
        assert not told([saved], {"0" * 32: source}, Decisions()), "suggestions go by the unit's id, which is not known"


def test_a_pin_that_the_lock_refused_is_not_handed_out() -> None:
    source, target = ttlock(tt_code("1230")), nuki()
    plan = plan_of(source, target, suggest=True)
    with contextlib.suppress(ConfigError):
        assert not told([restored(plan, source, target, failed=["pin/1"])], {"0" * 32: source}, Decisions())


def test_a_strip_says_the_number_that_is_typed_before_the_pin() -> None:
    target = zk()
    plan = plan_of(ttlock(tt_code("345678901")), target, suggest=True)
    (record,) = [item for item in plan.records if item.new_pin]
    assert "number 1" in (record.detail or "")
    seen = RecordSeen(
        key=record.key, kind=record.kind, outcome=record.outcome, reasons=record.reasons, detail=record.detail,
        new_pin=True,
    )  # fmt: skip
    pin = NewPin(record=seen, digits=Secret("345678"), old=Secret("345678901"), unit=unit_of(target))
    text = render_pins([pin], ReportResult(made_at="2026-11-25T11:00:00Z", tool="lockmigrate"))
    assert "number 1" in text, "without it the new PIN opens nothing"


def test_two_people_do_not_get_one_pin_where_a_choice_is_what_another_one_is_suggested() -> None:
    source, target = long_pins(), narrow()
    given = suggestions(source, "new", target.capabilities.credentials.pin)["pin/4"]
    plan = plan_of(source, target, saying(value(given, key="user/3"), SUGGEST, UNREAD_GROUP))
    pins = on_unit(plan, "zk").values()
    assert len(set(pins)) == len(pins)


# ---- people of a terminal -------------------------------------------------------------------------------------------


def test_a_new_pin_and_a_number_are_told_where_the_first_group_allows_less() -> None:
    source = ttlock(tt_code("345678901"))
    target = zk(zones={7: OFFICE}, groups={1: (7, 0, 0, 0)}, combinations={1: (1,)})
    plan = plan_of(source, target, suggest=True, existing="merge")
    assert on_unit(plan, "zk")["pin/1"] != "345678901"
    record = of(plan, "pin/1")
    assert record.new_pin, "it is written with another PIN, and nobody is told"
    assert "number 1" in (record.detail or ""), "nor which number is typed before it"
    assert record.kind == "pin"


def test_an_id_that_another_number_has_is_not_given_to_anybody_else() -> None:
    # People's ids are badge numbers more often than the numbers of their records.
    target = zk(zk_user(5, password=b"1", ident="1"), zk_user(6, ident="2"))
    plan = plan_of(nuki(nuki_code(1, DIGITS, name=b"Ada")), target, existing="merge")
    assert of(plan, "pin/1").outcome in WRITTEN, "65,000 numbers are free, and nothing answers this question"
    assert [step.origin["user_index"] for step in plan.steps] == [3]


def test_a_number_that_somebodys_finger_lies_under_is_passed_over() -> None:
    target = zk(zk_user(5, password=b"1", ident="5"), fingers=[(1, 1)])
    plan = plan_of(nuki(nuki_code(1, DIGITS, name=b"Ada")), target, existing="merge")
    assert of(plan, "pin/1").outcome in WRITTEN
    assert [step.origin["user_index"] for step in plan.steps] == [2]


def test_what_a_terminal_with_the_shortest_records_cannot_switch_off_is_left_out() -> None:
    source = nuki(nuki_code(1, DIGITS, name=b"Ada", enabled=False))
    decisions = answered(pin_length="suggest", zone_table_unknown="write", rule_unsupported="write")
    record = of(plan_of(source, narrow(width=16), decisions), "pin/1")
    assert (record.outcome, record.reasons) == ("skip", ("disabled-unsupported",)), "privilege 1 is an enroller there"


@pytest.mark.parametrize(
    "source",
    [
        nuki(nuki_code(1, DIGITS, limited=True, tail=nuki_tail(nuki_date(2026, 1, 1), nuki_date(2027, 1, 1)))),
        ttlock(tt_code(DIGITS, PERIOD, start=tt_date(2026, 1, 1), end=tt_date(2027, 1, 1))),
    ],
    ids=["nuki", "ttlock"],
)
def test_dates_that_were_dropped_as_decided_are_not_said_to_be_copied(source: Snapshot) -> None:
    plan = plan_of(source, zk(), answered(pin__1="override"))
    assert "for ever" in (of(plan, "pin/1").detail or "")
    record = of(plan, "schedule/pin/1.dates")
    assert record.outcome == "skip", "it would be told as moved, at proof V4"
    assert all(record.key not in step.also for step in plan.steps)


def test_a_card_without_a_number_is_not_written_as_a_person_who_has_nothing() -> None:
    card = bytes(4) + bytes([0, 1, 1, 0, 0]) + bytes([99, 12, 31, 23, 59])
    plan = plan_of(ttlock(cards=[card]), zk(), answered(card_number_rule="write", schedule_unreadable="write"))
    assert of(plan, "card/1").outcome not in WRITTEN, "0 in a record means that there is no card"


def test_who_was_written_before_an_interruption_keeps_the_number() -> None:
    pins = ("358147", "964283", "771234", "918273")
    source = nuki(*(nuki_code(number + 1, digits, name=b"Ada") for number, digits in enumerate(pins)))
    records = [step.value for step in plan_of(source, zk()).steps]
    again = plan_of(source, zk(*records[:1], *records[2:3]))
    assert not again.blocked_by
    assert {step.key: step.origin["user_index"] for step in again.steps} == {"pin/2": 2, "pin/4": 4}
    assert not plan_of(source, zk(*records)).steps


def test_strangers_that_are_replaced_are_taken_away_before_anybody_comes() -> None:
    source = nuki(nuki_code(1, DIGITS, name=b"Ada"), nuki_code(2, OTHERS, name=b"Bo"))
    target = zk(zk_user(1, password=b"99", ident="2"), zk_user(2, password=b"99", ident="1"))
    plan = plan_of(source, target, existing="replace")
    assert [step.action for step in plan.steps] == ["remove", "remove", "put", "put"]
    left = zk(*(step.value for step in plan.steps[2:3]))  # killed after the first of the two
    again = plan_of(source, left, existing="replace")
    assert [(step.action, step.key) for step in again.steps] == [("put", "pin/2")]
    assert not again.removals


def test_zeros_before_a_pin_stay_where_a_terminal_keeps_them() -> None:
    plan = plan_of(ttlock(tt_code("0042"), tt_code("00000")), zk())
    assert on_unit(plan, "zk") == {"pin/1": "0042", "pin/2": "00000"}


# ---- codes that fingers hang on -------------------------------------------------------------------------------------


def test_a_code_of_the_target_that_was_being_removed_is_not_taken_for_one_of_the_backup() -> None:
    # Both locks call their codes pin/1, pin/2; the journal notes what was begun by such a key only.
    source = nuki(nuki_code(1, "918273", name=b"Mine"), nuki_code(2, "771234", name=b"Mine too"))
    source = replace(source, lock=replace(source.lock, serial="another"))
    target = nuki(nuki_code(1, "771234", name=b"A"), nuki_code(2, "918273", name=b"B"), fingers=[finger(1)])
    decisions = answered(pin__1="skip", pin__2="write")
    first = plan_of(source, target, decisions, existing="merge")
    assert [(step.action, step.key) for step in first.steps] == [("remove", "pin/1"), ("put", "pin/2")]
    # Killed when "remove pin/1" was begun: the journal has the new lock's own pin/1 as not confirmed.
    assert _noted(first.steps[0]) == "held/pin/1"
    again = plan_of(source, target, decisions, existing="merge", unconfirmed=frozenset({_noted(first.steps[0])}))
    assert "pin/1" not in written(again), "it was to be left out, and would take a stranger's code"


def test_a_restore_that_was_killed_between_removing_a_code_and_adding_it_adds_it() -> None:
    source = nuki(nuki_code(2, "771234", name=b"Mine"))
    source = replace(source, lock=replace(source.lock, serial="another"))
    again = plan_of(source, nuki(), answered(pin__2="write"), existing="merge", unconfirmed=frozenset({"pin/2"}))
    assert [(step.action, step.key) for step in again.steps] == [("put", "pin/2")]
    assert not again.blocked_by


# ---- files of decisions ---------------------------------------------------------------------------------------------

ANSWER: Final = b'[[answer]]\nkey = "pin/1"\nchoice = "value"\nvalue = "352282"\n'


def written_file(base: Path, data: bytes) -> Path:
    file = base / "answers.toml"
    file.write_bytes(data)
    file.chmod(0o600)
    return file


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs /dev/fd, as a shell's <(…) does")
def test_decisions_that_come_through_a_pipe_are_read_or_refused() -> None:
    # lockmigrate plan … --decisions <(age -d answers.age)
    read_fd, write_fd = os.pipe()
    try:
        os.write(write_fd, ANSWER)
        os.close(write_fd)
        with contextlib.suppress(ConfigError):
            assert load_answers(Path(f"/dev/fd/{read_fd}")).decisions.answer, "all answers were dropped without a word"
    finally:
        os.close(read_fd)


@pytest.mark.parametrize(
    "data", [ANSWER.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + ANSWER], ids=["CRLF", "byte order mark"]
)
def test_decisions_from_another_systems_editor_are_read(data: bytes, tmp_path: Path) -> None:
    (answer,) = load_answers(written_file(tmp_path, data)).decisions.answer
    assert answer.value == "352282"


@pytest.mark.parametrize("data", [b"a = " + b"9" * 5000, b"a = " + b"[" * 5000, b"\x00", b"\xff\xfe["])
def test_what_is_no_decisions_file_is_a_mistake_and_no_bug(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_answers(written_file(tmp_path, data))


def test_a_link_to_decisions_is_followed_and_a_folder_is_none(tmp_path: Path) -> None:
    link, loop = tmp_path / "link", tmp_path / "loop"
    link.symlink_to(written_file(tmp_path, ANSWER))
    loop.symlink_to(loop)
    assert load_answers(link).decisions.answer
    for path in (loop, tmp_path):
        with pytest.raises(ConfigError):
            load_answers(path)


def test_a_pin_that_stands_where_a_key_belongs_is_not_printed() -> None:
    plan = plan_of(ttlock(tt_code("1230")), nuki(), saying(value(OTHERS, key=f"pin/{DIGITS}")))
    assert not [line for line in plan.warnings if DIGITS in line], "reasons are masked, keys are not"


def test_a_sealed_decisions_file_that_is_damaged_is_not_taken_for_a_damaged_backup(tmp_path: Path) -> None:
    mine = X25519Identity.generate()

    async def identities_for(file: Path, data: bytes) -> tuple[list[Any], None]:
        return [mine], None

    ring: Any = SimpleNamespace(identities_for=identities_for)
    sealed = age.encrypt_bytes(ANSWER, recipients=[mine.recipient])
    whole = asyncio.run(with_answers(Policy(), load_answers(written_file(tmp_path, sealed)), ring))
    assert whole.decisions.answer
    with pytest.raises(LockmigrateError) as caught:
        asyncio.run(with_answers(Policy(), load_answers(written_file(tmp_path, sealed[:-5])), ring))
    assert "answers.toml" in str(caught.value), '"the file is damaged", exit code 6: anybody would blame the backup'
