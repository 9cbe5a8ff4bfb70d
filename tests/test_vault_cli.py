"""`vault …`, `trust revoke` and `keys init --post-quantum` as people and scripts meet them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from vaults import NOW, PASSPHRASE, Vault

from lockmigrate import cli
from lockmigrate.formats import age
from lockmigrate.formats.sshsig import fingerprint
from lockmigrate.operations.vault_verify import forget_keys

NEW = age.X25519Identity.generate()


class Shell:
    """Runs commands in this process with the vault's keys, and reads their JSON."""

    def __init__(self, vault: Vault, capsys: pytest.CaptureFixture[str]) -> None:
        self.vault = vault
        self._capsys = capsys
        self.err = ""

    def __call__(self, *arguments: str, expect: int = 0, keys: bool = True) -> Any:
        given = ["--config-dir", str(self.vault.config), "--json"]
        given += ["--passphrase-file", str(self.vault.passphrase_file)] if keys else []
        if arguments[0] == "vault":
            given += ["--folder", str(self.vault.folder)]
        code = cli.main([*arguments, *given])
        captured = self._capsys.readouterr()
        self.err = captured.err
        assert code == expect, f"{arguments}: exit {code}\n{captured.out}\n{captured.err}"
        for secret in self.vault.secrets():
            assert secret not in (captured.out + captured.err).encode()
        return json.loads(captured.out) if captured.out else None

    def text(self, *arguments: str) -> str:
        given = ["--config-dir", str(self.vault.config)]
        if arguments[0] == "vault":
            given += ["--folder", str(self.vault.folder)]
        cli.main([*arguments, *given])
        return self._capsys.readouterr().out

    def error(self) -> Any:
        return json.loads(self.err.strip().splitlines()[-1])


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    forget_keys()
    yield Shell(Vault(tmp_path), capsys)
    forget_keys()


def test_a_real_backup_is_listed_verified_and_rehearsed(shell: Shell) -> None:
    """The whole way once, with the real simulator behind the rehearsal."""
    made = shell("backup", "sim://r503/half?fill=2", "-o", str(shell.vault.folder / "a.age"))
    shell("vault", "reindex")
    listed = shell("vault", "list", keys=False)
    assert [(item["state"], item["proof"]) for item in listed["files"]] == [("present", "none")]
    assert listed["files"][0]["backup_id"] == made["backup_id"]
    assert shell("vault", "verify")["counts"] == {"ok": 1}
    assert shell("vault", "verify", "--quick", keys=False)["level"] == "quick"
    assert shell("vault", "verify", "--rehearse")["counts"] == {"ok": 1}
    assert shell("vault", "list", keys=False)["files"][0]["proof"] == "green"
    assert "rehearsed" in shell.text("vault", "list")


def test_processes_find_the_same_as_this_one(shell: Shell) -> None:
    for name in ("a.age", "b.age", "c.age"):
        shell.vault.add(name)
    (shell.vault.folder / "b.age").write_bytes(b"noise")
    result = shell("vault", "verify", "--jobs", "2", expect=6)
    assert result["counts"] == {"ok": 2, "not-a-backup": 1}
    error = shell.error()
    assert (error["schema"], error["exit"], error["code"]) == ("lockmigrate.error/1", 6, "not-a-backup")
    assert error["message"] == "1 file of 3 not good"
    assert "b.age" in error["hint"]


@pytest.mark.parametrize(
    ("spoil", "code", "exit_code"), [("key", "wrong-key", 7), ("signer", "untrusted", 10), ("gone", "missing", 6)]
)
def test_each_kind_of_bad_file_has_its_exit_code(shell: Shell, spoil: str, code: str, exit_code: int) -> None:
    opened = shell.vault.add("a.age")
    path = shell.vault.folder / "a.age"
    if spoil == "key":
        path.write_bytes(age.encrypt_bytes(b"x", recipients=[str(NEW.recipient)]))
    elif spoil == "signer":
        shell("trust", "revoke", opened.signer, keys=False)
    else:
        path.unlink()
    result = shell("vault", "verify", expect=exit_code)
    assert result["counts"] == {code: 1}
    assert (shell.error()["code"], shell.error()["exit"]) == (code, exit_code)


def test_locked_keys_without_a_passphrase_file_are_told_at_once(shell: Shell) -> None:
    shell.vault.add("a.age")
    shell("vault", "verify", expect=2, keys=False)
    assert shell.error()["code"] == "no-passphrase"
    shell("vault", "verify", "--jobs", "2", expect=2, keys=False)
    assert "other processes" in shell.error()["message"]


