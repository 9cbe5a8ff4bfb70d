"""Whose signatures count: `allowed_signers` and `revoked_signers`, in OpenSSH's own formats.

Source: openssh/openssh-portable `ssh-keygen.1`, "ALLOWED SIGNERS"; `revoked_signers` is the list of public keys, one a
line, that `ssh-keygen -Y verify -r` takes. Nobody is trusted on first use: a signer enters with its fingerprint
confirmed. Whatever cannot be understood is an error in these files, never a reason to trust.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from lockmigrate.errors import ConfigError, PolicyError
from lockmigrate.formats.backup import DateCheck, SignerCheck
from lockmigrate.formats.files import PUBLIC_MODE, exists, read_whole, write_whole
from lockmigrate.formats.sshsig import BACKUP_NAMESPACE, fingerprint, parse_public_key_line, public_key_line

ALLOWED_SIGNERS: Final = "allowed_signers"
REVOKED_SIGNERS: Final = "revoked_signers"

_MAX_TRUST_BYTES: Final = 1024 * 1024
_ED25519: Final = "ssh-ed25519"
_OTHER_KEY_TYPE: Final = re.compile(r"(?:sk-)?(?:ssh|ecdsa|webauthn)-[a-z0-9@.-]+")
_OPTION: Final = re.compile(r'([a-z-]+)(?:="((?:[^"\\]|\\.)*)")?(?:,|$)', re.IGNORECASE)
_NAME: Final = re.compile(r'[^\s",#!*?\\\x00-\x1f\x7f][^\s",#!*?\\\x00-\x1f\x7f]{0,63}')
_TIME: Final = re.compile(r"([0-9]{8})([0-9]{4}(?:[0-9]{2})?)?(Z?)", re.IGNORECASE)
_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """One trusted public key."""

    name: str
    """The principals as written, such as `tech@example`."""
    public_key: bytes
    """32 bytes."""
    namespaces: tuple[str, ...] = ()
    """Patterns; none means every namespace, as in OpenSSH."""
    valid_after: datetime | None = None
    valid_before: datetime | None = None
    revoked: bool = False

    @property
    def fingerprint(self) -> str:
        """`SHA256:…`."""
        return fingerprint(self.public_key)

    def line(self) -> str:
        """The line of `allowed_signers`, without a line end."""
        options = [f'namespaces="{",".join(self.namespaces)}"'] if self.namespaces else []
        if self.valid_after is not None:
            options.append(f'valid-after="{_write_time(self.valid_after)}"')
        if self.valid_before is not None:
            options.append(f'valid-before="{_write_time(self.valid_before)}"')
        name = f'"{self.name}"' if re.search(r"\s", self.name) else self.name
        return " ".join(part for part in (name, ",".join(options), public_key_line(self.public_key)) if part)

    def signs_for(self, namespace: str) -> bool:
        """Tell whether the key counts in `namespace`: some pattern matches and none excludes it."""
        if not self.namespaces:
            return True
        excluded = any(_matches(namespace, each[1:]) for each in self.namespaces if each.startswith("!"))
        return not excluded and any(_matches(namespace, each) for each in self.namespaces)


def own_signer(name: str, public_key: bytes) -> Signer:
    """Return a signer for our backups.

    Raises:
        ConfigError: the name would not survive the file (code `bad-name`).
    """
    if _NAME.fullmatch(name) is None:
        raise ConfigError(
            "a signer's name is at most 64 characters without blanks, quotes, commas, and none of # ! * ? \\",
            hint="use something like tech@example",
            code="bad-name",
        )
    return Signer(name=name, public_key=public_key, namespaces=(BACKUP_NAMESPACE,))


def parse_allowed_signers(text: str) -> list[Signer]:
    """Read `allowed_signers`; keys of other types than ssh-ed25519 and certificate authorities are left out.

    Raises:
        ConfigError: a line cannot be understood (code `bad-trust-file`).
    """
    found: list[Signer] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        try:
            signer = _parse_line(content)
        except (ValueError, ConfigError):
            raise ConfigError(
                f"line {number} of {ALLOWED_SIGNERS} cannot be understood",
                hint='a line is: NAME namespaces="lockmigrate-backup-v1" ssh-ed25519 AAAA…',
                code="bad-trust-file",
            ) from None
        if signer is not None:
            found.append(signer)
    return found


def trusted(folder: Path) -> list[Signer]:
    """Return the signers of a config directory, revoked ones marked; none if there is no file.

    Raises:
        ConfigError: a trust file cannot be understood (code `bad-trust-file`).
        FileTrouble: it cannot be read.
    """
    revoked = revoked_keys(folder)
    return [
        Signer(
            name=signer.name,
            public_key=signer.public_key,
            namespaces=signer.namespaces,
            valid_after=signer.valid_after,
            valid_before=signer.valid_before,
            revoked=signer.public_key in revoked,
        )
        for signer in parse_allowed_signers(_read(folder / ALLOWED_SIGNERS))
    ]


def revoked_keys(folder: Path) -> frozenset[bytes]:
    """Return the public keys (32 bytes) of `revoked_signers`.

    Raises:
        ConfigError: a line cannot be understood (code `bad-trust-file`).
        FileTrouble: it cannot be read.
    """
    found: set[bytes] = set()
    for number, line in enumerate(_read(folder / REVOKED_SIGNERS).splitlines(), start=1):
        content = line.strip()
        if not content or content.startswith("#") or _OTHER_KEY_TYPE.fullmatch(_first_other_type(content)):
            continue
        try:
            found.add(parse_public_key_line(content)[0])
        except ConfigError:
            raise ConfigError(
                f"line {number} of {REVOKED_SIGNERS} cannot be understood",
                hint="a line is a public key: ssh-ed25519 AAAA…",
                code="bad-trust-file",
            ) from None
    return frozenset(found)


def add_signer(
    folder: Path,
    key_line: str,
    name: str,
    confirm_fingerprint: str,
    *,
    valid_after: datetime | None = None,
    valid_before: datetime | None = None,
) -> Signer:
    """Trust a public key for backups; its fingerprint was compared by voice or paper and is typed here.

    Raises:
        ConfigError: the key line is malformed (`bad-public-key`), the fingerprint is another one (`wrong-confirm`), the
            name does not fit (`bad-name`), or the key is revoked (`revoked`).
        FileTrouble: the file cannot be written.
    """
    public_key, _ = parse_public_key_line(key_line)
    actual = fingerprint(public_key)
    if confirm_fingerprint.strip() != actual:
        raise ConfigError(
            "the confirmed fingerprint is not that of the key",
            hint=f"the key's is {actual}; ask its owner, do not copy it from here",
            code="wrong-confirm",
        )
    if public_key in revoked_keys(folder):
        raise ConfigError(f"{actual} is revoked", hint=f"it is listed in {REVOKED_SIGNERS}", code="revoked")
    base = own_signer(name, public_key)
    signer = Signer(
        name=base.name,
        public_key=public_key,
        namespaces=base.namespaces,
        valid_after=valid_after,
        valid_before=valid_before,
    )
    path = folder / ALLOWED_SIGNERS
    text = _read(path)
    if signer not in parse_allowed_signers(text):
        _append(path, text, signer.line())
    return signer


def revoke_signer(folder: Path, which: str) -> str:
    """Revoke a key, given as its fingerprint (then it must be a trusted one) or its public key line.

    Returns:
        The fingerprint.

    Raises:
        ConfigError: the fingerprint is not a trusted one's (code `unknown-signer`), or the line is malformed.
        FileTrouble: the file cannot be written.
    """
    if _FINGERPRINT.fullmatch(which.strip()):
        matches = [signer for signer in trusted(folder) if signer.fingerprint == which.strip()]
        if not matches:
            raise ConfigError(
                f"{which.strip()} is not in {ALLOWED_SIGNERS}",
                hint="give the public key line to revoke a key that was never trusted",
                code="unknown-signer",
            )
        public_key = matches[0].public_key
    else:
        public_key, _ = parse_public_key_line(which)
    if public_key not in revoked_keys(folder):
        path = folder / REVOKED_SIGNERS
        _append(path, _read(path), public_key_line(public_key))
    return fingerprint(public_key)


def check_signer(folder: Path, *, trust_once: Sequence[str] = (), namespace: str = BACKUP_NAMESPACE) -> SignerCheck:
    """Return the check that `open_backup` takes. The trust files are read now, once.

    Args:
        trust_once: fingerprints (`SHA256:…`) typed in full for this one run; a revoked key stays refused.

    Raises (the check): PolicyError, code `untrusted`.
    """
    signers, revoked, once = trusted(folder), revoked_keys(folder), frozenset(each.strip() for each in trust_once)

    def check(signer: str, public_key: bytes) -> DateCheck | None:
        if public_key in revoked:
            raise PolicyError(
                f"the backup's signer {signer} is revoked",
                hint="nothing it signed is restored; read the unit again, or ask for a backup by another signer",
                code="untrusted",
            )
        if signer in once:
            return None
        known = [each for each in signers if each.public_key == public_key and each.signs_for(namespace)]
        if not known:
            other = ", nor the one given with --trust-once" if once else ""
            raise PolicyError(
                f"the backup's signer {signer} is not trusted{other}",
                hint="compare the fingerprint with the one on paper or by voice, then --trust-once SHA256:… in full; "
                "to trust it for good: trust add signing.pub, from the config directory it was made with",
                code="untrusted",
            )

        def check_date(created_at: datetime) -> None:
            if not any(_valid_at(each, created_at) for each in known):
                raise PolicyError(
                    f"the backup's signer {signer} was not valid when the backup was made",
                    hint=f"see valid-after and valid-before in {ALLOWED_SIGNERS}",
                    code="untrusted",
                )

        return check_date

    return check


def _valid_at(signer: Signer, instant: datetime) -> bool:
    after_start = signer.valid_after is None or instant >= signer.valid_after
    return after_start and (signer.valid_before is None or instant < signer.valid_before)


def _matches(text: str, pattern: str) -> bool:
    """OpenSSH's patterns know `*` and `?` only."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def _parse_line(content: str) -> Signer | None:
    if content.startswith('"'):
        name, closed, rest = content[1:].partition('"')
        if not closed:
            raise ValueError("quote")
    else:
        name, rest = content.split(maxsplit=1)
    rest = rest.strip()
    options: dict[str, str | None] = {}
    if not _starts_with_key_type(rest):
        options, rest = _take_options(rest)
    if not name or not _starts_with_key_type(rest):
        raise ValueError("form")
    if "cert-authority" in options or rest.split()[0] != _ED25519:
        return None
    namespaces = options.get("namespaces")
    return Signer(
        name=name,
        public_key=parse_public_key_line(rest)[0],
        namespaces=tuple(each for each in (namespaces or "").split(",") if each),
        valid_after=_read_time(options["valid-after"]) if "valid-after" in options else None,
        valid_before=_read_time(options["valid-before"]) if "valid-before" in options else None,
    )


