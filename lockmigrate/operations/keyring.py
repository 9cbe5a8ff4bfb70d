"""The keys of one run: what seals, what signs, what opens. Unlocked in a worker thread while the unit is read.

scrypt takes its time and memory on purpose (85 MB at log2 N = 16, 286 MB at 18), so the files are unlocked one after
the other, and only those that are needed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from lockmigrate.errors import BackupError, ConfigError, WrongKeyError
from lockmigrate.formats import age, sshsig
from lockmigrate.formats.backup import SignerCheck
from lockmigrate.vault import keys
from lockmigrate.vault.passphrases import check_new_passphrase, read_passphrase_file
from lockmigrate.vault.policy import load_policy, recipients_for
from lockmigrate.vault.trust import check_signer, trusted


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChoice:
    """What the person gave: folders, files and passphrases (which never print)."""

    config_dir: Path
    passphrase: str | None = field(default=None, repr=False)
    """Unlocks the key files."""
    recipients: tuple[str, ...] = ()
    """Beside our own."""
    identities: tuple[Path, ...] = ()
    symmetric: bool = False
    backup_passphrase: str | None = field(default=None, repr=False)
    """Of a `--symmetric` backup."""
    trust_once: tuple[str, ...] = ()
    key_copy: bool | None = None
    """None: a copy of the identity is left beside a backup where its passphrase was generated (decision 33)."""


class Keyring:
    """Keys for sealing and opening. Call `unlock` before the unit is touched; the rest waits for it."""

    def __init__(self, choice: KeyChoice) -> None:
        self.choice = choice
        self.throw_away = False
        self._signing: sshsig.SigningKey | None = None
        self._own: tuple[age.SecretKey, ...] = ()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def for_one_run(cls, folder: Path) -> Keyring:
        """Make keys that live in memory only: for data that is invented anyway."""
        ring = cls(KeyChoice(config_dir=folder, key_copy=False))
        ring.throw_away = True
        ring._signing = sshsig.generate_key()
        ring._own = (age.X25519Identity.generate(),)
        return ring

    def need_signing(self) -> None:
        """Fail early if nothing could be sealed.

        Raises:
            ConfigError: there are no keys (code `no-keys`), with the command that makes them as hint.
        """
        folder = self.choice.config_dir
        if not self.throw_away and not (folder / keys.SIGNING_FILE).exists():
            raise ConfigError(
                f"there are no keys in {folder}, so a backup could be neither sealed nor signed",
                hint=f'lockmigrate keys init --config-dir "{folder}" --passphrase-file FILE',
                code="no-keys",
            )
        if not self.throw_away and self.choice.passphrase is None:
            raise ConfigError(
                "the signing key needs its passphrase",
                hint="give a file that holds it with --passphrase-file, or run this on a terminal",
                code="no-passphrase",
            )

    def unlock(self) -> None:
        """Start unlocking the signing key in a worker thread."""
        if self._signing is None and self._task is None:
            self._task = asyncio.create_task(asyncio.to_thread(self._load_signing))
            # Where the unit fails first nobody asks for the key any more, and its trouble is not worth a traceback.
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    def _load_signing(self) -> None:
        self._signing = keys.load_signing_key(self.choice.config_dir, self.choice.passphrase or "")

    async def signing_key(self) -> sshsig.SigningKey:
        """Return the signing key.

        Raises:
            WrongKeyError: the passphrase is wrong.
            ConfigError, BackupError, FileTrouble: the key file is missing, readable by others, or damaged.
        """
        self.need_signing()
        self.unlock()
        if self._task is not None:
            await self._task
        if self._signing is None:
            raise ConfigError("the signing key was not unlocked", code="no-keys")
        return self._signing

    async def check(self) -> None:
        """Raise what unlocking found wrong so far, without waiting for it."""
        if self._task is not None and self._task.done():
            await self._task

    def recipients(self) -> tuple[str, ...]:
        """Return whom a new backup is sealed for: our own recipient and the given ones; nobody if symmetric.

        Raises:
            ConfigError: a recipient is malformed, or both ways were asked for.
        """
        if self.choice.symmetric:
            if self.choice.recipients:
                raise ConfigError(
                    "--symmetric and --recipient exclude each other",
                    hint="age allows no second way beside a passphrase",
                )
            return recipients_for(load_policy(self.choice.config_dir), None)
        if self.throw_away:
            return (str(self._own[0].recipient),)
        own = keys.key_info(self.choice.config_dir).recipient
        return recipients_for(load_policy(self.choice.config_dir), own, self.choice.recipients)

    def passphrase_for_new(self) -> str | None:
        """Return the passphrase of a new symmetric backup, None otherwise.

        Raises:
            ConfigError: it is missing or too short.
        """
        if not self.choice.symmetric:
            return None
        if self.choice.backup_passphrase is None:
            raise ConfigError(
                "--symmetric needs the backup's own passphrase",
                hint="give a file that holds it with --backup-passphrase-file, or run this on a terminal",
                code="no-passphrase",
            )
        return check_new_passphrase(self.choice.backup_passphrase)

    def leave_key_copy(self, file: Path) -> Path | None:
        """Leave a copy of our identity, still under its passphrase, beside a backup, as decided."""
        choice = self.choice
        if self.throw_away or choice.symmetric or choice.key_copy is False:
            return None
        if choice.key_copy is None and not keys.key_info(choice.config_dir).generated:
            return None
        return keys.write_key_copy(choice.config_dir, file)

    # ---- opening ----------------------------------------------------------------------------------------------------

    async def identities_for(self, file: Path, data: bytes) -> tuple[list[age.SecretKey], str | None]:
        """Return what may open a file: identities, or the passphrase of a symmetric backup.

        Raises:
            WrongKeyError: there is nothing (code `no-identity`), or the passphrase unlocks none of the key files.
            ConfigError: a passphrase is needed and was not given.
        """
        if self.throw_away:
            return list(self._own), None
        if is_symmetric(data):
            if self.choice.backup_passphrase is None:
                raise ConfigError(
                    f"{file} is sealed with a passphrase of its own",
                    hint="give it with --backup-passphrase-file, or run this on a terminal",
                    code="no-passphrase",
                )
            return [], self.choice.backup_passphrase
        return await asyncio.to_thread(self._load_identities, file), None

    def _load_identities(self, file: Path) -> list[age.SecretKey]:
        found: list[age.SecretKey] = list(self._own)
        trouble: BackupError | ConfigError | None = None
        for path in keys.find_identities(self.choice.config_dir, file, self.choice.identities):
            try:
                found += keys.load_identity(path, self.choice.passphrase)
            except (BackupError, ConfigError) as error:  # one damaged key file does not make the others useless
                if path in self.choice.identities or isinstance(error, ConfigError):
                    trouble = error if trouble is None or isinstance(error, ConfigError) else trouble
                else:
                    trouble = trouble or error
        if not found:
            raise trouble or WrongKeyError("no key file could be opened")
        return found

    def signer_check(self) -> SignerCheck:
        """Return the check of container step 7 for this run."""
        if self.throw_away:
            mine = self._signing.public_key().public_bytes_raw() if self._signing else b""
            return check_signer(self.choice.config_dir, trust_once=(sshsig.fingerprint(mine),))
        return check_signer(self.choice.config_dir, trust_once=self.choice.trust_once)

    def name_of(self, public_key: bytes) -> str | None:
        """Return the name under which a signer is trusted."""
        found = (item.name for item in trusted(self.choice.config_dir) if item.public_key == public_key)
        return next(found, None)


def is_symmetric(data: bytes) -> bool:
    """Tell whether a sealed file opens with a passphrase of its own; False for anything that is no age file."""
    try:
        return age.work_factor(data) is not None
    except BackupError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPaths:
    """Where a worker finds its keys. Only paths cross to another process, never a secret."""

    config_dir: Path
    passphrase_file: Path | None = None
    identities: tuple[Path, ...] = ()
    backup_passphrase_file: Path | None = None
    trust_once: tuple[str, ...] = ()

    def keyring(self) -> Keyring:
        """Read the passphrase files and make a keyring, in the worker.

        Raises:
            ConfigError, FileTrouble: a passphrase file is missing or malformed.
        """
        own = self.backup_passphrase_file
        return Keyring(
            KeyChoice(
                config_dir=self.config_dir,
                passphrase=read_passphrase_file(self.passphrase_file) if self.passphrase_file else None,
                identities=self.identities,
                backup_passphrase=read_passphrase_file(own) if own else None,
                trust_once=self.trust_once,
            )
        )
