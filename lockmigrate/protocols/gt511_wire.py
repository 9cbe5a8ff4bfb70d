"""One command at a time to a GT-511 or GT-521 module: retries, getting back into step, and a speed that is put back.

An answer says neither what it answers nor for which id. After any trouble the line is drained and Open repeated, as the
reference has it; its device information has a shape of its own, and must be the one that we know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lockmigrate.errors import LinkClosed, LinkError, LinkLost, UnexpectedReply
from lockmigrate.formats.gt511 import (
    ACK,
    CHANGE_BAUDRATE,
    COMMUNICATION,
    DATA_OVERHEAD_BYTES,
    HIGHEST_BAUD,
    NACK,
    OPEN,
    PACKET_BYTES,
    POWER_ON_BAUD,
    SET_TEMPLATE,
    SKIP_DUPLICATE_CHECK,
    TEMPLATE_BYTES,
    Command,
    Data,
    Framer,
    Packet,
    nack_text,
)
from lockmigrate.profiles import SerialFacts
from lockmigrate.protocols.slots_line import TROUBLE, Line, Silent
from lockmigrate.transports import SerialLink

OLD_SPEED_S: Final = 0.3
"""What a module is given to acknowledge a new speed at the old one; ours."""
SPEED_TRIES: Final = 2
"""How often Open is sent at the new speed before the old one is tried again."""
SPEED_ROUNDS: Final = 2
"""How often both are tried: an answer may come late, when we listen at the other speed already."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a module answered: its parameter, and the data that followed, if any did."""

    ok: bool
    parameter: int
    data: bytes = b""

    @property
    def text(self) -> str:
        """What a refusal says."""
        return nack_text(self.parameter)

    def __repr__(self) -> str:
        return f"Reply({'ACK' if self.ok else 'NACK'}, {self.parameter:X}, {len(self.data)} bytes)"


