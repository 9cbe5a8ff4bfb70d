"""Keys of TTLock locks, from what other programs export, and back: the owner's own, handed over.

Taken: the `lockData.json` of the JavaScript SDK (a list of locks, or one), the key cache of the ESPHome client
(`locks.json`), and the vendor's `lockData` text, alone or inside JSON. Sections 4 and 13 of the TTLock reference.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec.structs import asdict, replace

from lockmigrate.errors import ConfigError, FrameError
from lockmigrate.formats.ttlock_keys import decode_lock_data, decode_secret, encode_lock_data, encode_secret
from lockmigrate.operations.pairing import check_credential_file
from lockmigrate.protocols.credentials import TtlockCredential, read_credentials, write_credential

MAX_BYTES: Final = 1 << 20
_MAC: Final = re.compile(r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}")
_HEX_KEY: Final = re.compile(r"[0-9A-Fa-f]{32}")


def import_keys(path: Path, *, lock: str | None = None) -> TtlockCredential:
    """Read the keys of one lock from an export.

    Args:
        path: the file.
        lock: the lock's MAC, where the file holds several.

    Raises:
        ConfigError: the file cannot be read or understood, or holds several locks and none was named. No value is
            repeated.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} is too large for an export of keys", code="lock-keys")
        text = path.read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", code="lock-keys") from None
    except UnicodeDecodeError:
        raise _strange(path) from None
    found: dict[str, TtlockCredential] = {}
    for item in _understood(text, path):
        if found.setdefault(item.address or "", item) != item:
            named = f"of {item.address}" if item.address else "of locks without an address"
            raise ConfigError(
                f"{path} holds two different sets of keys {named}",
                hint="leave one of them in a copy of the file",
                code="lock-keys",
            )
    if not found:
        raise _strange(path)
    if lock is not None:
        wanted = lock.upper()
        if wanted not in found:
            raise ConfigError(
                f"{path} holds no keys of {lock}", hint=f"it holds {', '.join(sorted(found))}", code="lock-keys"
            )
        return found[wanted]
    if len(found) > 1:
        raise ConfigError(
            f"{path} holds the keys of {len(found)} locks",
            hint=f"name one with --lock: {', '.join(sorted(found))}",
            code="lock-keys",
        )
    return next(iter(found.values()))


def _strange(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} is no export of keys that this version knows",
        hint="known are lockData.json of ttlock-sdk-js, locks.json of esphome-ttlock, and the vendor's lockData text",
        code="lock-keys",
    )


def _understood(text: str, path: Path) -> Iterator[TtlockCredential]:
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        document = text
    try:
        yield from _locks(document, None)
    except (FrameError, ValueError, TypeError, OverflowError, RecursionError):
        raise _strange(path) from None


def _locks(value: Any, name: str | None) -> Iterator[TtlockCredential]:
    """Find locks wherever they stand: in a list, under their MAC, or alone."""
    if isinstance(value, str):
        yield _from_vendor(decode_lock_data(value))
    elif isinstance(value, list):
        for item in value:
            yield from _locks(item, None)
    elif isinstance(value, Mapping):
        if "lockData" in value and isinstance(value["lockData"], str):
            yield _from_vendor(decode_lock_data(value["lockData"]))
        elif "aesKeyStr" in value:
            yield _from_vendor(value)
        elif "privateData" in value and isinstance(value["privateData"], Mapping):
            yield _from_sdk({**value["privateData"], "address": value.get("address")}, name)
        elif "aesKey" in value:
            yield _from_sdk(value, name)
        elif "aes_key" in value:
            yield _from_esphome(value, name)
        else:
            for key, item in value.items():
                yield from _locks(item, key if isinstance(key, str) else None)


def _from_sdk(value: Mapping[str, Any], name: str | None) -> TtlockCredential:
    """`aesKey` hex, `admin.adminPs` and `admin.unlockKey` numbers."""
    admin = value.get("admin") if isinstance(value.get("admin"), Mapping) else {}
    assert isinstance(admin, Mapping)  # noqa: S101 - for the type checker
    return _made(
        value["aesKey"], admin.get("adminPs"), admin.get("unlockKey"), value.get("address") or name,
        value.get("adminPasscode"),
    )  # fmt: skip


