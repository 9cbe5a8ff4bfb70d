"""PINs in place of those that a unit does not take, the same again for the same backup (decision 21)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping
from itertools import count, pairwise
from typing import Final

from lockmigrate.model.capabilities import CredentialCapability
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import PinData
from lockmigrate.model.secret import Secret
from lockmigrate.planning.pins import unfit

USUAL_DIGITS: Final = 6
"""Ours: a million possibilities, where the unit leaves the length open."""
MOST_TRIES: Final = 10_000
_CHECK_SALT: Final = b"lockmigrate/new-pin/1"
_SALT: Final = b"lockmigrate/suggested-pin/1"


def suggest(key: bytes, unit: str, record: str, capability: CredentialCapability, avoid: Collection[str]) -> str | None:
    """Return digits that the unit takes; None where there are none to be found.

    Args:
        key: the secret that the backup keeps for this.
        unit: id of the target.
        record: key of the source record.
        capability: what PINs the target takes.
        avoid: digits that somebody else has or had.
    """
    alphabet = capability.alphabet or "0123456789"
    length = max(capability.min_len or 1, min(USUAL_DIGITS, capability.max_len or USUAL_DIGITS))
    for number in count():
        if number == MOST_TRIES:
            return None
        said = "\0".join((unit, record, str(number))).encode()
        value = int.from_bytes(hmac.digest(key, _SALT + b"\0" + said, hashlib.sha256), "big")
        digits = ""
        for _ in range(length):
            value, at = divmod(value, len(alphabet))
            digits += alphabet[at]
        if not weak(digits) and not unfit(digits, capability) and digits not in avoid:
            return digits
    return None


def suggestions(snapshot: Snapshot, unit: str, capability: CredentialCapability | None) -> Mapping[str, str]:
    """Return a PIN for every record of a backup that has one, whether it needs one or not: all differ.

    Nothing counts but the backup and the target's id, so that any later run, and the paper, say the same.
    """
    key = snapshot.metadata.suggestion_key
    if not isinstance(key, Secret) or capability is None:
        return {}
    old = {item.key: str(item.data.digits.reveal()) for item in snapshot.credentials if isinstance(item.data, PinData)}
    avoid = set(old.values())
    found: dict[str, str] = {}
    for record in old:
        digits = suggest(key.reveal_bytes(), unit, record, capability, avoid)
        if digits is not None:
            found[record] = digits
            avoid.add(digits)
    return found


def check_of(snapshot: Snapshot, record: str, digits: str) -> str | None:
    """Return by what a new PIN is known again: an HMAC under the backup's own key, cut to 8 hexadecimal digits
    (neutral-format 7); None where the backup keeps no key.
    """
    key = snapshot.metadata.suggestion_key
    if not isinstance(key, Secret):
        return None
    said = "\0".join((record, digits)).encode()
    return hmac.digest(key.reveal_bytes(), _CHECK_SALT + b"\0" + said, hashlib.sha256).hex()[:8]


def weak(digits: str) -> bool:
    """Whether digits are all equal, a run up or down, or a piece said again and again."""
    steps = {ord(after) - ord(before) for before, after in pairwise(digits)}
    if len(steps) == 1 and steps <= {-1, 0, 1}:
        return True
    pieces = (size for size in range(1, len(digits) // 2 + 1) if len(digits) % size == 0)
    return any(digits[:size] * (len(digits) // size) == digits for size in pieces)