class Gt511Wire(Line[Packet | Data]):
    """The half-duplex line to one module.

    Args:
        link: the open port.
        peer: how messages call the module.
        facts: times, tries and speeds from the profile.
        may_change: false where the person named the speed: it then stays what it is.
    """

    def __init__(self, link: SerialLink, *, peer: str, facts: SerialFacts, may_change: bool = True) -> None:
        super().__init__(link, Framer(), peer=peer, facts=facts, shortest_bytes=PACKET_BYTES)
        self.info: bytes | None = None
        """The device information, once it is known."""
        self.found_baud = facts.baud
        """The speed at which the module was found, and at which it is left."""
        self._may_change = may_change and not link.fixed_speed
        self._raised = False
        self._strayed = False

    # ---- asking -----------------------------------------------------------------------------------------------------

    async def ask(self, command: Command, parameter: int = 0, *, tries: int | None = None) -> Reply:
        """Send one command and return its answer with its data, whatever it says.

        Raises:
            Silent, NoAnswer: silence, after all tries.
            FrameError, UnexpectedReply: damage, after all tries.
            LinkLost: the peer or the cable went away.
        """
        request = Framer.encode(Packet(parameter, command.code))
        facts = self.facts
        patience = {
            "answer": facts.answer_s,
            "write": facts.write_s,
            "erase": facts.erase_s,
        }
        timeout_s = patience[command.wait]

        async def talk() -> Reply:
            await self.send(request)
            reply = await self._reply(timeout_s)
            if reply.ok and command.answer_bytes:
                return Reply(True, reply.parameter, await self._data(command.answer_bytes, timeout_s))
            if command.repeatable and not reply.ok and reply.parameter == COMMUNICATION:
                raise UnexpectedReply(expected=f"an answer to {command.name}", received=reply.text)
            return reply

        return await self.converse(talk, tries=(tries or facts.tries) if command.repeatable else 1)

    async def push(self, slot: int, template: bytes) -> tuple[Reply | None, bool]:
        """Send one template to be stored under an id, without the duplicate check. One try: the caller reads it back.

        The data goes out only behind an ACK: a host that sends it after a NACK desynchronises the line.

        Returns:
            The last answer, None where it was lost or damaged; and whether the data was sent, so that it may lie there.

        Raises:
            Silent, LinkLost: the module is gone.
        """
        request = Framer.encode(Packet(slot | SKIP_DUPLICATE_CHECK, SET_TEMPLATE.code))
        packet = Framer.encode(Data(template))
        sent = False

        async def talk() -> Reply:
            nonlocal sent
            await self.send(request)
            first = await self._reply(self.facts.answer_s)
            if not first.ok:
                return first
            sent = True
            await self.send(packet)
            return await self._reply(self.facts.write_s + self.line_s(len(packet)))

        try:
            reply = await self.converse(talk, owed_bytes=TEMPLATE_BYTES + DATA_OVERHEAD_BYTES)
        except Silent:
            raise
        except TROUBLE:
            return None, sent
        return reply, sent

    async def greet(self, timeout_s: float) -> None:
        """Open, and compare the device information with what is known; see `Line.greet`."""
        await self.send(Framer.encode(Packet(1, OPEN.code)))
        reply = await self._reply(timeout_s)
        if not reply.ok:
            raise UnexpectedReply(expected="an answer to Open", received=reply.text)
        info = await self._data(OPEN.answer_bytes, timeout_s)
        if self.info not in (None, info):
            raise UnexpectedReply(expected="the module's device information", received="that of another module")
        self.info = info

    async def _reply(self, timeout_s: float) -> Reply:
        packet = await self.receive(None, timeout_s)
        if not isinstance(packet, Packet) or packet.code not in (ACK, NACK):
            raise UnexpectedReply(expected="ACK or NACK", received="a packet that is neither")
        return Reply(packet.code == ACK, packet.parameter)

    async def _data(self, size_bytes: int, timeout_s: float) -> bytes:
        packet = await self.receive(size_bytes, timeout_s)
        if not isinstance(packet, Data):
            raise UnexpectedReply(expected="a data packet", received="an answer")
        return packet.content

    # ---- speed ------------------------------------------------------------------------------------------------------

    def found(self) -> None:
        """The module answers at the present speed: this is where it will be left."""
        self.found_baud = self.baud

    @property
    def fast_baud(self) -> int:
        """The highest speed that module and profile know."""
        return max((baud for baud in (self.facts.baud, *self.facts.bauds) if baud <= HIGHEST_BAUD), default=self.baud)

    async def raise_speed(self) -> None:
        """Go to the highest speed for a bulk transfer, once; it stays as it is where module or port will not.

        Raises:
            Silent, LinkLost: the module is gone.
        """
        if self._raised or not self._may_change:
            return
        self._raised = True
        if self.fast_baud > self.baud and await self._port_runs_at(self.fast_baud):
            await self._change_speed(self.fast_baud)

    async def restore_speed(self) -> None:
        """Put the speed back to what it was, after success, error or cancellation alike.

        Raises:
            Silent, LinkLost: the module is gone.
        """
        if not self._strayed:
            return
        for _ in range(self.facts.tries):
            await self.get_into_step()
            if self.baud == self.found_baud:
                self._strayed = False
                return
            await self._change_speed(self.found_baud)

    async def elsewhere(self) -> bool:
        """A module that lost its power is back at 9600 baud, and a lost answer leaves two speeds; see `Line`."""
        if not self._may_change:
            return False
        before = self.baud
        for baud in dict.fromkeys((self.found_baud, POWER_ON_BAUD, self.fast_baud)):
            if baud != before and await self._port_runs_at(baud):
                await self.set_baud(baud)
                if await self.answers(self.facts.answer_s, tries=SPEED_TRIES):
                    self._strayed = True
                    if baud == POWER_ON_BAUD:
                        self.found()
                    return True
        await self.set_baud(before)
        return False

    async def _port_runs_at(self, baud: int) -> bool:
        """Try our own end first: a module at a speed that the port cannot run at would be lost until power-off."""
        before, in_step = self.baud, self._in_step
        self._in_step = False
        try:
            await self.link.set_baud(baud)
        except (LinkLost, LinkClosed):
            raise
        except LinkError:
            return False
        finally:
            await self.link.set_baud(before)
        self._in_step = in_step
        return True

    async def _change_speed(self, wanted: int) -> None:
        """Tell the module, follow it, and stay where it answers; whether its ACK comes before or after is open."""
        await self.get_into_step()
        before = self.baud
        self._forget()
        self._in_step, self._strayed, self._owed_bytes = False, True, PACKET_BYTES
        await self.send(Framer.encode(Packet(wanted, CHANGE_BAUDRATE.code)))
        try:
            reply: Reply | None = await self._reply(OLD_SPEED_S)
        except TROUBLE:
            reply = None  # lost, or said at the new speed
        if reply is not None and not reply.ok:
            self._in_step = True
            return
        for baud in (wanted, before) * SPEED_ROUNDS:
            await self.set_baud(baud)
            if await self.answers(self.facts.answer_s, tries=SPEED_TRIES):
                return
        raise Silent(self.peer, tries=SPEED_TRIES, timeout_s=self.facts.answer_s)
