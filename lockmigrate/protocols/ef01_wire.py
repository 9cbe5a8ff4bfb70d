"""One command at a time to a 0xEF01 module: retries, damaged packets, and getting back into step.

An ack says neither what it answers nor when, so a late one could be taken for the next command's, and a template for
another finger's. After any trouble the line is therefore brought back into step first (`_resync`): silence, then
ReadSysPara, whose answer no other has the shape of, before anything else is believed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from lockmigrate.errors import FrameError, NoAnswer, UnexpectedReply
from lockmigrate.formats.ef01 import (
    DOWN_CHAR,
    FACTORY_ADDRESS,
    OVERHEAD_BYTES,
    READ_SYS_PARA,
    STORE,
    TEMPLETE_NUM,
    VFY_PWD,
    Ack,
    Code,
    Command,
    Frame,
    Framer,
    Pid,
    command_content,
    data_frames,
    parse_ack,
)
from lockmigrate.profiles import SerialFacts
from lockmigrate.protocols.exchange import Exchange
from lockmigrate.transports import SerialLink

OPTIONAL_S: Final = 0.3
"""What a module that does not know a command is given to say so (reference, section 5)."""
SILENCE_S: Final = 0.1
"""A line is at rest after this (reference, section 7.4: 100 ms inside a frame)."""
DAMAGE_WINDOW_S: Final = 0.02
"""After the last data packet an ack 01 comes within this, or all is well (reference, section 7.3)."""
INSTANT_WINDOW_S: Final = 0.001
"""The same where bytes take no time: a simulated unit in this process."""
ACK_BYTES: Final = 12
"""An ack without results, on the wire."""
MAX_DATA_BYTES: Final = 0xFFFF
"""Our bound on one transfer, what the table of templates can say; templates on record have 512 to 1536 bytes."""
MAX_TRANSFER_S: Final = 120.0
"""Our bound on one transfer: `MAX_DATA_BYTES` at 9600 baud, and half as long again."""
MAX_TALK_S: Final = 10.0
"""Our bound on frames that answer nothing while an answer is due: a whole transfer of 1536 bytes takes 2.2 s at 9600
baud."""

Trouble = (FrameError, NoAnswer, UnexpectedReply)


class Silent(NoAnswer):
    """The module does not answer even the simplest question any more; nothing more is tried."""


class Wire:
    """The half-duplex line to one module.

    Args:
        link: the open port.
        peer: how messages call the module.
        facts: times and tries from the profile.
        address: 32-bit address of the module.
        password: four bytes, sent with VfyPwd.
    """

    def __init__(
        self,
        link: SerialLink,
        *,
        peer: str,
        facts: SerialFacts,
        address: int = FACTORY_ADDRESS,
        password: bytes = bytes(4),
    ) -> None:
        self.link = link
        self.facts = facts
        self.address = address
        self.baud = facts.baud
        self.packet_bytes = 128
        self.sync: Command = READ_SYS_PARA
        self.verified = False
        self.retries = 0
        """How often something had to be asked again; shown with the result."""
        self._password = password
        self._framer = Framer()
        self._exchange: Exchange[Frame] = Exchange(link, self._framer, peer=peer)
        self._in_step = True

    @property
    def heard_bytes(self) -> int:
        """Everything that ever arrived."""
        return self._exchange.heard_bytes

    @property
    def peer(self) -> str:
        """How messages call the module."""
        return self._exchange.peer

    def use_password(self, password: bytes) -> bytes:
        """Verify with this password from now on; returns the one before. Not yet verified by that."""
        before, self._password, self.verified = self._password, password, False
        return before

    async def set_baud(self, baud: int) -> None:
        """Change the speed of our own end."""
        await self.link.set_baud(baud)
        self.baud = baud
        self._forget()

    async def verify(self, *, timeout_s: float, tries: int) -> Ack:
        """Send the password; it costs 28 bytes and is always done (reference, section 3.3)."""
        ack = await self.ask(VFY_PWD, {"password": self._password}, timeout_s=timeout_s, tries=tries)
        self.verified = ack.ok
        return ack

    async def ask(
        self,
        command: Command,
        values: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        tries: int | None = None,
    ) -> Ack:
        """Send one command and return its ack, whatever its code.

        Code 01 ("received badly") to a command that may be repeated is asked again; so are silence and damage.

        Raises:
            NoAnswer: silence, after all tries.
            FrameError, UnexpectedReply: damage, after all tries; or a parameter that does not fit, before anything is
                sent.
            LinkLost: the peer or the cable went away.
        """
        command_content(command, values)
        patience = {
            "answer": self.facts.answer_s,
            "write": self.facts.write_s,
            "erase": self.facts.erase_s,
            "optional": OPTIONAL_S,
        }[command.wait]
        timeout_s = timeout_s or patience
        if not command.repeatable:
            tries = 1
        tries = tries or (2 if command.wait == "optional" else self.facts.tries)

        async def once() -> Ack:
            ack = await self._ask_once(command, values, timeout_s)
            if ack.code == Code.VERIFY_FIRST and self.verified and command is not VFY_PWD:
                # The module restarted and forgot that we had given the password.
                await self._ask_once(VFY_PWD, {"password": self._password}, self.facts.answer_s)
                if command is not STORE:  # what it was to store is forgotten too
                    ack = await self._ask_once(command, values, timeout_s)
            if ack.code == Code.RECEIVE and not command.repeatable:
                # Perhaps the late word on a damaged data packet, with this command's own answer still to come.
                self._in_step = False
            return ack

        for attempt in range(1, tries + 1):
            last = attempt == tries
            try:
                ack = await once()
            except Silent:
                raise
            except Trouble as error:
                self._in_step = False
                if last:
                    if isinstance(error, NoAnswer):
                        raise NoAnswer(self._exchange.peer, tries=tries, timeout_s=timeout_s) from None
                    raise
            else:
                if last or not (command.repeatable and ack.code == Code.RECEIVE):
                    return ack
            self.retries += 1
        raise AssertionError("tries is at least 1")

    async def _ask_once(self, command: Command, values: Mapping[str, Any] | None, timeout_s: float) -> Ack:
        await self._get_into_step()
        self._forget()
        await self._send(Frame(self.address, Pid.COMMAND, command_content(command, values)))
        return await self._ack(command, timeout_s)

    async def _ack(self, command: Command, timeout_s: float) -> Ack:
        end_s = asyncio.get_running_loop().time() + timeout_s + MAX_TALK_S
        while True:
            frame = await self._receive(timeout_s, end_s)
            if frame.pid == Pid.ACK and frame.content:
                return parse_ack(command, frame.content)

    async def _receive(self, timeout_s: float, end_s: float) -> Frame:
        left_s = end_s - asyncio.get_running_loop().time()
        if left_s <= 0:
            raise FrameError("it talks and does not answer")
        return await self._exchange.receive(min(timeout_s, left_s))

    async def fetch(self, command: Command, values: Mapping[str, Any] | None = None) -> tuple[Ack, bytes]:
        """Send a command that is answered by data packets; return its ack and the joined data (empty unless code 00).

        Lengths come from the packets, not from the packet size setting. Packets carry no number, so one whose header is
        damaged would just be missing: bytes that belong to no packet are damage. One try: the caller knows what to
        repeat.

        Raises:
            NoAnswer, FrameError, UnexpectedReply: silence or damage on the way; what was left is drained before the
                next command.
            LinkLost: the peer or the cable went away.
        """
        try:
            ack = await self._ask_once(command, values, self.facts.answer_s)
            if not ack.ok:
                return ack, b""
            data = bytearray()
            skipped = self._framer.skipped_bytes
            end_s = asyncio.get_running_loop().time() + MAX_TRANSFER_S
            while True:
                frame = await self._receive(self.facts.answer_s, end_s)
                if self._framer.skipped_bytes != skipped:
                    raise FrameError("bytes between data packets that belong to none")
                if frame.pid not in (Pid.DATA, Pid.END):
                    raise UnexpectedReply(expected="a data packet", received="an answer")
                data += frame.content
                if len(data) > MAX_DATA_BYTES:
                    raise FrameError("the transfer does not end")
                if frame.pid == Pid.END:
                    return ack, bytes(data)
        except Trouble:
            self._in_step = False
            self.retries += 1
            raise

    async def push(self, data: bytes, *, buffer: int, gap_s: float) -> Ack:
        """Send data into a buffer of the module's memory (DownChar); nothing is stored.

        The end is not acknowledged: after the bytes have left, silence means success and an ack 01 means damage.

        Args:
            data: the bytes.
            buffer: number of the buffer.
            gap_s: pause between data packets; some modules lose packets without one.

        Returns:
            The module's word: code 00 if it took the data, else its refusal or the 01 for damage.

        Raises:
            NoAnswer, FrameError, UnexpectedReply: silence or damage.
            LinkLost: the peer or the cable went away.
        """
        try:
            ack = await self.ask(DOWN_CHAR, {"buffer": buffer})
            if not ack.ok:
                return ack
            loop = asyncio.get_running_loop()
            done_s = loop.time()
            for frame in data_frames(self.address, data, self.packet_bytes):
                await self._send(frame)
                line_s = 0.0 if self.link.instant else (len(frame.content) + OVERHEAD_BYTES) * 10 / self.baud
                done_s = max(done_s, loop.time()) + line_s
                if gap_s:
                    await asyncio.sleep(max(0.0, done_s - loop.time()) + gap_s)
            window_s = INSTANT_WINDOW_S if self.link.instant else DAMAGE_WINDOW_S + ACK_BYTES * 10 / self.baud
            damaged = await self._exchange.listen(max(0.0, done_s - loop.time()) + window_s)
        except Trouble:
            self._in_step = False
            self.retries += 1
            raise
        if damaged is None:
            return ack
        self._in_step = False
        code = damaged.content[0] if damaged.pid == Pid.ACK and damaged.content else Code.RECEIVE
        return Ack(code or Code.RECEIVE, b"")

    def expect_address(self, address: int) -> None:
        """Talk to this address from now on. Where an answer comes from is not looked at: SetAdder's has the new one."""
        self.address = address

    def forget_trouble(self) -> None:
        """Start anew, at another speed: there is nothing yet to be in step with."""
        self._in_step = True
        self._forget()

    async def _send(self, frame: Frame) -> None:
        await self._exchange.send(self._framer.encode(frame))

    def _forget(self) -> None:
        self._framer.reset()
        self.link.discard()

    async def _get_into_step(self) -> None:
        if self._in_step:
            return
        tries = self.facts.tries
        for attempt in range(tries):
            # Every other time another question: the late answer to the one before is then not taken for this one's.
            question = TEMPLETE_NUM if attempt % 2 else self.sync
            try:
                await self._resync(question)
            except NoAnswer:
                continue
            except (FrameError, UnexpectedReply):
                continue
            else:
                self._in_step = True
                return
        raise Silent(self._exchange.peer, tries=tries, timeout_s=self.facts.answer_s)

    async def _resync(self, question: Command) -> None:
        await self._exchange.silence(SILENCE_S)
        if self.verified:
            # A module that restarted on the way has forgotten it.
            await self._send(Frame(self.address, Pid.COMMAND, command_content(VFY_PWD, {"password": self._password})))
            await self._ack(VFY_PWD, self.facts.answer_s)
        await self._send(Frame(self.address, Pid.COMMAND, command_content(question)))
        end_s = asyncio.get_running_loop().time() + self.facts.answer_s + MAX_TALK_S
        while True:
            frame = await self._receive(self.facts.answer_s, end_s)
            if frame.pid == Pid.ACK and len(frame.content) == 1 + question.reply_bytes:
                break
            if not self.verified and frame.pid == Pid.ACK:
                break  # not let in yet: any answer will do
        await self._exchange.silence(SILENCE_S)


def sync_command(has_sysparams: bool) -> Command:
    """Return the question whose answer no other has the shape of, among those that the module knows."""
    return READ_SYS_PARA if has_sysparams else TEMPLETE_NUM
