"""An echo on Bluetooth LE: the smallest unit that tries every part of a connection. As a program it serves one, or is
a client of one that dies in the middle.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

from lockmigrate.transports.gatt import (
    ATT_HEADER_BYTES,
    DEFAULT_MTU,
    Channel,
    Emitted,
    GattCharacteristic,
    GattRefusal,
    GattService,
)

ADDRESS: Final = "C4:AA:BB:CC:DD:01"
NAME: Final = "Echo 01"
SERVICE: Final = "ec400001-6c6f-636b-6d69-677261746521"
COMMAND: Final = "ec400002-6c6f-636b-6d69-677261746521"
EVENT: Final = "ec400003-6c6f-636b-6d69-677261746521"
REQUEST: Final = "ec400004-6c6f-636b-6d69-677261746521"
ANSWER: Final = "ec400005-6c6f-636b-6d69-677261746521"
INFO: Final = "ec400006-6c6f-636b-6d69-677261746521"
CLOSED: Final = "ec400007-6c6f-636b-6d69-677261746521"
COMMANDS: Final = Channel(write=COMMAND, notify=EVENT, response=False)
REQUESTS: Final = Channel(write=REQUEST, notify=ANSWER, response=True)
CLOSED_CODE: Final = 0x85
COMPANY: Final = 0xFFFF
"""For tests only (Assigned Numbers, 7.1)."""


class EchoUnit:
    """Answers on the characteristic that belongs to the one written to. The first byte is the verb.

    `E…` sends what follows back, in pieces that fit. `D` and a number of milliseconds (2 bytes): the same, later.
    `B` with number, size and the number after which it is lost (2 bytes each, 0 for not at all): so many notifications,
    each begins with its number. `H` hangs up, `L` is lost, `R` and a code refuses, `Q` says nothing, `T` and
    milliseconds ticks later and sends "tick".
    """

    address = ADDRESS
    name = NAME
    services = (
        GattService(
            uuid=SERVICE,
            characteristics=(
                GattCharacteristic(uuid=COMMAND, properties=frozenset({"write-without-response"})),
                GattCharacteristic(uuid=EVENT, properties=frozenset({"notify"})),
                GattCharacteristic(uuid=REQUEST, properties=frozenset({"write"})),
                GattCharacteristic(uuid=ANSWER, properties=frozenset({"indicate"})),
                GattCharacteristic(uuid=INFO, properties=frozenset({"read"})),
                GattCharacteristic(uuid=CLOSED, properties=frozenset({"read"})),
            ),
        ),
    )

    def __init__(self, *, max_mtu: int = 247) -> None:
        self.max_mtu = max_mtu
        self.connections = 0
        self.is_connected = False
        self.agreed_mtu = DEFAULT_MTU
        self.heard: list[bytes] = []
        self.calls: list[str] = []
        self._tick_s: float | None = None

    def advertisement(self) -> bytes:
        if self.is_connected:
            return b""
        uuid = bytes.fromhex(SERVICE.replace("-", ""))[::-1]
        flags, service = b"\x02\x01\x06", bytes([len(uuid) + 1, 0x07]) + uuid
        return flags + service + bytes([4, 0xFF]) + COMPANY.to_bytes(2, "little") + b"\x2a"

    def connected(self, now_s: float) -> list[Emitted]:
        del now_s
        assert not self.is_connected
        self.is_connected = True
        self.connections += 1
        self.agreed_mtu = DEFAULT_MTU
        self.calls.append("connected")
        return []

    def mtu(self, mtu: int) -> None:
        self.agreed_mtu = mtu

    def subscribed(self, uuid: str, on: bool) -> None:
        self.calls.append(f"{'subscribed' if on else 'unsubscribed'} {uuid[4:8]}")

    def read(self, uuid: str) -> bytes:
        if uuid == INFO:
            return f"echo {self.connections}".encode()
        raise GattRefusal(CLOSED_CODE)

    def write(self, uuid: str, data: bytes, now_s: float) -> list[Emitted]:
        self.heard.append(data)
        to = {COMMAND: EVENT, REQUEST: ANSWER}[uuid]
        verb, rest = data[:1], data[1:]
        if verb == b"E":
            return self._pieces(to, rest, now_s)
        if verb == b"D":
            return self._pieces(to, rest[2:], now_s + int.from_bytes(rest[:2], "big") / 1000)
        if verb == b"B":
            return self._burst(to, *(int.from_bytes(rest[at : at + 2], "big") for at in (0, 2, 4)), now_s)
        if verb in (b"H", b"L"):
            return [Emitted(at_s=now_s, hangup=True, lost=verb == b"L")]
        if verb == b"T":
            self._tick_s = now_s + int.from_bytes(rest[:2], "big") / 1000
        if verb == b"R":
            raise GattRefusal(rest[0])
        return []

    def due_s(self) -> float | None:
        return self._tick_s

    def tick(self, now_s: float) -> list[Emitted]:
        self._tick_s = None
        return [Emitted(at_s=now_s, uuid=EVENT, data=b"tick")]

    def disconnected(self) -> None:
        assert self.is_connected
        self.is_connected = False
        self.calls.append("disconnected")

    def _pieces(self, to: str, data: bytes, at_s: float) -> list[Emitted]:
        size = self.agreed_mtu - ATT_HEADER_BYTES
        return [Emitted(at_s=at_s, uuid=to, data=data[at : at + size]) for at in range(0, len(data), size)]

    def _burst(self, to: str, count: int, size: int, lost_after: int, at_s: float) -> list[Emitted]:
        out: list[Emitted] = []
        for number in range(count):
            if lost_after and number == lost_after:
                out.append(Emitted(at_s=at_s, hangup=True, lost=True))
            out.append(Emitted(at_s=at_s, uuid=to, data=numbered(number, size)))
        return out


def numbered(number: int, size: int) -> bytes:
    """One notification of a burst."""
    return number.to_bytes(2, "big").ljust(size, b"\xa5")


def burst(count: int, size: int, *, lost_after: int = 0) -> bytes:
    """The message that asks for a burst."""
    return b"B" + b"".join(it.to_bytes(2, "big") for it in (count, size, lost_after))


# ---- as a program ----------------------------------------------------------------------------------------------------


async def _serve(spec: str) -> None:
    """Serve an echo until standard input ends; the first line on standard output is where."""
    from lockmigrate.sim.serve_ble import Peripheral, Radio, serve_hci

    radio = Radio()
    async with Peripheral(EchoUnit(), radio):
        server = await serve_hci(radio, spec)
        sys.stdout.write(server.hci + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        await server.close()


async def _die_in_the_middle(hci: str) -> None:
    """Connect, ask for a burst, and be gone in the middle of it, without a word to anybody."""
    from lockmigrate.transports.ble import open_ble

    connection = await open_ble(ADDRESS, hci=hci)
    link = await connection.link(COMMANDS)
    await link.write(burst(1000, 100))
    for _ in range(20):
        await link.read()
    os._exit(9)


if __name__ == "__main__":
    asyncio.run((_serve if sys.argv[1] == "serve" else _die_in_the_middle)(sys.argv[2]))
