"""The rules of planning for terminals that know people, one sentence each, on tables made by hand."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import replace as replace_step
from typing import Any, Final

import pytest
from msgspec.structs import replace as changed

from lockmigrate.formats import decode, fitted
from lockmigrate.formats.zk_tables import capabilities
from lockmigrate.model.capabilities import CredentialCapabilities
from lockmigrate.model.document import Gap, Metadata, Snapshot, Table
from lockmigrate.model.records import AccessKey, Credential, Loss, PinData
from lockmigrate.model.results import RecordResult, Unit
from lockmigrate.model.secret import Secret
from lockmigrate.model.steps import Step
from lockmigrate.operations.restore import _batches
from lockmigrate.planning.doors import ALWAYS, LAYOUTS, Doors, Member, Right, member_of, more
from lockmigrate.planning.draft import Draft, step_id
from lockmigrate.planning.plan import Plan, make_plan
from lockmigrate.planning.policy import Answer, Decisions, Policy

# ---- terminals ------------------------------------------------------------------------------------------------------

FULL: Final = bytes([0, 0, 23, 59]) * 7
OFFICE: Final = bytes([9, 0, 17, 0]) * 7
MORNING: Final = bytes([9, 0, 12, 0]) * 7
CLOSED: Final = bytes([23, 59, 0, 0]) * 7
IMPOSSIBLE: Final = bytes([9, 0, 25, 0]) * 7
ANYTHING: Final[dict[str, str]] = {"users": "3", "fingers": "3"}


def user(
    uid: int,
    ident: str | None = None,
    *,
    width: int = 72,
    pin: bytes = b"",
    card: int = 0,
    group: int = 1,
    own: tuple[int, ...] | None = None,
    privilege: int = 0,
    name: bytes = b"",
    bits: int = 0,
) -> bytes:
    """Make a record of the user table (section 7)."""
    ident = str(1000 + uid) if ident is None else ident
    if width == 16:
        return struct.pack("<HB5s8s", uid, privilege, pin, name)
    if width == 28:
        head = struct.pack("<HB5s8s5s", uid, privilege, pin, name, card.to_bytes(5, "little"))
        return head + struct.pack("<BHI", group, bits, int(ident or 0))
    zones = (*(own or ()), 0, 0, 0)[:3]
    head = struct.pack("<HB8s24sI", uid, privilege, pin, name, card)
    return head + struct.pack("<B4H24s", group, int(own is not None), *zones, ident.encode())


def group(*zones: int, style: int = 0) -> bytes:
    return struct.pack("<3HB", *(*zones, 0, 0, 0)[:3], style)


def beside(*groups: int) -> bytes:
    return bytes((*groups, 0, 0, 0, 0, 0)[:5]) + struct.pack("<H", len(groups))


@dataclass
class Terminal:
    """A terminal as planning sees it."""

    users: list[bytes] = field(default_factory=list)
    fingers: dict[tuple[int, int], tuple[int, bytes]] = field(default_factory=dict)
    zones: dict[int, bytes] = field(default_factory=dict)
    groups: dict[int, bytes] = field(default_factory=dict)
    combinations: dict[int, bytes] = field(default_factory=dict)
    styles: dict[int, int] | None = field(default_factory=dict)
    """None: it does not tell."""
    tables: bool = True
    """Whether it gives out times, groups and combinations."""
    width: int = 72
    version: int = 10
    room: int | None = None
    finger_room: int | None = None
    folder: bool = False
    simulated: bool = False
    more_fingers: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    """Entries behind the others, of any number."""
    keys: dict[str, str] = field(default_factory=dict)
    log: bytes = b""
    options: dict[str, str] = field(default_factory=dict)
    tail: bytes = b"\xa7\x1c"

    @property
    def unit(self) -> Unit:
        held: Any = capabilities(None, self.width, self.version)  # type: ignore[arg-type]
        fingerprint = changed(held.credentials.fingerprint, slots=self.finger_room)
        held = changed(
            held,
            number_of_total_users_supported=self.room,
            credentials=CredentialCapabilities(pin=held.credentials.pin, fingerprint=fingerprint),
        )
        return Unit(
            id="new",
            serial=None,
            family="zk",
            model=None,
            firmware=None,
            profile="zk",
            target="sim://zk",
            simulated=self.simulated,
            capabilities=held,
            details={"medium": "file"} if self.folder else {},
        )

    @property
    def snapshot(self) -> Snapshot:
        entries = [(*place, *finger) for place, finger in self.fingers.items()] + self.more_fingers
        options = {"~ZKFPVersion": str(self.version), **self.options}
        raw = {
            "0001-options": "\n".join(f"{name}={value}" for name, value in options.items()).encode(),
            "0004-users": b"".join(self.users),
            "0005-templates": b"".join(
                struct.pack("<HHBB", len(data) + 6, uid, finger, flag) + data for uid, finger, flag, data in entries
            ),
        }
        if self.tables and not self.folder:
            raw |= self._tables()
        if self.styles:
            raw["0009-verify"] = b"".join(struct.pack("<HB21x", uid, mode) for uid, mode in self.styles.items())
        if self.log:
            raw["0010-attlog"] = self.log
        absent = [layout.name for layout in LAYOUTS.values() if layout.name not in raw]
        found = decode("zk", raw, {"record_bytes": self.width, "attlog_bytes": 8, "unsupported": absent})
        gaps = [Gap(section="schedules", record=None, code="zone-table-unknown", detail="")] if self.folder else []
        if self.styles is None or self.folder:
            gaps.append(Gap(section="verify_styles", record=None, code="no-public-layout", detail=""))
        return Snapshot(
            metadata=Metadata(),
            lock=found.lock,
            capabilities=found.capabilities,
            users=found.users,
            credentials=found.credentials,
            groups=found.groups,
            combinations=found.combinations,
            schedules=found.schedules,
            settings=found.settings,
            log=found.log,
            access_keys=tuple(AccessKey(key=key, kind="given", secret=Secret(text)) for key, text in self.keys.items()),
            coverage=found.coverage,
            losses=found.losses,
            attachments=found.attachments,
            tables=tuple(Table(name=name, data=data, rows=0, read_at_utc="") for name, data in raw.items()),
            gaps=tuple(gaps),
        )

    def _tables(self) -> dict[str, bytes]:
        zones = {**dict.fromkeys(range(1, 51), FULL), **self.zones}
        groups = {**dict.fromkeys(range(1, 101), bytes(7)), 1: group(1), **self.groups}
        combinations = {**dict.fromkeys(range(1, 11), bytes(7)), 1: beside(1), **self.combinations}
        return {
            "0006-zones": b"".join(struct.pack("<H", n) + zone + self.tail for n, zone in zones.items()),
            "0007-groups": b"".join(bytes([n]) + content for n, content in groups.items()),
            "0008-combinations": b"".join(bytes([n]) + content for n, content in combinations.items()),
        }


def plan_of(
    source: Terminal,
    target: Terminal | None = None,
    *,
    unconfirmed: frozenset[str] = frozenset(),
    answers: Mapping[str, str] | None = None,
    **policy: Any,
) -> Plan:
    """Plan; `answers` are choices by key where there is a slash, else by reason."""
    target = target or Terminal()
    said = [
        Answer(key=name, choice=choice) if "/" in name else Answer(reason=name, choice=choice)  # type: ignore[arg-type]
        for name, choice in (answers or {}).items()
    ]
    mine, theirs = source.snapshot, target.snapshot
    decisions = Decisions(answer=tuple(said))
    return make_plan(
        mine,
        theirs,
        target.unit,
        Policy(decisions=decisions, **policy),
        unconfirmed=unconfirmed,
        fitted=fitted(mine, theirs),
    )


def of(plan: Plan, key: str) -> RecordResult:
    (found,) = [record for record in plan.records if record.key == key]
    return found


def said(plan: Plan, key: str) -> tuple[str, tuple[str, ...]]:
    record = of(plan, key)
    return record.outcome, record.reasons


def step(plan: Plan, key: str, action: str = "put") -> Step:
    (found,) = [step for step in plan.steps if (step.action, step.key) == (action, key)]
    return found


def order(plan: Plan) -> list[str]:
    return [f"{step.action} {step.key}" for step in plan.steps]


A, B, C = b"template A", b"template B", b"template C"

# ---- users ----------------------------------------------------------------------------------------------------------


def test_a_user_goes_with_its_record_its_pin_and_its_card() -> None:
    record = user(5, pin=b"1234", card=77, privilege=14)
    plan = plan_of(Terminal([record]))
    assert plan.executable
    assert said(plan, "user/5") == ("copy", ())
    put = step(plan, "user/5")
    assert (put.kind, put.value, put.origin) == ("user", record, {"user_index": 5, "verify": 0})
    assert put.also == ("pin/5", "card/5")
    assert put.was_empty
    for key, kind in (("pin/5", "pin"), ("card/5", "card")):
        assert (of(plan, key).kind, of(plan, key).outcome, of(plan, key).follows) == (kind, "copy", "user/5")
    assert (plan.existing, plan.overwrites, plan.removals, plan.losses) == ((), (), (), ())


def test_a_users_own_way_of_verifying_goes_too_and_none_is_written_as_none() -> None:
    plan = plan_of(Terminal([user(1), user(2)], styles={1: 0x89, 2: 0}), Terminal(styles={}))
    assert (step(plan, "user/1").origin["verify"], step(plan, "user/2").origin["verify"]) == (0x89, 0)
    unread = plan_of(Terminal([user(1)], styles=None))
    assert step(unread, "user/1").origin["verify"] == 0, "what lies there from somebody else must not stay"
    silent = plan_of(Terminal([user(1)]), Terminal([user(1, pin=b"1")], styles=None), existing="replace")
    assert step(silent, "user/1").origin["verify"] is None


@pytest.mark.parametrize("policy", [{}, {"existing": "merge"}, {"existing": "replace"}])
def test_what_is_equal_is_done(policy: dict[str, str]) -> None:
    source = Terminal([user(1, pin=b"1")], {(1, 0): (1, A)}, styles={1: 0x81})
    plan = plan_of(source, source, **policy)
    assert plan.executable
    assert plan.steps == ()
    for key in ("user/1", "pin/1", "fingerprint/1.0"):
        assert (of(plan, key).outcome, of(plan, key).done, of(plan, key).proof) == ("copy", True, "V4")
    assert plan.existing == ()


@pytest.mark.parametrize(
    "target",
    [
        Terminal([user(1, pin=b"2")]),
        Terminal([user(1, pin=b"1")], styles={1: 0x81}),
        Terminal([user(1, pin=b"1"), user(1, "7")]),
    ],
    ids=["another record", "another way of verifying", "two records of the number"],
)
def test_what_is_not_quite_equal_is_not_done(target: Terminal) -> None:
    plan = plan_of(Terminal([user(1, pin=b"1")], styles={1: 0}), target, existing="replace")
    assert not of(plan, "user/1").done
    assert order(plan) == ["remove user/1", "put user/1"]
    assert set(plan.overwrites) == {item.key for item in target.snapshot.users}
    assert step(plan, "user/1", "remove").also == tuple(item.key for item in target.snapshot.users[1:])


def test_what_an_interrupted_run_has_finished_is_not_asked_about_again() -> None:
    source = Terminal([user(1, "7"), user(2, "7")], groups={1: group(60)})
    asked = plan_of(source)
    assert said(asked, "user/1") == ("needs_input", ("user-id-duplicate",))
    again = plan_of(source, source)
    assert again.executable
    assert again.steps == ()


def test_two_records_of_one_number_wait_and_only_one_of_them_can_go() -> None:
    source = Terminal([user(1, "7"), user(1, "8")], {(1, 0): (1, A)})
    plan = plan_of(source)
    assert {said(plan, key) for key in ("user/1", "user/1~2", "fingerprint/1.0")} == {
        ("needs_input", ("uid-duplicate",))
    }
    assert plan.blocked_by == ("needs-input",)
    both = plan_of(source, answers={"uid-duplicate": "write"})
    assert said(both, "user/1") == ("copy", ("uid-duplicate",))
    assert said(both, "user/1~2") == ("needs_input", ("uid-duplicate",))
    assert "takes this number" in (of(both, "user/1~2").detail or "")
    one = plan_of(source, answers={"user/1": "write", "user/1~2": "skip", "fingerprint/1.0": "write"})
    assert one.executable
    assert order(one) == ["put user/1", "put fingerprint/1.0"]
    there = plan_of(source, Terminal([user(1, "8")]), existing="replace", answers={"uid-duplicate": "write"})
    assert said(there, "user/1") == ("copy", ("uid-duplicate",))
    assert said(there, "user/1~2") == ("needs_input", ("uid-duplicate",)), "its place is another's now"
    assert (of(there, "user/1").done, of(there, "user/1~2").done) == (False, False)
    other = plan_of(source, answers={"user/1": "skip", "user/1~2": "write", "fingerprint/1.0": "write"})
    assert order(other) == ["put user/1~2"]
    assert said(other, "fingerprint/1.0") == ("skip", ("uid-duplicate",)), "whose finger it is is not known"


def test_a_doubt_about_an_id_is_a_question_and_the_answer_stays_visible() -> None:
    source = Terminal([user(1, "7"), user(2, "7")])
    plan = plan_of(source)
    assert {said(plan, key) for key in ("user/1", "user/2")} == {("needs_input", ("user-id-duplicate",))}
    assert [loss.code for loss in plan.losses] == ["user-id-duplicate"] * 2
    decided = plan_of(source, answers={"user/1": "write", "user/2": "skip"})
    assert said(decided, "user/1") == ("copy", ("user-id-duplicate",))
    assert of(decided, "user/1").detail == "another user of the old unit has the same id"
    taken = plan_of(source, Terminal([user(1, "9")]), existing="merge")
    assert said(taken, "user/1") == ("needs_input", ("user-id-duplicate",)), "the first open question is what counts"
    assert said(decided, "user/2") == ("skip", ("user-id-duplicate",))
    assert decided.losses == ()


def test_what_lies_in_a_record_shares_its_fate_with_the_reason() -> None:
    source = Terminal([user(1, "7", pin=b"1", card=3), user(2, "7")], {(1, 0): (1, A)})
    plan = plan_of(source)
    for key in ("pin/1", "card/1", "fingerprint/1.0"):
        assert said(plan, key) == ("needs_input", ("user-id-duplicate",))
        assert of(plan, key).follows == "user/1"
    skipped = plan_of(source, answers={"user-id-duplicate": "skip"})
    assert {said(skipped, key) for key in ("pin/1", "card/1", "fingerprint/1.0")} == {("skip", ("user-id-duplicate",))}


def test_users_without_a_record_that_fits_can_be_left_out() -> None:
    mine, theirs = Terminal([user(1, pin=b"1")]).snapshot, Terminal([user(1, pin=b"1")])
    plan = make_plan(mine, theirs.snapshot, theirs.unit, Policy(existing="merge"), fitted={})
    assert said(plan, "user/1") == said(plan, "pin/1") == ("needs_input", ("user-id-unsupported",))
    policy = Policy(existing="merge", decisions=Decisions(answer=(Answer(key="user/1", choice="skip"),)))
    assert make_plan(mine, theirs.snapshot, theirs.unit, policy, fitted={}).executable


# ---- other people on the target -------------------------------------------------------------------------------------


def test_others_on_the_target_need_a_word() -> None:
    target = Terminal([user(2)], {(2, 0): (1, B)}, zones={9: OFFICE})
    plan = plan_of(Terminal([user(1)]), target)
    assert plan.blocked_by == ("target-not-empty",)
    assert plan.existing == ("user/2", "fingerprint/2.0", "schedule/9")
    assert (plan.removals, plan.overwrites) == ((), ())
    assert order(plan) == ["put user/1"]


def test_merging_keeps_them() -> None:
    target = Terminal([user(2)], {(2, 0): (1, B)}, zones={9: OFFICE})
    plan = plan_of(Terminal([user(1)], {(1, 0): (1, A)}), target, existing="merge")
    assert plan.executable
    assert plan.existing == ("user/2", "fingerprint/2.0", "schedule/9")
    assert (plan.removals, plan.overwrites) == ((), ())
    assert order(plan) == ["put user/1", "put fingerprint/1.0"]


def test_tables_as_from_the_factory_are_neither_removed_nor_missed() -> None:
    target = Terminal([user(2, own=(4, 60))])
    assert {"schedule/4", "schedule/60"} <= {item.key for item in target.snapshot.schedules}
    plan = plan_of(Terminal([user(1)]), target, existing="replace")
    assert order(plan) == ["remove user/2", "put user/1"]
    assert plan.existing == ("user/2",)


def test_replacing_removes_people_before_anything_is_written_and_resets_tables_before_people_are() -> None:
    target = Terminal([user(2), user(3)], {(2, 0): (1, B), (3, 0): (1, B)}, zones={9: OFFICE})
    source = Terminal([user(1)], {(1, 0): (1, A)}, zones={1: OFFICE}, options={"LockOn": "7"})
    plan = plan_of(source, target, existing="replace")
    assert plan.executable
    assert plan.removals == ("user/2", "user/3", "fingerprint/2.0", "fingerprint/3.0", "schedule/9")
    assert order(plan) == [
        "remove user/2",
        "remove user/3",
        "put schedule/1",
        "remove schedule/9",
        "put user/1",
        "put fingerprint/1.0",
    ]
    assert step(plan, "user/2", "remove").also == ("fingerprint/2.0",)
    assert step(plan, "user/2", "remove").origin == {"user_index": 2}
    assert not step(plan, "user/2", "remove").was_empty
    assert step(plan, "schedule/9", "remove").origin == {"number": 9}


def test_replacing_takes_single_fingers_from_those_who_stay() -> None:
    source = Terminal([user(1)], {(1, 0): (1, A)})
    target = Terminal([user(1)], {(1, 0): (1, A), (1, 3): (1, B)})
    plan = plan_of(source, target, existing="replace")
    assert order(plan) == ["remove fingerprint/1.3"]
    assert step(plan, "fingerprint/1.3", "remove").origin == {"user_index": 1, "finger": 3}
    assert plan.removals == plan.existing == ("fingerprint/1.3",)
    assert not step(plan, "fingerprint/1.3", "remove").was_empty
    assert plan.needs["put", "fingerprint/1.0"] == (("remove", "fingerprint/1.3"),), "some units take both"


def test_a_finger_that_makes_room_goes_before_tables_change() -> None:
    source = Terminal([user(1)], {(1, 0): (1, A), (1, 1): (1, C)}, zones={1: OFFICE})
    target = Terminal([user(1)], {(1, 0): (1, B), (1, 1): (1, C)}, zones={1: MORNING})
    plan = plan_of(source, target, existing="replace")
    assert order(plan) == ["remove fingerprint/1.0", "put schedule/1", "put fingerprint/1.0"]
    assert plan.needs["put", "schedule/1"] == (("remove", "fingerprint/1.0"),)
    assert plan.needs["put", "fingerprint/1.0"] == (("put", "schedule/1"), ("remove", "fingerprint/1.0"))
    assert plan.overwrites == ("schedule/1", "fingerprint/1.0")
    assert plan.removals == ()
    calm = plan_of(source, Terminal([user(1)], {(1, 0): (1, B), (1, 1): (1, C)}, zones={1: OFFICE}), existing="replace")
    assert order(calm) == ["put fingerprint/1.0"]


@pytest.mark.parametrize("existing", ["merge", "replace"])
def test_somebody_elses_number_is_cleared_before_it_is_written(existing: str) -> None:
    """Or the fingers of the one would open for the other."""
    source = Terminal([user(1, "7")], {(1, 0): (1, A), (1, 2): (1, C)})
    target = Terminal([user(1, "8")], {(1, 0): (1, B), (1, 5): (1, B), (1, 2): (1, C)})
    plan = plan_of(source, target, existing=existing, answers={"capacity": "write"})
    assert plan.executable
    assert order(plan) == ["remove user/1", "put user/1", "put fingerprint/1.0", "put fingerprint/1.2"]
    assert step(plan, "user/1").was_empty
    assert step(plan, "fingerprint/1.0").was_empty
    assert step(plan, "user/1", "remove").also == ("fingerprint/1.5",)
    lost = {"user/1", "fingerprint/1.0", "fingerprint/1.5"}
    assert set(plan.existing) == lost
    assert set(plan.overwrites) == lost - set(plan.removals)
    assert plan.removals == (("fingerprint/1.5",) if existing == "replace" else ())
    assert plan.needs["put", "user/1"] == (("remove", "user/1"),)


def test_merging_asks_before_it_takes_somebodys_number() -> None:
    target = Terminal([user(1, "8")])
    plan = plan_of(Terminal([user(1, "7", pin=b"1")]), target, existing="merge")
    assert said(plan, "user/1") == ("needs_input", ("capacity",))
    assert of(plan, "user/1").detail == "user 1 of the target is another one"
    assert said(plan, "pin/1") == ("needs_input", ("capacity",))
    assert plan.steps == ()
    other = plan_of(Terminal([user(1, "8", pin=b"1")]), target, existing="merge")
    assert of(other, "user/1").detail == "user 1 of the target has another record"
    nameless = plan_of(Terminal([user(1, "", pin=b"1")]), Terminal([user(1, "")]), existing="merge")
    assert of(nameless, "user/1").detail == "user 1 of the target is another one"
    skipped = plan_of(Terminal([user(1, "7")]), target, existing="merge", answers={"user/1": "skip"})
    assert said(skipped, "user/1") == ("skip", ("capacity",))
    assert skipped.existing == ("user/1",)
    assert skipped.steps == ()


@pytest.mark.parametrize("choice", ["write", "override"])
def test_merging_never_gives_one_person_two_records(choice: str) -> None:
    source, target = Terminal([user(1, "7")]), Terminal([user(4, "7")])
    plan = plan_of(source, target, existing="merge", answers={"user-id-duplicate": choice})
    assert said(plan, "user/1") == ("needs_input", ("user-id-duplicate",))
    assert "user 4" in (of(plan, "user/1").detail or "")
    assert plan_of(source, target, existing="merge", answers={"user/1": "skip"}).executable
    assert plan_of(source, target, existing="replace").executable


def test_a_person_without_an_id_is_nobody_elses_double() -> None:
    assert plan_of(Terminal([user(1, "")]), Terminal([user(2, "")]), existing="merge").executable
    narrow = Terminal([user(2, "", width=28)], width=28)
    assert plan_of(Terminal([user(1, "", width=28)], width=28), narrow, existing="merge").executable
    lettered = Terminal([user(1, ""), user(2, "A7")])
    assert plan_of(lettered, NARROW, answers={"user-id-unsupported": "write"}).executable


def test_merging_gives_nobody_the_fingers_of_an_unknown_person() -> None:
    source, target = Terminal([user(1)]), Terminal(more_fingers=[(1, 4, 1, B)])
    plan = plan_of(source, target, existing="merge", answers={"uid-duplicate": "write"})
    assert said(plan, "user/1") == ("needs_input", ("uid-duplicate",))
    assert plan.steps == ()
    replaced = plan_of(source, target, existing="replace")
    assert order(replaced) == ["remove fingerprint/1.4", "put user/1"]
    assert replaced.needs["put", "user/1"] == (("remove", "fingerprint/1.4"),)


def test_a_record_that_a_cut_left_half_written_is_written_again_without_a_question() -> None:
    source, target = Terminal([user(1, pin=b"1")]), Terminal([user(1, privilege=1, pin=b"1")])
    asked = plan_of(source, target, existing="merge")
    assert said(asked, "user/1") == ("needs_input", ("capacity",))
    for policy in ({}, {"existing": "merge"}, {"existing": "replace"}):
        plan = plan_of(source, target, unconfirmed=frozenset({"user/1"}), **policy)
        assert plan.executable, policy
        assert (plan.existing, plan.overwrites) == ((), ())
        assert order(plan) == ["remove user/1", "put user/1"]


def test_what_the_journal_left_open_is_nobody_elses_record() -> None:
    source, target = Terminal([user(1, "7")]), Terminal([user(1, "8")])
    torn = frozenset({"user/1"})
    assert said(plan_of(source, target, unconfirmed=torn, existing="merge"), "user/1")[0] == "needs_input"
    assert plan_of(source, target, unconfirmed=torn).blocked_by == ("target-not-empty",)


# ---- room -----------------------------------------------------------------------------------------------------------


def test_where_room_is_short_those_who_may_enter_come_first_and_nothing_is_cut_off_in_silence() -> None:
    source = Terminal([user(1, privilege=1), user(2), user(3)])
    plan = plan_of(source, Terminal(room=2))
    assert said(plan, "user/1") == ("needs_input", ("capacity",))
    assert order(plan) == ["put user/2", "put user/3"]
    assert "room for 2 users" in (of(plan, "user/1").detail or "")
    assert not plan_of(source, Terminal(room=2), answers={"capacity": "write"}).executable
    skipped = plan_of(source, Terminal(room=2), answers={"capacity": "skip"})
    assert skipped.executable
    assert plan_of(source, Terminal(room=3)).executable


def test_those_who_stay_take_room_and_those_who_go_leave_it() -> None:
    source, held = Terminal([user(1), user(2)]), [user(8), user(9)]
    assert plan_of(source, Terminal(held, room=4), existing="merge").executable
    asked = plan_of(source, Terminal(held, room=3), existing="merge")
    assert said(asked, "user/2") == ("needs_input", ("capacity",))
    assert plan_of(source, Terminal(held, room=2), existing="replace").executable


def test_a_number_that_is_taken_already_takes_no_more_room() -> None:
    source, target = Terminal([user(1, "7")]), Terminal([user(1, "8")], room=1)
    assert plan_of(source, target, existing="merge", answers={"capacity": "write"}).executable
    full = Terminal([user(1), user(2)], room=2)
    assert plan_of(full, full, existing="merge").executable


def test_replacing_counts_those_too_whose_number_is_on_the_target_already() -> None:
    target = Terminal([user(9, "x")], room=2)
    plan = plan_of(Terminal([user(1), user(2), user(9)]), target, existing="replace")
    assert [said(plan, f"user/{uid}")[0] for uid in (1, 2, 9)] == ["copy", "copy", "needs_input"]


def test_what_is_done_counts_before_what_is_new() -> None:
    late = user(9, privilege=1)
    plan = plan_of(Terminal([user(1), user(2), late]), Terminal([late], room=2))
    assert [said(plan, f"user/{uid}")[0] for uid in (1, 2, 9)] == ["copy", "needs_input", "copy"]


def test_fingers_that_open_come_first_where_their_room_is_short() -> None:
    people = [user(1, privilege=1), user(2), user(3)]
    source = Terminal(people, {(1, 0): (1, A), (2, 0): (0, A), (2, 1): (1, B), (3, 0): (1, C)})
    plan = plan_of(source, Terminal(finger_room=2))
    assert [step.key for step in plan.steps if step.kind == "fingerprint"] == ["fingerprint/2.1", "fingerprint/3.0"]
    assert said(plan, "fingerprint/1.0") == ("needs_input", ("capacity",))
    assert "room for 2 templates" in (of(plan, "fingerprint/1.0").detail or "")
    assert not plan_of(source, Terminal(finger_room=2), answers={"capacity": "write"}).executable
    assert plan_of(source, Terminal(finger_room=2), answers={"capacity": "skip"}).executable
    roomy = plan_of(source, Terminal(finger_room=4))
    assert roomy.executable
    assert [step.key for step in roomy.steps if step.kind == "fingerprint"] == [
        "fingerprint/1.0", "fingerprint/2.0", "fingerprint/2.1", "fingerprint/3.0",
    ]  # fmt: skip


def test_fingers_that_stay_take_room_and_those_that_go_leave_it() -> None:
    source = Terminal([user(1)], {(1, 0): (1, A)})
    target = Terminal([user(2)], {(2, 0): (1, B)}, finger_room=1)
    assert said(plan_of(source, target, existing="merge"), "fingerprint/1.0") == ("needs_input", ("capacity",))
    assert plan_of(source, target, existing="replace").executable
    full = Terminal([user(1)], {(1, 0): (1, A)}, finger_room=1)
    assert plan_of(full, full, existing="merge").executable
    source = Terminal([user(1)], {(1, 0): (1, A), (1, 1): (1, B)})
    target = Terminal([user(1)], {(1, 1): (1, B)}, finger_room=1)
    assert said(plan_of(source, target), "fingerprint/1.0") == ("needs_input", ("capacity",)), "one is there already"


# ---- between widths -------------------------------------------------------------------------------------------------

NARROW: Final = Terminal(width=28)


def test_a_pin_that_does_not_fit_stays_behind_and_says_so() -> None:
    source = Terminal([user(1, pin=b"123456", card=7)])
    plan = plan_of(source, NARROW)
    assert said(plan, "user/1") == ("needs_input", ("pin-length",))
    assert said(plan, "pin/1") == ("needs_input", ("pin-length",))
    decided = plan_of(source, NARROW, answers={"pin-length": "write"})
    assert said(decided, "user/1") == ("adjust", ("pin-length",))
    assert said(decided, "pin/1") == ("skip", ("pin-length",))
    assert of(decided, "pin/1").proof is None
    assert step(decided, "user/1").also == ("card/1",)
    assert said(decided, "card/1") == ("copy", ())
    there = Terminal([user(1, width=28, card=7)], width=28)
    again = plan_of(source, there)
    assert again.steps == ()
    assert said(again, "pin/1") == ("skip", ("pin-length",)), "the record is there, the PIN is not"
    assert (of(again, "user/1").outcome, of(again, "user/1").done) == ("adjust", True)


def test_a_card_that_does_not_fit_stays_behind_and_says_so() -> None:
    source = Terminal([user(1, width=28, card=1 << 35, pin=b"12")], width=28)
    plan = plan_of(source, answers={"card-too-long": "write"})
    assert said(plan, "user/1") == ("adjust", ("card-too-long",))
    assert said(plan, "card/1") == ("skip", ("card-too-long",))
    assert step(plan, "user/1").also == ("pin/1",)


def test_a_cut_name_is_an_adjustment_and_stays_one_whatever_else_is_asked() -> None:
    source = Terminal([user(1, name=b"Maximilian")])
    plan = plan_of(source, NARROW)
    assert said(plan, "user/1") == ("adjust", ("name-cut",))
    assert "8 of 10 bytes" in (of(plan, "user/1").detail or "")
    taken = Terminal([user(1, "8", width=28)], width=28)
    decided = plan_of(source, taken, existing="merge", answers={"capacity": "write"})
    assert said(decided, "user/1") == ("adjust", ("name-cut", "capacity"))
    assert "8 of 10 bytes" in (of(decided, "user/1").detail or "")
    doubtful = Terminal([user(1, "7", name=b"Maximilian"), user(2, "7")])
    decided = plan_of(doubtful, NARROW, answers={"user-id-duplicate": "write"})
    assert said(decided, "user/1") == ("adjust", ("user-id-duplicate", "name-cut"))
    assert of(decided, "user/1").detail == "another user of the old unit has the same id"
    limited = Terminal([user(1, name=b"Maximilian", own=(2,))], zones={2: OFFICE})
    assert said(plan_of(limited, NARROW), "user/1") == ("refuse", ("schedule-unsupported",))
    overridden = plan_of(limited, NARROW, answers={"user/1": "override"})
    assert said(overridden, "user/1") == ("adjust", ("schedule-unsupported", "name-cut"))
    assert "time zones of their own" in (of(overridden, "user/1").detail or "")
    both = Terminal([user(1, own=(2,))], zones={2: OFFICE}, styles={1: 0x89})
    untold = Terminal([user(7, width=28)], width=28, styles=None)
    twice = plan_of(both, untold, existing="merge", answers={"user/1": "override", "capacity": "skip"})
    assert said(twice, "user/1") == ("copy", ("schedule-unsupported", "rule-unsupported"))
    assert "time zones of their own" in (of(twice, "user/1").detail or ""), "the first reason is the one that is told"
    silent = Terminal(width=28, tables=False)
    assert said(plan_of(limited, silent), "user/1") == ("needs_input", ("zone-table-unknown",))
    word = plan_of(limited, silent, answers={"zone-table-unknown": "write"})
    assert said(word, "user/1") == ("refuse", ("schedule-unsupported",))


def test_an_id_that_becomes_another_persons_is_not_written() -> None:
    source = Terminal([user(1, "007"), user(2, "7")])
    plan = plan_of(source, NARROW, answers={"user-id-duplicate": "write"})
    assert said(plan, "user/1") == ("needs_input", ("user-id-duplicate",))
    assert said(plan, "user/2") == ("copy", ())
    assert plan_of(source, NARROW, answers={"user/1": "skip"}).executable
    there = plan_of(source, Terminal([user(2, "7", width=28)], width=28), answers={"user/1": "skip"})
    assert (said(there, "user/2"), of(there, "user/2").done) == (("copy", ()), True)
    alone = plan_of(Terminal([user(1, "007")]), NARROW)
    assert said(alone, "user/1") == ("adjust", ("user-id-unsupported",))
    three = plan_of(Terminal([user(1, "007"), user(2, "0007")]), NARROW, answers={"user-id-duplicate": "write"})
    assert [said(three, key)[0] for key in ("user/1", "user/2")] == ["adjust", "needs_input"]


def test_the_id_on_the_target_is_what_counts_when_merging() -> None:
    target = Terminal([user(5, "7", width=28)], width=28)
    plan = plan_of(Terminal([user(1, "007")]), target, existing="merge")
    assert said(plan, "user/1") == ("needs_input", ("user-id-duplicate",))


def test_limits_that_a_record_cannot_hold_are_refused_unless_this_very_record_is_overridden() -> None:
    source = Terminal([user(1, own=(2,)), user(2, own=(2,))], zones={2: OFFICE})
    plan = plan_of(source, NARROW)
    assert said(plan, "user/1") == ("refuse", ("schedule-unsupported",))
    assert plan.blocked_by == ("plan-blocked",)
    assert [loss.code for loss in plan.losses if loss.record == "user/1"] == ["schedule-unsupported"]
    assert plan_of(source, NARROW, answers={"schedule-unsupported": "override"}).blocked_by == ("plan-blocked",)
    assert plan_of(source, NARROW, answers={"user/1": "write"}).blocked_by == ("plan-blocked",)
    skipped = plan_of(source, NARROW, answers={"schedule-unsupported": "skip"})
    assert {said(skipped, key)[0] for key in ("user/1", "user/2")} == {"skip"}
    mixed = plan_of(source, NARROW, answers={"schedule-unsupported": "skip", "user/2": "override"})
    assert "time zones of their own" in (of(mixed, "user/2").detail or "")
    assert [said(mixed, key) for key in ("user/1", "user/2")] == [
        ("skip", ("schedule-unsupported",)),
        ("copy", ("schedule-unsupported",)),
    ]
    there = Terminal([user(2, width=28)], width=28)
    assert said(plan_of(source, there), "user/2")[0] == "refuse", "there without its limits is not there"
    again = plan_of(source, there, answers={"schedule-unsupported": "skip", "user/2": "override"})
    assert of(again, "user/2").done
    assert "put user/2" not in order(again)


def test_a_way_of_verifying_that_cannot_be_proven_is_refused_and_never_called_done() -> None:
    source = Terminal([user(1)], styles={1: 0x89})
    target = Terminal([user(1), user(2)], styles=None)
    plan = plan_of(source, target, existing="merge")
    assert said(plan, "user/1") == ("refuse", ("rule-unsupported",))
    assert plan_of(Terminal([user(1)]), target, existing="merge").executable
    overridden = plan_of(source, target, existing="merge", answers={"user/1": "override"})
    assert of(overridden, "user/1").done
    assert overridden.steps == ()


def test_who_was_asked_no_way_of_verifying_waits_where_others_were() -> None:
    source = Terminal([user(1), user(2)], styles={2: 0})
    assert said(plan_of(source), "user/1") == ("needs_input", ("rule-unsupported",))
    assert said(plan_of(source), "user/2") == ("copy", ())
    assert plan_of(source, answers={"rule-unsupported": "write"}).executable
    assert plan_of(Terminal([user(1), user(2)])).executable, "nobody's was told: that gap is announced"
    assert plan_of(source, Terminal([user(2)], styles=None)).executable


def test_records_that_hold_neither_group_nor_zones_move_among_their_own_kind() -> None:
    source = Terminal([user(1, width=16)], width=16, tables=False)
    assert plan_of(source, Terminal(width=16, tables=False)).executable
    assert said(plan_of(source), "user/1") == ("needs_input", ("schedule-unreadable",))
    assert plan_of(source, answers={"schedule-unreadable": "write"}).executable


# ---- tables ---------------------------------------------------------------------------------------------------------


def test_tables_go_before_people_and_those_as_from_the_factory_are_done() -> None:
    source = Terminal(
        [user(1), user(2, group=3)], zones={2: OFFICE}, groups={3: group(2, 4)}, combinations={2: beside(3)}
    )
    plan = plan_of(source)
    assert order(plan) == ["put schedule/2", "put group/3", "put combination/2", "put user/1", "put user/2"]
    assert [of(plan, key).done for key in ("schedule/1", "schedule/4", "group/1")] == [True] * 3
    assert step(plan, "schedule/2").value == b"\x02\x00" + OFFICE + b"\xa7\x1c"
    assert step(plan, "group/3").origin == {"number": 3}
    assert step(plan, "group/3").was_empty
    assert plan.needs["put", "user/1"] == ()
    assert set(plan.needs["put", "user/2"]) == {
        ("put", "schedule/2"),
        ("put", "group/3"),
        ("put", "combination/2"),
    }
    assert plan.needs["put", "group/3"] == (), "nobody is on the target whom a half-way state could let in"


def test_what_nobody_can_write_makes_no_table_another_one() -> None:
    source = Terminal([user(1)], zones={1: OFFICE})
    target = Terminal([user(1)], zones={1: OFFICE}, tail=b"\x00\x00")
    assert plan_of(source, target).steps == ()


def test_a_table_that_was_not_read_stays_behind_and_who_rests_on_it_waits() -> None:
    plan = plan_of(Terminal([user(1, own=(60,))]))
    assert said(plan, "schedule/60") == ("skip", ("zone-table-unknown",))
    assert said(plan, "user/1") == ("needs_input", ("zone-table-unknown",))
    assert "its own time zones" in (of(plan, "user/1").detail or "")
    assert said(plan_of(Terminal([user(1, own=(60,))]), answers={"user/1": "write"}), "user/1")[0] == "copy"


def test_a_group_outside_the_table_waits_too_but_no_group_at_all_is_the_same_anywhere() -> None:
    assert said(plan_of(Terminal([user(1, group=150)])), "user/1") == ("needs_input", ("zone-table-unknown",))
    assert said(plan_of(Terminal([user(1, group=0)])), "user/1") == ("copy", ())


def test_a_folder_takes_people_only_and_the_plan_says_what_that_means() -> None:
    source = Terminal([user(1, group=2), user(2, own=(2,))], zones={2: OFFICE}, groups={2: group(2)})
    plan = plan_of(source, Terminal(folder=True))
    assert plan.executable
    for key in ("schedule/2", "group/2"):
        assert said(plan, key) == ("skip", ("schedule-unsupported",))
    assert order(plan) == ["put user/1", "put user/2"]
    assert plan.needs == {}
    assert [text for text in plan.warnings if text.startswith("zone-table-unknown: a folder")]
    grouped = plan_of(Terminal([user(1, group=2)], groups={2: group(style=3)}), Terminal(folder=True))
    assert [text for text in grouped.warnings if text.startswith("zone-table-unknown: a folder")]
    plain = plan_of(Terminal([user(1)], tables=False), Terminal(folder=True))
    assert not [text for text in plain.warnings if "a folder" in text]
    assert not [text for text in plan_of(source).warnings if "a folder" in text]


def test_a_folders_user_who_makes_room_leaves_no_finger() -> None:
    source = Terminal([user(1, "7")], {(1, 0): (1, A), (1, 2): (1, C)})
    target = Terminal([user(1, "8")], {(1, 0): (1, B), (1, 1): (1, B), (1, 2): (1, C)}, folder=True)
    for existing in ("merge", "replace"):
        plan = plan_of(source, target, existing=existing, answers={"capacity": "write"})
        assert order(plan) == ["remove fingerprint/1.1", "put user/1", "put fingerprint/1.0"], existing
        assert of(plan, "fingerprint/1.2").done
        assert set(plan.existing) == {"user/1", "fingerprint/1.0", "fingerprint/1.1"}


def test_a_target_that_does_not_give_out_its_tables_gets_only_whom_nothing_limits() -> None:
    source = Terminal([user(1), user(2, own=(2,)), user(3, group=2)], zones={2: OFFICE}, groups={2: group(1, style=3)})
    plan = plan_of(source, Terminal(tables=False))
    assert said(plan, "group/2") == ("skip", ("schedule-unsupported",))
    assert said(plan, "user/1") == ("copy", ())
    assert said(plan, "user/2") == ("needs_input", ("zone-table-unknown",))
    assert said(plan, "user/3") == ("needs_input", ("zone-table-unknown",))
    assert "does not give out" in (of(plan, "user/3").detail or "")
    word = plan_of(source, Terminal(tables=False), answers={"zone-table-unknown": "write"})
    assert said(word, "user/3") == ("copy", ("zone-table-unknown",))
    limited = plan_of(Terminal([user(1)], zones={1: OFFICE}), Terminal(tables=False))
    assert said(limited, "user/1") == ("needs_input", ("zone-table-unknown",))
    assert "its own time zones" in (of(plan, "user/2").detail or "")
    assert "group 2" in (of(plan, "user/3").detail or "")


def test_own_zones_go_where_their_tables_go() -> None:
    plan = plan_of(Terminal([user(1, own=(2,))], zones={1: MORNING, 2: OFFICE}))
    assert said(plan, "user/1") == ("copy", ())


def test_a_source_without_tables_lets_the_first_group_go_and_asks_about_others() -> None:
    people = [user(1), user(2, group=2), user(3, own=(1,)), user(4, group=0)]
    for source in (Terminal(people, tables=False), Terminal(people, folder=True)):
        plan = plan_of(source)
        assert [said(plan, f"user/{uid}")[0] for uid in (1, 2, 3)] == ["copy", "needs_input", "needs_input"]
        assert said(plan, "user/3") == ("needs_input", ("zone-table-unknown",))
        assert "the backup does not hold" in (of(plan, "user/2").detail or "")
        assert "its own time zones" in (of(plan, "user/3").detail or "")
        silent = plan_of(source, Terminal(tables=False))
        assert "the backup does not hold" in (of(silent, "user/2").detail or "")
    held = Terminal([user(9)], zones={1: OFFICE})
    plan = plan_of(Terminal(people[:1], folder=True), held, existing="merge")
    assert said(plan, "user/1") == ("copy", ()), "what the old unit allowed is not known, so it is not less"


def test_black_and_white_terminals_move_raw_numbers_among_themselves_with_a_warning_and_nowhere_else() -> None:
    people = [user(1, width=28), user(2, width=28, group=3), user(3, width=28, bits=2)]
    source, target = Terminal(people, width=28, tables=False), Terminal(width=28, tables=False)
    plan = plan_of(source, target)
    assert plan.executable
    assert [text for text in plan.warnings if text.startswith("zone-table-unknown: 2 of the users")]
    small = Terminal(width=28, tables=False, room=2)
    crowded = plan_of(source, small, answers={"capacity": "skip"})
    assert [text for text in crowded.warnings if text.startswith("zone-table-unknown: 1 of the users")]
    skipped = plan_of(
        Terminal([user(1, "7", width=28, group=2), user(2, "7", width=28)], width=28, tables=False),
        target,
        answers={"user-id-duplicate": "skip"},
    )
    assert not [text for text in skipped.warnings if "zone-table-unknown" in text]
    silent = Terminal(people, width=28, tables=False, styles=None)
    assert plan_of(silent, target).executable, "that it tells no way of verifying makes it no folder"
    told = Terminal(people[:1], width=28, zones={1: OFFICE})
    assert said(plan_of(told, target), "user/1") == ("needs_input", ("zone-table-unknown",))
    bits = plan_of(Terminal([user(1, width=28, bits=1)], width=28), target)
    assert "its own time zones" in (of(bits, "user/1").detail or "")
    none = Terminal([*people[:1], user(4, width=28, group=0)], width=28, tables=False)
    plain = plan_of(none, target)
    assert not [text for text in plain.warnings if "zone-table-unknown" in text]
    wide = plan_of(source, Terminal())
    assert [said(wide, f"user/{uid}") for uid in (1, 2)] == [
        ("copy", ()),
        ("needs_input", ("zone-table-unknown",)),
    ]
    folder = plan_of(Terminal(people, width=28, folder=True), target)
    assert [said(folder, f"user/{uid}")[0] for uid in (1, 2, 3)] == ["copy", "needs_input", "needs_input"]


def test_a_table_of_the_target_that_nobody_rests_on_may_be_overwritten_after_a_question() -> None:
    source, target = Terminal([user(1)], zones={1: OFFICE}), Terminal(zones={1: MORNING})
    plan = plan_of(source, target, existing="merge")
    assert said(plan, "schedule/1") == ("needs_input", ("capacity",))
    assert (plan.overwrites, order(plan)) == ((), ["put user/1"])
    written = plan_of(source, target, existing="merge", answers={"schedule/1": "write"})
    assert said(written, "schedule/1") == ("copy", ("capacity",))
    assert written.overwrites == written.existing == ("schedule/1",)
    assert not step(written, "schedule/1").was_empty
    replaced = plan_of(source, target, existing="replace")
    assert replaced.overwrites == ("schedule/1",)
    undecided = plan_of(source, target)
    assert undecided.blocked_by == ("target-not-empty",)
    assert undecided.existing == ("schedule/1",)
    torn = plan_of(source, target, unconfirmed=frozenset({"schedule/1"}))
    assert torn.executable
    assert torn.overwrites == ()


def _like(record: bytes, uid: int) -> bytes:
    """The same person's record under another number and id."""
    return struct.pack("<H", uid) + record[2:48] + str(9000 + uid).encode().ljust(24, b"\0")