def _from_esphome(value: Mapping[str, Any], name: str | None) -> TtlockCredential:
    """`aes_key`, `admin_ps`, `unlock_key`, all hex text."""
    admin_ps, unlock_key = (
        int(str(value[key]), 16) if value.get(key) is not None else None for key in ("admin_ps", "unlock_key")
    )
    return _made(value["aes_key"], admin_ps, unlock_key, value.get("mac") or value.get("address") or name, None)


def _from_vendor(value: Mapping[str, Any]) -> TtlockCredential:
    """`aesKeyStr` hex with commas, `adminPwd` and `lockKey` as the vendor writes secrets."""
    admin = value.get("adminPwd")
    unlock = value.get("lockKey")
    return _made(
        str(value["aesKeyStr"]).replace(",", ""),
        decode_secret(str(admin)) if admin else None,
        decode_secret(str(unlock)) if unlock else None,
        value.get("lockMac"),
        value.get("noKeyPwd"),
        flag=value.get("lockFlagPos"),
    )


def _made(key: Any, admin_ps: Any, unlock_key: Any, mac: Any, passcode: Any, *, flag: Any = None) -> TtlockCredential:
    if not isinstance(key, str) or not _HEX_KEY.fullmatch(key):
        raise FrameError("no key")
    address = mac.upper() if isinstance(mac, str) and _MAC.fullmatch(mac) else None
    numbers = [_number(value) for value in (admin_ps, unlock_key)]
    return TtlockCredential(
        aes_key=key.lower(),
        admin_ps=numbers[0],
        unlock_key=numbers[1],
        admin_passcode=passcode if isinstance(passcode, str) and passcode.isascii() and passcode.isdigit() else None,
        lock_flag_pos=_number(flag, highest=0xFFFFFF) or 0,
        address=address,
        unit=address,
    )


def _number(value: Any, *, highest: int = 0xFFFFFFFF) -> int | None:
    if value is None or value == "":
        return None
    number = int(value)
    if not 0 <= number <= highest:
        raise FrameError("no number")
    return number


def keep_keys(path: Path, credential: TtlockCredential) -> None:
    """Write imported keys to a credential file; another table in it stays, and so do the keys of another lock.

    Raises:
        ConfigError: the file holds the keys of another lock, or cannot be read.
        FileTrouble: it cannot be written.
    """
    check_credential_file(path)
    held = read_credentials(path).get("ttlock") if path.exists() else None
    if isinstance(held, TtlockCredential) and held.aes_key is not None:
        if (held.aes_key.lower(), held.address) != (credential.aes_key, credential.address):
            raise ConfigError(
                f"{path} holds the keys of a lock already, in its table [ttlock]",
                hint="give another file: these keys may be the only way into that lock",
                code="credential-file",
            )
        told = {name: value for name, value in asdict(credential).items() if value is not None}
        credential = replace(held, **told)  # the same lock: what only the file knows of it stays
    write_credential(path, "ttlock", credential)


def export_keys(credential: TtlockCredential) -> str:
    """Return the vendor's `lockData` of a lock whose keys we have: what its owner's tools take.

    Raises:
        ConfigError: a part of the keys is missing.
    """
    if None in (credential.aes_key, credential.admin_ps, credential.unlock_key, credential.address):
        raise ConfigError(
            "the credential file lacks a part of the lock's keys",
            hint="aes_key, admin_ps, unlock_key and address are needed",
            code="lock-keys",
        )
    key = bytes.fromhex(credential.aes_key or "")
    document: dict[str, Any] = {
        "lockMac": credential.address,
        "aesKeyStr": ",".join(f"{byte:02x}" for byte in key),
        "adminPwd": encode_secret(credential.admin_ps or 0, seed=1 + secrets.randbelow(127)),
        "lockKey": encode_secret(credential.unlock_key or 0, seed=1 + secrets.randbelow(127)),
        "lockFlagPos": credential.lock_flag_pos,
    }
    if credential.admin_passcode is not None:
        document["noKeyPwd"] = credential.admin_passcode
    return encode_lock_data(document, credential.address or "")
