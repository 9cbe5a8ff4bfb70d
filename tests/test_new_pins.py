"""PINs in place of those that a unit does not take: suggested, given, told on paper, and written down nowhere else."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vaults import Vault

from lockmigrate import cli
from lockmigrate.formats import age
from lockmigrate.model.capabilities import CredentialCapability
from lockmigrate.planning.new_pins import suggest, weak
from lockmigrate.planning.pins import unfit
from lockmigrate.planning.policy import read_decisions

NUKI = CredentialCapability(
    min_len=6, max_len=6, alphabet="123456789", forbidden_prefixes=("12",), writable="data", readback="full"
)
TTLOCK = CredentialCapability(min_len=4, max_len=9, alphabet="0123456789", writable="data")
SHORT = CredentialCapability(min_len=1, max_len=5, alphabet="0123456789", writable="data")


@pytest.mark.parametrize("digits", ["111111", "123456", "987654", "121212", "123123", "5", "0123"])
def test_a_weak_pin_is_told_from_others(digits: str) -> None:
    assert weak(digits) == (len(digits) > 1)


@pytest.mark.parametrize("digits", ["352282", "112233", "121213", "135791", "10"])
def test_a_usual_pin_is_not_called_weak(digits: str) -> None:
    assert not weak(digits) or digits == "10"


@given(key=st.binary(min_size=32, max_size=32), unit=st.text(max_size=20), record=st.text(max_size=20))
def test_a_suggestion_is_what_the_unit_takes_and_the_same_again(key: bytes, unit: str, record: str) -> None:
    for capability, length in ((NUKI, 6), (TTLOCK, 6), (SHORT, 5)):
        digits = suggest(key, unit, record, capability, ())
        assert digits is not None
        assert len(digits) == length
        assert not unfit(digits, capability)
        assert not weak(digits)
        assert suggest(key, unit, record, capability, ()) == digits
        assert suggest(key, unit, record, capability, {digits}) != digits


def test_suggestions_are_spread_over_the_digits() -> None:
    found = [suggest(b"k" * 32, "unit", f"pin/{number}", NUKI, ()) or "" for number in range(2000)]
    assert len(set(found)) > 1950, "nearly all differ"
    counts = {digit: sum(digit in one for one in found) for digit in "123456789"}
    assert max(counts.values()) < 1.25 * min(counts.values())


def test_where_everything_is_taken_nothing_is_suggested() -> None:
    one = CredentialCapability(min_len=2, max_len=2, alphabet="12", writable="data")
    assert suggest(b"k" * 32, "unit", "pin/1", one, {"11", "12", "21", "22"}) is None


class Desk:
    """The commands in this process, with a technician's keys."""

    def __init__(self, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.base, self.vault, self._capsys = base, Vault(base), capsys
        self.said = ""

    def run(self, *words: str, expect: int = 0) -> str:
        keys = ["--config-dir", str(self.vault.config), "--passphrase-file", str(self.vault.passphrase_file)]
        code = cli.main([*words, *keys])
        out, err = self._capsys.readouterr()
        assert code == expect, (words, out, err)
        self.said += out + err
        return out


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


SOURCE = "sim://ttlock/full?passcodes=12&cards=0&fingers=0&passage=0"


def _codes(state: Path) -> list[str]:
    document = json.loads(state.read_text(encoding="utf-8"))
    return re.findall(r'"code": (\d+)', json.dumps(document["flash"]))


def test_the_paper_tells_the_very_pins_that_are_on_the_lock_and_nothing_else_does(desk: Desk) -> None:
    base = desk.base
    file, state, page = base / "old.age", base / "new.state", base / "pins.html"
    target = f"sim://nuki/empty?state={state}"
    desk.run("backup", SOURCE, "-o", str(file))
    answers = base / "answers.toml"
    desk.run("plan", str(file), target, "--suggest", "--decisions-out", str(answers))
    restored = desk.run("restore", str(file), target, "--decisions", str(answers), "--json")
    (base / "restored.json").write_text(restored, encoding="utf-8")
    desk.run("report", str(file), str(base / "restored.json"), "--new-pins", str(page), "-o", str(base / "r.html"))
    told = re.findall(r"<strong[^>]*>(\d+)</strong>", page.read_text(encoding="utf-8"))
    held = _codes(state)
    fresh = [record for record in json.loads(restored)["records"] if record["new_pin"]]
    assert len(told) == len(set(told)) == len(fresh) >= 8
    assert set(told) <= set(held)
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    public = desk.said + answers.read_text(encoding="utf-8") + (base / "r.html").read_text(encoding="utf-8")
    assert not [digits for digits in told if digits in public]
    desk.run("verify", str(file), target, "--decisions", str(answers))
    again = json.loads(desk.run("restore", str(file), target, "--suggest", "--json"))
    assert again["written"] == 0


def test_a_pin_of_a_persons_choice_is_written_where_the_file_is_private(desk: Desk) -> None:
    base = desk.base
    file, state = base / "old.age", base / "new.state"
    target = f"sim://nuki/empty?state={state}"
    desk.run("backup", SOURCE, "-o", str(file))
    answers = base / "answers.toml"
    answers.write_text(
        '[[answer]]\nkey = "pin/1"\nchoice = "value"\nvalue = "352282"\n'
        + "".join(
            f'[[answer]]\nreason = "{reason}"\nchoice = "skip"\n'
            for reason in ("pin-length", "pin-alphabet", "pin-prefix", "schedule-unreadable", "schedule-unsupported")
        ),
        encoding="utf-8",
    )
    answers.chmod(0o644)
    desk.run("restore", str(file), target, "--decisions", str(answers), expect=2)
    assert not state.exists() or not _codes(state)
    answers.chmod(0o600)
    out = base / "again.toml"
    desk.run("plan", str(file), target, "--decisions", str(answers), "--decisions-out", str(out))
    assert "352282" not in out.read_text(encoding="utf-8"), "never digits in what is written out"
    desk.run("restore", str(file), target, "--decisions", str(answers))
    assert "352282" in _codes(state)
    assert "352282" not in desk.said


def test_a_sealed_decisions_file_is_opened_with_the_technicians_key(desk: Desk) -> None:
    base = desk.base
    file, state = base / "old.age", base / "new.state"
    target = f"sim://nuki/empty?state={state}"
    desk.run("backup", SOURCE, "-o", str(file))
    text = '[[answer]]\nkey = "pin/1"\nchoice = "value"\nvalue = "352282"\n' + "".join(
        f'[[answer]]\nreason = "{reason}"\nchoice = "skip"\n'
        for reason in ("pin-length", "pin-alphabet", "pin-prefix", "schedule-unreadable", "schedule-unsupported")
    )
    recipient = (desk.vault.config / "recipients.txt").read_text(encoding="utf-8").split()[0]
    sealed = base / "answers.toml.age"
    sealed.write_bytes(age.encrypt_bytes(text.encode(), recipients=[recipient]))
    sealed.chmod(0o644)
    desk.run("restore", str(file), target, "--decisions", str(sealed))
    assert "352282" in _codes(state)
    desk.run("verify", str(file), target, "--decisions", str(sealed))


@pytest.mark.parametrize("value", ['"12345"', '"012345"', '"123456"', "352282", '""', '"abcdef"'])
def test_a_pin_that_does_not_do_is_asked_about_again(value: str, desk: Desk) -> None:
    base = desk.base
    file = base / "old.age"
    desk.run("backup", SOURCE, "-o", str(file))
    answers = base / "answers.toml"
    answers.write_text(f'[[answer]]\nkey = "pin/1"\nchoice = "value"\nvalue = {value}\n', encoding="utf-8")
    answers.chmod(0o600)
    plan = json.loads(desk.run("plan", str(file), "sim://nuki/empty", "--decisions", str(answers), "--json", expect=10))
    (record,) = [item for item in plan["records"] if item["key"] == "pin/1"]
    assert record["outcome"] == "needs_input"
    assert value.strip('"') in ("", *()) or value.strip('"') not in json.dumps(record)


def test_an_encrypted_file_is_not_read_as_toml(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(b"age-encryption.org/v1\n-> X25519 x\n")
    with pytest.raises(Exception, match="sealed"):
        read_decisions(file)


def test_what_suggestions_are_made_from_stays_in_the_backup(desk: Desk) -> None:
    file = desk.base / "old.age"
    shown: Any = desk.run("backup", SOURCE, "-o", str(file), "--json")
    desk.run("show", str(file), "--json")
    assert "suggestion_key" not in desk.said + shown


def test_between_locks_of_one_family_a_pin_in_the_way_is_renewed_too(desk: Desk) -> None:
    base = desk.base
    file, old, new = base / "old.age", base / "old.state", base / "new.state"
    desk.run("backup", f"{SOURCE}&state={old}", "-o", str(file))
    flash = json.loads(old.read_text(encoding="utf-8"))["flash"]
    first = re.findall(r'"code": "(\d{4,9})"', json.dumps(flash))[0]
    target = f"sim://ttlock/empty?admin_passcode={first}&state={new}"
    plan = json.loads(desk.run("plan", str(file), target, "--json", expect=10))
    assert [item["key"] for item in plan["records"] if "pin-equals-admin" in item["reasons"]] != []
    restored = json.loads(desk.run("restore", str(file), target, "--suggest", "--json"))
    (fresh,) = [item for item in restored["records"] if item["new_pin"]]
    assert (fresh["outcome"], fresh["proof"]) == ("adjust", "V4")
    desk.run("verify", str(file), target)
    (base / "restored.json").write_text(json.dumps(restored), encoding="utf-8")
    desk.run("report", str(file), str(base / "restored.json"), "--new-pins", str(base / "pins.html"))
    (told,) = re.findall(r"<strong[^>]*>(\d+)</strong>", (base / "pins.html").read_text(encoding="utf-8"))
    assert told in new.read_text(encoding="utf-8")


def test_an_answer_to_a_record_that_is_not_there_stops_a_restore(desk: Desk) -> None:
    base = desk.base
    file, state = base / "old.age", base / "new.state"
    target = f"sim://nuki/empty?state={state}"
    desk.run("backup", SOURCE, "-o", str(file))
    answers = base / "answers.toml"
    answers.write_text('[[answer]]\nkey = "pin/1, pin/2"\nchoice = "skip"\n', encoding="utf-8")
    desk.run("restore", str(file), target, "--suggest", "--decisions", str(answers), expect=2)
    assert 'no record is called "pin/1, pin/2"' in desk.said
    assert not state.exists() or not _codes(state), "whoever was to be left out would get in"


def test_a_choice_of_a_value_without_one_is_no_suggestion(desk: Desk) -> None:
    file, answers = desk.base / "old.age", desk.base / "answers.toml"
    desk.run("backup", SOURCE, "-o", str(file))
    answers.write_text('[[answer]]\nkey = "pin/1"\nchoice = "value"\n', encoding="utf-8")
    said = desk.run("plan", str(file), "sim://nuki/empty", "--decisions", str(answers), "--json", expect=10)
    (record,) = [item for item in json.loads(said)["records"] if item["key"] == "pin/1"]
    assert (record["outcome"], record["new_pin"]) == ("needs_input", False)
    assert "needs a line value" in record["detail"]


def test_whose_card_does_not_move_is_on_the_customers_paper_with_a_name(desk: Desk) -> None:
    base = desk.base
    file, state, names = base / "old.age", base / "new.state", base / "names.csv"
    target = f"sim://nuki/empty?state={state}"
    names.write_text("card/1,Fatma\n", encoding="utf-8")
    desk.run("backup", "sim://ttlock/full?passcodes=1&cards=1&fingers=0", "-o", str(file), "--names", str(names))
    answers = base / "answers.toml"
    desk.run("plan", str(file), target, "--suggest", "--decisions-out", str(answers), expect=10)
    restored = desk.run("restore", str(file), target, "--decisions", str(answers), "--json")
    (base / "restored.json").write_text(restored, encoding="utf-8")
    desk.run("report", str(file), str(base / "restored.json"), "-o", str(base / "r.html"))
    page = (base / "r.html").read_text(encoding="utf-8")
    at = page.index("Whose PIN, card or finger does not move")
    assert "Fatma" in page[at : at + 800]


def test_a_terminal_that_holds_the_suggested_pin_is_not_asked_about_again(desk: Desk) -> None:
    file, state = desk.base / "old.age", desk.base / "new.state"
    target = f"sim://zk/empty?state={state}"
    desk.run("backup", "sim://ttlock/full?passcodes=30&cards=0&fingers=0&passage=0", "-o", str(file))
    first = json.loads(desk.run("restore", str(file), target, "--suggest", "--json", expect=10) or "{}")
    assert first == {}, "who is limited to dates is refused"
    answers = desk.base / "answers.toml"
    skipped = ("schedule-unsupported", "schedule-unreadable")
    answers.write_text(
        "".join(f'[[answer]]\nreason = "{reason}"\nchoice = "skip"\n' for reason in skipped), encoding="utf-8"
    )
    desk.run("restore", str(file), target, "--suggest", "--decisions", str(answers))
    again = json.loads(desk.run("plan", str(file), target, "--decisions", str(answers), "--json"))
    fresh = [item for item in again["records"] if item["new_pin"]]
    assert fresh
    assert all(item["done"] and "number" in item["detail"] for item in fresh)