RESTING: Final[dict[str, tuple[Terminal, Terminal, str]]] = {
    "its group": (
        Terminal(groups={2: group(3)}),
        Terminal([user(9, group=2)], groups={2: group(4)}),
        "group/2",
    ),
    "its group, as from the factory": (Terminal(groups={2: group(3)}), Terminal([user(9, group=2)]), "group/2"),
    "a zone of its group": (
        Terminal(zones={3: OFFICE}),
        Terminal([user(9, group=2)], groups={2: group(3)}),
        "schedule/3",
    ),
    "its own zone": (Terminal(zones={3: OFFICE}), Terminal([user(9, own=(1, 3))]), "schedule/3"),
    "zone bits": (
        Terminal(zones={30: OFFICE}, width=28),
        Terminal([user(9, bits=4, width=28)], width=28),
        "schedule/30",
    ),
    "its combination": (
        Terminal(combinations={3: beside(1, 2)}),
        Terminal([user(9, group=2)], combinations={3: beside(2)}),
        "combination/3",
    ),
    "the factory's combination": (Terminal(combinations={1: beside(3)}), Terminal([user(9)]), "combination/1"),
    "no combination": (Terminal(combinations={4: beside(2)}), Terminal([user(9, group=2)]), "combination/4"),
}


@pytest.mark.parametrize("case", RESTING)
@pytest.mark.parametrize("choice", ["write", "override"])
def test_merging_never_changes_a_table_that_somebody_on_the_target_rests_on(case: str, choice: str) -> None:
    source, target, key = RESTING[case]
    for unconfirmed in (frozenset[str](), frozenset({key})):
        plan = plan_of(
            source, target, existing="merge", answers={"capacity": choice, key: choice}, unconfirmed=unconfirmed
        )
        assert said(plan, key) == ("needs_input", ("capacity",))
        assert "one user rests on it" in (of(plan, key).detail or "")
        assert f"put {key}" not in order(plan)
    skipped = plan_of(source, target, existing="merge", answers={key: "skip"})
    assert said(skipped, key) == ("skip", ("capacity",))
    target.users.append(user(8, "9008", width=target.width) if target.width == 28 else _like(target.users[0], 8))
    several = plan_of(source, target, existing="merge")
    assert ("2 users rest on it" in (of(several, key).detail or "")) == (target.width == 72)
    target.users.pop()
    other = Terminal([], zones=target.zones, groups=target.groups, width=target.width)
    assert f"put {key}" in order(plan_of(source, other, existing="merge", answers={"capacity": "write"}))


