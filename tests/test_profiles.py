"""Firmware profiles: the shipped ones hold, and a wrong one is refused with the dotted path of what is wrong."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockmigrate import profiles
from lockmigrate.errors import ProfileError
from lockmigrate.profiles import (
    PATH_VARIABLE,
    Profile,
    load_all,
    load_profile,
    parse_profile,
    profile_names,
    read_profile,
)
from lockmigrate.targets import check_variant

SHIPPED = (
    "as608", "ef01", "fpm10a", "hlk-zw101", "hlk-zw111", "r307", "r307-768", "r502-a", "r503", "zfm-20",
)  # fmt: skip
OTHERS = (
    "example-keypad-eeprom", "f5", "gt-511c3", "gt-521f52", "gt511", "image", "nuki", "nuki-1", "nuki-2", "nuki-3",
    "nuki-4", "nuki-opener", "nuki-ultra", "ttlock", "ttlock-cards", "ttlock-cyclic", "ttlock-deadbolt",
    "ttlock-keypad", "waveshare-fp-c", "zk", "zk-bw",
)  # fmt: skip
"""Profiles of the other families; `SHIPPED` are those of EF01."""
UNTOLD = ("as608", "ef01", "fpm10a", "r307", "r307-768", "zfm-20")
"""Models that no answer of the unit tells apart."""

GOOD = """
schema = 1
name = "sample"
title = "Sample"
family = "ef01"
evidence = "documented"
sources = {manual = "A manual"}
[cites]
"serial.baud" = ["manual"]
"capabilities.credentials.fingerprint" = ["manual"]
[serial]
baud = 57600
[capabilities.credentials.fingerprint]
slots = 200
[simulated]
slots = 7
"""


@pytest.fixture(autouse=True)
def _no_folders_of_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PATH_VARIABLE, raising=False)


def _changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def _refusal(text: str) -> str:
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, where="sample.toml")
    assert caught.value.exit_code == 2
    return str(caught.value)


# ---- the shipped ones -----------------------------------------------------------------------------------------------


def test_exactly_the_profiles_we_promise_are_shipped() -> None:
    assert profiles.profile_names() == sorted([*SHIPPED, *OTHERS])


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_loads_and_says_where_it_comes_from(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert profile.evidence == "documented"  # nobody has had hardware on the bench yet
    assert profile.serial is not None
    assert profile.serial.baud == profile.serial.bauds[0]
    assert len(set(profile.serial.bauds)) == len(profile.serial.bauds)
    cited = {source for names in profile.cites.values() for source in names}
    assert cited == set(profile.sources), "every source is used"


@pytest.mark.parametrize("name", OTHERS)
def test_a_profile_of_another_family_loads_and_uses_every_source(name: str) -> None:
    profile = load_profile(name)
    assert (profile.name, profile.evidence) == (name, "documented")
    cited = {source for names in profile.cites.values() for source in names}
    assert cited == set(profile.sources), "every source is used"


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_gives_the_simulator_all_it_needs(name: str) -> None:
    profile = load_profile(name)
    fingerprint = profile.capabilities.credentials.fingerprint
    assert fingerprint is not None
    facts: dict[str, Any] = {
        "slots": fingerprint.slots,
        "template_size": fingerprint.template_size_bytes,
        **profile.variant,
        **profile.simulated,
    }
    needed = {"serial", "slots", "template_size", "dialect", "extended", "packet_bytes", "buffers", "notepad_pages"}
    needed |= {"system_id"} if facts["dialect"] == "classic" else {"score_level", "enrol_times", "encryption_level"}
    assert [key for key in sorted(needed) if facts.get(key) is None] == []
    assert facts["dialect"] in ("classic", "hilink")
    assert facts["extended"] in ("none", "r50x")
    assert facts["packet_bytes"] in (32, 64, 128, 256)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_the_simulator_invents_never_contradicts_what_is_documented(name: str) -> None:
    profile = load_profile(name)
    fingerprint = profile.capabilities.credentials.fingerprint
    assert fingerprint is not None
    assert not set(profile.variant) & set(profile.simulated)
    assert fingerprint.slots is None or "slots" not in profile.simulated
    assert fingerprint.template_size_bytes is None or "template_size" not in profile.simulated


@pytest.mark.parametrize("name", UNTOLD)
def test_a_model_that_cannot_be_told_apart_is_never_detected(name: str) -> None:
    assert load_profile(name).match == profiles.Match()


@pytest.mark.parametrize("name", [name for name in UNTOLD if name != "ef01"])
def test_a_model_that_is_never_detected_says_how_to_name_it(name: str) -> None:
    assert any(f"--profile {name}" in note for note in load_profile(name).notes)


def test_no_two_profiles_can_match_one_unit() -> None:
    keys = [
        (profile.match.model, profile.match.dialect, slots)
        for profile in load_all("ef01")
        if profile.match != profiles.Match()
        for slots in profile.match.slots or (None,)
    ]
    assert len(keys) == 4
    assert len(set(keys)) == len(keys)


def test_the_generic_profile_states_no_capacity_and_searches_every_speed() -> None:
    generic = load_profile("ef01")
    fingerprint = generic.capabilities.credentials.fingerprint
    assert fingerprint is not None
    assert fingerprint.slots is None
    assert fingerprint.template_size_bytes is None
    assert generic.variant == {}
    assert generic.serial is not None
    assert generic.serial.bauds[:5] == (57600, 115200, 9600, 19200, 38400)
    assert sorted(generic.serial.bauds) == [9600 * n for n in range(1, 13)]


def test_every_family_has_a_generic_profile_of_its_own_name() -> None:
    for family in profiles.FAMILIES:
        assert load_profile(family).family == family


def test_asking_for_one_family_leaves_the_others_out() -> None:
    assert [profile.name for profile in load_all("ef01")] == sorted(SHIPPED)
    assert load_all("no-such-family") == []


# ---- wrong ones -----------------------------------------------------------------------------------------------------


def test_the_sample_that_the_wrong_ones_are_made_from_is_right() -> None:
    sample = parse_profile(GOOD, where="sample.toml")
    assert sample.serial is not None
    assert (sample.serial.baud, sample.simulated) == (57600, {"slots": 7})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("baud = 57600", "baud = 57600\nparity = 1", "sample.toml: serial.parity: unknown key"),
        ('title = "Sample"', 'title = "Sample"\ncolour = "red"', "sample.toml: colour: unknown key"),
        ("slots = 200", "slot = 200", "capabilities.credentials.fingerprint.slot: unknown key"),
        ('title = "Sample"\n', "", "title: is needed and not there"),
        ("[serial]\nbaud = 57600", "[serial]\nanswer_s = 1.0", "serial.baud: is needed and not there"),
        ("baud = 57600", 'baud = "57600"', "serial.baud: expected `int`, got `str`"),
        ("schema = 1", "schema = 2", "schema: invalid enum value 2"),
        ('evidence = "documented"', 'evidence = "hearsay"', "evidence: invalid enum value 'hearsay'"),
        ('family = "ef01"', 'family = "zz"', 'family: "zz" is not one of ef01'),
        ('sources = {manual = "A manual"}', "sources = {}", "sources: at least one source is needed"),
        ('"serial.baud" = ["manual"]', "", "serial.baud: a number without a source; add it to [cites]"),
        ('"serial.baud" = ["manual"]', '"serial.baud" = []', "cites.serial.baud: names no source"),
        ('"serial.baud" = ["manual"]', '"serial.baud" = ["novel"]', "cites.serial.baud: no source is called novel"),
        ('"serial.baud"', '"serial.speed"', "cites.serial.speed: there is no such value"),
        ("[simulated]", "[variant]\nbuffers = 2\n[simulated]", "variant.buffers: a number without a source"),
        ("[simulated]", "[variant.a]\nb = [1]\n[simulated]", "variant.a.b: a number without a source"),
        ("[simulated]", "[match]\nslots = [200]\n[simulated]", "match.slots: a number without a source"),
        ("baud = 57600", "baud = -1", "serial.baud: -1 is not a speed"),
        ("baud = 57600", "baud = 57600\nanswer_s = nan", "serial.answer_s: a time above 0 s is needed"),
        ("baud = 57600", "baud = 57600\nerase_s = inf", "serial.erase_s: a time above 0 s is needed"),
        ("baud = 57600", "baud = 57600\nready_s = -0.1", "serial.ready_s: a time of 0 s or more is needed"),
        ("baud = 57600", "baud = 57600\ntries = 0", "serial.tries: at least 1 is needed"),
        ("slots = 200", "slots = -200", "capabilities.credentials.fingerprint.slots: below 1"),
        ('name = "sample"', 'name = "../sample"', "name: lower-case letters, digits and hyphens only"),
        ("schema = 1", "schema 1", "not TOML"),
        ("schema = 1", "schema = " + "1" * 5000, "not TOML"),
    ],
)
def test_a_wrong_profile_is_refused_with_the_path_of_what_is_wrong(old: str, new: str, said: str) -> None:
    assert said in _refusal(_changed(old, new))


def test_tables_nested_without_end_are_refused() -> None:
    assert "nested too deeply" in _refusal(f"{GOOD}\n[variant]\n{'.'.join('a' * 2_000)} = 1")


def test_a_text_longer_than_any_profile_is_refused_unread() -> None:
    assert "longer than" in _refusal(GOOD + "#" * profiles.MAX_CHARACTERS)


def test_several_faults_are_named_at_once() -> None:
    text = _changed('"serial.baud" = ["manual"]', "").replace('family = "ef01"', 'family = "zz"')
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, where="sample.toml")
    assert "family" in str(caught.value)
    assert "serial.baud" in (caught.value.hint or "")


# ---- files ----------------------------------------------------------------------------------------------------------


def test_the_name_must_be_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text(GOOD, encoding="utf-8")
    with pytest.raises(ProfileError, match='calls itself "sample"'):
        read_profile(path)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sample.toml"
    path.write_bytes(b"\xff\xfe" + GOOD.encode("utf-16-le"))
    with pytest.raises(ProfileError, match="it is not UTF-8"):
        read_profile(path)


@pytest.mark.parametrize("name", ["sample.toml", "absent.toml", "a\0b.toml"])
def test_what_is_not_a_readable_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "sample.toml").mkdir()
    with pytest.raises(ProfileError):
        read_profile(tmp_path / name)


def test_a_folder_of_ones_own_wins_over_the_shipped_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, title in ((first, "Mine"), (second, "Not mine")):
        folder.mkdir()
        text = GOOD.replace('name = "sample"', 'name = "r503"').replace('title = "Sample"', f'title = "{title}"')
        (folder / "r503.toml").write_text(text, encoding="utf-8")
    (second / "sample.toml").write_text(GOOD, encoding="utf-8")
    monkeypatch.setenv(PATH_VARIABLE, os.pathsep.join([str(first), "", str(tmp_path / "absent"), str(second)]))
    assert load_profile("r503").title == "Mine"
    assert load_profile("sample").title == "Sample"
    assert load_profile("r502-a").title.startswith("GROW")
    assert profiles.profile_names() == sorted([*SHIPPED, *OTHERS, "sample"])


@pytest.mark.parametrize(("asked", "near"), [("r530", "r503"), ("zw101", "hlk-zw101"), ("R307", "r307")])
def test_a_slip_of_the_pen_gets_the_nearest_name(asked: str, near: str) -> None:
    with pytest.raises(ProfileError) as caught:
        load_profile(asked)
    assert caught.value.code == "unknown-profile"
    assert f'"{near}"' in (caught.value.hint or "")


def test_a_name_like_no_other_gets_the_way_to_the_list() -> None:
    with pytest.raises(ProfileError) as caught:
        load_profile("../../etc/passwd")
    assert "profiles list" in (caught.value.hint or "")


# ---- garbage --------------------------------------------------------------------------------------------------------

_SCALARS = st.one_of(
    st.booleans(),
    st.integers(min_value=-(2**63), max_value=2**63 - 1),
    st.floats(),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), inner),
    max_leaves=8,
)
_PATHS = st.sampled_from(
    [(key,) for key in Profile.__struct_fields__]
    + [("serial", "baud"), ("serial", "bauds"), ("match", "slots"), ("match", "model"), ("cites", "serial.baud")]
    + [("capabilities", "credentials"), ("capabilities", "credentials", "fingerprint"), ("simulated", "slots")]
)


def _toml(document: dict[str, Any]) -> str:
    """Write a document as TOML: one line for each key of the top level, everything below inline."""
    return "\n".join(f"{key} = {_inline(value)}" for key, value in document.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(each) for each in value) + "]"
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)


@given(st.text(max_size=200))
def test_any_text_gives_a_profile_error(text: str) -> None:
    with pytest.raises(ProfileError):
        parse_profile(text, where="garbage")


@given(_PATHS, _VALUES)
def test_any_value_anywhere_gives_a_profile_or_a_profile_error(path: tuple[str, ...], value: Any) -> None:
    document = tomllib.loads(GOOD)
    here = document
    for part in path[:-1]:
        here = here.setdefault(part, {})
    here[path[-1]] = value
    try:
        profile = parse_profile(_toml(document), where="garbage")
    except ProfileError as error:
        assert str(error).startswith("garbage: ")  # noqa: PT017 - both outcomes are right, each with its own proof
    else:
        assert profile.schema == 1


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("garbage") / "sample.toml"


@given(data=st.binary(max_size=64))
def test_any_bytes_in_a_file_give_a_profile_error(scratch: Path, data: bytes) -> None:
    path = scratch
    path.write_bytes(data)
    with pytest.raises(ProfileError):
        read_profile(path)


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ('notepad_pages = "x"', "variant.notepad_pages"),
        ("notepad_pages = 300", "variant.notepad_pages"),
        ('dialect = "klingon"', "variant.dialect"),
        ('user_record = "v3"', "variant"),
    ],
)
def test_a_variant_that_no_module_has_is_refused_with_its_path(line: str, path: str) -> None:
    profile = load_profile("r503")
    key, _, value = line.partition(" = ")
    wrong = msgspec.structs.replace(profile, variant={**profile.variant, key: tomllib.loads(f"v = {value}")["v"]})
    with pytest.raises(ProfileError) as caught:
        check_variant(wrong)
    assert path in caught.value.message


def test_every_shipped_variant_is_one_that_its_family_knows() -> None:
    for name in profile_names():
        check_variant(load_profile(name))
