"""The rules of planning for EF01 modules, one sentence each, and what must hold for every plan there is."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockmigrate.errors import ConfigError
from lockmigrate.model.capabilities import Capabilities, CredentialCapabilities, CredentialCapability
from lockmigrate.model.document import Metadata, Snapshot, Table
from lockmigrate.model.records import (
    LOSS_CODES,
    AccessKey,
    Attachment,
    Credential,
    Lock,
    RawRef,
    Setting,
    TemplateData,
)
from lockmigrate.model.results import RecordResult, Unit
from lockmigrate.model.secret import Secret
from lockmigrate.model.steps import Step
from lockmigrate.planning.plan import Plan, make_plan
from lockmigrate.planning.policy import Answer, Decisions, Policy, parse_with, read_decisions

SIZE = 8
PASSWORD = "access_key/ef01.password"
LEVEL = "setting/ef01.security_level"
ADDRESS = "setting/ef01.address"


def template(number: int, size: int = SIZE) -> bytes:
    return bytes([number % 256, number // 256]) * (size // 2)


def page(number: int) -> bytes:
    return bytes([number]) * 32


class Module:
    """An EF01 module as planning sees it; steps can be applied to it."""

    def __init__(
        self,
        templates: dict[int, bytes | None] | None = None,
        *,
        slots: int | None = 20,
        size: int | None = SIZE,
        owner: str = "classic-0000",
        algorithm: str = "A1",
        level: int | None = 3,
        address: str = "ffffffff",
        notepad: dict[int, bytes] | None = None,
        pages: int = 16,
        keys: dict[str, bytes] | None = None,
        family: str = "ef01",
        writable: str = "data",
        first_slot: int = 0,
        last_slot: int | None = None,
    ) -> None:
        self.first_slot, self.last_slot = first_slot, last_slot
        self.templates = dict(templates or {})
        self.slots, self.size, self.owner, self.algorithm = slots, size, owner, algorithm
        self.level, self.address, self.family, self.writable = level, address, family, writable
        self.notepad, self.pages, self.keys = dict(notepad or {}), pages, dict(keys or {})

    def format_of(self, size: int | None) -> str:
        return f"{self.family}/{self.owner}/{self.algorithm}/{size or '?'}"

    @property
    def unit(self) -> Unit:
        held = next((len(item) for item in self.templates.values() if item), None)
        capability = CredentialCapability(
            slots=self.slots,
            used=len(self.templates),
            first_slot=self.first_slot,
            last_slot=self.last_slot,
            readback="full",
            writable=self.writable,  # type: ignore[arg-type]
            template_formats=(self.format_of(held or self.size),),
        )
        return Unit(
            id="new",
            serial=None,
            family=self.family,
            model=None,
            firmware=None,
            profile="ef01",
            target="sim://ef01",
            capabilities=Capabilities(credentials=CredentialCapabilities(fingerprint=capability)),
        )

    @property
    def snapshot(self) -> Snapshot:
        table, credentials = b"", []
        for slot, data in sorted(self.templates.items()):
            known = None
            if data is not None:
                known = TemplateData(
                    template_format=self.format_of(len(data)),
                    template=RawRef(attachment="0006-templates", offset=len(table), size=len(data)),
                    size=len(data),
                    sha256=hashlib.sha256(data).hexdigest(),
                )
                table += data
            credentials.append(
                Credential(
                    key=f"fingerprint/{slot}",
                    origin={"credential_index": slot},
                    credential_type="Fingerprint",
                    data_state="known" if known else "present_unreadable",
                    data=known,
                )
            )
        parameters = []
        if self.level is not None:
            parameters = [
                Setting(key=LEVEL, value=self.level, portable=True),
                Setting(key=ADDRESS, value=self.address, device_bound=True),
                Setting(key="setting/ef01.baud", value=57600, unit="baud", device_bound=True),
            ]
        notes = [
            Setting(key=f"setting/ef01.notepad.{number}", hidden=Secret(data), portable=True)
            for number, data in sorted(self.notepad.items())
            if data not in (bytes(32), b"\xff" * 32)
        ]
        tables = [Table(name="0006-templates", data=table, rows=len(credentials), read_at_utc="")]
        if self.pages:
            tables.append(Table(name="0003-notepad", data=bytes(32 * self.pages), rows=self.pages, read_at_utc=""))
        return Snapshot(
            metadata=Metadata(),
            lock=Lock(family=self.family, protocol={"name": self.family, "variant": self.owner.partition("-")[0]}),
            capabilities=Capabilities(),
            credentials=tuple(credentials),
            settings=(*parameters, *notes),
            access_keys=tuple(AccessKey(key=key, kind="x", secret=Secret(data)) for key, data in self.keys.items()),
            attachments=(
                Attachment(
                    id="0006-templates",
                    entry="raw/0006-templates.bin",
                    offset=0,
                    size=len(table),
                    sha256=hashlib.sha256(table).hexdigest(),
                ),
            ),
            tables=tuple(tables),
        )

    def apply(self, steps: tuple[Step, ...]) -> None:
        """Do what the steps say, as a module that takes everything."""
        self.size = next((len(item) for item in self.templates.values() if item), self.size)  # once seen, known
        for step in steps:
            if step.action == "remove":
                del self.templates[step.origin["credential_index"]]
            elif step.kind == "fingerprint":
                assert isinstance(step.value, bytes)
                self.templates[step.origin["credential_index"]] = step.value
            elif step.kind == "access_key":
                assert isinstance(step.value, bytes)
                self.keys[step.key] = step.value
            elif step.key == LEVEL:
                assert isinstance(step.value, int)
                self.level = step.value
            elif step.key == ADDRESS:
                self.address = f"{step.value:08x}"
            else:
                assert isinstance(step.value, bytes)
                self.notepad[step.origin["page"]] = step.value


def plan(old: Module, new: Module, *, unconfirmed: frozenset[str] = frozenset(), **policy: Any) -> Plan:
    return make_plan(old.snapshot, new.snapshot, new.unit, Policy(**policy), unconfirmed=unconfirmed)


def answers(*given_answers: Answer) -> Decisions:
    return Decisions(answer=given_answers)


def record(made: Plan, key: str) -> RecordResult:
    found = [item for item in made.records if item.key == key]
    assert len(found) == 1
    return found[0]


def puts(made: Plan, kind: str = "fingerprint") -> dict[int, bytes]:
    return {
        step.origin["credential_index"]: step.value  # type: ignore[misc]
        for step in made.steps
        if step.kind == kind and step.action == "put"
    }


# ---- an empty target, an equal one, one in use ----------------------------------------------------------------------


def test_every_template_is_copied_to_its_own_slot_of_an_empty_target() -> None:
    made = plan(Module({2: template(1), 7: template(2)}), Module())
    assert made.executable
    assert puts(made) == {2: template(1), 7: template(2)}
    assert all(step.was_empty for step in made.steps)
    assert record(made, "fingerprint/7") == RecordResult(key="fingerprint/7", kind="fingerprint", outcome="copy")
    assert (made.to_write, made.removals, made.existing) == (2, (), ())


def test_equal_records_count_as_done_and_need_no_option() -> None:
    made = plan(Module({2: template(1), 7: template(2)}), Module({2: template(1)}))
    assert made.executable
    assert made.existing == ()
    assert puts(made) == {7: template(2)}
    assert (record(made, "fingerprint/2").done, record(made, "fingerprint/2").proof) == (True, "V4")


def test_a_target_with_something_else_on_it_is_blocked_until_somebody_decides() -> None:
    made = plan(Module({2: template(1)}), Module({5: template(9)}))
    assert made.blocked_by == ("target-not-empty",)
    assert made.existing == ("fingerprint/5",)
    assert made.removals == ()


def test_merge_keeps_what_is_there() -> None:
    made = plan(Module({2: template(1)}), Module({5: template(9)}), existing="merge")
    assert made.executable
    assert [step.action for step in made.steps] == ["put"]
    assert made.existing == ("fingerprint/5",)


def test_replace_removes_what_is_surplus_after_everything_was_written() -> None:
    old = Module({2: template(1), 6: template(3)}, level=5)
    made = plan(old, Module({1: template(8), 5: template(9), 6: template(7)}), existing="replace")
    assert made.executable
    assert made.removals == ("fingerprint/1", "fingerprint/5")
    assert [(step.key, step.action) for step in made.steps] == [
        (LEVEL, "put"),
        ("fingerprint/2", "put"),
        ("fingerprint/6", "put"),
        ("fingerprint/1", "remove"),
        ("fingerprint/5", "remove"),
    ]


def test_settings_and_notepad_of_the_target_do_not_make_it_not_empty() -> None:
    assert plan(Module({2: template(1)}), Module(level=1, notepad={0: page(7)})).executable


# ---- a slot that holds another finger -------------------------------------------------------------------------------


def test_a_slot_with_another_finger_blocks_while_nothing_is_decided() -> None:
    made = plan(Module({2: template(1)}), Module({2: template(9)}))
    assert made.blocked_by == ("target-not-empty",)
    assert made.existing == ("fingerprint/2",)


def test_replace_overwrites_another_finger_and_knows_that_the_slot_was_not_empty() -> None:
    made = plan(Module({2: template(1)}), Module({2: template(9)}), existing="replace")
    assert made.removals == ()
    assert [(step.action, step.was_empty) for step in made.steps] == [("put", False)]


def test_merge_asks_about_a_slot_with_another_finger() -> None:
    made = plan(Module({2: template(1)}), Module({2: template(9)}), existing="merge")
    assert made.blocked_by == ("needs-input",)
    assert record(made, "fingerprint/2").outcome == "needs_input"
    assert record(made, "fingerprint/2").reasons == ("capacity",)
    assert made.steps == ()


def test_a_conflict_is_answered_by_skipping_or_by_a_free_slot_and_never_by_writing_over() -> None:
    old, new = Module({2: template(1)}), Module({2: template(9)})
    skipped = plan(old, new, existing="merge", decisions=answers(Answer(key="fingerprint/2", choice="skip")))
    assert (skipped.executable, record(skipped, "fingerprint/2").outcome, skipped.steps) == (True, "skip", ())
    moved = plan(old, new, existing="merge", decisions=answers(Answer(key="fingerprint/2", choice="value", value=4)))
    assert (moved.executable, record(moved, "fingerprint/2").outcome) == (True, "adjust")
    assert puts(moved) == {4: template(1)}
    for choice in ("write", "override"):
        asked = plan(old, new, existing="merge", decisions=answers(Answer(reason="capacity", choice=choice)))  # type: ignore[arg-type]
        assert asked.blocked_by == ("needs-input",)


def test_a_slot_that_the_journal_shows_unconfirmed_counts_as_not_written() -> None:
    old, new = Module({2: template(1)}), Module({2: template(9)})
    made = plan(old, new, unconfirmed=frozenset({"fingerprint/2"}))
    assert made.executable
    assert [(step.key, step.was_empty) for step in made.steps] == [("fingerprint/2", True)]
    assert made.existing == ()


def test_the_journal_is_not_asked_where_the_slot_reads_back_equal() -> None:
    made = plan(Module({2: template(1)}), Module({2: template(1)}), unconfirmed=frozenset({"fingerprint/2"}))
    assert record(made, "fingerprint/2").done
    assert made.steps == ()


def test_a_planned_slot_that_the_target_cannot_read_counts_as_not_written() -> None:
    made = plan(Module({2: template(1)}), Module({2: None}))
    assert made.executable
    assert [(step.key, step.was_empty) for step in made.steps] == [("fingerprint/2", True)]


def test_an_unreadable_slot_that_nothing_goes_to_is_somebodys() -> None:
    assert plan(Module({2: template(1)}), Module({3: None})).blocked_by == ("target-not-empty",)


# ---- templates that do not fit --------------------------------------------------------------------------------------


def test_a_template_that_the_old_unit_did_not_give_out_has_to_be_enrolled_again() -> None:
    made = plan(Module({2: template(1), 3: None}), Module())
    lost = record(made, "fingerprint/3")
    assert (lost.outcome, lost.reasons) == ("re_enrol", ("template-unreadable",))
    assert made.executable
    assert [(loss.record, loss.stage, loss.code) for loss in made.losses] == [
        ("fingerprint/3", "plan", "template-unreadable")
    ]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (Module(size=16), "template-size"),
        (Module(owner="hilink"), "template-dialect"),
        (Module(owner="hilink", size=16), "template-dialect"),
        (Module(writable="none"), "template-format"),
    ],
)
def test_templates_of_another_kind_have_to_be_enrolled_again(target: Module, reason: str) -> None:
    old = Module({2: template(1)}, level=None)
    made = plan(old, target)
    assert (record(made, "fingerprint/2").outcome, record(made, "fingerprint/2").reasons) == ("re_enrol", (reason,))
    assert made.steps == ()
    assert made.blocked_by == ("wrong-target",)


def test_only_the_template_of_another_size_is_lost() -> None:
    made = plan(Module({2: template(1), 3: template(2, 16)}), Module())
    assert made.executable
    assert record(made, "fingerprint/3").reasons == ("template-size",)
    assert puts(made) == {2: template(1)}


def test_a_target_that_can_take_none_of_the_readable_templates_is_the_wrong_one() -> None:
    made = plan(Module({2: template(1), 3: None}), Module(size=16))
    assert made.blocked_by == ("wrong-target",)


def test_a_backup_of_unreadable_templates_alone_does_not_make_the_target_wrong() -> None:
    assert plan(Module({3: None}), Module()).blocked_by == ()


def test_a_target_of_another_family_is_the_wrong_one_even_without_people() -> None:
    assert "wrong-target" in plan(Module(), Module(family="zk")).blocked_by


@pytest.mark.parametrize("target", [Module(algorithm="B2"), Module(owner="classic-0009")])
def test_a_look_alike_is_a_question(target: Module) -> None:
    old = Module({2: template(1), 3: template(2)})
    made = plan(old, target)
    assert made.blocked_by == ("needs-input",)
    assert record(made, "fingerprint/2").outcome == "needs_input"
    assert record(made, "fingerprint/2").reasons == ("template-look-alike",)
    assert puts(made) == {}


def test_accept_look_alike_answers_for_all() -> None:
    made = plan(Module({2: template(1), 3: template(2)}), Module(algorithm="B2"), accept_look_alike=True)
    assert made.executable
    assert set(puts(made)) == {2, 3}


def test_decisions_answer_look_alikes_by_key_before_reason() -> None:
    decisions = answers(
        Answer(reason="template-look-alike", choice="write"), Answer(key="fingerprint/3", choice="skip")
    )
    made = plan(Module({2: template(1), 3: template(2)}), Module(algorithm="B2"), decisions=decisions)
    assert made.executable
    assert set(puts(made)) == {2}
    assert record(made, "fingerprint/3").outcome == "skip"
    assert record(made, "fingerprint/3").reasons == ("template-look-alike",)


def test_a_decision_by_key_stands_over_the_option_for_all() -> None:
    decisions = answers(Answer(key="fingerprint/3", choice="skip"))
    old = Module({2: template(1), 3: template(2)})
    made = plan(old, Module(algorithm="B2"), accept_look_alike=True, decisions=decisions)
    assert set(puts(made)) == {2}


def test_a_look_alike_that_is_there_already_is_not_asked_about_again() -> None:
    made = plan(Module({2: template(1)}), Module({2: template(1)}, algorithm="B2"))
    assert made.executable
    assert record(made, "fingerprint/2").done


def test_a_size_that_nobody_states_is_a_warning_and_a_sample_to_try_in_memory() -> None:
    made = plan(Module({2: template(1)}), Module(size=None))
    assert made.executable
    assert made.sample == template(1)
    assert any(text.startswith("template-size-unverified") for text in made.warnings)
    assert plan(Module({2: template(1)}), Module()).sample is None


def test_an_accepted_look_alike_of_unknown_size_is_tried_in_memory_too() -> None:
    made = plan(Module({2: template(1)}), Module(size=None, algorithm="B2"), accept_look_alike=True)
    assert made.executable
    assert made.sample == template(1)


def test_nothing_is_tried_in_memory_where_nothing_is_written() -> None:
    assert plan(Module(), Module(size=None)).sample is None


# ---- slots that the target has not ----------------------------------------------------------------------------------


def test_a_template_beyond_the_capacity_is_never_moved_silently() -> None:
    made = plan(Module({2: template(1), 25: template(2)}), Module(slots=20))
    asked = record(made, "fingerprint/25")
    assert (asked.outcome, asked.reasons) == ("needs_input", ("capacity",))
    assert made.blocked_by == ("needs-input",)
    assert puts(made) == {2: template(1)}


def test_a_person_gives_a_template_beyond_the_capacity_another_slot() -> None:
    decisions = answers(Answer(key="fingerprint/25", choice="value", value=4))
    old, new = Module({2: template(1), 25: template(2)}), Module(slots=20)
    made = plan(old, new, decisions=decisions)
    assert made.executable
    assert record(made, "fingerprint/25").outcome == "adjust"
    assert puts(made) == {2: template(1), 4: template(2)}
    new.apply(made.steps)
    again = plan(old, new, decisions=decisions)
    assert again.executable
    assert again.steps == ()
    assert record(again, "fingerprint/25").done


@pytest.mark.parametrize("value", [2, 20, -1, 25, 5, "4"])
def test_a_decided_slot_has_to_exist_and_to_be_free(value: int | str) -> None:
    decisions = answers(Answer(key="fingerprint/25", choice="value", value=value))
    old, new = Module({2: template(1), 25: template(2)}), Module({5: template(9)}, slots=20)
    made = plan(old, new, existing="merge", decisions=decisions)
    assert made.blocked_by == ("needs-input",)
    assert set(puts(made)) == {2}


def test_two_templates_are_never_decided_into_one_slot() -> None:
    decisions = answers(Answer(reason="capacity", choice="value", value=4))
    made = plan(Module({25: template(1), 26: template(2)}), Module(slots=20), decisions=decisions)
    assert made.blocked_by == ("needs-input",)
    assert puts(made) == {4: template(1)}


@pytest.mark.parametrize("choice", ["write", "override", "suggest"])
def test_only_skip_and_a_slot_answer_a_lack_of_room(choice: Any) -> None:
    decisions = answers(Answer(reason="capacity", choice=choice))
    made = plan(Module({25: template(1)}), Module(slots=20), decisions=decisions)
    assert made.blocked_by == ("needs-input",)
    skip = answers(Answer(reason="capacity", choice="skip"))
    assert plan(Module({25: template(1)}), Module(slots=20), decisions=skip).executable


def test_a_look_alike_beyond_the_capacity_can_be_answered_twice() -> None:
    decisions = answers(Answer(key="fingerprint/25", choice="value", value=4))
    old, new = Module({25: template(1)}), Module(slots=20, algorithm="B2")
    assert plan(old, new, decisions=decisions).blocked_by == ("needs-input",)
    made = plan(old, new, decisions=decisions, accept_look_alike=True)
    assert made.executable
    assert puts(made) == {4: template(1)}
    assert record(made, "fingerprint/25").outcome == "adjust"
    assert set(record(made, "fingerprint/25").reasons) == {"capacity", "template-look-alike"}


# ---- settings, notepad, keys ----------------------------------------------------------------------------------------


def test_the_security_level_moves_when_it_differs_and_is_listed() -> None:
    made = plan(Module(level=5), Module(level=3))
    assert record(made, LEVEL).outcome == "copy"
    assert record(made, LEVEL).detail == "3 → 5"
    assert [(step.key, step.value) for step in made.steps] == [(LEVEL, 5)]
    assert record(plan(Module(level=3), Module(level=3)), LEVEL).done


def test_the_security_level_of_another_dialect_or_of_none_is_skipped() -> None:
    for target in (Module(owner="hilink", level=18), Module(level=None)):
        made = plan(Module(level=5), target)
        assert record(made, LEVEL).outcome == "skip"
        assert record(made, LEVEL).reasons == ("setting-unsupported",)


def test_device_bound_settings_stay_with_their_unit() -> None:
    made = plan(Module(address="00000001"), Module())
    for key in (ADDRESS, "setting/ef01.baud"):
        assert (record(made, key).outcome, record(made, key).reasons) == ("skip", ("device-bound",))
    assert made.steps == ()


def test_a_notepad_page_goes_where_the_targets_is_blank() -> None:
    for blank in ({}, {3: bytes(32)}, {3: b"\xff" * 32}):
        made = plan(Module(notepad={3: page(1)}), Module(notepad=blank))
        assert record(made, "setting/ef01.notepad.3").outcome == "copy"
        assert [(step.origin, step.value) for step in made.steps] == [({"page": 3}, page(1))]


def test_an_equal_notepad_page_is_done() -> None:
    made = plan(Module(notepad={3: page(1)}), Module(notepad={3: page(1)}))
    assert record(made, "setting/ef01.notepad.3").done
    assert made.steps == ()


def test_a_notepad_page_in_use_is_left_alone() -> None:
    made = plan(Module(notepad={3: page(1)}), Module(notepad={3: page(2)}), existing="replace")
    assert record(made, "setting/ef01.notepad.3").outcome == "skip"
    assert record(made, "setting/ef01.notepad.3").reasons == ("notepad-in-use",)
    assert (made.steps, made.executable) == ((), True)


def test_a_notepad_page_in_use_is_overwritten_by_name_and_last() -> None:
    old, new = Module({2: template(1)}, notepad={3: page(1)}), Module(notepad={3: page(2)})
    made = plan(old, new, with_=frozenset({"notepad"}))
    assert [step.key for step in made.steps] == ["fingerprint/2", "setting/ef01.notepad.3"]


def test_a_page_that_the_target_has_not_is_skipped() -> None:
    for target in (Module(pages=0), Module(pages=15)):
        made = plan(Module(notepad={15: page(1)}), target)
        assert record(made, "setting/ef01.notepad.15").reasons == ("setting-unsupported",)
        assert made.steps == ()


def test_address_and_password_move_only_by_name_and_after_everything_else() -> None:
    old = Module({2: template(1)}, address="00000001", keys={PASSWORD: b"\1\2\3\4"})
    assert [step.key for step in plan(old, Module()).steps] == ["fingerprint/2"]
    new = Module()
    both = frozenset({"address", "password"})
    made = plan(old, new, with_=both)
    assert [(step.key, step.value) for step in made.steps[1:]] == [(ADDRESS, 1), (PASSWORD, b"\1\2\3\4")]
    new.apply(made.steps)
    again = plan(old, new, with_=both)
    assert again.steps == ()
    assert record(again, PASSWORD).done


def test_access_keys_are_listed_and_never_migrated() -> None:
    old = Module(keys={PASSWORD: b"\1\2\3\4", "access_key/ef01.infopage": bytes(8)})
    made = plan(old, Module(), with_=frozenset({"notepad", "address"}))
    for key in old.keys:
        assert record(made, key).kind == "access_key"
        assert (record(made, key).outcome, record(made, key).reasons) == ("skip", ("admin-not-migrated",))
    assert made.executable
    assert made.steps == ()


def test_the_information_page_moves_by_no_name_at_all() -> None:
    old = Module(keys={"access_key/ef01.infopage": bytes(8)})
    assert plan(old, Module(), with_=frozenset({"notepad", "address", "password"})).steps == ()


def test_a_thing_named_that_the_backup_does_not_hold_is_said() -> None:
    warnings = plan(Module(), Module(), with_=frozenset({"password"})).warnings
    assert any("--with password" in text for text in warnings)


# ---- consent --------------------------------------------------------------------------------------------------------


def test_moving_fingerprints_without_a_consent_reference_warns_and_the_policy_may_refuse() -> None:
    old = Module({2: template(1)})
    made = plan(old, Module())
    assert made.executable
    assert any(text.startswith("consent") for text in made.warnings)
    assert plan(old, Module(), require_consent=True).blocked_by == ("consent",)
    given_reference = plan(old, Module(), require_consent=True, consent_ref="CR-7")
    assert given_reference.executable
    assert not given_reference.warnings
    assert plan(Module(), Module(), require_consent=True).executable


# ---- what a plan shows ----------------------------------------------------------------------------------------------


def test_a_plan_never_prints_what_it_would_write() -> None:
    secret = b"SECRETTEMPLATE.."
    old = Module({2: secret}, notepad={1: b"PAIRINGSECRET..." * 2}, keys={PASSWORD: b"PASS"}, size=16)
    made = plan(old, Module(size=None), with_=frozenset({"password", "notepad"}))
    shown = f"{made} {made!r} {made.steps!r} {made.records!r}"
    for part in ("SECRET", "PASS", secret.hex()):
        assert part not in shown


# ---- options and decisions files ------------------------------------------------------------------------------------


def test_with_takes_three_names() -> None:
    assert parse_with("notepad, address,,password") == {"notepad", "address", "password"}
    assert parse_with(None) == frozenset()
    with pytest.raises(ConfigError, match="baud") as caught:
        parse_with("notepad,baud")
    assert caught.value.hint


def test_a_decisions_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "decisions.toml"
    file.write_text(
        '[[answer]]\nkey = "fingerprint/25"\nchoice = "value"\nvalue = 4\n\n'
        '[[answer]]\nreason = "template-look-alike"\nchoice = "write"\n\n[guards]\n'
    )
    decisions = read_decisions(file)
    assert decisions.for_record("fingerprint/25", "capacity") == Answer(key="fingerprint/25", choice="value", value=4)
    assert decisions.for_record("fingerprint/1", "template-look-alike") is not None
    assert decisions.for_record("fingerprint/1", "capacity") is None


@pytest.mark.parametrize(
    "text",
    [
        "[[answer]",
        '[[answer]]\nkey = "a"\nchoice = "burn"\n',
        '[[answer]]\nkey = "a"\nreason = "b"\nchoice = "skip"\n',
        '[[answer]]\nchoice = "skip"\n',
        '[[answers]]\nkey = "a"\nchoice = "skip"\n',
        '[[answer]]\nkey = "a"\nchoice = "skip"\nextra = 1\n',
        'answer = "skip"\n',
    ],
)
def test_a_decisions_file_with_anything_wrong_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "decisions.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"decisions\.toml"):
        read_decisions(file)


def test_a_decisions_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_decisions(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not TOML"):
        read_decisions(tmp_path / "bytes.toml")


# ---- every plan there is --------------------------------------------------------------------------------------------


def library(*sizes: int) -> st.SearchStrategy[dict[int, bytes | None]]:
    some_template = st.builds(template, st.integers(1, 6), st.sampled_from(sizes))
    return st.dictionaries(st.integers(0, 11), st.none() | some_template, max_size=6)


notepads = st.dictionaries(st.integers(0, 3), st.builds(page, st.integers(1, 3)), max_size=2)


@st.composite
def modules(draw: st.DrawFn, *, old: bool) -> Module:
    # An old unit may give out templates of two sizes; a target's own always have the one that it takes.
    size = SIZE if old else draw(st.sampled_from([SIZE, SIZE, SIZE, 16]))
    slots = 12 if old else draw(st.integers(3, 14))
    drawn = draw(library(SIZE, SIZE, SIZE, 16) if old else library(size))
    return Module(
        {slot: data for slot, data in drawn.items() if slot < slots},
        slots=slots,
        size=draw(st.sampled_from([size, None])),
        owner="classic-0000" if old else draw(st.sampled_from(["classic-0000"] * 4 + ["classic-0009", "hilink"])),
        algorithm="A1" if old else draw(st.sampled_from(["A1", "A1", "B2"])),
        level=draw(st.sampled_from([None, 3, 5])),
        address=draw(st.sampled_from(["ffffffff", "00000001"])),
        notepad=draw(notepads),
        pages=draw(st.sampled_from([0, 2, 16])),
        keys=draw(st.sampled_from([{}, {PASSWORD: b"\1\2\3\4"}])),
    )


keys_of_fingers = st.integers(0, 11).map(lambda slot: f"fingerprint/{slot}")
reasons = st.sampled_from(["capacity", "template-look-alike"])
choices = st.sampled_from(["write", "skip", "override", "suggest", "value"])
values = st.none() | st.integers(-1, 14)
some_answers = st.lists(
    st.builds(Answer, key=keys_of_fingers, choice=choices, value=values)
    | st.builds(Answer, reason=reasons, choice=choices, value=values),
    max_size=4,
)
policies = st.builds(
    Policy,
    existing=st.sampled_from([None, "merge", "replace"]),
    with_=st.frozensets(st.sampled_from(["notepad", "address", "password"])),
    accept_look_alike=st.booleans(),
    decisions=some_answers.map(lambda items: Decisions(answer=tuple(items))),
    consent_ref=st.sampled_from([None, "CR-1"]),
    require_consent=st.booleans(),
)
unfinished = st.frozensets(keys_of_fingers, max_size=2)


@settings(max_examples=200, deadline=None)
@given(old=modules(old=True), new=modules(old=False), policy=policies, unconfirmed=unfinished)
def test_every_plan_keeps_the_rules(old: Module, new: Module, policy: Policy, unconfirmed: frozenset[str]) -> None:
    source, target = old.snapshot, new.snapshot
    made = make_plan(source, target, new.unit, policy, unconfirmed=unconfirmed)

    assert make_plan(source, target, new.unit, policy, unconfirmed=unconfirmed) == made, "deterministic"

    sections = (source.users, source.credentials, source.settings, source.access_keys)
    wanted = [item.key for section in sections for item in section]
    assert sorted(item.key for item in made.records) == sorted(wanted), "exactly one entry per source record"
    assert {reason for item in made.records for reason in item.reasons} <= LOSS_CODES
    assert {loss.code for loss in made.losses} <= LOSS_CODES
    for item in made.records:
        assert item.reasons or item.outcome == "copy", "what is not plainly copied says why"
        assert item.proof == ("V4" if item.done else None)

    fingers = [step for step in made.steps if step.kind == "fingerprint"]
    written = [step.origin["credential_index"] for step in fingers if step.action == "put"]
    assert len(set(written)) == len(written), "never two records in one slot"
    assert all(0 <= slot < (new.slots or 0) for slot in written), "never outside the target"
    by_key = {item.key: item for item in made.records}
    for step in made.steps:
        if step.action == "put":
            assert by_key[step.key].outcome in ("copy", "adjust")
            assert not by_key[step.key].done
    kept = [step for step in fingers if step.action == "put" and by_key[step.key].outcome == "copy"]
    assert all(step.key == f"fingerprint/{step.origin['credential_index']}" for step in kept), "never moved silently"

    removed = [step.origin["credential_index"] for step in fingers if step.action == "remove"]
    assert not removed or policy.existing == "replace", "never removes anything without replace"
    assert not set(removed) & set(written)
    if made.executable and policy.existing != "replace":
        for step in fingers:
            held = new.templates.get(step.origin["credential_index"])
            assert held is None or step.key in unconfirmed, "never over a finger without replace"
    if made.executable and written and new.size is None and not any(new.templates.values()):
        assert made.sample is not None


@settings(max_examples=200, deadline=None)
@given(old=modules(old=True), new=modules(old=False), policy=policies, unconfirmed=unfinished)
def test_every_executable_plan_converges(old: Module, new: Module, policy: Policy, unconfirmed: frozenset[str]) -> None:
    made = make_plan(old.snapshot, new.snapshot, new.unit, policy, unconfirmed=unconfirmed)
    if not made.executable:
        return
    new.apply(made.steps)
    again = make_plan(old.snapshot, new.snapshot, new.unit, policy)
    assert again.steps == ()
    assert again.executable
    assert all(item.done for item in again.records if item.outcome in ("copy", "adjust"))


@settings(max_examples=150, deadline=None)
@given(old=modules(old=True), new=modules(old=False), policy=policies, stop=st.integers(0, 12))
def test_every_interrupted_plan_is_finished_by_the_next(old: Module, new: Module, policy: Policy, stop: int) -> None:
    made = make_plan(old.snapshot, new.snapshot, new.unit, policy)
    if not made.executable:
        return
    new.apply(made.steps[:stop])
    again = make_plan(old.snapshot, new.snapshot, new.unit, policy)
    assert again.executable
    new.apply(again.steps)
    assert make_plan(old.snapshot, new.snapshot, new.unit, policy).steps == ()


# ---- modules whose numbers do not end with their room (F5: ids 1 to 4095) -------------------------------------------


def numbered(templates: dict[int, bytes | None], *, room: int | None = 8) -> Module:
    return Module(templates, slots=room, family="f5", first_slot=1, last_slot=4095)


def test_an_id_above_the_number_of_users_is_kept() -> None:
    made = plan(numbered({8: template(1), 300: template(2)}), numbered({}))
    assert made.executable
    assert puts(made) == {8: template(1), 300: template(2)}


@pytest.mark.parametrize("room", [8, None])
def test_an_id_that_no_module_has_waits_for_another(room: int | None) -> None:
    old = numbered({4096: template(1)}, room=room)
    asked = record(plan(old, numbered({}, room=room)), "fingerprint/4096")
    assert (asked.outcome, asked.reasons) == ("needs_input", ("capacity",))
    answer = Answer(key="fingerprint/4096", choice="value", value=0)
    assert not plan(old, numbered({}, room=room), decisions=answers(answer)).executable, "ids begin at 1"
    answer = Answer(key="fingerprint/4096", choice="value", value=4095)
    assert puts(plan(old, numbered({}, room=room), decisions=answers(answer))) == {4095: template(1)}


def test_more_fingers_than_there_is_room_for_are_asked_about() -> None:
    old = numbered({number: template(number) for number in range(1, 12)}, room=20)
    made = plan(old, numbered({}, room=8))
    assert [item.outcome for item in made.records].count("needs_input") == 3
    assert {item.reasons for item in made.records if item.outcome == "needs_input"} == {("capacity",)}
    skipped = plan(old, numbered({}, room=8), decisions=answers(Answer(reason="capacity", choice="skip")))
    assert len(puts(skipped)) == 8


def test_what_is_replaced_makes_room_before_the_new_ones_come() -> None:
    held = {number: template(number) for number in range(101, 109)}
    made = plan(numbered({1: template(1)}), numbered(held), existing="replace")
    assert made.executable
    assert [step.action for step in made.steps] == ["remove"] * 8 + ["put"]
    assert not plan(numbered({1: template(1)}), numbered(held), existing="merge").executable