def test_whoever_makes_room_holds_no_table_back() -> None:
    source = Terminal([user(1, "7", group=2)], zones={3: OFFICE}, groups={2: group(3)})
    target = Terminal([user(1, "8", own=(3,))], zones={3: MORNING})
    plan = plan_of(source, target, existing="merge", answers={"capacity": "write"})
    assert order(plan) == ["remove user/1", "put schedule/3", "put group/2", "put user/1"]
    assert plan.needs["put", "schedule/3"] == (("remove", "user/1"),)


def test_where_it_does_not_settle_who_makes_room_everybody_holds_tables_back() -> None:
    """Without user 1 of the target zone 3 could change; then group 2 there would allow more, and user 1 would stay."""
    zones = {3: bytes([0, 0, 23, 0]) * 7, 4: OFFICE}
    two = {2: beside(2)}
    source = Terminal([user(1, "7", group=2)], zones=zones, groups={2: group(4)}, combinations=two)
    people = [user(1, "8", own=(3,)), user(9, group=2, own=(1,))]
    target = Terminal(people, zones={3: CLOSED}, groups={2: group(3)}, combinations=two)
    answers = {"group/2": "skip", "schedule/3": "write", "user/1": "write"}
    plan = plan_of(source, target, existing="merge", answers=answers)
    assert said(plan, "schedule/3") == ("needs_input", ("capacity",))
    assert said(plan, "user/1")[0] == "adjust"
    assert order(plan) == ["remove user/1", "put schedule/4", "put user/1"]


