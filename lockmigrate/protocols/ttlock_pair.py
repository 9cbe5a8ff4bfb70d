"""Pairing with a factory-fresh TTLock lock: section 5 of the TTLock reference.

Nothing is kept by the lock before the last step, and the keys are on our disk before that: a crash leaves either a
fresh lock, or a paired one whose keys we have.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from lockmigrate.errors import FrameError, LinkError, NoAnswer, RefusedError, UnexpectedReply, WrongCredential
from lockmigrate.formats.ttlock import DEFAULT_KEY, KEY_BYTES, VENDOR, Cmd, Feature, Refusal, has, parse_features
from lockmigrate.protocols.ttlock_wire import Wire

HIGHEST_SECRET: Final = 10**8
"""Both secrets stay below it: what every client can write (section 4)."""
ADMIN_CODE_DIGITS: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """What the lock and we agreed on."""

    aes_key: bytes = field(repr=False)
    admin_ps: int = field(repr=False)
    unlock_key: int = field(repr=False)
    admin_code: str | None = field(default=None, repr=False)


async def pair(
    wire: Wire, *, keep: Callable[[Paired], None], admin_code: str | None = None, now: dt.datetime | None = None
) -> Paired:
    """Become the administrator of a lock in setting mode.

    Args:
        wire: a started conversation with a lock that advertises setting mode.
        keep: called with the keys before the lock commits itself: puts them where a crash does not reach.
        admin_code: digits that open and program the lock at its keypad; None: it keeps its own, or gets random ones.
        now: the door's own time; None: this computer's.

    Raises:
        RefusedError: the lock is not fresh (code `not-pairing`), or refuses a step.
        LinkError: the conversation failed; before the last step nothing has happened.
    """
    try:
        return await _steps(wire, keep, admin_code, now or dt.datetime.now().astimezone())
    except RefusedError as error:
        # What cannot be read before we have a key of our own is said with somebody else's.
        foreign = isinstance(error, WrongCredential) and wire.key == DEFAULT_KEY
        if foreign or error.status in (Refusal.NOT_IN_SETTING_MODE, Refusal.NO_PERMISSION):
            raise RefusedError(
                f"{wire.peer} has an administrator already",
                status=error.status,
                hint="import the keys that its app or other tool has (keys import-lock), or reset it at the lock",
                code="not-pairing",
            ) from None
        raise


async def _steps(wire: Wire, keep: Callable[[Paired], None], admin_code: str | None, now: dt.datetime) -> Paired:
    await wire.say(Cmd.INITIALIZATION, key=DEFAULT_KEY)
    given = await wire.say(Cmd.AES_KEY, VENDOR)
    if given is None or len(given.data) < KEY_BYTES:
        raise FrameError("the lock gave no key")
    admin_ps, unlock_key = secrets.randbelow(HIGHEST_SECRET), secrets.randbelow(HIGHEST_SECRET)
    paired = Paired(aes_key=given.data[:KEY_BYTES], admin_ps=admin_ps, unlock_key=unlock_key, admin_code=admin_code)
    wire.key = paired.aes_key
    both = admin_ps.to_bytes(4, "big") + unlock_key.to_bytes(4, "big")
    reply = await wire.say(Cmd.ADD_ADMIN, both + VENDOR)
    if reply is None or reply.data[: len(VENDOR)] != VENDOR:
        raise UnexpectedReply(expected="the vendor's name", received="something else: the key may be wrong")
    await _tolerated(wire, Cmd.TIME_CALIBRATE, local_bytes(now))
    features = await wire.say(Cmd.FEATURES)
    bits = parse_features(features.data[1:]) if features is not None else 0
    code = admin_code or await _own_code(wire, bits)
    if code is None:
        code = "".join(secrets.choice("0123456789") for _ in range(ADMIN_CODE_DIGITS))
    if code != await _own_code(wire, bits):
        await wire.say(Cmd.SET_ADMIN_CODE, bytes(int(digit) for digit in code))
    if has(bits, Feature.REMOTE_UNLOCK):
        await _tolerated(wire, Cmd.REMOTE_UNLOCK, b"\x01")
    paired = Paired(aes_key=paired.aes_key, admin_ps=admin_ps, unlock_key=unlock_key, admin_code=code)
    keep(paired)
    try:
        if await wire.say(Cmd.FINISHED) is None:
            raise UnexpectedReply(expected="that the lock keeps us", received="an empty answer, as to a stranger")
    except LinkError as error:
        error.hint = "the keys are kept; whether the lock took them, info with the same --credential-file tells"
        raise
    return paired


async def _own_code(wire: Wire, features: int) -> str | None:
    if not has(features, Feature.ADMIN_CODE):
        return None
    answer = await wire.say(Cmd.GET_ADMIN_CODE)
    return parse_admin_code(answer.data) if answer is not None else None


def parse_admin_code(data: bytes) -> str | None:
    """Read the answer to GET_ADMIN_CODE (section 10): battery, length, digits; None where there is none."""
    digits = data[2 : 2 + data[1]] if len(data) > 1 else b""
    return digits.decode("ascii") if digits.isdigit() else None


async def _tolerated(wire: Wire, command: Cmd, plain: bytes) -> None:
    """A step whose failure changes nothing (section 5)."""
    try:
        await wire.say(command, plain)
    except (RefusedError, NoAnswer):
        return


def local_bytes(moment: dt.datetime) -> bytes:
    """Return the six bytes of a time as the lock's clock wants it: decimal per byte, the door's own time."""
    return bytes([moment.year % 100, moment.month, moment.day, moment.hour, moment.minute, moment.second])
