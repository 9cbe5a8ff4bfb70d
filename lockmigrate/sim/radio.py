"""A simulated radio: Bumble's link between software controllers, with the faults of the air, and what they leave out.

Bumble's own controllers never send a scan response, never give up connecting, and let two clients take one unit;
`RadioController` does as the Core specification says instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bumble import hci, ll
from bumble.controller import Connection, Controller, LegacyAdvertiser
from bumble.core import PhysicalTransport
from bumble.link import LocalLink

ACL_BYTES: Final = 251
"""The longest packet on the air with data length extension (Core 5.4, Vol 6 Part B, 2.4)."""
CONNECTION_TIMEOUT: Final = 0x08
"""The supervision timeout: the other side was not heard any more (Core 5.4, Vol 1 Part F, 2.8)."""
HUNG_UP: Final = 0x13
TERMINATED_BY_LOCAL_HOST: Final = 0x16
UNKNOWN_CONNECTION: Final = 0x02
RSSI_DBM: Final = -50
ADVERTISING_UNIT_S: Final = 0.000625
"""Core 5.4, Vol 4 Part E, 7.8.5."""
NOT_SIMULATED: Final = (
    hci.LeFeatureMask.LL_PRIVACY | hci.LeFeatureMask.LE_EXTENDED_ADVERTISING | hci.LeFeatureMask.LE_PERIODIC_ADVERTISING
)
"""What Bumble's controller claims and does not quite do: Linux waits for events that never come (google/bumble 841)."""

# Bumble tells of every odd packet at length; without a handler Python would print that to the terminal.
logging.getLogger("bumble").addHandler(logging.NullHandler())


@dataclass(kw_only=True)
class Advertised(ll.AdvInd):
    """An advertisement that may be asked for more."""

    scan_response: bytes = b""


@dataclass(slots=True, kw_only=True)
class _Loss:
    """A loss that is to come."""

    packets: int
    """How many ACL packets it is away; the last of them is lost with the connection."""
    unit: str | None
    """Only packets to and from this unit count, and only its connection is lost."""