@pytest.mark.parametrize(
    ("source", "target", "code"),
    [
        (Terminal(zones={1: OFFICE}), Terminal(zones={1: FULL}), "schedule-unsupported"),
        (Terminal(zones={1: MORNING}), Terminal(zones={1: OFFICE}), "schedule-unsupported"),
        (Terminal(groups={1: group(1, style=9)}), Terminal(groups={1: group(1, style=1)}), "rule-unsupported"),
        (Terminal(groups={1: group(1, style=14)}), Terminal(groups={1: group(1, style=10)}), "rule-unsupported"),
        (Terminal(groups={1: group(1, style=0x80)}), Terminal(groups={1: group(1)}), "holiday-unsupported"),
        (Terminal(combinations={1: bytes(7)}), Terminal(), "schedule-unsupported"),
        (Terminal(combinations={1: beside(1, 2)}), Terminal(combinations={1: beside(1, 3)}), "schedule-unsupported"),
        (Terminal(combinations={1: beside(1, 1, 2)}), Terminal(combinations={1: beside(1, 2)}), "schedule-unsupported"),
    ],
)
def test_nobody_is_written_whom_the_targets_own_tables_would_allow_more(
    source: Terminal, target: Terminal, code: str
) -> None:
    source.users, target.users = [user(1, "7", pin=b"1")], [user(9)]
    skip_tables = {"capacity": "skip"}
    plan = plan_of(source, target, existing="merge", answers=skip_tables)
    assert said(plan, "user/1") == ("refuse", (code,))
    assert "put user/1" not in order(plan)
    assert plan_of(source, target, existing="merge", answers={**skip_tables, code: "override"}).blocked_by
    mine = plan_of(source, target, existing="merge", answers={**skip_tables, "user/1": "override"})
    assert said(mine, "user/1") == ("copy", (code,))
    assert plan_of(source, target, existing="replace").executable


