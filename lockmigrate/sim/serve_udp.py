"""Serve a simulated unit on a UDP port of this machine: a `receive` is one datagram, and so is an `Outgoing`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from lockmigrate.errors import ConfigError
from lockmigrate.sim.serve import Host, ServedAt, only_here, taken
from lockmigrate.sim.unit import SimulatedUnit
from lockmigrate.transports import Device

Address = tuple[Any, ...]


async def serve_udp(unit: SimulatedUnit, host: str, port: int, on_ready: Callable[[ServedAt], None]) -> str:
    """Serve a unit on a UDP port until cancelled. Whoever asks is answered; a cut lasts until somebody else asks.

    Raises:
        ConfigError: `host` is not an address of this machine alone, or the unit has no UDP.
        ConnectError: the port is taken.
        FileTrouble: the state file cannot be written any more.
    """
    only_here(host)
    device = unit.datagram_device
    if device is None:
        raise ConfigError(
            f'a simulated "{unit.profile.name}" has no UDP', hint='leave out --udp, or serve a unit such as "zk/full"'
        )
    plug = _Datagrams(unit, device)
    try:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: plug, (host, port))
    except OSError as error:
        raise taken(host, port, error) from None
    try:
        got = int(transport.get_extra_info("sockname")[1])
        on_ready(ServedAt(target=f"udp://{host}:{got}", port=got))
        return await plug.done
    finally:
        plug.forget()
        transport.close()
        device.closed()
        await asyncio.sleep(0)  # lets the transport finish
        unit.save()


class _Datagrams(Host, asyncio.DatagramProtocol):
    def __init__(self, unit: SimulatedUnit, device: Device) -> None:
        super().__init__(unit, device)
        self._transport: asyncio.DatagramTransport | None = None
        self._peer: Address | None = None
        self._cut_from: Address | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if addr == self._cut_from:
            return
        if self._peer is None:
            self.device.set_host_baud(None)
            self.opened()
        self._peer, self._cut_from = addr, None
        self.received(data)

    def send(self, data: bytes) -> None:
        if self._transport is not None and self._peer is not None:
            self._transport.sendto(data, self._peer)

    def hang_up(self) -> None:
        """A cable that is pulled: the one who asks hears nothing any more."""
        self._cut_from, self._peer = self._peer, None
        self.device.closed()