class Radio(LocalLink):
    """The air between units and clients. One loop's; nothing on it is heard outside.

    Args:
        interval_s: How long every packet takes, in each direction; 0.0075 is the shortest connection interval
            (Core 5.4, Vol 4 Part E, 7.8.12). Their order stays.
    """

    def __init__(self, *, interval_s: float = 0.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.interval_s = interval_s
        self.packets_to_units = 0
        """ACL packets that clients sent."""
        self.packets_from_units = 0
        """ACL packets that units sent."""
        self._losses: list[_Loss] = []
        self._deaf: list[Connection] = []
        self._air: deque[Callable[[], None]] = deque()

    def controller(self, name: str, public_address: hci.Address | None = None) -> RadioController:
        """Return a new controller on this radio."""
        return RadioController(name, link=self, public_address=public_address)

    def remove_controller(self, controller: Controller) -> None:
        """Take a controller off the air, as if it were switched off: whoever is connected to it loses it."""
        if controller in self.controllers:
            for connection in tuple(controller.le_connections.values()):
                self.lose(connection)
            controller.le_legacy_advertiser.stop()
            super().remove_controller(controller)

    # ---- faults ------------------------------------------------------------------------------------------------------

    def lose_at(self, packet: int, *, unit: str | None = None) -> None:
        """Lose all connections, or one unit's, at the n-th ACL packet from now (1: the next), which does not arrive.

        Both sides are told at once that the other was not heard any more: the supervision timeout, without the wait.
        """
        self._losses.append(_Loss(packets=packet, unit=unit))

    @property
    def losses_ahead(self) -> int:
        """How many losses that were asked for have not happened yet."""
        return len(self._losses)

    def lose_all(self, unit: str | None = None) -> None:
        """Lose all connections, or those of one unit (its address)."""
        for controller in tuple(self.controllers):
            for connection in tuple(controller.le_connections.values()):
                if unit is None or unit in _addresses(connection):
                    self.lose(connection)

    def lose(self, connection: Connection) -> None:
        """Lose one connection, at both ends."""
        other = self._other_end(connection)
        for end in (connection, other):
            if end is not None:
                end.controller.on_le_disconnected(end, CONNECTION_TIMEOUT)

    def fade(self, connection: Connection) -> None:
        """Lose one connection as soon as what is on its way has arrived."""
        self._send(lambda: self.lose(connection))

    def _strikes(self, connection: Connection) -> bool:
        """Count an ACL packet; whether it and its connection are to be lost."""
        struck = False
        for loss in tuple(self._losses):
            if loss.unit is not None and loss.unit not in _addresses(connection):
                continue
            loss.packets -= 1
            if loss.packets <= 0:
                self._losses.remove(loss)
                struck = True
                self._deafen(loss.unit)
        return struck

    def _deafen(self, unit: str | None) -> None:
        """Nothing is heard from here on; both hosts are told when the packet at hand is done with."""
        self._deaf += [
            connection
            for controller in self.controllers
            for connection in controller.le_connections.values()
            if unit is None or unit in _addresses(connection)
        ]
        asyncio.get_running_loop().call_soon(self._lose_deaf)

    def _lose_deaf(self) -> None:
        deaf, self._deaf = self._deaf, []
        for connection in deaf:
            self.lose(connection)

    # ---- what Bumble's controllers call ------------------------------------------------------------------------------

    def send_acl_data(
        self,
        sender_controller: Controller,
        destination_address: hci.Address,
        transport: PhysicalTransport,
        data: bytes,
    ) -> None:
        """Carry a packet to the other end of its connection."""
        connection = sender_controller.le_connections.get(destination_address)
        if connection is None or transport != PhysicalTransport.LE:
            return
        if connection.role == hci.Role.CENTRAL:
            self.packets_to_units += 1
        else:
            self.packets_from_units += 1
        if any(connection is one for one in self._deaf) or self._strikes(connection):
            return
        source = connection.self_address
        self._carry(connection, lambda end: end.controller.on_link_acl_data(source, transport, data))

    def send_ll_control_pdu(
        self, sender_address: hci.Address, receiver_address: hci.Address, packet: ll.ControlPdu
    ) -> None:
        """Carry what the controllers tell each other, behind the packets that are on their way."""
        for controller in self.controllers:
            connection = controller.le_connections.get(receiver_address)
            if connection is not None and connection.self_address == sender_address:
                self._carry(connection, lambda end: end.controller.on_ll_control_pdu(sender_address, packet))
                return

    def send_advertising_pdu(self, sender_controller: Controller, packet: ll.AdvertisingPdu) -> None:
        """Spread an advertisement to all, or take a connection request to whom it is for, at once."""
        others = [controller for controller in self.controllers if controller is not sender_controller]
        if isinstance(packet, ll.ConnectInd):
            # Later would be too late: a second client could find the unit still free.
            for controller in others:
                controller.on_ll_advertising_pdu(packet)
            return
        if type(packet) is ll.AdvInd:
            response = sender_controller.le_legacy_advertiser.scan_response_data
            packet = Advertised(advertiser_address=packet.advertiser_address, data=packet.data, scan_response=response)
        loop = asyncio.get_running_loop()
        for controller in others:
            loop.call_soon(controller.on_ll_advertising_pdu, packet)

    def is_advertising(self, address: hci.Address) -> bool:
        """Whether a unit can be connected to now."""
        return any(
            controller.le_legacy_advertiser.enabled and controller.le_legacy_advertiser.address == address
            for controller in self.controllers
        )

    def _carry(self, connection: Connection, deliver: Callable[[Connection], None]) -> None:
        end = self._other_end(connection)
        if end is None:
            return

        def land() -> None:
            if end.controller.le_connections.get(end.peer_address) is end:  # else it was lost on the way
                deliver(end)

        self._send(land)

    def _send(self, land: Callable[[], None]) -> None:
        self._air.append(land)
        loop = asyncio.get_running_loop()
        if self.interval_s > 0:
            # One at a time from the head of the queue: timers of equal time come in no particular order.
            loop.call_later(self.interval_s, self._land)
        else:
            loop.call_soon(self._land)

    def _land(self) -> None:
        self._air.popleft()()

    def _other_end(self, connection: Connection) -> Connection | None:
        for controller in self.controllers:
            other = controller.le_connections.get(connection.self_address)
            if other is not None and other.self_address == connection.peer_address:
                return other
        return None


class _Advertiser(LegacyAdvertiser):
    def _on_timer_fired(self) -> None:
        """Send an advertisement, and the next one after the interval that was set (Bumble takes its unit for 1 ms)."""
        self.send_advertising_data()
        interval_s = max(self.advertising_interval_min, 1) * ADVERTISING_UNIT_S
        self.timer_handle = asyncio.get_running_loop().call_later(interval_s, self._on_timer_fired)


class RadioController(Controller):
    """Bumble's software controller with its gaps filled."""

    le_acl_data_packet_length = ACL_BYTES
    le_features = Controller.le_features & ~NOT_SIMULATED
    link: Radio

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.le_legacy_advertiser = _Advertiser(self)

    def on_hci_reset_command(self, command: hci.HCI_Reset_Command) -> hci.HCI_StatusReturnParameters:
        """Forget everything: links are lost, advertising and scanning end (Core 5.4, Vol 4 Part E, 7.3.2)."""
        self.le_legacy_advertiser.stop()
        self.le_scan_enable = False
        self.pending_le_connection = None
        for connection in tuple(self.le_connections.values()):
            self.link.lose(connection)
        return super().on_hci_reset_command(command)

    def on_hci_le_create_connection_cancel_command(
        self, command: hci.HCI_LE_Create_Connection_Cancel_Command
    ) -> hci.HCI_StatusReturnParameters:
        """Stop connecting, and say so (Core 5.4, Vol 4 Part E, 7.8.13)."""
        pending, self.pending_le_connection = self.pending_le_connection, None
        if pending is None:
            return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.COMMAND_DISALLOWED_ERROR)
        asyncio.get_running_loop().call_soon(
            self.send_hci_packet,
            hci.HCI_LE_Connection_Complete_Event(
                status=UNKNOWN_CONNECTION,
                connection_handle=0,
                role=hci.Role.CENTRAL,
                peer_address_type=pending.peer_address.address_type,
                peer_address=pending.peer_address,
                connection_interval=0,
                peripheral_latency=0,
                supervision_timeout=0,
                central_clock_accuracy=0,
            ),
        )
        return super().on_hci_le_create_connection_cancel_command(command)

    def on_hci_disconnect_command(self, command: hci.HCI_Disconnect_Command) -> None:
        """Hang up: the peer is told the reason, the own host that it was its wish (Core 5.4, Vol 4 Part E, 7.1.6)."""
        connection = self.find_le_connection_by_handle(command.connection_handle)
        if connection is None:
            self._send_hci_command_status(UNKNOWN_CONNECTION, command.op_code)
            return
        self._send_hci_command_status(hci.HCI_COMMAND_STATUS_PENDING, command.op_code)
        connection.send_ll_control_pdu(ll.TerminateInd(command.reason))
        self.on_le_disconnected(connection, TERMINATED_BY_LOCAL_HOST)

    def on_le_disconnected(self, connection: Connection, reason: int) -> None:
        """Tell the host; a connection ends only once."""
        if self.le_connections.get(connection.peer_address) is connection:
            super().on_le_disconnected(connection, reason)

    def create_le_connection(self, peer_address: hci.Address) -> None:
        """Connect to a unit, unless somebody else was faster."""
        if self.link.is_advertising(peer_address):
            super().create_le_connection(peer_address)

    def on_advertising_pdu(self, pdu: ll.AdvInd | ll.AdvExtInd) -> None:
        """Report an advertisement and, when scanning actively, the scan response, which Bumble leaves out."""
        if self.le_scan_enable and isinstance(pdu, Advertised):
            self._report(pdu, hci.HCI_LE_Advertising_Report_Event.EventType.ADV_IND, pdu.data)
            if self.le_scan_type == hci.HCI_LE_Set_Scan_Parameters_Command.ACTIVE_SCANNING:
                self._report(pdu, hci.HCI_LE_Advertising_Report_Event.EventType.SCAN_RSP, pdu.scan_response)
        pending = self.pending_le_connection
        if pending is not None and pending.peer_address == pdu.advertiser_address:
            self.create_le_connection(pdu.advertiser_address)

    def _report(self, pdu: Advertised, kind: int, data: bytes) -> None:
        report = hci.HCI_LE_Advertising_Report_Event.Report(
            event_type=kind,
            address_type=pdu.advertiser_address.address_type,
            address=pdu.advertiser_address,
            data=data,
            rssi=RSSI_DBM,
        )
        self.send_hci_packet(hci.HCI_LE_Advertising_Report_Event([report]))


def _addresses(connection: Connection) -> tuple[str, str]:
    """Both ends' addresses, as a unit's is written."""
    return connection.self_address.to_string(False), connection.peer_address.to_string(False)