@pytest.mark.parametrize(
    ("source", "target", "code"),
    [
        (Terminal(), Terminal(zones={1: OFFICE}), "schedule-unsupported"),
        (Terminal(), Terminal(groups={1: group(1, style=1)}), "rule-unsupported"),
        (Terminal(groups={1: group(1, style=1)}), Terminal(groups={1: group(1, style=13)}), "rule-unsupported"),
        (Terminal(), Terminal(groups={1: group(1, style=0x80)}), "holiday-unsupported"),
        (Terminal(), Terminal(combinations={1: beside(1, 2)}), "schedule-unsupported"),
        (Terminal(), Terminal(groups={1: group()}), "schedule-unsupported"),
    ],
)
def test_who_may_do_less_on_the_target_goes_and_it_is_said(source: Terminal, target: Terminal, code: str) -> None:
    source.users, target.users = [user(1, "7", pin=b"1")], [user(9)]
    plan = plan_of(source, target, existing="merge", answers={"capacity": "skip"})
    assert plan.executable
    assert said(plan, "user/1") == ("adjust", (code,))
    assert "fewer times" in (of(plan, "user/1").detail or "")
    assert said(plan, "pin/1") == ("copy", ())


def test_whether_a_group_without_zones_is_open_or_closed_nobody_knows() -> None:
    source = Terminal([user(1, "7")], zones={1: OFFICE})
    target = Terminal([user(9)], zones={1: OFFICE}, groups={1: group()})
    plan = plan_of(source, target, existing="merge", answers={"capacity": "skip"})
    assert said(plan, "user/1") == ("needs_input", ("zone-table-unknown",))
    assert "cannot be told" in (of(plan, "user/1").detail or "")
    same = plan_of(Terminal([user(1, "7", group=5)]), Terminal([user(9, group=5)]), existing="merge")
    assert said(same, "user/1") == ("copy", ())


