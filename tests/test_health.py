"""`health FILE…`: each line with its source or without a basis, over a series of backups of a unit."""

from __future__ import annotations

import json
import re
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import papers
import pytest
from msgspec.structs import replace
from test_report import assert_self_contained

from lockmigrate import cli
from lockmigrate.cli import render as rendering
from lockmigrate.model.capabilities import Capabilities, CredentialCapabilities, CredentialCapability
from lockmigrate.model.records import Credential, LogEntry, PinData
from lockmigrate.model.report import HealthLine, HealthUnit, Point
from lockmigrate.model.secret import Secret
from lockmigrate.operations.health import MAX_POINTS, judge
from lockmigrate.operations.opening import Opened
from lockmigrate.report.health import chart, render_health, sentence
from lockmigrate.report.texts import LANGUAGES, Texts
from lockmigrate.vault.keys import create_keys

ROOM = Capabilities(credentials=CredentialCapabilities(fingerprint=CredentialCapability(slots=10)))


def unit_at(
    day: int, *, family: str = "nuki", people: int = 3, log: tuple[LogEntry, ...] = (), **details: Any
) -> Opened:
    """A backup of one and the same unit, made on a day of November."""
    made = papers.backup(people)
    unit = replace(papers.OLD, family=family, details=details, capabilities=ROOM)
    source = changed(made.source, file=f"{day}.age", unit=unit, snapshot=replace(made.source.snapshot, log=log))
    return changed(made, source=source, created_at=f"2026-11-{day:02}T08:00:00Z")


def lines(*backups: Opened) -> dict[tuple[str, str | None], HealthLine]:
    (unit,) = judge(backups).units
    return {(line.topic, line.about): line for line in unit.lines}


def nuki(seq: int, operation: str, completion: int) -> LogEntry:
    return LogEntry(
        seq=seq,
        time_utc=f"2026-11-{seq:02}T07:00:00Z",
        operation=operation,
        vendor={"nuki": {"completion": completion}},
    )


def ttlock(seq: int, operation: str, battery: Any) -> LogEntry:
    facts = {"battery_percent": battery}
    return LogEntry(seq=seq, time_local=f"2026-11-{seq:02}T07:00:00", operation=operation, vendor={"ttlock": facts})


def test_a_battery_is_followed_over_the_backups_in_the_order_of_their_time() -> None:
    found = lines(unit_at(20, battery_percent=15), unit_at(3, battery_percent=80), unit_at(9, battery_percent=60))
    line = found["battery", None]
    assert (line.value, line.before, line.source, line.warn) == (15, 60, "unit.details.battery_percent", True)
    assert [point.value for point in line.points] == [80, 60, 15]
    assert sentence(Texts("en"), line) == "15 %, before: 60 %"


def test_a_lock_that_calls_its_battery_critical_is_believed() -> None:
    assert lines(unit_at(1, battery_percent=90, battery_critical=True))["battery", None].warn


@pytest.mark.parametrize("nonsense", [True, "84", None, 84.5])
def test_a_battery_that_is_no_number_is_no_basis(nonsense: Any) -> None:
    assert lines(unit_at(1, battery_percent=nonsense))["battery", None].source is None


def test_a_ttlock_log_tells_the_battery_at_each_line() -> None:
    log = (*(ttlock(seq, "unlock", 100 - seq) for seq in range(1, 9)), ttlock(9, "unlock", 255))
    line = lines(unit_at(20, family="ttlock", log=log))["battery", "log"]
    assert (line.value, line.before) == (92, 99)
    assert line.source == "log[].vendor.ttlock.battery_percent"
    assert len(line.points) == 8


def test_a_nuki_log_tells_motor_trouble_and_refused_people_each_line_once() -> None:
    log = (
        nuki(1, "lock-action", 0), nuki(2, "lock-action", 1), nuki(3, "lock-action", 2), nuki(4, "keypad", 0xE0),
        nuki(5, "keypad", 0xE1), nuki(6, "keypad", 0), nuki(7, "lock-action", 6),
    )  # fmt: skip
    found = lines(unit_at(10, log=log[:4]), unit_at(20, log=log))
    motor, failed = found["motor", None], found["failed", None]
    assert (motor.value, motor.limit, motor.warn) == (2, 4, True)
    assert (failed.value, failed.limit, failed.source) == (2, 7, "log[].vendor.nuki.completion")
    assert [point.at for point in failed.points] == ["2026-11-04", "2026-11-05"]


def test_a_ttlock_log_tells_refused_people_and_nothing_of_the_motor() -> None:
    found = lines(unit_at(20, family="ttlock", log=(ttlock(1, "wrong-code", 90), ttlock(2, "unlock", 90))))
    assert (found["failed", None].value, found["failed", None].limit) == (1, 2)
    assert found["motor", None].source is None


def test_a_terminal_logs_only_who_came_in_so_failures_have_no_basis() -> None:
    found = lines(unit_at(20, family="zk", log=(LogEntry(seq=1, time_local="2026-11-01T07:00:00", operation="in"),)))
    assert found["failed", None].source is None
    assert sentence(Texts("en"), found["failed", None]) == "no basis"


def test_a_clock_that_drifts_is_shown_with_its_sign() -> None:
    line = lines(unit_at(1, clock_offset_s=-2), unit_at(9, clock_offset_s=-300))["clock", None]
    assert line.warn
    assert sentence(Texts("en"), line) == "-300 s, before: -2 s"


