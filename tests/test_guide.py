"""`profiles guide NAME`: how to connect a unit, in both languages, every advice with its source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lockmigrate import cli
from lockmigrate.errors import ProfileError
from lockmigrate.profiles import load_all, load_profile, parse_profile
from lockmigrate.report.guide import TOPICS, guide

NAMES = [profile.name for profile in load_all()]
GUIDED = ("ef01", "r503", "as608", "zk", "nuki", "ttlock")


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_has_a_guide_in_both_languages_with_the_same_topics(name: str) -> None:
    english, chinese = guide(name, "en"), guide(name, "zh_CN")
    assert [line.topic for line in english.lines] == [line.topic for line in chinese.lines]
    assert [line.topic for line in english.lines][: len(TOPICS)] == list(TOPICS)
    for mine, theirs in zip(english.lines, chinese.lines, strict=True):
        assert (mine.text is None) == (theirs.text is None)
        assert mine.sources == theirs.sources
        assert mine.text is None or mine.text != theirs.text
        assert (mine.text is None) == (mine.sources == ()), "an advice without a source"
        assert set(mine.sources) <= set(english.sources)
    assert set(english.labels) == set(chinese.labels)
    assert not set(english.labels.values()) & set(chinese.labels.values())


@pytest.mark.parametrize("name", GUIDED)
def test_the_profiles_of_the_first_families_say_how_to_connect(name: str) -> None:
    said = {line.topic for line in guide(name).lines if line.text is not None}
    assert {"wiring", "baud", "caution"} <= said


def test_a_model_without_advice_of_its_own_takes_that_of_its_family() -> None:
    lines = {line.topic: line for line in guide("r307").lines}
    assert lines["wiring"].profile == "ef01"
    assert lines["baud"].profile == "r307"
    assert all(source.startswith("ef01.") for source in lines["wiring"].sources)


def test_what_nobody_says_is_not_known() -> None:
    lines = {line.topic: line for line in guide("as608").lines}
    assert lines["reset"].text is None


def run(capsys: pytest.CaptureFixture[str], *arguments: str, expect: int = 0) -> str:
    assert cli.main(["profiles", "guide", *arguments]) == expect
    captured = capsys.readouterr()
    return captured.out if not expect else captured.err


def test_on_a_terminal_each_line_points_at_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "r503")
    assert "57600 baud" in text
    assert "[1]  " in text
    chinese = run(capsys, "as608", "--lang", "zh_CN")
    assert "接线" in chinese
    assert "未知" in chinese


def test_for_scripts_it_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(run(capsys, "nuki-3", "--json"))
    assert (document["schema"], document["profile"], document["lang"]) == ("lockmigrate.guide/1", "nuki-3", "en")


def test_a_profile_that_does_not_exist_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert "r503" in run(capsys, "r530", expect=2)


MINIMAL = """
schema = 1
name = "mine"
title = "Mine"
family = "ef01"
evidence = "documented"
[sources]
a = "a paper"
[cites]
{cites}
[guide.wiring]
{lines}
"""
BOTH = 'en = "Red to red."\nzh_CN = "红接红。"'


def test_an_advice_needs_a_source_and_both_languages() -> None:
    whole: Any = parse_profile(MINIMAL.format(cites='"guide.wiring" = ["a"]', lines=BOTH), where="x")
    assert whole.guide.wiring.zh_CN == "红接红。"
    with pytest.raises(ProfileError, match=r"guide\.wiring: an advice without a source"):
        parse_profile(MINIMAL.format(cites="", lines=BOTH), where="x")
    with pytest.raises(ProfileError, match=r"guide\.wiring\.zh_CN: is needed"):
        parse_profile(MINIMAL.format(cites='"guide.wiring" = ["a"]', lines='en = "Red to red."'), where="x")


def test_a_profile_of_ones_own_may_hide_the_generic_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text(MINIMAL.format(cites='"guide.wiring" = ["a"]', lines=BOTH), encoding="utf-8")
    (tmp_path / "ef01.toml").write_text("broken", encoding="utf-8")
    monkeypatch.setenv("LOCKMIGRATE_PROFILE_PATH", str(tmp_path))
    assert load_profile("mine").guide.wiring is not None
    assert {line.topic for line in guide("mine").lines if line.text} == {"wiring"}
