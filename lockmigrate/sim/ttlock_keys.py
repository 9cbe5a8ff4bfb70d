"""Keys of a simulated TTLock lock: such as published clients can live with, or such as they cannot.

Those clients cut frames at `0d 0a`, or look for the last `7f 5a`, and lose what has either inside (section 1 of the
wire reference, number 2). Most answers can say the same in another way; those that cannot are clean under many keys.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

from lockmigrate.sim.ttlock_frames import (
    ANSWERED,
    BLOCK_BYTES,
    CRLF,
    DEFAULT_KEY,
    HEADER,
    KEY_BYTES,
    Code,
    Trouble,
    clean,
    frame,
    marked,
    padded,
    seal,
    sealed_blocks,
)
from lockmigrate.sim.ttlock_records import LogEntry, log_page
from lockmigrate.sim.ttlock_settings import Settings

TRIES: Final = 40_000
"""How many keys are tried before one is taken as it is; one in 4,700 has the terminator in a given block."""
LOGGED_IN: Final = bytes([Code.CHECK_RANDOM, 1])
"""The answer that every session of an administrator has in it."""


def new_key(draw: Callable[[int], bytes], settings: Settings) -> bytes:
    """Make a key as `avoid_crlf` and `force_crlf` want it."""
    key = draw(KEY_BYTES)
    if settings.crlf == "allow":
        return key
    suits = _suits_nobody if settings.crlf == "force" else _suits
    for _ in range(TRIES):
        if suits(key, settings):
            break
        key = draw(KEY_BYTES)
    return key


def _suits_nobody(key: bytes, settings: Settings) -> bool:
    return marked(frame(settings.place, Code.RESPONSE, ANSWERED, seal(key, LOGGED_IN)))


def _suits(key: bytes, settings: Settings) -> bool:
    """Tell whether everything that this lock cannot say in another way is clean under a key."""
    told = seal(DEFAULT_KEY, bytes([Code.GET_AES_KEY, 1]) + key)
    if not clean(frame(settings.place, Code.GET_AES_KEY, ANSWERED, told)):
        return False
    sealed = sealed_blocks(key, _fixed(settings.vendor, settings.address, settings.texts))
    # Two blocks that only together have one inside are let go too: too strict, once in a while.
    return not (CRLF in sealed or HEADER in sealed or _ends_badly(sealed, settings))


def _ends_badly(sealed: bytes, settings: Settings) -> bool:
    """Look at blocks with whose last byte the checksum behind it may go on."""
    ends = sealed[BLOCK_BYTES - 1 :: BLOCK_BYTES]
    for at, end in enumerate(ends):
        if end in (CRLF[0], HEADER[0]):
            block = sealed[at * BLOCK_BYTES : (at + 1) * BLOCK_BYTES]
            if not clean(frame(settings.place, Code.RESPONSE, ANSWERED, block)):
                return True
    return False


@functools.cache
def _fixed(vendor: bytes, address: bytes, texts: tuple[str, ...]) -> bytes:
    """Return the plain answers that leave no choice, padded, as far as they fit into one block."""
    codes = [code for code in Code if code not in (Code.RESPONSE, Code.GET_AES_KEY)]
    plains = [bytes([code, 1]) for code in codes]
    plains += [bytes([code, 0, trouble]) for code in codes for trouble in Trouble if code != Code.PASSCODE]
    plains += [bytes([code, 0, Trouble.NOT_SUPPORTED]) for code in range(256) if code not in codes]
    plains += [bytes([Code.PASSCODE, 0, trouble, operation]) for trouble in Trouble for operation in range(1, 7)]
    plains += [bytes([Code.ADD_ADMIN, 0]), bytes([Code.PASSCODES, 1, 0, 0]), bytes([Code.LOG, 1, 0, 0])]
    plains += [bytes([Code.ADD_ADMIN, 1]) + vendor, bytes([Code.DEVICE_INFO, 1]) + address[::-1]]
    plains += [bytes([Code.DEVICE_INFO, 1]) + text.encode("ascii") + b"\0" for text in texts]
    return b"".join(padded(plain) for plain in plains if len(plain) < BLOCK_BYTES)


def well_logged(entry: LogEntry, key: bytes, settings: Settings) -> None:
    """Give a record of the log such a battery level that it is told cleanly; a log cannot be told in another way."""
    if settings.crlf != "avoid":
        return
    true = entry.battery
    for battery in (true, *range(true - 1, max(-1, true - 20), -1), *range(true + 1, min(101, true + 20))):
        entry.battery = battery
        told = seal(key, bytes([Code.LOG, 1]) + log_page([entry]))
        if clean(frame(settings.place, Code.RESPONSE, ANSWERED, told)):
            return
    entry.battery = true