def test_memory_fills_up_to_a_remark() -> None:
    line = lines(unit_at(1), unit_at(2, people=9))["memory", "fingerprints"]
    assert (line.value, line.before, line.limit, line.warn) == (9, 3, 10, True)
    assert sentence(Texts("en"), line) == "9 of 10 (90 %), before: 3"
    assert line.source == "counts.fingerprints, unit.capabilities.credentials.fingerprint.slots"


def test_changes_are_told_by_key_and_never_by_what_was_changed() -> None:
    before, after = unit_at(1), unit_at(2, people=4)
    held = after.source.snapshot
    pins = tuple(
        replace(item, data=PinData(digits=Secret("90909090"))) if item.key == "pin/2" else item
        for item in held.credentials
        if item.key != "card/1"
    )
    after = changed(after, source=changed(after.source, snapshot=replace(held, credentials=pins)))
    found = lines(before, after)
    assert found["changes", "added"].keys == ("user/4", "pin/4", "card/4", "fingerprint/4.6")
    assert found["changes", "removed"].keys == ("card/1",)
    assert found["changes", "changed"].keys == ("pin/2",)
    text = rendering.json_line(judge([before, after])) + render_health(judge([before, after]))
    assert [secret for secret in (*papers.CANARIES, "90909090") if secret in text] == []


def test_a_template_that_only_lies_elsewhere_in_the_file_has_not_changed() -> None:
    before = unit_at(1)
    held = before.source.snapshot

    def moved(item: Credential) -> Credential:
        if item.template is None:
            return item
        return replace(item, data=replace(item.template, template=replace(item.template.template, offset=77)))

    there = replace(held, credentials=tuple(moved(item) for item in held.credentials))
    after = changed(unit_at(2), source=changed(unit_at(2).source, snapshot=there))
    assert lines(before, after)["changes", "changed"].keys == ()


def test_one_backup_alone_shows_no_changes() -> None:
    assert lines(unit_at(1))["changes", None].source is None


def test_backups_of_two_units_are_kept_apart_and_one_without_a_number_says_so() -> None:
    other = unit_at(2)
    nameless = changed(other, source=changed(other.source, unit=replace(other.source.unit, serial=None)))
    units: tuple[HealthUnit, ...] = judge([unit_at(1), nameless]).units
    assert [unit.known for unit in units] == [True, False]
    assert "no serial number" in render_health(judge([nameless]))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_page_is_self_contained_and_draws_what_has_two_points(lang: str) -> None:
    result = judge([unit_at(day, battery_percent=100 - day, clock_offset_s=day) for day in range(1, 10)])
    text = render_health(result, lang)
    page = assert_self_contained(text)
    series = [line for line in result.units[0].lines if len(line.points) > 1]
    assert text.count("<svg ") == len(series) >= 3
    assert "nan" not in text
    assert Texts(lang)("no basis") in page.text
    for points in re.findall(r'polyline points="([^"]*)"', text):
        for pair in points.split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= 640
            assert 0 <= y <= 120


def drawn(*points: tuple[str, float], topic: Any = "clock", limit: int | None = None) -> Any:
    return chart(HealthLine(topic=topic, limit=limit, points=tuple(Point(at=at, value=value) for at, value in points)))


def test_a_chart_bears_odd_series() -> None:
    assert drawn(("2026-11-01", 1)) is None
    assert {y for _, y in drawn(("2026-11-01", 5), ("2026-11-02", 5)).dots} == {60}
    assert [x for x, _ in drawn(("2026-11-01", 1), ("2026-11-01", 2)).dots] == [56, 630]
    odd = drawn(("no date", 1), ("2026-11-01", 2), ("2026-11-02T00:00:00Z", 3))
    assert [x for x, _ in odd.dots] == [56, 343, 630]


def test_what_cannot_be_negative_is_drawn_from_zero() -> None:
    days = (("2026-11-01", 2), ("2026-11-02", 2))
    failed, battery = drawn(*days, topic="failed"), drawn(*days, topic="battery")
    memory = drawn(*days, topic="memory", limit=4)
    assert (failed.bars, failed.low, failed.high) == (True, "0", "2")
    assert (battery.bars, battery.low, battery.high) == (False, "0", "100")
    assert {y for _, y in memory.dots} == {60}


def test_a_long_log_is_thinned_for_its_chart() -> None:
    log = tuple(
        LogEntry(
            seq=seq,
            time_local=f"2026-{1 + seq // 600:02}-{1 + seq % 28:02}T00:00:00",
            operation="unlock",
            vendor={"ttlock": {"battery_percent": 50}},
        )
        for seq in range(5000)
    )
    assert len(lines(unit_at(1, family="ttlock", log=log))["battery", "log"].points) == MAX_POINTS


def test_from_files_to_the_terminal_the_page_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create_keys(tmp_path / "config", "words enough for a test", generated=False, log_n=10)
    (tmp_path / "words").write_text("words enough for a test", encoding="utf-8")
    (tmp_path / "words").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCKMIGRATE_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("LOCKMIGRATE_PASSPHRASE_FILE", str(tmp_path / "words"))
    assert cli.main(["backup", "sim://r503/half", "-o", "one.age"]) == 0
    capsys.readouterr()
    assert cli.main(["health", "one.age", "-o", "page.html"]) == 0
    screen = capsys.readouterr().out
    assert "Battery" in screen
    assert "no basis" in screen
    assert "100 of 200 (50 %)" in screen
    assert cli.main(["health", "one.age", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "lockmigrate.health/1"
    assert {line["topic"] for line in document["units"][0]["lines"]} == {
        "battery", "motor", "failed", "clock", "memory", "changes",
    }  # fmt: skip
    assert_self_contained((tmp_path / "page.html").read_text(encoding="utf-8"))
