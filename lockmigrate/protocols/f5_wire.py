"""One command at a time to a 0xF5 module: retries, and getting back into step.

An answer repeats the command's code and says nothing else of what it answers. The stream cannot be brought back into
step by searching, since F5 may stand anywhere: after any trouble it is drained to silence and the count asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lockmigrate.errors import FrameError, UnexpectedReply
from lockmigrate.formats.f5 import (
    COUNT,
    FAIL,
    HEAD_BYTES,
    SUCCESS,
    Command,
    Data,
    Framer,
    Short,
    result_text,
)
from lockmigrate.profiles import SerialFacts
from lockmigrate.protocols.slots_line import Line
from lockmigrate.transports import SerialLink

FINGER_S: Final = 15.0
"""How long a module may wait for a finger before it answers (reference, Link)."""
SET, QUERY = 0, 1
"""P3 of a command that can do both; it is byte 5 of the frame."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a module answered: Q1 and Q2 as one number, Q3, and the data that followed, if any did."""

    number: int
    result: int
    data: bytes = b""

    @property
    def ok(self) -> bool:
        return self.result == SUCCESS

    @property
    def text(self) -> str:
        """What a refusal says."""
        return result_text(self.result)

    def __repr__(self) -> str:
        return f"Reply({self.number}, {self.result:02X}, {len(self.data)} bytes)"


class F5Wire(Line[Short | Data]):
    """The half-duplex line to one module.

    Args:
        link: the open port.
        peer: how messages call the module.
        facts: times, tries and speeds from the profile.
    """

    def __init__(self, link: SerialLink, *, peer: str, facts: SerialFacts) -> None:
        super().__init__(link, Framer(), peer=peer, facts=facts, shortest_bytes=HEAD_BYTES)

    async def ask(
        self,
        command: Command,
        number: int = 0,
        p3: int = 0,
        *,
        data: bytes | None = None,
        tries: int | None = None,
        timeout_s: float | None = None,
        check: Callable[[Reply], None] | None = None,
    ) -> Reply:
        """Send one command and return its answer with its data, whatever it says.

        Args:
            command: what to ask.
            number: P1 and P2; Len where data goes with it, which is filled in here.
            p3: P3.
            data: goes out directly behind the head.
            tries: fewer than the profile's, where the caller repeats by itself.
            timeout_s: longer than the profile's.
            check: raises UnexpectedReply where the answer is not to what was asked; the line is then out of step.

        Raises:
            Silent, NoAnswer: silence, after all tries.
            FrameError, UnexpectedReply: damage, after all tries.
            LinkLost: the peer or the cable went away.
        """
        number = number if data is None else len(data)
        request = Framer.encode(Short(command.code, number >> 8, number & 0xFF, p3))
        request += Framer.encode(Data(data)) if data is not None else b""
        facts = self.facts
        patience = {
            "answer": facts.answer_s,
            "write": facts.write_s,
            "erase": facts.erase_s,
            "finger": FINGER_S,
        }
        timeout_s = (timeout_s or patience[command.wait]) + self.line_s(len(request))

        async def talk() -> Reply:
            await self.send(request)
            reply = await self._reply(command, timeout_s)
            if check is not None:
                check(reply)
            return reply

        tries = (tries or facts.tries) if command.repeatable else 1
        for _ in range(tries):
            reply = await self.converse(talk, tries=tries, owed_bytes=len(request))
            if not command.q3_is_result or reply.result != FAIL:
                break  # else perhaps the word on a command that arrived damaged
        return reply

    async def greet(self, timeout_s: float) -> None:
        """Ask the count; see `Line.greet`."""
        await self.send(Framer.encode(Short(COUNT.code)))
        await self._reply(COUNT, timeout_s)

    async def _reply(self, command: Command, timeout_s: float) -> Reply:
        head = await self.receive(None, timeout_s)
        if not isinstance(head, Short) or head.command != command.code:
            raise UnexpectedReply(expected=f"the answer to {command.name}", received="another")
        if not command.answer_bytes or head.p3 != SUCCESS:
            return Reply(head.number, head.p3)
        if not 1 <= head.number <= command.answer_bytes:
            raise FrameError(f"{command.name} with {head.number} bytes of data")
        packet = await self.receive(head.number, timeout_s)
        if not isinstance(packet, Data):
            raise UnexpectedReply(expected="a data packet", received="an answer")
        return Reply(head.number, head.p3, packet.content)
