"""The rules of `vault.toml`, and how old a backup may be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockmigrate.errors import ConfigError
from lockmigrate.formats import age
from lockmigrate.vault.freshness import judge
from lockmigrate.vault.policy import VaultPolicy, load_policy, recipients_for

OWN = str(age.X25519Identity(bytes(range(32))).recipient)
ESCROW = str(age.X25519Identity(bytes(range(1, 33))).recipient)
OTHER = str(age.X25519Identity(bytes(range(2, 34))).recipient)
HYBRID = age.recipient_of(age.generate_identity(post_quantum=True))
NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
PLAIN = VaultPolicy()


def policy_of(folder: Path, text: str) -> VaultPolicy:
    (folder / "vault.toml").write_text(text, encoding="utf-8")
    return load_policy(folder)


# ---- vault.toml -----------------------------------------------------------------------------------------------------


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    policy = load_policy(tmp_path)
    assert policy == PLAIN
    assert (policy.warn_age_hours, policy.max_age_days, policy.max_future_minutes) == (24, 30, 10)
    assert (policy.min_recipients, policy.always, policy.require) == (1, (), None)
    assert (policy.expires_days, policy.require_consent, policy.rehearse) == (None, False, True)


def test_every_rule_can_be_written(tmp_path: Path) -> None:
    text = f"""
    min_recipients = 2
    always = ["{ESCROW}"]
    require = "x25519"
    warn_age_hours = 1
    max_age_days = 2
    max_future_minutes = 3
    expires_days = 4
    require_consent = true
    rehearse = false
    """
    assert policy_of(tmp_path, text) == VaultPolicy(
        min_recipients=2,
        always=(ESCROW,),
        require="x25519",
        warn_age_hours=1,
        max_age_days=2,
        max_future_minutes=3,
        expires_days=4,
        require_consent=True,
        rehearse=False,
    )


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("max_age_day = 3", "max_age_day: unknown key"),
        ("[limits]\nmax_age_days = 3", "limits: unknown key"),
        ('max_age_days = "3"', "max_age_days: expected `int`"),
        ("max_age_days = 0", "max_age_days: "),
        ("expires_days = 99999999", "expires_days: "),
        ("min_recipients = 0", "min_recipients: "),
        ("min_recipients = 33", "min_recipients: "),
        ('require = "rsa"', "require: "),
        ("always = [3]", "always[0]: expected `str`"),
        ('always = ["age1nonsense"]', "always[0]: this is not an age recipient"),
        (f'always = ["{ESCROW}"]\nrequire = "mlkem768x25519"', "always[0]: require allows mlkem768x25519"),
        ("min_recipients = ", "not TOML"),
        ("x = " + "9" * 5000, "not TOML"),
        ("a = " + "[" * 5000, "not TOML"),
    ],
)
def test_a_wrong_rule_is_named_by_its_path_and_nothing_is_done(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy_of(tmp_path, text)
    assert where in caught.value.message
    assert caught.value.code == "bad-policy"
    assert caught.value.hint


def test_a_secret_key_pasted_as_a_recipient_is_not_repeated(tmp_path: Path) -> None:
    secret = age.generate_identity()
    with pytest.raises(ConfigError) as caught:
        policy_of(tmp_path, f'always = ["{secret}"]')
    assert secret not in f"{caught.value.message} {caught.value.hint}"


def test_a_policy_that_is_not_text_or_not_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vault.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_policy(tmp_path)
    (tmp_path / "vault.toml").unlink()
    (tmp_path / "vault.toml").mkdir()
    with pytest.raises(ConfigError, match="not a file"):
        load_policy(tmp_path)


# ---- recipients -----------------------------------------------------------------------------------------------------


def test_recipients_are_our_own_the_given_ones_and_the_policys_each_once() -> None:
    policy = VaultPolicy(always=(ESCROW,))
    assert recipients_for(policy, OWN, (OTHER, OWN, ESCROW.upper())) == (OWN, OTHER, ESCROW)


def test_too_few_recipients_are_refused() -> None:
    policy = VaultPolicy(min_recipients=2)
    with pytest.raises(ConfigError) as caught:
        recipients_for(policy, OWN, (OWN,))
    assert caught.value.code == "too-few-recipients"
    assert recipients_for(policy, OWN, (ESCROW,)) == (OWN, ESCROW)


def test_a_recipient_of_another_kind_than_required_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        recipients_for(VaultPolicy(require="mlkem768x25519"), OWN)
    assert caught.value.code == "recipient-kind"
    assert recipients_for(VaultPolicy(require="mlkem768x25519"), HYBRID) == (HYBRID,)
    with pytest.raises(ConfigError):
        recipients_for(VaultPolicy(require="x25519"), OWN, (HYBRID,))


@pytest.mark.parametrize(
    "policy", [VaultPolicy(min_recipients=2), VaultPolicy(always=(ESCROW,)), VaultPolicy(require="x25519")]
)
def test_a_passphrase_backup_is_refused_where_recipients_are_demanded(policy: VaultPolicy) -> None:
    with pytest.raises(ConfigError) as caught:
        recipients_for(policy, None)
    assert caught.value.code == "symmetric-refused"
    assert recipients_for(PLAIN, None) == ()


# ---- freshness ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "state", "reasons"),
    [
        (timedelta(0), "fresh", ()),
        (timedelta(hours=24), "fresh", ()),
        (timedelta(hours=24, seconds=1), "warn", ("old",)),
        (timedelta(days=30), "warn", ("old",)),
        (timedelta(days=30, seconds=1), "stale", ("too-old",)),
        (-timedelta(minutes=10), "fresh", ()),
        (-timedelta(minutes=10, seconds=1), "stale", ("in-the-future",)),
    ],
)
def test_age_is_judged_to_the_second(age: timedelta, state: str, reasons: tuple[str, ...]) -> None:
    made = NOW - age
    found = judge(made, None, NOW, made, True, PLAIN)
    assert (found.state, found.reasons) == (state, reasons)
    assert found.code == ("stale" if state == "stale" else None)
    assert len(found.words) == len(reasons)


def test_an_expired_backup_is_stale_from_the_next_second() -> None:
    assert judge(NOW, NOW, NOW, NOW, True, PLAIN).state == "fresh"
    found = judge(NOW, NOW - timedelta(seconds=1), NOW, NOW, True, PLAIN)
    assert (found.state, found.reasons) == ("stale", ("expired",))


def test_a_known_newer_backup_of_the_same_unit_makes_it_stale() -> None:
    made = NOW - timedelta(hours=1)
    found = judge(made, None, NOW, NOW, True, PLAIN)
    assert (found.state, found.reasons) == ("stale", ("newer-known",))
    assert "60 minutes later" in found.sentence
    assert judge(made, None, NOW, made, True, PLAIN).state == "fresh"


def test_a_unit_without_a_serial_number_neither_holds_nor_refuses_and_says_so() -> None:
    found = judge(NOW - timedelta(hours=1), None, NOW, NOW, False, PLAIN)
    assert (found.state, found.reasons) == ("fresh", ("unit-unknown",))
    old = judge(NOW - timedelta(days=31), None, NOW, NOW, False, PLAIN)
    assert (old.state, old.reasons) == ("stale", ("too-old", "unit-unknown"))


def test_a_computer_that_knows_nothing_of_the_unit_says_that_only_age_counted() -> None:
    found = judge(NOW, None, NOW, None, True, PLAIN)
    assert (found.state, found.reasons) == ("fresh", ("not-in-catalogue",))


def test_all_reasons_are_given_the_weightiest_first() -> None:
    found = judge(NOW - timedelta(days=40), NOW - timedelta(days=1), NOW, NOW, True, PLAIN)
    assert found.reasons == ("expired", "newer-known", "too-old")


def test_the_limits_are_the_policys() -> None:
    made = NOW - timedelta(hours=3)
    assert judge(made, None, NOW, made, True, VaultPolicy(warn_age_hours=2)).state == "warn"
    assert judge(NOW - timedelta(days=2), None, NOW, None, True, VaultPolicy(max_age_days=1)).state == "stale"
    assert judge(NOW + timedelta(minutes=1), None, NOW, None, True, VaultPolicy(max_future_minutes=0)).state == "stale"


INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(INSTANTS, st.none() | INSTANTS, INSTANTS, st.none() | INSTANTS, st.booleans())
def test_a_judgement_is_stale_exactly_when_it_has_the_code_and_never_fresher_with_more_against_it(
    made: datetime, expires: datetime | None, now: datetime, newest: datetime | None, known: bool
) -> None:
    found = judge(made, expires, now, newest, known, PLAIN)
    assert (found.state == "stale") == (found.code == "stale")
    assert len(found.words) == len(found.reasons)
    order = ("fresh", "warn", "stale")
    without = judge(made, None, now, made if newest else None, known, PLAIN)
    assert order.index(found.state) >= order.index(without.state)