def _starts_with_key_type(text: str) -> bool:
    first = text.split(maxsplit=1)[:1]
    return bool(first) and (first[0] == _ED25519 or _OTHER_KEY_TYPE.fullmatch(first[0]) is not None)


def _first_other_type(content: str) -> str:
    first = content.split(maxsplit=1)[0]
    return "" if first == _ED25519 else first


def _take_options(text: str) -> tuple[dict[str, str | None], str]:
    """Take `name="value",name,…` from the front; values may hold blanks. Unknown or repeated names are refused."""
    quoted, end = False, len(text)
    for at, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif char.isspace() and not quoted:
            end = at
            break
    field, rest = text[:end], text[end:].strip()
    options: dict[str, str | None] = {}
    at = 0
    while at < len(field):
        matched = _OPTION.match(field, at)
        if matched is None:
            raise ValueError("option")
        name, value = matched[1].lower(), matched[2]
        valued = name in {"namespaces", "valid-after", "valid-before"}
        if name in options or not (valued or name == "cert-authority") or valued != bool(value):
            raise ValueError("option")
        options[name] = value
        at = matched.end()
    return options, rest


def _read_time(text: str | None) -> datetime:
    """Read `YYYYMMDD[HHMM[SS]][Z]`; without Z it is this computer's local time, as OpenSSH has it."""
    matched = _TIME.fullmatch(text or "")
    if matched is None:
        raise ValueError("time")
    digits = (matched[1] + (matched[2] or "")).ljust(14, "0")
    naive = datetime.strptime(digits, "%Y%m%d%H%M%S")  # noqa: DTZ007 - the zone is given by the next line
    try:
        return naive.replace(tzinfo=UTC) if matched[3] else naive.astimezone()
    except (OverflowError, OSError):
        raise ValueError("time") from None


def _write_time(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y%m%d%H%M%SZ")


def _read(path: Path) -> str:
    if not exists(path):
        return ""
    data = read_whole(path, max_bytes=_MAX_TRUST_BYTES)
    try:
        if data is not None:
            return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    raise ConfigError(f"{path} is not a text file of at most {_MAX_TRUST_BYTES} bytes", code="bad-trust-file")


def _append(path: Path, text: str, line: str) -> None:
    if text and not text.endswith("\n"):
        text += "\n"
    write_whole(path, f"{text}{line}\n".encode(), mode=PUBLIC_MODE, replace=True)
