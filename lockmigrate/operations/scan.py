"""Locks in reach on Bluetooth LE, told by what they advertise; nothing is connected to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

from lockmigrate.errors import ConfigError, ConnectError
from lockmigrate.model.results import LockSeen, Progress
from lockmigrate.protocols.door import pairing_door_of
from lockmigrate.targets_ble import FAMILIES
from lockmigrate.transports.gatt import Advertised


async def locks_in_reach(
    duration_s: float, *, hci: str | None, named: bool
) -> AsyncIterator[Progress | tuple[tuple[LockSeen, ...], str | None]]:
    """Listen, and say which locks of known families were heard, strongest first; the last item is the outcome.

    Args:
        duration_s: how long to listen.
        hci: a controller of our own; None for the system's.
        named: whether a person named it with this command: then a target needs it, and its trouble is theirs.

    Raises:
        ConfigError, ConnectError: the named controller cannot be used.
    """
    from lockmigrate.transports.ble import scan_ble

    heard: dict[str, Advertised] = {}
    yield Progress(stage="listening", done=0, total=1)
    try:
        async for seen in scan_ble(duration_s, hci=hci):
            heard[seen.address] = seen
    except (ConfigError, ConnectError) as error:
        if named:
            raise
        yield (), error.message
        return
    known = [lock for seen in heard.values() if (lock := _lock(seen, hci if named else None)) is not None]
    known.sort(key=lambda lock: (-(lock.rssi_dbm or -1000), lock.target))
    yield tuple(known), None


def _lock(seen: Advertised, hci: str | None) -> LockSeen | None:
    for family in FAMILIES:
        door = pairing_door_of(family)
        sight = door.sight(seen) if door is not None else None
        if sight is not None:
            return LockSeen(
                target=f"ble://{seen.address}" + (f"?hci={quote(hci, safe=':/,.')}" if hci else ""),
                family=family,
                name=seen.name,
                serial=sight.serial,
                rssi_dbm=seen.rssi_dbm,
                state=sight.state,
                usable=sight.why is None,
                why=sight.why,
            )
    return None
