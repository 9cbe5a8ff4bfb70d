"""Trust files: OpenSSH's formats, nobody trusted on first use, and whatever is not understood is refused."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import which

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from lockmigrate.errors import ConfigError, PolicyError
from lockmigrate.formats import sshsig
from lockmigrate.vault.trust import (
    Signer,
    add_signer,
    check_signer,
    parse_allowed_signers,
    revoke_signer,
    revoked_keys,
    trusted,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
LINE = sshsig.public_key_line(PUBLIC)
SIGNER = sshsig.fingerprint(PUBLIC)
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ=="

needs_ssh_keygen = pytest.mark.skipif(which("ssh-keygen") is None, reason="the program `ssh-keygen` is not installed")


def asked(folder: Path, *, at: datetime = NOON, key: bytes = PUBLIC, trust_once: tuple[str, ...] = ()) -> None:
    """Ask as `open_backup` does: first about the key, then about the date."""
    check_date = check_signer(folder, trust_once=trust_once)(sshsig.fingerprint(key), key)
    if check_date is not None:
        check_date(at)


def untrusted(folder: Path, *, at: datetime = NOON, key: bytes = PUBLIC, trust_once: tuple[str, ...] = ()) -> str:
    with pytest.raises(PolicyError) as caught:
        asked(folder, at=at, key=key, trust_once=trust_once)
    assert (caught.value.exit_code, caught.value.code) == (10, "untrusted")
    return str(caught.value)


def allow(folder: Path, *lines: str) -> None:
    (folder / "allowed_signers").write_text("\n".join(lines) + "\n")


# ---- adding and revoking --------------------------------------------------------------------------------------------


def test_nobody_is_trusted_at_first(tmp_path: Path) -> None:
    assert trusted(tmp_path) == []
    assert SIGNER in untrusted(tmp_path)


def test_a_signer_enters_with_the_confirmed_fingerprint(tmp_path: Path) -> None:
    signer = add_signer(tmp_path, LINE, "tech@example", SIGNER)
    assert trusted(tmp_path) == [signer]
    asked(tmp_path)
    untrusted(tmp_path, key=OTHER)
    assert (tmp_path / "allowed_signers").read_text() == (f'tech@example namespaces="lockmigrate-backup-v1" {LINE}\n')
    add_signer(tmp_path, LINE, "tech@example", SIGNER)
    assert len(trusted(tmp_path)) == 1


@pytest.mark.parametrize("confirmed", ["", SIGNER[:-1], SIGNER.lower(), sshsig.fingerprint(OTHER)])
def test_another_fingerprint_trusts_nobody(confirmed: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        add_signer(tmp_path, LINE, "tech", confirmed)
    assert (caught.value.exit_code, caught.value.code) == (2, "wrong-confirm")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["", "a b", "a,b", '"a"', "#a", "!a", "*", "a?", "a\n* ssh-ed25519 AAAA", "x" * 65, "\\"]
)
def test_a_name_that_would_change_the_file_s_meaning_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        add_signer(tmp_path, LINE, name, SIGNER)
    assert caught.value.code == "bad-name"


def test_names_may_be_chinese(tmp_path: Path) -> None:
    add_signer(tmp_path, LINE, "王师傅@现场", SIGNER)
    assert [each.name for each in trusted(tmp_path)] == ["王师傅@现场"]


def test_a_revoked_signer_is_refused_whatever_else_is_said(tmp_path: Path) -> None:
    add_signer(tmp_path, LINE, "tech", SIGNER)
    assert revoke_signer(tmp_path, SIGNER) == SIGNER
    assert "revoked" in untrusted(tmp_path)
    assert "revoked" in untrusted(tmp_path, trust_once=(SIGNER,))
    assert [each.revoked for each in trusted(tmp_path)] == [True]
    with pytest.raises(ConfigError) as caught:
        add_signer(tmp_path, LINE, "tech", SIGNER)
    assert caught.value.code == "revoked"


def test_a_key_that_was_never_trusted_is_revoked_by_its_line_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        revoke_signer(tmp_path, SIGNER)
    assert caught.value.code == "unknown-signer"
    for _ in range(2):
        revoke_signer(tmp_path, LINE + " comment")
    assert revoked_keys(tmp_path) == {PUBLIC}
    assert (tmp_path / "revoked_signers").read_text() == LINE + "\n"


def test_trust_for_once_needs_the_whole_fingerprint(tmp_path: Path) -> None:
    asked(tmp_path, trust_once=(SIGNER,))
    for other in (SIGNER[:-1], SIGNER.removeprefix("SHA256:"), sshsig.fingerprint(OTHER), "*"):
        untrusted(tmp_path, trust_once=(other,))
    assert not list(tmp_path.iterdir())


# ---- namespaces and dates -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "good"),
    [
        ("", True),
        ('namespaces="lockmigrate-backup-v1" ', True),
        ('namespaces="git,lockmigrate-backup-v1" ', True),
        ('namespaces="lockmigrate-*" ', True),
        ('NAMESPACES="lockmigrate-backup-v?" ', True),
        ('namespaces="git" ', False),
        ('namespaces="[l]ockmigrate-backup-v1" ', False),
        ('namespaces="!lockmigrate-backup-v1,*" ', False),
        ('namespaces="Lockmigrate-backup-v1" ', False),
        ("cert-authority ", False),
    ],
)
def test_a_key_counts_in_its_namespaces_only(options: str, good: bool, tmp_path: Path) -> None:
    allow(tmp_path, f"tech {options}{LINE}")
    if good:
        asked(tmp_path)
    else:
        untrusted(tmp_path)


@pytest.mark.parametrize(
    ("options", "good"),
    [
        ('valid-after="20261123120000Z"', True),
        ('valid-after="20261123120001Z"', False),
        ('valid-before="20261123120001Z"', True),
        ('valid-before="20261123120000Z"', False),
        ('valid-after="20261123Z",valid-before="20261124Z"', True),
        ('valid-after="202611231201Z"', False),
        ('namespaces="lockmigrate-backup-v1",valid-before="20250101"', False),
        ('valid-after="20250101",namespaces="*"', True),
    ],
)
def test_a_key_counts_between_its_dates_only(options: str, good: bool, tmp_path: Path) -> None:
    allow(tmp_path, f"tech {options} {LINE}")
    if good:
        asked(tmp_path)
    else:
        assert "not valid when" in untrusted(tmp_path)


def test_a_key_may_have_several_spans(tmp_path: Path) -> None:
    add_signer(tmp_path, LINE, "tech", SIGNER, valid_before=NOON - timedelta(days=9))
    untrusted(tmp_path)
    add_signer(tmp_path, LINE, "tech", SIGNER, valid_after=NOON - timedelta(days=1))
    asked(tmp_path)
    untrusted(tmp_path, at=NOON - timedelta(days=5))


# ---- the files ------------------------------------------------------------------------------------------------------


def test_what_openssh_allows_is_read(tmp_path: Path) -> None:
    allow(
        tmp_path,
        "# comment",
        "",
        f"  a,b*@example   {LINE} comment",
        f'"a name"\t{LINE}',
        f"rsa {RSA}",
        f"x git {RSA}"[:0],
    )
    assert [each.name for each in trusted(tmp_path)] == ["a,b*@example", "a name"]


@pytest.mark.parametrize(
    "line",
    [
        "tech",
        LINE,
        f"tech {LINE[:-2]}",
        f"tech unknown-option {LINE}",
        f'tech namespaces="a" namespaces="b" {LINE}',
        f'tech namespaces="a",namespaces="b" {LINE}',
        f"tech namespaces {LINE}",
        f'tech namespaces="" {LINE}',
        f'tech namespaces="a {LINE}',
        f"tech valid-after={LINE}",
        f'tech valid-after="yesterday" {LINE}',
        f'tech valid-before="20261301Z" {LINE}',
        f'tech valid-before="2026" {LINE}',
        f'"tech {LINE}',
        "tech ssh-ed25519",
    ],
)
def test_a_line_that_is_not_understood_refuses_the_whole_file(line: str, tmp_path: Path) -> None:
    allow(tmp_path, f"good {LINE}", line)
    with pytest.raises(ConfigError, match="line 2 of allowed_signers") as caught:
        check_signer(tmp_path)
    assert (caught.value.exit_code, caught.value.code) == (2, "bad-trust-file")


@pytest.mark.parametrize("content", [b"SSHKRL\n\0", b"\xff\xfe", b"ssh-ed25519 AAAA\n", b"SHA256:x\n"])
def test_revocations_that_are_not_understood_refuse_everything(content: bytes, tmp_path: Path) -> None:
    allow(tmp_path, f"good {LINE}")
    (tmp_path / "revoked_signers").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        check_signer(tmp_path, trust_once=[SIGNER])
    assert caught.value.code == "bad-trust-file"


def test_revoked_keys_of_other_kinds_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "revoked_signers").write_text(f"# old\n{RSA}\n{LINE} lost laptop\n")
    assert revoked_keys(tmp_path) == {PUBLIC}


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused_with_our_error(text: str) -> None:
    for content in (text, f"tech {text} {LINE}"):
        try:
            found = parse_allowed_signers(content)
        except ConfigError as error:
            if error.code != "bad-trust-file":
                raise
        else:
            assert all(isinstance(each, Signer) for each in found)


instants = st.none() | st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001 - zone added
    lambda each: each.replace(microsecond=0, tzinfo=UTC)
)


@given(st.lists(st.sampled_from(["lockmigrate-backup-v1", "git", "a*"]), max_size=2, unique=True), instants, instants)
def test_a_written_line_reads_back_as_it_was(
    namespaces: list[str], after: datetime | None, before: datetime | None
) -> None:
    signer = Signer(
        name="tech@example", public_key=PUBLIC, namespaces=tuple(namespaces), valid_after=after, valid_before=before
    )
    assert parse_allowed_signers(signer.line() + "\n") == [signer]


@pytest.mark.peer
@needs_ssh_keygen
def test_ssh_keygen_reads_our_trust_files_the_same_way(tmp_path: Path) -> None:
    message, signature = b"{}\n", tmp_path / "sig"
    signature.write_bytes(sshsig.sign(message, KEY))
    allowed, revoked = tmp_path / "allowed_signers", tmp_path / "revoked_signers"

    def accepts() -> bool:
        command: list[str | Path] = [
            "ssh-keygen",
            "-Y",
            "verify",
            "-f",
            allowed,
            "-I",
            "tech",
            "-n",
            sshsig.BACKUP_NAMESPACE,
        ]
        lists: list[str | Path] = ["-r", revoked] if revoked.exists() else []
        done = subprocess.run([*command, "-s", signature, *lists], input=message, capture_output=True, timeout=30)
        return done.returncode == 0

    now = datetime.now(UTC)
    add_signer(tmp_path, LINE, "tech", SIGNER, valid_before=now - timedelta(days=2))
    assert not accepts()
    add_signer(
        tmp_path, LINE, "tech", SIGNER, valid_after=now - timedelta(days=2), valid_before=now + timedelta(days=2)
    )
    assert accepts()
    asked(tmp_path, at=now)
    revoke_signer(tmp_path, LINE)
    assert not accepts()
