"""Will it fit: asked of profiles and of units, before anything is bought, read or written."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from against_schemas import check

from lockmigrate import cli
from lockmigrate.model.capabilities import CredentialCapability
from lockmigrate.model.reasons import REASONS
from lockmigrate.model.records import LOSS_CODES
from lockmigrate.operations.compat import compare, side_on_paper
from lockmigrate.operations.compat_rules import grammar
from lockmigrate.profiles import profile_names

Ask = Callable[..., Any]
FAMILIES = ("ef01", "r503", "as608", "zk", "zk-bw", "nuki", "ttlock", "ttlock-cyclic", "gt511", "f5", "image")


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run `compat … --json` and return its document; on an error, that of stderr."""

    def asked(*words: str, expect: int = 0) -> Any:
        code = cli.main(["compat", *words, "--json"])
        captured = capsys.readouterr()
        assert code == expect, captured.err
        if code:
            return json.loads(captured.err.strip().splitlines()[-1])
        return check(json.loads(captured.out))

    return asked


def kinds(document: Any, which: int = 0) -> dict[str, Any]:
    return {item["kind"]: item for item in document["compared"][which]["kinds"]}


def verdicts(document: Any) -> dict[str, str]:
    return {kind: item["verdict"] for kind, item in kinds(document).items() if item["verdict"] != "nothing there"}


# ---- between models -------------------------------------------------------------------------------------------------


def test_any_model_can_be_compared_with_any_other() -> None:
    """The full matrix: no pair is left without an answer, and every reason is of the closed list with a sentence."""
    sides = {name: side_on_paper(name) for name in profile_names()}
    for old, new in itertools.product(sides, sides):
        (compared,) = compare(sides[old], [sides[new]]).compared
        names = [item.kind for item in compared.kinds]
        assert len(names) == len(set(names)) == 10
        for item in compared.kinds:
            assert set(item.reasons) <= LOSS_CODES & set(REASONS), (old, new, item)
            assert item.sentence
            # What does not simply move always says why in words that a script can compare.
            assert item.reasons or item.verdict in ("moves", "nothing there"), (old, new, item)


@pytest.mark.parametrize("name", [name for name in profile_names() if "image" not in name and "eeprom" not in name])
def test_a_model_fits_in_its_own_place_as_far_as_it_gives_things_out(name: str) -> None:
    (compared,) = compare(side_on_paper(name), [side_on_paper(name)]).compared
    assert compared.fits == ("no" if name == "nuki-opener" else "yes")


def test_ttlock_to_nuki(ask: Ask) -> None:
    document = ask("ttlock", "profile:nuki")
    assert verdicts(document) == {
        "pins": "moves with a change",
        "cards": "cannot",
        "fingerprints": "person must come",
        "schedules": "moves with a change",
        "lock_schedules": "cannot",
        "settings": "cannot",
        "app_keys": "given out again",
        "log": "cannot",
    }
    pins = kinds(document)["pins"]
    assert {"pin-length", "pin-alphabet", "pin-prefix"} <= set(pins["reasons"])
    assert "6 digits of 123456789, none beginning with 12" in pins["sentence"]
    assert document["compared"][0]["fits"] == "partly"


def test_between_families_nothing_is_promised_that_a_restore_would_not_write(ask: Ask) -> None:
    for old, new in itertools.permutations(("r503", "zk", "nuki", "ttlock", "gt511"), 2):
        document = ask(old, new)
        if {old, new} <= {"zk", "nuki", "ttlock"}:
            continue
        assert document["compared"][0]["fits"] == "no"
        for kind, item in kinds(document).items():
            assert kind == "users" or item["verdict"] not in ("moves", "moves with a change"), (old, new, kind)
            if item["verdict"] == "given out again" and kind != "app_keys":
                assert item["sentence"].startswith("by hand") or item["reasons"] == ["pin-length"]


def test_nuki_to_ttlock(ask: Ask) -> None:
    document = ask("nuki", "ttlock")
    assert kinds(document)["pins"]["reasons"] == ["name-not-stored"]
    assert kinds(document)["pins"]["verdict"] == "moves with a change"
    assert "schedule-unsupported" in kinds(document)["schedules"]["reasons"]
    assert any("capacity-unknown" in warning for warning in document["warnings"])


