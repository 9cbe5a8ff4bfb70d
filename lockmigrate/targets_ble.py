"""Units on Bluetooth LE for the switchboard: dial, find the family by what the unit has, dial again after a rest."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lockmigrate.errors import ConnectError, ConnectReason, LockmigrateError
from lockmigrate.protocols.door import pairing_door_of
from lockmigrate.transports.gatt import Connection

if TYPE_CHECKING:
    from lockmigrate.sim.unit import SimulatedUnit
    from lockmigrate.transports.memory import LinkFaults

HCI_VARIABLE: Final = "LOCKMIGRATE_HCI"
"""Bumble's notation for a controller of our own; a target's `?hci=` goes before it."""
FAMILIES: Final = ("nuki", "ttlock")
"""Families on Bluetooth LE, in the order in which they are asked whether a unit is theirs."""

LISTEN_S: Final = 30.0
"""How long a lock is listened for: people need some seconds to touch one that sleeps (TTLock reference, 2.2); ours."""
Dial = Callable[[], Awaitable[Connection]]


def hci_of(options: dict[str, str]) -> str | None:
    """Return which controller a target is to be reached by; None for the system's own."""
    return options.get("hci") or os.environ.get(HCI_VARIABLE) or None


def family_of(connection: Connection, named: str | None, target: str) -> str:
    """Return the family of a unit, told by the characteristics it has.

    Raises:
        ConnectError: reason UNKNOWN_UNIT, where it is of none that we know, or not of the named one.
    """
    for family in FAMILIES if named is None else (named,):
        door = pairing_door_of(family)
        if door is not None and door.recognises(connection):
            return family
    raise ConnectError(
        f"{target} is no lock of a family that we know" + (f" as {named}" if named else ""),
        reason=ConnectReason.UNKNOWN_UNIT,
        hint="scan shows which locks in reach are known",
    )


def radio(address: str, options: dict[str, str], trace: Path | None) -> Dial:
    """Return what dials a unit by radio, as often as needed.

    Each call of the dial raises ConfigError or ConnectError where Bluetooth cannot be used or the unit is not reached.
    """
    hci = hci_of(options)

    async def call() -> Connection:
        from lockmigrate.transports.ble import open_ble

        return await open_ble(address, hci=hci, look_s=LISTEN_S)

    return _traced(call, trace)


def memory(unit: SimulatedUnit, faults: LinkFaults | None, trace: Path | None) -> Dial:
    """Return what dials a simulated unit in this process; the faults are those of the first connection."""
    left = [faults]

    async def call() -> Connection:
        from lockmigrate.transports.memory_ble import MemoryConnection

        assert unit.gatt_device is not None  # noqa: S101 - the caller has looked
        return MemoryConnection.open(unit.gatt_device, faults=left.pop() if left else None)

    return _traced(call, trace)


def _traced(call: Dial, trace: Path | None) -> Dial:
    """Record every connection in a file of its own."""
    if trace is None:
        return call
    calls = 0

    async def traced() -> Connection:
        from lockmigrate.transports.trace import TraceConnection

        nonlocal calls
        calls += 1
        file = trace if calls == 1 else trace.with_name(f"{trace.stem}-again{calls}{trace.suffix}")
        connection = await call()
        try:
            return TraceConnection(connection, file)
        except LockmigrateError:
            await connection.close()
            raise

    return traced
