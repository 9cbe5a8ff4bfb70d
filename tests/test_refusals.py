"""Files that must not reach a lock: forged, unsigned, revoked, expired, stale, misdirected. Nothing is written."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lockmigrate.cli import main
from lockmigrate.formats import age, sshsig
from lockmigrate.formats.archive import read_archive, write_archive
from lockmigrate.formats.backup import seal
from lockmigrate.profiles import load_profile
from lockmigrate.sim import open_unit
from lockmigrate.vault import keys, trust

PASSPHRASE = "a passphrase for refusals"


class Workshop:
    """A technician's computer, a backup of an R503, and an empty replacement whose memory can be looked at."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capfd = folder, capfd
        self.config = folder / "config"
        self.info = keys.create_keys(self.config, PASSPHRASE, generated=False, log_n=10)
        (folder / "passphrase").write_text(PASSPHRASE, encoding="utf-8")
        (folder / "passphrase").chmod(0o600)
        self.state = folder / "state"
        assert self.run("backup", "sim://r503/half?fill=3", "-o", str(folder / "good.age"))[0] == 0
        self.good = folder / "good.age"
        self.blank = self.memory()

    def run(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        self._capfd.readouterr()
        keyed = ["--passphrase-file", str(self.folder / "passphrase"), "--config-dir", str(self.config)]
        code = main([*arguments, "--json", *keyed])
        out, err = self._capfd.readouterr()
        return code, json.loads(out if code in (0, 8, 9) else err.strip().splitlines()[-1])

    def memory(self) -> bytes:
        return open_unit(load_profile("r503"), "empty", {}, state=self.state).image()

    def restore(self, file: Path, *options: str, target: str = "r503") -> tuple[int, dict[str, Any]]:
        return self.run("restore", str(file), f"sim://{target}/empty?state={self.state}", *options)

    def plain(self) -> bytes:
        (identity,) = keys.load_identity(self.config, PASSPHRASE)
        return age.decrypt_bytes(self.good.read_bytes(), identities=[identity.reveal()])

    def sealed(self, change: Callable[[dict[str, Any]], None], *, signing_key: Any = None, name: str) -> Path:
        """The good backup with another manifest, signed anew, for the same recipient."""
        entries = dict(read_archive(self.plain()))
        manifest = json.loads(entries.pop("manifest.json"))
        entries.pop("manifest.json.sig")
        change(manifest)
        key = signing_key or keys.load_signing_key(self.config, PASSPHRASE)
        data, _ = seal(manifest, entries, recipients=[self.info.recipient], signing_key=key)
        path = self.folder / name
        path.write_bytes(data)
        return path

    def assert_refused(self, file: Path, code: str, *options: str, target: str = "r503") -> dict[str, Any]:
        status, error = self.restore(file, *options, target=target)
        assert (status, error["code"]) == (10, code), error
        assert error["hint"]
        assert self.memory() == self.blank, "something was written"
        return error


@pytest.fixture
def shop(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.chdir(tmp_path)
    return Workshop(tmp_path, capfd)


def stamp(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_the_good_backup_is_restored_and_says_that_it_was_rehearsed(shop: Workshop) -> None:
    """Else every refusal below could be one for another reason."""
    status, result = shop.restore(shop.good)
    assert status == 0
    assert result["rehearsal"]["ok"]
    assert shop.memory() != shop.blank


def test_a_backup_signed_by_a_stranger_is_untrusted(shop: Workshop) -> None:
    forged = shop.sealed(lambda manifest: None, signing_key=sshsig.generate_key(), name="forged.age")
    shop.assert_refused(forged, "untrusted")


def test_a_stranger_can_be_trusted_for_one_run_by_the_whole_fingerprint(shop: Workshop) -> None:
    key = sshsig.generate_key()
    forged = shop.sealed(lambda manifest: None, signing_key=key, name="forged.age")
    fingerprint = sshsig.fingerprint(key.public_key().public_bytes_raw())
    shop.assert_refused(forged, "untrusted", "--trust-once", fingerprint[:-4])
    assert shop.restore(forged, "--trust-once", fingerprint)[0] == 0


def test_a_backup_without_a_signature_is_unsigned(shop: Workshop) -> None:
    entries = [(name, data) for name, data in read_archive(shop.plain()) if name != "manifest.json.sig"]
    sealed = io.BytesIO()
    age.encrypt(io.BytesIO(write_archive(entries)), sealed, [shop.info.recipient])
    path = shop.folder / "unsigned.age"
    path.write_bytes(sealed.getvalue())
    shop.assert_refused(path, "unsigned")


def test_a_revoked_signer_is_untrusted_whatever_else_is_said(shop: Workshop) -> None:
    trust.revoke_signer(shop.config, shop.info.signer)
    shop.assert_refused(shop.good, "untrusted")
    shop.assert_refused(shop.good, "untrusted", "--trust-once", shop.info.signer)


def test_a_signer_who_was_not_valid_when_the_backup_was_made_is_untrusted(shop: Workshop) -> None:
    path = shop.config / trust.ALLOWED_SIGNERS
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('namespaces="', 'valid-before="20200101Z",namespaces="'), encoding="utf-8")
    shop.assert_refused(shop.good, "untrusted")


@pytest.mark.parametrize(
    ("age_days", "code"), [(0, None), (2, None), (29, None), (31, "stale"), (4000, "stale"), (-1, "stale")]
)
def test_an_old_or_future_backup_is_stale(shop: Workshop, age_days: int, code: str | None) -> None:
    made = datetime.now(UTC) - timedelta(days=age_days)
    (shop.config / "catalogue.sqlite").unlink()
    old = shop.sealed(lambda manifest: manifest.update(created_at=stamp(made)), name="old.age")
    if code is None:
        assert shop.restore(old)[0] == 0
    else:
        shop.assert_refused(old, code)
        assert shop.restore(old, "--accept-stale")[0] == 0


def test_an_expired_backup_is_stale(shop: Workshop) -> None:
    past = stamp(datetime.now(UTC) - timedelta(minutes=1))
    expired = shop.sealed(lambda manifest: manifest["retention"].update(expires_at=past), name="expired.age")
    shop.assert_refused(expired, "stale")


def test_a_backup_is_stale_once_a_newer_one_of_the_same_unit_is_known(shop: Workshop) -> None:
    made = stamp(datetime.now(UTC) - timedelta(hours=1))
    older = shop.sealed(
        lambda manifest: manifest.update(created_at=made, backup_id="ab" * 16, previous=None), name="older.age"
    )
    error = shop.assert_refused(older, "stale")
    assert "later" in error["message"]
    assert shop.restore(shop.good)[0] == 0


def test_backups_of_one_unit_are_chained_by_the_catalogue(shop: Workshop) -> None:
    first = json.loads(dict(read_archive(shop.plain()))["manifest.json"])
    assert first["previous"] is None
    assert shop.run("backup", "sim://r503/half?fill=3", "-o", str(shop.folder / "second.age"))[0] == 0
    shop.good = shop.folder / "second.age"
    second = json.loads(dict(read_archive(shop.plain()))["manifest.json"])
    assert second["previous"]["backup_id"] == first["backup_id"]


def test_a_unit_of_another_kind_is_the_wrong_target(shop: Workshop) -> None:
    shop.state.unlink()
    state = shop.folder / "other-state"
    shop.state = state
    status, error = shop.restore(shop.good, target="hlk-zw101")
    assert (status, error["code"]) == (10, "wrong-target")
    assert open_unit(load_profile("hlk-zw101"), "empty", {}, state=state).flash.templates == {}


def test_a_backup_that_fails_its_rehearsal_is_not_restored(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    from lockmigrate.operations import rehearse

    def bad_stand_in(source: Any, profile: Any) -> Any:
        return open_unit(profile, "empty", {"slots": "1"})

    monkeypatch.setattr(rehearse, "stand_in", bad_stand_in)
    shop.assert_refused(shop.good, "rehearsal-failed")
    assert shop.restore(shop.good, "--skip-rehearsal")[0] == 0


def test_a_rehearsal_is_remembered_and_not_repeated(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shop.run("verify", str(shop.good), "--rehearse")[0] == 0
    from lockmigrate.operations import rehearse

    monkeypatch.setattr(rehearse, "stand_in", lambda source, profile: pytest.fail("rehearsed again"))
    status, result = shop.restore(shop.good)
    assert status == 0
    assert result["rehearsal"] is None


def test_show_and_verify_print_what_they_refuse_to_believe(shop: Workshop, capfd: pytest.CaptureFixture[str]) -> None:
    forged = shop.sealed(lambda manifest: None, signing_key=sshsig.generate_key(), name="forged.age")
    keyed = ["--passphrase-file", str(shop.folder / "passphrase"), "--config-dir", str(shop.config)]
    for command in ("show", "verify"):
        capfd.readouterr()
        assert main([command, str(forged), "--json", *keyed]) == 10
        out, err = capfd.readouterr()
        assert json.loads(out)["trust"] == "untrusted"
        assert json.loads(err.strip().splitlines()[-1])["code"] == "untrusted"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda manifest: manifest["counts"].update(fingerprints=99), "malformed"),
        (lambda manifest: manifest["unit"].update(profile="r9000"), "unsupported"),
        (lambda manifest: manifest["unit"].update(family=7), "malformed"),
        (lambda manifest: manifest.pop("unit"), "malformed"),
    ],
)
def test_a_signed_manifest_that_does_not_fit_is_exit_6(
    shop: Workshop, change: Callable[[dict[str, Any]], Any], code: str
) -> None:
    odd = shop.sealed(change, name="odd.age")
    status, error = shop.restore(odd)
    assert (status, error["code"]) == (6, code)
    assert shop.memory() == shop.blank