def test_a_combination_that_contradicts_itself_is_like_itself_only() -> None:
    odd = beside(1)[:5] + b"\x02\x00"
    target = Terminal([user(9)], combinations={1: odd})
    assert said(plan_of(Terminal([user(1, "7")]), target, existing="merge"), "user/1")[0] == "refuse"
    source = Terminal([user(1, "7")], combinations={1: odd})
    assert said(plan_of(source, target, existing="merge"), "user/1")[0] == "copy"


def test_times_that_do_not_exist_are_the_same_where_they_are_the_same() -> None:
    source = Terminal([user(1, "7")], zones={1: IMPOSSIBLE})
    assert said(plan_of(source, Terminal([user(9)], zones={1: IMPOSSIBLE}), existing="merge"), "user/1")[0] == "copy"
    other = Terminal([user(9)], zones={1: MORNING})
    plan = plan_of(source, other, existing="merge", answers={"capacity": "skip"})
    assert said(plan, "user/1") == ("needs_input", ("zone-table-unknown",))


def test_a_finger_goes_to_nobody_who_may_do_more_on_the_target_than_on_the_old_unit() -> None:
    source = Terminal([user(1)], {(1, 0): (1, A)}, zones={1: OFFICE})
    target = Terminal([user(1)], zones={1: FULL})
    plan = plan_of(source, target, existing="merge", answers={"capacity": "skip"})
    assert of(plan, "user/1").done
    assert said(plan, "fingerprint/1.0") == ("refuse", ("schedule-unsupported",))
    answers = {"capacity": "skip", "fingerprint/1.0": "override"}
    assert order(plan_of(source, target, existing="merge", answers=answers)) == ["put fingerprint/1.0"]
    silent = plan_of(source, Terminal([user(1)], tables=False))
    assert said(silent, "fingerprint/1.0") == ("needs_input", ("zone-table-unknown",))


def test_who_stays_while_tables_change_may_never_do_more_meanwhile() -> None:
    zones = {3: OFFICE, 4: bytes([0, 0, 23, 0]) * 7, 5: OFFICE}
    source = Terminal([user(1, group=2)], {(1, 0): (1, A)}, zones=zones, groups={2: group(3)})
    target = Terminal([user(1, group=2)], {(1, 0): (1, A)}, zones={3: OFFICE, 4: MORNING}, groups={2: group(4)})
    plan = plan_of(source, target, existing="replace")
    first = ["remove user/1", "put schedule/4", "put schedule/5", "put group/2"]
    assert order(plan) == [*first, "put user/1", "put fingerprint/1.0"], "between zone 4 and group 2 it could come in"
    assert not of(plan, "user/1").done
    assert {"user/1", "fingerprint/1.0"}.isdisjoint(plan.existing), "it comes back as it was"
    calm = plan_of(
        Terminal([user(1)], zones={1: OFFICE, 9: FULL}),
        Terminal([user(1)], zones={1: FULL, 9: OFFICE}),
        existing="replace",
    )
    assert order(calm) == ["put schedule/1", "remove schedule/9"]
    assert of(calm, "user/1").done
    assert not step(calm, "schedule/9", "remove").was_empty
    less = plan_of(
        Terminal([user(1)], zones={1: bytes([0, 0, 23, 0]) * 7}),
        Terminal([user(1)], zones={1: OFFICE}),
        existing="replace",
    )
    assert order(less) == ["put schedule/1"], "what the old unit allows anyhow may be allowed at once"
    people = [user(1, group=2), user(2, group=3)]
    mine = {3: OFFICE, 4: bytes([0, 0, 23, 0]) * 7, 5: OFFICE}
    two = plan_of(
        Terminal(people, zones=mine, groups={2: group(3), 3: group(5)}),
        Terminal(people, zones={3: OFFICE, 4: MORNING, 5: OFFICE}, groups={2: group(4), 3: group(4)}),
        existing="replace",
    )
    assert order(two)[:2] == ["remove user/1", "remove user/2"]
    apart = plan_of(
        Terminal(people, zones={**mine, 6: mine[4]}, groups={2: group(3), 3: group(5)}),
        Terminal(people, zones={3: OFFICE, 4: MORNING, 5: OFFICE, 6: MORNING}, groups={2: group(4), 3: group(6)}),
        existing="replace",
    )
    assert order(apart)[:2] == ["remove user/1", "remove user/2"], "one by zone 4, the other by zone 6"
    evening = bytes([18, 0, 20, 0]) * 7
    shrinking = plan_of(
        Terminal(people[:1], zones={3: MORNING, 5: evening}, groups={2: group(5)}),
        Terminal(people[:1], zones={3: OFFICE, 5: evening}, groups={2: group(3)}),
        existing="replace",
    )
    assert order(shrinking) == ["put schedule/3", "put group/2"], "less than on the target, then as on the old unit"


def test_zone_bits_may_mean_any_zone_so_nobody_with_them_stays_while_several_change() -> None:
    person = user(1, width=28, bits=1)
    target = Terminal([person], zones={9: OFFICE, 10: OFFICE}, width=28)
    plan = plan_of(Terminal([person], width=28), target, existing="replace")
    assert order(plan) == ["remove user/1", "remove schedule/9", "remove schedule/10", "put user/1"]
    one = plan_of(Terminal([person], width=28), Terminal([person], zones={9: OFFICE}, width=28), existing="replace")
    assert order(one) == ["remove schedule/9"]
    first = Terminal([user(1, width=28, bits=1), user(2, width=28, group=5)], zones={9: OFFICE, 10: OFFICE}, width=28)
    both = plan_of(Terminal([*first.users], width=28), first, existing="replace")
    assert order(both)[:1] == ["remove user/1"]
    assert of(both, "user/2").done


def test_while_somebody_stays_a_table_waits_for_the_one_before_it() -> None:
    source = Terminal([user(1), user(2)], {(1, 0): (1, A)}, zones={1: OFFICE, 2: OFFICE})
    plan = plan_of(source, Terminal([user(1)]), existing="replace")
    assert plan.needs["put", "schedule/1"] == ()
    assert plan.needs["put", "schedule/2"] == (("put", "schedule/1"),)
    assert plan.needs["put", "user/2"] == (("put", "schedule/1"),)
    assert plan.needs["put", "fingerprint/1.0"] == (("put", "schedule/1"),), "its user is there already"
    other = plan_of(source, Terminal([user(9)]), existing="replace")
    assert other.needs["put", "schedule/2"] == (("remove", "user/9"),)
    assert other.needs["put", "fingerprint/1.0"] == (("put", "user/1"),)


# ---- fingers --------------------------------------------------------------------------------------------------------


def test_a_finger_goes_with_its_flag() -> None:
    plan = plan_of(Terminal([user(1)], {(1, 4): (3, A)}))
    assert said(plan, "fingerprint/1.4") == ("copy", ())
    put = step(plan, "fingerprint/1.4")
    assert (put.kind, put.value, put.origin) == ("fingerprint", A, {"user_index": 1, "finger": 4, "flag": 3})
    assert put.was_empty


