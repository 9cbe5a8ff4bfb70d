"""One request at a time to a ZKTeco terminal, over TCP or UDP: matching answers, bulk data of any split, uploads.

An answer repeats its request's number; everything else that arrives is an event or late, and is passed over. On TCP
nothing is ever asked twice: what is missing there is a lost link. On UDP a datagram may be lost or come twice, so what
may be asked again is, each time under a new number, and the numbers of data packets show what is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
from struct import Struct as Packed
from typing import Final

from lockmigrate.errors import FrameError, LinkError, LinkLost, NoAnswer, UnexpectedReply
from lockmigrate.formats.zk import (
    LENGTH_BYTES,
    NUMBERS,
    UPLOAD_BYTES,
    Cmd,
    DatagramFramer,
    Packet,
    Reply,
    TcpFramer,
    build_packet,
    comm_key,
    reply_text,
    wrapped,
)
from lockmigrate.profiles import SerialFacts
from lockmigrate.protocols.exchange import Exchange
from lockmigrate.transports import Link

DEFAULT_FACTS: Final = SerialFacts(baud=115200, answer_s=5.0, write_s=10.0, erase_s=30.0, tries=3)
"""Ours; pyzk waits 60 s for anything. The speed means nothing in a network."""
DATAGRAM_ANSWER_S: Final = 2.0
"""On UDP a question is given up sooner, and asked again."""
MAX_TABLE_BYTES: Final = 128 << 20
"""Our bound; the largest template tables sold are below 80 MB (50,000 templates of 1.5 KB)."""
SLOWEST_BYTES_S: Final = 2048
PATIENCE_S: Final = 30.0
"""Our bound on one bulk answer: half a minute, and as long as a line of 19,200 baud behind the unit would need."""
MAX_EMPTY: Final = 64
"""Our bound on data packets with nothing in them: with more, bulk data would never end."""
MAX_DATAGRAMS: Final = 2 << 16
"""Our bound on the datagrams of one bulk answer: numbers have 16 bits, and each may come twice."""
SILENT_HINT: Final = "the terminal stopped answering: check its power and the network, then start again"
LEAVE_S: Final = 2.0
"""How long the last words of a conversation may take."""

_WORD: Final = Packed("<I")


class _Damaged(Exception):
    """A bulk answer is not whole; on UDP it is asked for again."""


class Wire:
    """The conversation with one terminal.

    Args:
        link: the open pipe.
        peer: how messages call the unit.
        facts: times and tries.
        datagrams: whether each write is one packet and each read brings one (UDP), or the pipe is a stream (TCP).
    """

    def __init__(self, link: Link, *, peer: str, facts: SerialFacts = DEFAULT_FACTS, datagrams: bool = False) -> None:
        self.link = link
        self.facts = facts
        self.datagrams = datagrams
        self.session = 0
        self.let_in = False
        """True from a good CONNECT or AUTH on: being told afterwards that we are nobody means that all is lost."""
        self.known = False
        """The unit has told its counters once: a refusal of them means that it has forgotten us."""
        self.retries = 0
        """How often something had to be asked again."""
        self.buffered: bool | None = None
        """Whether the unit knows BUFFER_OPEN; None before it was tried."""
        self._number = 0
        self._turn = asyncio.Lock()
        self._framer: TcpFramer | DatagramFramer = DatagramFramer() if datagrams else TcpFramer()
        self._exchange: Exchange[Packet] = Exchange(link, self._framer, peer=peer)

    @property
    def peer(self) -> str:
        """How messages call the unit."""
        return self._exchange.peer

    @property
    def heard_bytes(self) -> int:
        """Everything that ever arrived."""
        return self._exchange.heard_bytes

    @property
    def answer_s(self) -> float:
        """How long an answer may take."""
        return min(self.facts.answer_s, DATAGRAM_ANSWER_S) if self.datagrams else self.facts.answer_s

    # ---- questions and answers --------------------------------------------------------------------------------------

    async def connect(self) -> Packet:
        """Ask for a session; the answer may be OK or UNAUTH, and either carries the session.

        Raises:
            NoAnswer: silence.
            FrameError: what answers does not speak this protocol.
            LinkLost: the peer or the cable went away.
        """
        self.session, self._number, self.let_in = 0, -1, False
        before = self.retries
        answer = await self.ask(Cmd.CONNECT, repeatable=True)
        if self.retries > before:
            answer = await self._last_answer(answer)
        self.session = answer.session
        return answer

    async def _last_answer(self, answer: Packet) -> Packet:
        """After a repetition the last answer counts: all CONNECTs have number 0, and each opens its own session."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + self.answer_s * self.facts.tries
        while (left_s := end_s - loop.time()) > 0:
            later = await self._exchange.listen(min(self.answer_s, left_s))
            if later is None:
                break
            answer = later if later.number == 0 and later.code in (Reply.OK, Reply.UNAUTH) else answer
        return answer

    async def authorise(self, key: int, ticks: int) -> Packet:
        """Give the comm key, exactly once."""
        return await self.ask(Cmd.AUTH, comm_key(key, self.session, ticks))

    async def ask(
        self, code: int, data: bytes = b"", *, repeatable: bool = False, timeout_s: float | None = None
    ) -> Packet:
        """Send one request and return its answer, whatever its code.

        Args:
            code: the request.
            data: its data.
            repeatable: asking twice is harmless; only then, and only on UDP, silence is answered by asking again.
            timeout_s: how long the answer may take.

        Raises:
            NoAnswer: silence, after all tries.
            FrameError: damage.
            LinkLost: the peer or the cable went away, or the unit has forgotten us.
        """
        timeout_s = timeout_s or self.answer_s
        tries = self.facts.tries if repeatable else 1
        for attempt in range(1, tries + 1):
            try:
                async with self._turn:
                    answer = await self._answer(await self._send(code, data), timeout_s)
            except NoAnswer:
                if attempt == tries or not self.datagrams:
                    raise NoAnswer(self.peer, tries=attempt, timeout_s=timeout_s, hint=SILENT_HINT) from None
            else:
                if answer.code not in (Reply.RETRY, Reply.REPEAT) or attempt == tries:
                    return answer
            self.retries += 1
            if code == Cmd.CONNECT:
                self._number = -1
        raise AssertionError("tries is at least 1")

    async def ask_optional(self, code: int, data: bytes = b"", *, timeout_s: float | None = None) -> Packet:
        """Ask something harmless that firmware may not know; silence, from a unit that still answers, says so too.

        Raises:
            NoAnswer, FrameError, LinkLost: the unit answers nothing any more.
        """
        try:
            return await self.ask(code, data, repeatable=True, timeout_s=timeout_s)
        except NoAnswer:
            return await self.unknown()

    async def unknown(self) -> Packet:
        """Make sure that the unit still answers; returns the refusal that its silence stands for.

        Raises:
            NoAnswer, FrameError, LinkLost: the unit answers nothing any more.
        """
        await self.ask(Cmd.CAPACITY, repeatable=True)
        return Packet(Reply.UNKNOWN, self.session, self._number)

    async def _send(self, code: int, data: bytes) -> int:
        self._number = (self._number + 1) % NUMBERS
        packet = Packet(code, self.session, self._number, data)
        await self._exchange.send(build_packet(packet) if self.datagrams else wrapped(packet))
        return self._number

    async def _answer(self, number: int, timeout_s: float) -> Packet:
        """Wait for the next packet of this number; events are answered, everything else is late."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        while True:
            packet = self._framer.next() or await self._exchange.receive(max(0.0, end_s - loop.time()))
            if packet.code == Cmd.EVENT:
                await self._acknowledge()
            elif packet.number == number:
                if packet.code == Reply.UNAUTH and self.let_in:
                    raise self.forgotten()
                return packet
            if loop.time() > end_s:
                raise NoAnswer(self.peer, tries=1, timeout_s=timeout_s)

    def forgotten(self) -> LinkLost:
        """Build the error for a unit that has lost our session; to every request such a unit just says no."""
        return LinkLost(
            "the terminal does not know this connection any more",
            hint="it was restarted, or another program took it over; start again",
        )

    async def _acknowledge(self) -> None:
        """Answer an event as section 2 says: OK, own session, number 0."""
        packet = Packet(Reply.OK, self.session, 0)
        await self._exchange.send(build_packet(packet) if self.datagrams else wrapped(packet))

    async def leave(self) -> None:
        """Say goodbye; a unit that is gone is no trouble."""
        with contextlib.suppress(LinkError):
            await self.ask(Cmd.EXIT, timeout_s=LEAVE_S)

    # ---- bulk data --------------------------------------------------------------------------------------------------

    async def fetch(
        self,
        code: int,
        data: bytes = b"",
        *,
        want_bytes: int | None = None,
        table: bool = False,
        optional: bool = False,
    ) -> Packet | bytes:
        """Send a request that is answered by bulk data; return the data, or the packet by which the unit refuses.

        Args:
            code: the request; asking twice must be harmless.
            data: its data.
            want_bytes: how many bytes the answer has to have, where that is known.
            table: the answer is a whole table, whose length word tells whether it is complete.
            optional: firmware may not know the request, and may say so by silence.

        Raises:
            NoAnswer, FrameError, UnexpectedReply: silence or damage, after all tries.
            LinkLost: the peer or the cable went away.
        """
        tries = self.facts.tries if self.datagrams else 1
        for attempt in range(1, tries + 1):
            try:
                async with self._turn:
                    number = await self._send(code, data)
                    return await self._bulk(number, want_bytes, table=table, last=attempt == tries)
            except NoAnswer:
                if attempt == tries and optional:
                    return await self.unknown()
                if attempt == tries:
                    raise NoAnswer(self.peer, tries=attempt, timeout_s=self.answer_s, hint=SILENT_HINT) from None
            except _Damaged as error:
                if attempt == tries:
                    raise FrameError(f"bulk data is not whole: {error}") from None
            self.retries += 1
        raise AssertionError("tries is at least 1")

    async def _bulk(self, number: int, want_bytes: int | None, *, table: bool, last: bool) -> Packet | bytes:
        first = await self._answer(number, self.answer_s)
        if first.code == Cmd.DATA:
            return self._single(first, want_bytes, table=table, last=last)
        if first.code != Cmd.PREPARE:
            return first
        if len(first.data) < _WORD.size:
            raise FrameError("bulk data is announced without its size")
        (count,) = _WORD.unpack_from(first.data)
        if count > MAX_TABLE_BYTES:
            raise FrameError(f"bulk data of {count} bytes is announced")
        if want_bytes is not None and count != want_bytes:
            raise _Damaged(f"{want_bytes} bytes were asked for, {count} are announced")
        return await self._pieces(number, count)

    def _single(self, packet: Packet, want_bytes: int | None, *, table: bool, last: bool) -> bytes:
        """Take an answer that is one packet; on UDP it may be what is left of more, unless it always comes so."""
        data = packet.data
        if want_bytes is not None and len(data) != want_bytes:
            raise _Damaged(f"{want_bytes} bytes were asked for, {len(data)} came")
        if self.datagrams and want_bytes is None:
            if not table and not last:
                raise _Damaged("its announcement is missing")
            if table and data and int.from_bytes(data[:LENGTH_BYTES], "little") != len(data) - LENGTH_BYTES:
                raise _Damaged("its announcement is missing")
        return data

    async def _pieces(self, number: int, count: int) -> bytes:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + PATIENCE_S + count / SLOWEST_BYTES_S
        parts: list[Packet] = []
        """Datagrams, which may come in any order."""
        stream = bytearray()
        got = empty = 0
        while True:
            try:
                packet = await self._answer(number, self.answer_s)
            except NoAnswer:
                if self.datagrams and got >= count:
                    break  # only the closing word is lost
                raise
            if packet.code != Cmd.DATA:
                break
            if self.datagrams:
                parts.append(packet)
            else:
                stream += packet.data
            got += len(packet.data)
            empty += not packet.data
            if got > (2 * count if self.datagrams else count):
                raise _Damaged("more came than was announced")
            if loop.time() > end_s or empty > MAX_EMPTY or len(parts) > MAX_DATAGRAMS:
                raise FrameError("bulk data does not end")
        if packet.code not in (Cmd.DATA, Reply.OK):
            raise UnexpectedReply(expected="bulk data", received=reply_text(packet.code))
        data = b"".join(self._in_order(parts)) if self.datagrams else bytes(stream)
        if len(data) != count:
            raise _Damaged(f"{count} bytes were announced, {len(data)} came")
        return data

    def _in_order(self, parts: list[Packet]) -> list[bytes]:
        """Sort data packets by the number in their session field, where they have one (section 6), each once."""
        numbers = {part.session: part.data for part in parts}
        if len(numbers) == 1:
            # No unit is known to number none of them; the same bytes again and again are one packet that came often.
            data = [part.data for part in parts]
            return data if len(set(data)) > 1 else data[:1]
        if set(numbers) != set(range(len(numbers))):
            raise _Damaged("a packet is missing")
        return [numbers[index] for index in range(len(numbers))]

    async def upload(self, blob: bytes) -> int:
        """Put a blob into the unit's buffer, where a consuming command finds it; returns the code of a refusal, or 0.

        Nothing is stored by it, so on UDP the whole is begun anew when something was lost.

        Raises:
            NoAnswer, FrameError: silence or damage.
            LinkLost: the peer or the cable went away.
        """
        tries = self.facts.tries if self.datagrams else 1
        for attempt in range(1, tries + 1):
            try:
                return await self._upload_once(blob)
            except NoAnswer:
                if attempt == tries:
                    raise
            self.retries += 1
        raise AssertionError("tries is at least 1")

    async def _upload_once(self, blob: bytes) -> int:
        await self.free()
        answer = await self.ask(Cmd.PREPARE, _WORD.pack(len(blob)))
        if not answer.ok:
            return answer.code
        for at in range(0, len(blob), UPLOAD_BYTES):
            answer = await self.ask(Cmd.DATA, blob[at : at + UPLOAD_BYTES], timeout_s=self.facts.write_s)
            if not answer.ok:
                return answer.code
        return 0

    async def free(self) -> None:
        """Empty the unit's buffer; whatever it says to that, or does not say, is no trouble."""
        with contextlib.suppress(NoAnswer):
            await self.ask(Cmd.FREE, repeatable=True, timeout_s=LEAVE_S)
