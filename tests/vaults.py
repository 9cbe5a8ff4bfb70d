"""A small vault for tests: cheap keys, sealed backups of units with and without serial numbers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lockmigrate.errors import WrongCredential
from lockmigrate.formats.backup import OpenedBackup, new_backup_id, seal, write_backup
from lockmigrate.formats.manifest import write_time
from lockmigrate.formats.sshsig import SigningKey
from lockmigrate.operations.keyring import KeyPaths
from lockmigrate.operations.vault_memory import remember
from lockmigrate.vault.keys import create_keys, key_info, load_identity, load_signing_key
from lockmigrate.version import SOURCE

PASSPHRASE = "canary passphrase of a vault"
CANARY_PIN = b"canary pin 4711"
NOW = datetime.now(UTC).replace(microsecond=0)


class Vault:
    """A config directory with keys, a passphrase file, and a folder of backups."""

    def __init__(self, base: Path, **options: Any) -> None:
        self.config = base / "config"
        self.folder = base / "backups"
        self.folder.mkdir(parents=True)
        create_keys(self.config, PASSPHRASE, generated=False, log_n=10, **options)
        self.passphrase_file = base / "passphrase"
        self.passphrase_file.write_text(f"{PASSPHRASE}\n", encoding="utf-8")
        self.passphrase_file.chmod(0o600)
        self.keys = KeyPaths(config_dir=self.config, passphrase_file=self.passphrase_file)
        self.signing: SigningKey = load_signing_key(self.config, PASSPHRASE)
        self.recipient = key_info(self.config).recipient

    def secrets(self) -> list[bytes]:
        """What must never be seen outside the key files and the process that unlocked them."""
        identities = load_identity(self.config, PASSPHRASE)
        found = [PASSPHRASE.encode(), CANARY_PIN, self.signing.private_bytes_raw()]
        for each in identities:
            found += [each.raw, each.reveal().encode()]
        return [*found, *(secret.hex().encode() for secret in found)]

    def add(
        self,
        name: str,
        *,
        serial: str | None = "S1",
        age: timedelta = timedelta(),
        expires: datetime | None = None,
        recipients: tuple[str, ...] = (),
        signing: SigningKey | None = None,
        passphrase: str | None = None,
        known: bool = True,
        size: int = 100,
    ) -> OpenedBackup:
        """Seal a backup into the folder; `known` tells the catalogue."""
        meta = {
            "backup_id": new_backup_id(),
            "created_at": write_time(NOW - age),
            "tool": {"name": "lockmigrate", "version": "test"},
            "unit": {"family": "ef01", "serial": serial},
            "retention": {"expires_at": write_time(expires) if expires else None},
        }
        to = () if passphrase is not None else (self.recipient, *recipients)
        entries = {"raw/0001-index.bin": bytes(size), "records/users.jsonl": CANARY_PIN}
        data, file_key = seal(
            meta, entries, recipients=to, passphrase=passphrase, signing_key=signing or self.signing, log_n=10
        )
        path = self.folder / name
        opened = write_backup(path, data, file_key, force=True)
        if known:
            assert remember(self.config, path, data, opened, recipients=to) is None
        return opened


@dataclass(frozen=True, kw_only=True)
class StandInOutcome:
    """What a rehearsal returns, as far as verifying a vault looks at it."""

    ok: bool
    backup_id: str = ""
    code: str | None = None
    detail: str | None = None
    millis: int = 1
    tool: str = SOURCE
    profile_sha256: str = "p1"


class Unpicklable(Exception):
    """An error that cannot cross to another process, with a secret in its text."""

    def __init__(self) -> None:
        super().__init__(PASSPHRASE)
        self.hook = lambda: None


def stand_in_rehearse(path: Path, keys: KeyPaths) -> StandInOutcome:
    """A rehearsal by file name: `fails` fails, `dies` ends its process, `raises` and `wrong` raise."""
    if path.name.startswith("fails"):
        return StandInOutcome(ok=False, code="differs", detail="fingerprint/1 reads back otherwise")
    if path.name.startswith("dies"):
        os._exit(3)
    if path.name.startswith("raises"):
        raise Unpicklable
    if path.name.startswith("wrong"):
        raise WrongCredential("no", tries_left=2)
    keys.keyring()
    return StandInOutcome(ok=True)