@pytest.mark.parametrize("there", [(1, A), (3, B)])
def test_another_flag_or_another_template_is_another_finger(there: tuple[int, bytes]) -> None:
    source, target = Terminal([user(1)], {(1, 0): (3, A)}), Terminal([user(1)], {(1, 0): there})
    plan = plan_of(source, target, existing="merge")
    assert said(plan, "fingerprint/1.0") == ("needs_input", ("capacity",))
    assert plan.overwrites == ()
    skipped = plan_of(source, target, existing="merge", answers={"capacity": "skip"})
    assert (skipped.overwrites, skipped.existing) == ((), ("fingerprint/1.0",))
    written = plan_of(source, target, existing="merge", answers={"capacity": "write"})
    assert order(written) == ["put fingerprint/1.0"]
    assert not step(written, "fingerprint/1.0").was_empty
    assert written.overwrites == written.existing == ("fingerprint/1.0",)
    assert plan_of(source, target, existing="replace").overwrites == ("fingerprint/1.0",)
    assert plan_of(source, target).existing == ("fingerprint/1.0",)
    torn = plan_of(source, target, unconfirmed=frozenset({"fingerprint/1.0"}))
    assert torn.executable
    assert step(torn, "fingerprint/1.0").was_empty


def test_two_entries_for_one_finger_of_the_target_are_not_done() -> None:
    target = Terminal([user(1)], {(1, 0): (1, A)}, more_fingers=[(1, 0, 1, B)])
    plan = plan_of(Terminal([user(1)], {(1, 0): (1, A)}), target, existing="replace")
    assert not of(plan, "fingerprint/1.0").done
    assert plan.overwrites == ("fingerprint/1.0", "fingerprint/1.0~2")


def test_two_templates_for_one_finger_of_the_backup_wait() -> None:
    source = Terminal([user(1)], {(1, 0): (1, A)}, more_fingers=[(1, 0, 1, B)])
    both = plan_of(source, answers={"uid-duplicate": "write"})
    assert said(both, "fingerprint/1.0") == ("copy", ("uid-duplicate",))
    assert said(both, "fingerprint/1.0~2") == ("needs_input", ("uid-duplicate",))
    same = Terminal([user(1)], {(1, 0): (1, A)}, more_fingers=[(1, 0, 1, A)])
    there = plan_of(same, Terminal([user(1)], {(1, 0): (1, A)}))
    assert of(there, "fingerprint/1.0").done
    assert said(there, "fingerprint/1.0~2") == ("needs_input", ("uid-duplicate",)), "one place holds one"
    one = plan_of(source, answers={"fingerprint/1.0": "skip", "fingerprint/1.0~2": "write"})
    assert step(one, "fingerprint/1.0~2").value == B
    assert one.executable


def test_a_template_of_nobody_can_only_stay_behind() -> None:
    source = Terminal([user(1)], more_fingers=[(8, 0, 1, A)])
    plan = plan_of(source, answers={"user-missing": "write"})
    assert said(plan, "fingerprint/8.0") == ("needs_input", ("user-missing",))
    assert said(plan_of(source, answers={"user-missing": "skip"}), "fingerprint/8.0") == ("skip", ("user-missing",))
    unread = source.snapshot
    unread = changed(unread, losses=(), credentials=tuple(changed(item, user=None) for item in unread.credentials))
    target = Terminal()
    for choice, outcome in ((None, "needs_input"), ("skip", "skip")):
        decisions = Decisions(answer=(Answer(reason="user-missing", choice=choice),) if choice else ())  # type: ignore[arg-type]
        plan = make_plan(
            unread,
            target.snapshot,
            target.unit,
            Policy(decisions=decisions),
            fitted=fitted(unread, target.snapshot),
        )
        assert said(plan, "fingerprint/8.0") == (outcome, ("user-missing",))


def test_a_finger_of_somebody_who_is_not_written_is_not_there_either() -> None:
    source, target = Terminal([user(1, "7")], {(1, 0): (1, A)}), Terminal([user(1, "8")], {(1, 0): (1, A)})
    plan = plan_of(source, target, existing="merge", answers={"capacity": "skip"})
    assert said(plan, "fingerprint/1.0") == ("skip", ("capacity",))
    assert not of(plan, "fingerprint/1.0").done
    assert plan.existing == ("user/1", "fingerprint/1.0")


def test_what_reading_says_of_other_things_is_no_doubt_about_people() -> None:
    mine, target = Terminal([user(1)]).snapshot, Terminal()
    losses = (
        Loss(record="user/1", stage="read", code="name-encoding"),
        Loss(record="user/1", stage="plan", code="uid-duplicate"),
    )
    mine = changed(mine, losses=losses)
    plan = make_plan(mine, target.snapshot, target.unit, Policy(), fitted=fitted(mine, target.snapshot))
    assert said(plan, "user/1") == ("copy", ())


def test_a_template_that_was_not_given_out_or_is_of_another_kind_means_that_the_person_comes() -> None:
    source = Terminal([user(1)], more_fingers=[(1, 0, 1, b""), (1, 1, 1, A)])
    plan = plan_of(source, Terminal(version=9))
    assert said(plan, "fingerprint/1.0") == ("re_enrol", ("template-unreadable",))
    assert said(plan, "fingerprint/1.1") == ("re_enrol", ("template-format",))
    assert "zk/zkfinger/10" in (of(plan, "fingerprint/1.1").detail or "")
    assert plan.executable
    assert order(plan) == ["put user/1"]
    held = Terminal([user(1)], {(1, 0): (1, B)}, version=9)
    assert said(plan_of(source, held, existing="merge"), "fingerprint/1.0") == ("re_enrol", ("template-unreadable",))
    target = Terminal()
    bare = changed(target.unit, capabilities=changed(target.unit.capabilities, credentials=CredentialCapabilities()))
    plan = make_plan(source.snapshot, target.snapshot, bare, Policy(), fitted=fitted(source.snapshot, target.snapshot))
    assert (of(plan, "fingerprint/1.1").detail or "").endswith("the target takes no templates")


def test_an_unreadable_finger_of_the_target_makes_room_like_any_other() -> None:
    target = Terminal([user(1, "8")], more_fingers=[(1, 0, 1, b"")])
    plan = plan_of(Terminal([user(1, "7")], {(1, 0): (1, A)}), target, existing="replace")
    assert plan.overwrites == ("user/1", "fingerprint/1.0")
    assert order(plan) == ["remove user/1", "put user/1", "put fingerprint/1.0"]


# ---- everything else ------------------------------------------------------------------------------------------------


def test_every_record_has_one_outcome_in_the_order_of_the_source() -> None:
    source = Terminal(
        [user(2, pin=b"1"), user(1, card=3, group=2)],
        {(2, 0): (1, A)},
        zones={2: OFFICE},
        groups={2: group(2)},
        combinations={2: beside(2)},
        keys={"access_key/zk.comm_key": "12"},
        log=bytes(8),
        options={"LockOn": "5", "MAC": "x"},
    )
    plan = plan_of(source)
    assert [record.key for record in plan.records] == [
        "user/2", "user/1", "pin/2", "card/1", "fingerprint/2.0", "group/1", "group/2", "combination/2", "schedule/1",
        "schedule/2", "setting/zk.LockOn", "setting/zk.MAC", "access_key/zk.comm_key", "log",
    ]  # fmt: skip
    assert said(plan, "access_key/zk.comm_key") == ("skip", ("admin-not-migrated",))
    assert said(plan, "log") == ("skip", ("log",))
    assert order(plan) == [
        "put schedule/2", "put group/2", "put combination/2", "put user/2", "put user/1", "put fingerprint/2.0",
    ]  # fmt: skip
    assert plan.to_write == 8
    assert [record.key for record in plan_of(Terminal()).records] == []


def test_a_setting_that_both_units_have_is_written_first() -> None:
    source = Terminal([user(1)], zones={1: OFFICE}, options={"LockOn": "9"})
    plan = plan_of(source, Terminal(options={"LockOn": "5"}))
    assert order(plan) == ["put setting/zk.LockOn", "put schedule/1", "put user/1"]


def test_administrators_are_counted() -> None:
    plan = plan_of(Terminal([user(1, privilege=14), user(2, privilege=6), user(3, privilege=1), user(4)]))
    assert "2 of the users have administration rights, which move with them" in plan.warnings
    assert not [text for text in plan_of(Terminal([user(1)])).warnings if "administration" in text]
    skipped = plan_of(Terminal([user(1, "7", privilege=14), user(2, "7")]), answers={"user-id-duplicate": "skip"})
    assert not [text for text in skipped.warnings if "administration" in text]


def test_consent_is_warned_about_or_demanded() -> None:
    source = Terminal([user(1)], {(1, 0): (1, A)})
    assert [text for text in plan_of(source).warnings if text.startswith("consent")]
    assert not [text for text in plan_of(source, consent_ref="file 7").warnings if text.startswith("consent")]
    assert not [text for text in plan_of(source, Terminal(simulated=True)).warnings if text.startswith("consent")]
    assert not [text for text in plan_of(Terminal([user(1)])).warnings if text.startswith("consent")]
    assert plan_of(source, require_consent=True).blocked_by == ("consent",)
    assert plan_of(source, require_consent=True, consent_ref="file 7").executable


def test_a_face_is_enrolled_again_and_a_pin_of_nobody_can_stay_behind() -> None:
    snapshot = Terminal([user(1)]).snapshot
    face = Credential(key="face/1", origin={}, credential_type="Face", user="user/1", data_state="present_unreadable")
    pin = Credential(key="pin/9", origin={}, credential_type="PIN", data=PinData(digits=Secret("1")))
    card = Credential(key="card/9", origin={}, credential_type="RFID")
    snapshot = changed(snapshot, credentials=(face, pin, card))
    target = Terminal()

    def planned(*answers: Answer) -> Plan:
        policy = Policy(decisions=Decisions(answer=answers))
        found = fitted(snapshot, target.snapshot)
        return make_plan(snapshot, target.snapshot, target.unit, policy, fitted=found)

    plan = planned()
    assert (of(plan, "face/1").kind, *said(plan, "face/1")) == ("face", "re_enrol", ("template-format",))
    assert [(of(plan, key).kind, *said(plan, key)) for key in ("pin/9", "card/9")] == [
        ("pin", "needs_input", ("user-missing",)),
        ("card", "needs_input", ("user-missing",)),
    ]
    assert planned(Answer(reason="user-missing", choice="skip")).executable
    assert not planned(Answer(reason="user-missing", choice="write")).executable