def test_a_terminal_to_ttlock_asks_for_one_card_and_refuses_who_is_limited(ask: Ask) -> None:
    document = ask("zk", "ttlock")
    assert kinds(document)["cards"]["reasons"] == ["card-number-rule"]
    assert kinds(document)["cards"]["sure"] is False
    assert kinds(document)["schedules"]["verdict"] == "cannot"
    assert kinds(ask("zk", "ttlock-cyclic"))["schedules"]["verdict"] == "cannot"
    assert {"pin-length", "pin-duplicate"} <= set(kinds(document)["pins"]["reasons"])


def test_a_date_window_never_becomes_always_on_a_terminal(ask: Ask) -> None:
    assert kinds(ask("ttlock", "zk"))["schedules"]["verdict"] == "cannot"
    assert kinds(ask("nuki", "zk"))["schedules"]["verdict"] == "cannot"


@pytest.mark.parametrize(
    ("old", "new", "verdict", "reason"),
    [
        ("r503", "r503", "moves", None),
        ("r503", "as608", "person must come", "template-size"),
        ("r503", "hlk-zw101", "person must come", "template-dialect"),
        ("r503", "gt511", "person must come", "template-format"),
        ("zk", "r503", "person must come", "template-format"),
        ("nuki", "nuki", "person must come", "template-unreadable"),
        ("r503", "nuki-1", "cannot", "template-format"),
        ("ttlock", "ttlock-keypad", "cannot", "template-format"),
    ],
)
def test_fingerprints(ask: Ask, old: str, new: str, verdict: str, reason: str | None) -> None:
    fate = kinds(ask(old, new))["fingerprints"]
    assert (fate["verdict"], fate["reasons"]) == (verdict, [reason] if reason else [])


def test_an_opener_and_a_lock_do_not_stand_in_for_each_other(ask: Ask) -> None:
    assert ask("nuki-3", "nuki-opener")["compared"][0]["fits"] == "no"
    assert kinds(ask("nuki-opener", "nuki-3"))["pins"]["verdict"] == "cannot"


def test_nothing_moves_to_or_from_a_dump(ask: Ask) -> None:
    assert set(verdicts(ask("image", "zk")).values()) == {"cannot"}
    assert set(verdicts(ask("zk", "image")).values()) == {"cannot"}


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ({"min_len": 4, "max_len": 9}, {"min_len": 6, "max_len": 6}, ["pin-length"]),
        ({"min_len": 6, "max_len": 6}, {"min_len": 4, "max_len": 9}, []),
        ({"max_len": 8}, {"max_len": 8}, []),
        ({"max_len": 8}, {"min_len": 4, "max_len": 9}, ["pin-length"]),
        ({}, {"max_len": 8}, ["pin-length"]),
        ({}, {"alphabet": "123456789"}, ["pin-alphabet"]),
        ({"alphabet": "123"}, {"alphabet": "123456789"}, []),
        ({}, {"forbidden_prefixes": ("12",)}, ["pin-prefix"]),
        ({"forbidden_prefixes": ("12",)}, {"forbidden_prefixes": ("12",)}, []),
        ({}, {"unique": "type"}, ["pin-duplicate"]),
    ],
)
def test_grammars_of_pins(old: dict[str, Any], new: dict[str, Any], wrong: list[str]) -> None:
    assert grammar(CredentialCapability(**old), CredentialCapability(**new)) == wrong


# ---- units that are there -------------------------------------------------------------------------------------------


def test_a_unit_that_is_there_is_asked_what_it_holds(ask: Ask) -> None:
    document = ask("sim://r503/full?fill=7", "sim://r503/empty")
    fate = kinds(document)["fingerprints"]
    assert (fate["held"], fate["verdict"], fate["sure"]) == (7, "moves", True)
    assert document["old"]["serial"] != document["compared"][0]["unit"]["serial"]