def test_parts_of_a_vault_are_checked_by_turns(shell: Shell) -> None:
    for number in range(6):
        shell.vault.add(f"{number}.age")
    parts = [shell("vault", "verify", "--subset", f"{number}/3")["checks"] for number in (1, 2, 3)]
    assert sorted(check["file"] for part in parts for check in part) == [
        str(shell.vault.folder / f"{number}.age") for number in range(6)
    ]
    shell("vault", "verify", "--subset", "4/3", expect=2)
    short = shell("vault", "verify", "--max-duration", "0.000001")
    assert (len(short["checks"]), short["not_reached"]) == (1, 5)


def test_recipients_are_changed_and_people_are_told_what_that_cannot_do(shell: Shell) -> None:
    shell.vault.add("a.age", recipients=(str(NEW.recipient),))
    result = shell("vault", "rekey", "--remove", str(NEW.recipient))
    assert result["files"][0]["recipients"] == [shell.vault.recipient]
    assert any("copies" in warning for warning in result["warnings"])
    shell("vault", "rekey", expect=2)
    assert shell.error()["code"] == "usage"


def test_one_file_can_be_named_for_rekeying(shell: Shell) -> None:
    shell.vault.add("a.age")
    shell.vault.add("b.age")
    named = str(shell.vault.folder / "b.age")
    result = shell("vault", "rekey", named, "--add", str(NEW.recipient))
    assert [item["file"] for item in result["files"]] == [named]


def test_expired_backups_are_purged(shell: Shell) -> None:
    shell.vault.add("a.age", expires=NOW - timedelta(days=1))
    assert shell("vault", "purge", "--dry-run", keys=False)["files"][0]["deleted"] is False
    assert shell("vault", "purge", keys=False)["files"][0]["deleted"] is True
    assert not (shell.vault.folder / "a.age").exists()
    assert shell("vault", "list", keys=False)["counts"] == {"purged": 1}


def test_a_wrong_policy_stops_before_any_file_is_touched(shell: Shell) -> None:
    shell.vault.add("a.age")
    (shell.vault.config / "vault.toml").write_text("min_recipient = 2", encoding="utf-8")
    shell("vault", "rekey", "--add", str(NEW.recipient), expect=2)
    assert shell.error()["code"] == "bad-policy"


def test_every_screen_tells_what_happened(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.vault.add("a.age", expires=NOW - timedelta(days=1))
    shell.vault.add("b.age", recipients=(str(NEW.recipient),))
    (shell.vault.folder / "noise.age").write_bytes(b"noise")
    monkeypatch.setenv("LOCKMIGRATE_PASSPHRASE_FILE", str(shell.vault.passphrase_file))
    assert "expired" in shell.text("vault", "list")
    assert "not good (1):" in shell.text("vault", "verify")
    assert "not opened (1):" in shell.text("vault", "reindex")
    assert "would be sealed for" in shell.text("vault", "rekey", "--add", str(NEW.recipient), "--dry-run")
    assert "no longer for" in shell.text("vault", "rekey", "--remove", str(NEW.recipient))
    assert "would be deleted" in shell.text("vault", "purge", "--dry-run")
    assert "left:" in shell.text("vault", "purge")


# ---- trust revoke, post-quantum keys --------------------------------------------------------------------------------


def test_a_signer_is_revoked_by_fingerprint_or_by_key_file(shell: Shell, tmp_path: Path) -> None:
    other = Vault(tmp_path / "other")
    mine = fingerprint(shell.vault.signing.public_key().public_bytes_raw())
    result = shell("trust", "revoke", mine, keys=False)
    assert result["revoked"] == mine
    assert [item["revoked"] for item in result["signers"]] == [True]
    result = shell("trust", "revoke", str(other.config / "signing.pub"), keys=False)
    assert result["revoked"] == fingerprint(other.signing.public_key().public_bytes_raw())
    assert "never trusted" in shell.text("trust", "revoke", str(other.config / "signing.pub"))
    shell("trust", "revoke", "SHA256:" + "A" * 43, expect=2, keys=False)
    assert shell.error()["code"] == "unknown-signer"
    shell("trust", "revoke", str(tmp_path / "none"), expect=2, keys=False)


def test_post_quantum_keys_are_made_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockmigrate.vault.keys.OWN_LOG_N", 10)
    secret = tmp_path / "secret"
    secret.write_text(PASSPHRASE, encoding="utf-8")
    secret.chmod(0o600)
    options = ["--config-dir", str(tmp_path / "config"), "--json", "--passphrase-file", str(secret)]
    assert cli.main(["keys", "init", "--post-quantum", *options]) == 0
    assert json.loads(capsys.readouterr().out)["recipient"].startswith("age1pq1")