def test_what_was_named_and_is_not_there_is_said() -> None:
    assert "--with address: the backup holds none" in plan_of(Terminal(), with_=frozenset({"address"})).warnings


def test_steps_are_known_by_what_they_do_and_to_what() -> None:
    put = Step(key="user/1", kind="user", action="put", origin={})
    assert step_id(put) == ("put", "user/1")


def test_no_batch_holds_a_key_twice_or_two_steps_that_rest_on_each_other() -> None:
    source = Terminal([user(1, "7", pin=b"1"), user(2)], {(1, 0): (1, A), (2, 0): (1, A)}, zones={1: OFFICE})
    target = Terminal([user(1, "8"), user(9)], {(1, 0): (1, B)})
    plan = plan_of(source, target, existing="replace")
    cut = list(_batches(plan, 20))
    assert [[f"{step.action} {step.key}" for step in batch] for batch in cut] == [
        ["remove user/1", "remove user/9"],
        ["put schedule/1"],
        ["put user/1", "put user/2"],
        ["put fingerprint/1.0", "put fingerprint/2.0"],
    ]
    assert [len(batch) for batch in _batches(plan, 1)] == [1] * len(plan.steps)
    alone = Draft(steps=[*plan.steps[:2], plan.steps[3]], records=list(plan.records))
    loose = alone.finish(Policy(), target.unit, writable=True)
    assert [len(batch) for batch in _batches(loose, 20)] == [2, 1], "user/1 is cleared and written under one key"
    carried = [replace_step(plan.steps[0], also=("fingerprint/2.0",)), plan.steps[5], plan.steps[6]]
    loose = Draft(steps=carried).finish(Policy(), target.unit, writable=True)
    assert [len(batch) for batch in _batches(loose, 20)] == [2, 1], "what a step carries counts too"


# ---- what tables allow ----------------------------------------------------------------------------------------------

PLAIN: Final = Member(1, None, 0, 0)


def right(member: Member = PLAIN, **tables: Any) -> Right:
    return Doors.of(Terminal(**tables).snapshot).right(member)


def minutes(*windows: tuple[int, int, int]) -> int:
    """Day, first and last minute."""
    found = 0
    for day, start, end in windows:
        found |= ((1 << end) - (1 << start)) << 1440 * day
    return found


def test_zones_of_one_holder_unite_and_a_window_that_ends_before_it_begins_is_closed() -> None:
    two = bytes([8, 0, 9, 0]) + bytes([23, 59, 0, 0]) * 6
    three = bytes([23, 59, 0, 0]) + bytes([10, 30, 11, 0]) + bytes([23, 59, 0, 0]) * 5
    tables = {"zones": {2: two, 3: three}, "groups": {1: group(2, 3)}}
    assert right(**tables).minutes == minutes((0, 480, 540), (1, 630, 660))
    assert right(Member(1, (3,), 0, 0), **tables).minutes == minutes((1, 630, 660))
    assert right(Member(1, (), 0, 0), **tables).minutes == 0, "own flag without a table is never"
    assert right(zones={1: IMPOSSIBLE}).minutes is None
    assert right(zones={1: bytes([0, 0, 24, 0]) * 7}).minutes == (1 << 7 * 1440) - 1
    assert right(groups={1: group()}).minutes is None
    assert right().minutes == ALWAYS


def test_the_own_style_counts_before_the_groups() -> None:
    assert right(groups={1: group(1, style=0x89)}).style == 9
    assert right(Member(1, None, 0, 4), groups={1: group(1, style=0x89)}).style == 4
    assert right(groups={1: group(1, style=0x89)}).holidays
    assert right().holidays is False
    assert member_of(Terminal([user(1)], styles={1: 0x83}).snapshot.users[0]) == Member(1, None, 0, 3)
    assert member_of(Terminal([user(1, own=(3, 2), group=7)]).snapshot.users[0]) == Member(7, (2, 3), 0, 0)
    assert member_of(Terminal([user(1, own=())]).snapshot.users[0]) == Member(1, (), 0, 0)
    narrow = Terminal([user(1, bits=6, width=28, group=3)], width=28).snapshot.users[0]
    assert member_of(narrow) == Member(3, None, 6, 0)


def test_who_is_in_no_combination_cannot_open() -> None:
    assert right().beside == {((), b"")}
    assert right(combinations={1: bytes(7)}).beside == frozenset()
    assert right(combinations={1: beside(1, 2, 1), 5: beside(1, 3)}).beside == {((1, 2), b""), ((3,), b"")}
    assert right(Member(0, None, 0, 0)).beside == frozenset()


@pytest.mark.parametrize("field_name", ["minutes", "style", "holidays", "beside"])
def test_what_is_not_known_grants_nothing_on_a_source_and_everything_on_a_target(field_name: str) -> None:
    times = frozenset({b"x"})
    limited = Right(minutes((0, 0, 5)), times, 9, True, frozenset({((2,), b"")}))
    free = Right(ALWAYS, times, 0, False, frozenset({((), b"")}))
    unknown = changed_right(limited, **{field_name: None, **({"times": None} if field_name == "minutes" else {})})
    assert more(limited, limited) == ()
    assert more(limited, unknown) == ("zone-table-unknown",)
    assert more(unknown, limited) == ("zone-table-unknown",)
    nothing_known = Right(None, None, None, None, None)
    assert more(nothing_known, free) == ()
    assert more(nothing_known, limited) == ("zone-table-unknown",)
    assert more(free, nothing_known) == ("zone-table-unknown",)


def changed_right(right: Right, **values: Any) -> Right:
    kept = {name: getattr(right, name) for name in ("minutes", "times", "style", "holidays", "beside")}
    return Right(**{**kept, **values})


@pytest.mark.parametrize(
    ("new", "old", "is_more"),
    [
        (1, 0, False), (0, 1, True), (5, 0, False), (9, 1, False), (9, 3, False), (1, 9, True), (12, 9, False),
        (8, 1, False), (1, 8, True), (2, 0, True), (8, 2, False), (13, 8, False), (14, 14, False), (14, 10, True),
        (10, 14, True), (77, 77, False), (77, 0, True), (7, 5, True), (3, 7, False),
    ],
)  # fmt: skip
def test_a_style_is_more_where_less_has_to_be_proven(new: int, old: int, is_more: bool) -> None:
    mine = [changed_right(right(), style=style) for style in (new, old)]
    assert more(*mine) == (("rule-unsupported",) if is_more else ())


WAYS: Final = {
    0: ["F", "W", "C"], 1: ["F"], 2: ["P"], 3: ["W"], 4: ["C"], 5: ["F", "W"], 6: ["F", "C"], 7: ["W", "C"],
    8: ["PF"], 9: ["FW"], 10: ["FC"], 11: ["WC"], 12: ["FWC"], 13: ["PFW"],
}  # fmt: skip
"""Section 8 once more, by hand: finger, password, card, the id typed in."""


@pytest.mark.parametrize("style", range(14))
def test_every_style_is_held_against_every_way_alone(style: int) -> None:
    for other, (single, *more_ways) in WAYS.items():
        if more_ways or len(single) > 1:
            continue
        is_less = all(single in way for way in WAYS[style])
        rights = [changed_right(right(), style=number) for number in (style, other)]
        assert (more(*rights) == ()) == is_less, other
    both = [changed_right(right(), style=number) for number in (style, 0)]
    assert (more(*both) == ()) == all(set(way) & set("FWC") for way in WAYS[style])


def test_tables_that_were_never_read_stand_for_a_new_unit() -> None:
    paper = Snapshot(metadata=Metadata(), lock=Terminal().snapshot.lock, capabilities=Terminal().snapshot.capabilities)
    assert Doors.of(paper).right(PLAIN) == right()
    assert all(Doors.of(paper).knows(kind) for kind in LAYOUTS)
    assert [Doors.of(paper).content(kind, 2) for kind in LAYOUTS] == [FULL, bytes(7), bytes(7)]
    assert [Doors.of(paper).content(kind, 1) for kind in LAYOUTS] == [FULL, group(1), beside(1)]
    unread = Doors.of(Terminal([user(1)], tables=False).snapshot)
    assert not any(unread.knows(kind) for kind in LAYOUTS)
    assert unread.right(PLAIN) == Right(None, None, None, None, None)
    assert unread.right(PLAIN, presumed=True) == Right(ALWAYS, None, 0, False, frozenset({((), b"")}))
    assert unread.right(Member(2, None, 0, 0), presumed=True) == Right(None, None, None, None, None)
    assert unread.right(Member(1, (4,), 0, 3), presumed=True) == Right(None, None, 3, False, frozenset({((), b"")}))


def test_putting_a_table_leaves_the_others_as_they_were() -> None:
    doors = Doors.of(Terminal().snapshot)
    after = doors.put("schedule", 1, OFFICE)
    assert after.content("schedule", 1) == OFFICE
    assert doors.content("schedule", 1) == FULL
    assert after.content("group", 1) == group(1)
    assert after.content("schedule", 51) is None


def test_who_rests_on_what() -> None:
    doors = Doors.of(Terminal(groups={2: group(3, 4)}, combinations={2: beside(2, 5)}).snapshot)
    two = Member(2, None, 0, 0)
    assert [number for number in range(1, 9) if doors.rests(two, "schedule", number)] == [3, 4]
    assert [number for number in range(1, 9) if doors.rests(two, "group", number)] == [2]
    assert [number for number in range(1, 9) if doors.rests(two, "combination", number)] == [2]
    assert [number for number in range(1, 9) if doors.rests(Member(2, (7,), 0, 0), "schedule", number)] == [7]
    assert not doors.rests(Member(0, None, 0, 0), "combination", 3)
    assert not doors.rests(Member(0, None, 0, 0), "schedule", 3)
    assert doors.rests(Member(1, None, 1, 0), "schedule", 44), "what zone bits mean is not known"
    assert doors.rests(Member(None, None, 0, 0), "group", 44), "nor is what such a record rests on"
    assert doors.rests(Member(150, None, 0, 0), "schedule", 44)