def test_what_an_old_unit_holds_none_of_is_no_trouble(ask: Ask) -> None:
    document = ask("sim://r503/empty", "as608")
    assert kinds(document)["fingerprints"]["verdict"] == "nothing there"


def test_too_little_room_is_known_before_it_is_bought(ask: Ask) -> None:
    fate = kinds(ask("sim://nuki/full?codes=120", "nuki-2"))["pins"]
    assert (fate["verdict"], fate["reasons"]) == ("moves with a change", ["capacity"])
    fate = kinds(ask("sim://r503/full?slots=300&fill=250", "r503"))["fingerprints"]
    assert fate["reasons"] == ["capacity"]


def test_two_terminals_say_which_algorithm_their_fingers_are_of(ask: Ask) -> None:
    assert kinds(ask("sim://zk/half", "sim://zk/empty"))["fingerprints"]["verdict"] == "moves"
    fate = kinds(ask("sim://zk/half", "sim://zk-bw/empty"))["fingerprints"]
    assert (fate["verdict"], fate["reasons"]) == ("person must come", ["template-format"])
    assert kinds(ask("zk", "zk"))["fingerprints"]["sure"] is False


def test_a_lock_with_a_feature_that_cannot_be_read_says_so(ask: Ask) -> None:
    fate = kinds(ask("sim://ttlock-cyclic/half?passcodes=4&cards=4&fingers=2", "ttlock-cyclic"))["schedules"]
    assert fate["reasons"] == ["schedule-unreadable"]


# ---- what is on the shelf -------------------------------------------------------------------------------------------


def test_a_shelf_is_held_against_an_old_unit(ask: Ask, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf.csv"
    shelf.write_text("profile,count,minimum,label\nr503,1,2,van\nas608,9,2,\nr503,0,1,depot\n", encoding="utf-8-sig")
    document = ask("r503", "--stock", str(shelf))
    assert [(item["unit"]["profile"], item["fits"], item["below_minimum"]) for item in document["compared"]] == [
        ("r503", "yes", True),
        ("as608", "no", False),
        ("r503", "yes", True),
    ]
    assert document["fitting"] == ["r503"]
    assert document["below_minimum"] == ["r503"]
    assert document["compared"][0]["label"] == "van"


def test_a_new_unit_and_a_shelf_are_compared_together(ask: Ask, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf.csv"
    shelf.write_text("profile,count,minimum\nr503,0,0\n", encoding="utf-8")
    document = ask("r503", "as608", "--stock", str(shelf))
    assert [item["in_stock"] for item in document["compared"]] == [False, True]
    assert document["fitting"] == []  # none of them is there


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "columns"),
        ("r503,1,2\n", "columns"),
        ("profile,count,minimum\n", "names nothing"),
        ("profile,count,minimum\nr503,many,2\n", 'line 2 of … count is "many"'),
        ("profile,count,minimum\nr503,-1,2\n", "not a number"),
        ("profile,count,minimum\nr503,1\n", "minimum"),
        ("profile,count,minimum\n\nr504,1,2\n", "line 3"),
    ],
)
def test_a_list_of_stock_that_is_wrong_says_where(ask: Ask, tmp_path: Path, text: str, said: str) -> None:
    shelf = tmp_path / "shelf.csv"
    shelf.write_text(text, encoding="utf-8")
    message = ask("r503", "--stock", str(shelf), expect=2)["message"]
    assert all(part.strip() in message for part in said.split("…"))


def test_what_cannot_be_compared_is_a_mistake_of_the_command_line(ask: Ask, tmp_path: Path) -> None:
    assert ask("r503", expect=2)["code"] == "config"
    assert ask("r503", "r504", expect=2)["code"] == "unknown-profile"
    assert ask("/dev/ttyUSB0", "r503", expect=2)["code"] == "bad-target"
    assert ask("r503", "--stock", str(tmp_path / "none.csv"), expect=2)["code"] == "file"


def test_people_see_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compat", "r503", "as608"]) == 0
    out = capsys.readouterr().out
    assert "does not fit" in out
    assert "person must come" in out
    assert "[template-size]" in out
