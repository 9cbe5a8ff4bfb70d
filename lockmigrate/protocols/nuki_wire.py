"""Questions and answers with a Nuki lock over its encrypted channel: nonces, the PIN, lists, refusals.

Rules of section 6 of the Nuki reference. One request at a time; what a lock says unasked is passed over; a list counts
only if as many entries came as were announced. Only questions are asked twice, never changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from lockmigrate.errors import (
    ConfigError,
    FrameError,
    LinkLost,
    LockmigrateError,
    NoAnswer,
    Tampered,
    TornRead,
    UnexpectedReply,
)
from lockmigrate.formats.nuki import (
    ACCEPTED,
    COMPLETE,
    NONCE_BYTES,
    Characteristics,
    ClearFramer,
    Cmd,
    Message,
    Refusal,
    SealedFramer,
    seal,
)
from lockmigrate.protocols.nuki_refusals import complaint, insist_on_pin, refusal
from lockmigrate.transports import Link
from lockmigrate.transports.gatt import Channel, Connection

ANSWER_S: Final = 5.0
ENTRY_S: Final = 20.0
"""For one answer, and between two entries of a list (section 6, rule 7)."""
AFTER_LIST_S: Final = 1.0
"""How long a final Status is waited for once the announced number is there (section 6)."""
AFTER_STATUS_S: Final = 0.25
"""How long entries are waited for behind a Status that ends a list too soon; ours: several connection intervals."""
SLOW_S: Final = 20.0
"""After Status ACCEPTED."""
TRIES: Final = 2
"""Of a question; ours."""
IDLE_S: Final = 5.0
"""A link that goes while nothing was asked for so long was hung up on by the lock (1.2): it is dialled again."""
LIST_TRIES: Final = 3

_LOST_HINT: Final = (
    "the authorisation is probably lost: the lock was reset, or our entry was removed; pair again "
    "(hold the lock's button for 5 s, then run pair)"
)


class _StaleNonce(Tampered):
    """The lock says that a nonce is not its last one; a question may be asked once more."""


@dataclass(slots=True)
class Listing:
    """A list while it is read."""

    announced: int | None = None
    head: bytes = b""
    """Payload of a message that says more about the list than how many entries follow (the log's)."""
    items: list[bytes] = field(default_factory=list, repr=False)


class Wire:
    """The encrypted conversation with one lock.

    Args:
        connection: open.
        how: where this generation is spoken to.
        key: the shared key, 32 bytes.
        authorization_id: ours.
        pin: the security PIN; None where it was not given.
        peer: what messages call the lock.
        redial: opens a new connection to the same lock, after the lock hung up or we let go.
    """

    def __init__(
        self,
        connection: Connection,
        how: Characteristics,
        *,
        key: bytes,
        authorization_id: int,
        pin: int | None,
        peer: str,
        redial: Callable[[], Awaitable[Connection]] | None = None,
    ) -> None:
        self.how = how
        self.peer = peer
        self._connection: Connection | None = connection
        self._key, self._authorization_id, self._pin = key, authorization_id, pin
        self._redial = redial
        self._inbox: asyncio.Queue[Message | LockmigrateError] = asyncio.Queue()
        self._pumps: list[asyncio.Task[None]] = []
        self._link: Link | None = None
        self._broken: LockmigrateError | None = None
        self._unanswered = False
        """A change or a nonce was met with silence: what may still come must not be taken for the next answer."""
        self._heard = False
        self._last_s = 0.0
        self._closed = False
        self.crc_zero = 0
        """Authentic messages that came with the CRC 0000 (2.2)."""

    def __repr__(self) -> str:
        return f"Wire({self.peer!r})"

    # ---- the connection ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Subscribe to both channels: a lock that has lost our key can only complain in clear (section 6, rule 1).

        Raises:
            LinkLost: the lock went out of reach.
        """
        assert self._connection is not None  # noqa: S101 - set before, and by `_ready`
        self._link = await self._connection.link(Channel(write=self.how.secret, notify=self.how.secret, response=True))
        clear = await self._connection.link(Channel(write=self.how.clear, notify=self.how.clear, response=True))
        self._pumps = [asyncio.create_task(self._pump(self._link)), asyncio.create_task(self._pump_clear(clear))]
        self._last_s = asyncio.get_running_loop().time()

    async def _pump(self, link: Link) -> None:
        framer = SealedFramer(self._key)
        try:
            while True:
                framer.feed(await link.read())
                while (message := framer.next()) is not None:
                    self._inbox.put_nowait(message)
        except LockmigrateError as error:
            self._inbox.put_nowait(error)

    async def _pump_clear(self, link: Link) -> None:
        """Listen to what anybody may say: the lock's complaint counts, all else is passed over."""
        framer = ClearFramer()
        try:
            while True:
                framer.feed(await link.read())
                with contextlib.suppress(FrameError):
                    while (message := framer.next()) is not None:
                        if complaint(message):
                            self._inbox.put_nowait(message)
        except LockmigrateError as error:
            self._inbox.put_nowait(error)

    async def rest(self) -> None:
        """Let go of the lock while a person is asked; the next question dials again."""
        if self._redial is not None:
            await self._hang_up()

    async def _hang_up(self) -> None:
        pumps, self._pumps = self._pumps, []
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        connection, self._connection, self._link = self._connection, None, None
        if connection is not None:
            await connection.close()
        self._broken, self._unanswered = None, False
        self._inbox = asyncio.Queue()

    async def _ready(self) -> None:
        """Dial again where we let go, or where the lock hung up on a link that was idle."""
        if self._closed:
            raise LinkLost("the conversation with the lock has ended")
        idle_s = asyncio.get_running_loop().time() - self._last_s
        self._drain()
        hung_up = isinstance(self._broken, LinkLost) and idle_s >= IDLE_S
        late = self._unanswered and self._broken is None
        if self._redial is not None and (self._connection is None or hung_up or late):
            await self._hang_up()
            self._connection = await self._redial()
            try:
                await self.start()
            except LockmigrateError:
                await self._hang_up()
                raise
        if self._broken is not None:
            raise self._broken

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        self._closed = True
        await self._hang_up()

    def _drain(self) -> None:
        """Drop what came unasked: a late Status must not be taken for the next answer."""
        while not self._inbox.empty():
            item = self._inbox.get_nowait()
            if isinstance(item, LockmigrateError):
                self._broken = self._broken or item

    # ---- one question -----------------------------------------------------------------------------------------------

    async def ask(
        self,
        command: int,
        payload: bytes = b"",
        *,
        answer: int,
        nonce: bool = True,
        pin: bool = False,
        repeatable: bool = True,
    ) -> bytes:
        """Ask for one thing and return the answer's payload.

        Raises:
            RefusedError: an Error Report; `status` is its code.
            WrongCredential: the lock does not know us, or the PIN is wrong.
            NoAnswer, LinkLost, FrameError, Tampered: the conversation failed.
        """
        tries = TRIES if repeatable else 1
        for left in reversed(range(tries)):
            try:
                await self._say(command, payload, nonce=nonce, pin=pin)
                return (await self._hear({answer}, command, ANSWER_S)).payload
            except NoAnswer:
                self._unanswered |= not repeatable
                if not left:
                    raise self._silence(tries) from None
            except _StaleNonce:
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")

    async def change(self, command: int, payload: bytes, *, pin: bool = True) -> None:
        """Make a change that is answered by Status; never repeated.

        Raises:
            RefusedError, NoAnswer, LinkLost: as `ask`; after NoAnswer and LinkLost it may have happened or not.
        """
        await self._say(command, payload, nonce=True, pin=pin)
        timeout_s = ANSWER_S
        while True:
            try:
                status = await self._hear({Cmd.STATUS}, command, timeout_s)
            except NoAnswer:
                self._unanswered = True
                raise self._silence(1) from None
            if status.payload == bytes([COMPLETE]):
                return
            if status.payload != bytes([ACCEPTED]):
                raise UnexpectedReply(expected="Status COMPLETE", received=f"Status {status.payload.hex()}")
            timeout_s = SLOW_S

    async def listing(
        self, command: int, payload: bytes, *, entry: int, count: int | None, head: int | None = None
    ) -> AsyncIterator[Listing]:
        """Read a list; yields the same growing `Listing` after each entry, and at the end.

        Args:
            command: the request.
            payload: its payload.
            entry: code of the messages that carry one entry.
            count: code of the message that announces how many; None where there is none.
            head: code of a message whose payload is kept beside the entries.

        Raises:
            TornRead: the number of entries is not the announced one, however often it was asked.
            RefusedError, NoAnswer, LinkLost: as `ask`.
        """
        for left in reversed(range(LIST_TRIES)):
            found, over = Listing(), False
            await self._say(command, payload, nonce=True, pin=True)
            wanted = {entry, Cmd.STATUS, *(code for code in (count, head) if code is not None)}
            while True:
                full = found.announced is not None and len(found.items) >= found.announced
                if over and (full or (head is not None and found.items)):
                    break
                # Without a number to come to, and without a final Status, only silence tells the end.
                patience_s = ENTRY_S if found.items and found.announced is not None else ANSWER_S
                patience_s = AFTER_STATUS_S if over else AFTER_LIST_S if full else patience_s
                try:
                    message = await self._hear(wanted, command, patience_s)
                except NoAnswer:
                    if not (found.items or found.head or over or found.announced is not None):
                        raise self._silence(1) from None
                    break  # where it is fewer than announced, that is told below
                if message.command == Cmd.STATUS:
                    # Any Status may come unasked (rule 8): it ends a list that has begun, and what follows at once
                    # still counts. A list that would be announced is not empty because of one.
                    begun = count is None or found.items or found.announced is not None
                    over |= message.payload == bytes([COMPLETE]) and bool(begun)
                elif message.command == entry:
                    found.items.append(message.payload)
                    yield found
                elif message.command == head:
                    found.head = message.payload
                else:
                    found.announced = int.from_bytes(message.payload, "little")
                    yield found
            if found.announced is None or found.announced == len(found.items):
                yield found
                return
            if not left:
                raise TornRead(
                    f"the lock announced {found.announced} entries of a list and sent {len(found.items)}",
                    hint="go closer to the lock and keep others from it; nothing incomplete is kept",
                )

    async def whole(self, command: int, payload: bytes, *, entry: int, count: int) -> list[bytes]:
        """Read a list to its end and return the payloads of its entries; see `listing`."""
        found = Listing()
        async for seen in self.listing(command, payload, entry=entry, count=count):
            found = seen
        return found.items

    async def _say(self, command: int, payload: bytes, *, nonce: bool, pin: bool) -> None:
        await self._ready()
        tail = b""
        if nonce:
            await self._send(Message(Cmd.REQUEST_DATA, Cmd.CHALLENGE.to_bytes(2, "little")))
            try:
                challenge = await self._hear({Cmd.CHALLENGE}, Cmd.REQUEST_DATA, ANSWER_S)
            except NoAnswer:
                self._unanswered = True
                raise self._silence(1) from None
            tail = challenge.payload
        if pin:
            tail += self._pin_bytes()
        await self._send(Message(command, payload + tail))

    def _pin_bytes(self) -> bytes:
        if self._pin is None:
            raise ConfigError(
                "the lock's security PIN is needed and was not given",
                hint="add security_pin = 1234 to the table [nuki] of the credential file (0 where none is set)",
                code="credential-file",
            )
        insist_on_pin(self._pin, self.how)
        return self._pin.to_bytes(self.how.pin_bytes, "little")

    async def _send(self, message: Message) -> None:
        assert self._link is not None  # noqa: S101 - `_ready` has seen to it
        nonce = secrets.token_bytes(NONCE_BYTES)
        await self._link.write(seal(self._key, self._authorization_id, message, nonce))

    async def _hear(self, wanted: Collection[int], command: int, timeout_s: float) -> Message:
        """Return the next message of a wanted kind; an Error Report about the command is raised, the rest ignored."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        while True:
            if self._broken is not None:
                raise self._broken
            item: Message | LockmigrateError | None = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(end_s):
                    item = await self._inbox.get()
            if item is None:
                raise NoAnswer(self.peer, tries=1, timeout_s=timeout_s)
            if isinstance(item, LockmigrateError):
                self._broken = item
                raise item
            self._heard, self._last_s = True, loop.time()
            self.crc_zero += item.crc_zero
            if item.command == Cmd.ERROR_REPORT:
                self._refused(item.payload, command)
            elif item.command in wanted:
                return item

    def _refused(self, payload: bytes, command: int) -> None:
        """Raise what an Error Report says, if it is about this command (or about none, or about its challenge)."""
        if len(payload) != 3:
            raise FrameError(f"an Error Report of {len(payload)} bytes", received=payload)
        code, about = payload[0], int.from_bytes(payload[1:], "little")
        if about not in (0, Cmd.REQUEST_DATA, command):
            return
        if code == Refusal.BAD_NONCE:
            raise _StaleNonce(f"{self.peer} does not take the nonce that came from it")
        raise refusal(code, self.peer)

    def _silence(self, tries: int) -> NoAnswer:
        hint = None if self._heard else _LOST_HINT
        return NoAnswer(self.peer, tries=tries, timeout_s=ANSWER_S, hint=hint)
