"""Questions and answers with a TTLock lock: chunks, the login of each connection, what is said unasked, paging.

Rules of sections 2, 3, 6 and 16 of the TTLock reference. An answer is known by the command that it echoes inside, never
by its place. Only questions are asked twice, and what the lock says it did not understand (error 01).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final

from lockmigrate.errors import (
    FrameError,
    LinkLost,
    LockmigrateError,
    NoAnswer,
    RefusedError,
    Tampered,
    TornRead,
    UnexpectedReply,
    WrongCredential,
)
from lockmigrate.formats.ttlock import (
    APP_ENCRYPTS,
    BATTERY,
    DONE,
    NOTIFY,
    OTHER_NOTIFY,
    OTHER_WRITE,
    WRITE,
    Answer,
    Cmd,
    Framer,
    Refusal,
    Seen,
    build_frame,
    chunks,
    parse_advertisement,
    parse_answer,
    refusal_words,
)
from lockmigrate.transports import Link
from lockmigrate.transports.gatt import Channel, Connection

ANSWER_S: Final = 6.0
"""For one answer; what the clients that we know wait (2.2)."""
TRIES: Final = 2
IDLE_S: Final = 5.0
"""A link that goes while nothing was asked for so long was hung up on by the lock: it is dialled again. Ours."""
AFTER_DAMAGE_S: Final = 1.0
"""What came damaged may have been said unasked: so long its answer is still waited for. Ours."""
LIST_TRIES: Final = 3
MAX_PAGES: Final = 2000
"""Ours: a list that never ends is not believed."""
_NOT_KNOWN: Final = frozenset({Refusal.NOT_LOGGED_IN, Refusal.NO_PERMISSION})
_AGAIN_HINT: Final = (
    "the lock was reset since, or the keys are another lock's: its owner's app, or whoever paired it last, has the "
    "right ones (keys import-lock), else reset it and run pair"
)


class Wire:
    """The conversation with one lock.

    Args:
        connection: open.
        key: the AES key, 16 bytes.
        admin_ps: administrator's secret; None before pairing.
        unlock_key: the other secret.
        lock_flag_pos: the counter that a key must not be below.
        uid: the user we are, 0.
        peer: what messages call the lock.
        redial: opens a new connection to the same lock.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        key: bytes,
        admin_ps: int | None,
        unlock_key: int | None,
        lock_flag_pos: int = 0,
        uid: int = 0,
        peer: str,
        redial: Callable[[], Awaitable[Connection]] | None = None,
    ) -> None:
        self.peer = peer
        self.key = key
        self._connection: Connection | None = connection
        self._admin_ps, self._unlock_key = admin_ps, unlock_key
        self._lock_flag_pos, self._uid = lock_flag_pos, uid
        self._redial = redial
        self._inbox: asyncio.Queue[Answer | LockmigrateError | None] = asyncio.Queue()
        self._pump: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._logged_in = False
        self._broken: LockmigrateError | None = None
        self._unanswered = False
        """Something was met with silence: what may still come must not be taken for the next answer."""
        self._dialled = 0
        self._last_s = 0.0
        self._closed = False
        self.odd_checksums = 0
        """Frames whose checksum was that of the unchanged table (section 3)."""

    def __repr__(self) -> str:
        return f"Wire({self.peer!r})"

    # ---- the connection ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Subscribe; some firmware speaks only after something was read (2.1).

        Raises:
            LinkLost: the lock went out of reach.
        """
        connection = self._connection
        assert connection is not None  # noqa: S101 - set before, and by `_ready`
        usual = WRITE in connection.characteristics
        channel = Channel(
            write=WRITE if usual else OTHER_WRITE, notify=NOTIFY if usual else OTHER_NOTIFY, response=False
        )
        self._link = await connection.link(channel)
        if BATTERY in connection.characteristics:
            with contextlib.suppress(RefusedError):
                await connection.value(BATTERY)
        self._logged_in = False
        self._dialled += 1
        self._pump = asyncio.create_task(self._pumping(self._link))
        self._last_s = asyncio.get_running_loop().time()

    async def _pumping(self, link: Link) -> None:
        framer = Framer()
        try:
            while True:
                framer.feed(await link.read())
                self._take(framer)
        except LockmigrateError as error:
            self._inbox.put_nowait(error)

    def _take(self, framer: Framer) -> None:
        """Hand over what is whole; a damaged frame is told to whoever waits, and does not end the conversation."""
        while True:
            try:
                frame = framer.next()
                if frame is None:
                    return
                self.odd_checksums += frame.odd_checksum
                self._inbox.put_nowait(parse_answer(frame, self.key))
            except Tampered as error:
                if frame is not None and frame.encrypt == APP_ENCRYPTS:
                    self._inbox.put_nowait(error)
            except FrameError as error:
                self._inbox.put_nowait(error)

    async def rest(self) -> None:
        """Let go of the lock while a person is asked; the next question dials again."""
        if self._redial is not None:
            await self._hang_up()

    async def let_go(self) -> None:
        """End the conversation and leave the connection to whoever opened it."""
        self._closed = True
        self._connection = None
        link = self._link
        await self._hang_up()
        if link is not None:
            await link.close()

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        self._closed = True
        await self._hang_up()

    async def seen_anew(self) -> Seen | None:
        """End the conversation, dial once more and return what the lock advertises; None where we cannot dial.

        Raises:
            ConnectError, LinkError: it is not found again.
        """
        await self.close()
        if self._redial is None:
            return None
        connection = await self._redial()
        await connection.close()
        return parse_advertisement(connection.advertised.manufacturer_data)

    async def _hang_up(self) -> None:
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
        connection, self._connection, self._link = self._connection, None, None
        if connection is not None:
            await connection.close()
        self._broken, self._logged_in, self._unanswered = None, False, False
        self._inbox = asyncio.Queue()

    async def _ready(self) -> None:
        """Dial again where we let go, where the lock hung up on an idle link, or where an answer may still come late.

        A late answer looks like that to the next question of the same kind: a list would end before its end.
        """
        if self._closed:
            raise LinkLost("the conversation with the lock has ended")
        self._drain()
        idle_s = asyncio.get_running_loop().time() - self._last_s
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

    def _drain(self) -> None:
        """Drop what came unasked; of what went wrong only a lost link counts."""
        while not self._inbox.empty():
            item = self._inbox.get_nowait()
            if isinstance(item, LinkLost):
                self._broken = self._broken or item

    # ---- questions --------------------------------------------------------------------------------------------------

    async def ask(self, command: Cmd, plain: bytes = b"", *, login: bool = True, repeatable: bool = True) -> bytes:
        """Say something and return what the lock answers, behind command and status.

        Args:
            command: what.
            plain: its payload.
            login: whether administrator's rights are needed.
            repeatable: whether asking twice is harmless; error 01 is answered by saying it again in any case.

        Raises:
            RefusedError: the lock said no; `status` is its code.
            WrongCredential: our keys are not this lock's.
            NoAnswer, LinkLost, FrameError: the conversation failed.
        """
        for left in reversed(range(TRIES)):
            said = False
            try:
                await self._ready()
                if login:
                    await self.log_in()
                said = True
                return await self._once(command, plain)
            except (NoAnswer, FrameError):
                # Without a way to dial anew the late answer to the first try would pass for that to another question.
                if not left or (said and (not repeatable or self._redial is None)):
                    raise
            except RefusedError as error:
                if not left or not self._worth_saying_again(error):
                    raise
        raise AssertionError("the last try returns or raises")

    def _worth_saying_again(self, error: RefusedError) -> bool:
        """Whether the lock only misheard (error 01), or has forgotten that we logged in; it has done nothing then."""
        if error.status in _NOT_KNOWN and self._logged_in:
            self._logged_in = False
            return True
        return error.status == Refusal.CRC

    async def log_in(self) -> None:
        """Prove that we are the administrator, once for each connection (section 6).

        Raises:
            WrongCredential: the lock does not accept our keys.
            RefusedError, LinkError: as `ask`.
        """
        if self._logged_in or self._admin_ps is None or self._unlock_key is None:
            return
        ident = (
            self._admin_ps.to_bytes(4, "big") + self._lock_flag_pos.to_bytes(3, "big") + self._uid.to_bytes(4, "big")
        )
        token = await self._once(Cmd.CHECK_ADMIN, ident)
        if len(token) < 4:
            raise FrameError("a login token that is cut short")
        total = (int.from_bytes(token[:4], "big") + self._unlock_key) & 0xFFFFFFFF
        await self._once(Cmd.CHECK_RANDOM, total.to_bytes(4, "big"))
        self._logged_in = True

    async def log_in_now(self) -> None:
        """Connect if need be, and log in.

        Raises:
            WrongCredential, RefusedError, LinkError: as `ask`.
        """
        await self._ready()
        await self.log_in()

    async def say(self, command: Cmd, plain: bytes = b"", *, key: bytes | None = None) -> Answer | None:
        """Say something outside of a login and return the next answer, None where it carries nothing.

        Raises:
            RefusedError, NoAnswer, LinkLost, FrameError: as `ask`.
        """
        await self._ready()
        if key is not None:
            self.key = key
        await self._send(command, plain)
        return await self._hear(command, empty=True)

    async def _once(self, command: Cmd, plain: bytes) -> bytes:
        self._drain()
        await self._send(command, plain)
        answer = await self._hear(command)
        assert answer is not None  # noqa: S101 - empty answers were not asked for
        return answer.data

    async def _send(self, command: Cmd, plain: bytes) -> None:
        assert self._link is not None  # noqa: S101 - `_ready` has seen to it
        for chunk in chunks(build_frame(command, plain, self.key)):
            await self._link.write(chunk)

    async def _hear(self, command: Cmd, *, empty: bool = False) -> Answer | None:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + ANSWER_S
        damage: FrameError | None = None
        while True:
            try:
                async with asyncio.timeout_at(end_s):
                    item = await self._inbox.get()
            except TimeoutError:
                self._unanswered = True
                if damage is not None:
                    raise damage from None
                raise NoAnswer(self.peer, tries=1, timeout_s=ANSWER_S) from None
            if isinstance(item, FrameError):
                damage = item
                end_s = min(end_s, loop.time() + AFTER_DAMAGE_S)
                continue
            if isinstance(item, Tampered):
                raise WrongCredential(f"{self.peer} does not speak with our keys", hint=_AGAIN_HINT) from None
            if isinstance(item, LockmigrateError):
                self._broken = item
                raise item
            self._last_s = loop.time()
            if item is None:
                if empty:
                    return None
                raise WrongCredential(f"{self.peer} gave an empty answer, as to a stranger", hint=_AGAIN_HINT)
            if item.command != command or item.unasked:
                continue  # a push: the lock tells of what happens at the door whenever it likes
            if item.status != DONE:
                raise refusal(item.data[0] if item.data else Refusal.FAILED, self.peer)
            return item

    # ---- lists ------------------------------------------------------------------------------------------------------

    async def listing(
        self, command: Cmd, operation: bytes, split: Callable[[bytes], Iterable[bytes]], *, cursor_bytes: int = 2
    ) -> AsyncIterator[list[bytes]]:
        """Read a list page by page; yields the same growing list of its records after each page.

        Cursors are opaque: each goes back as it came. A list ends with FFFF, with an empty answer, or where a
        cursor comes again (section 1, number 5). Where the lock was dialled again meanwhile it is begun anew: whether
        cursors outlive a connection is not known.

        Args:
            command: whose list.
            operation: what stands before the cursor in the request; its first byte is echoed behind the battery.
            split: takes what a page holds behind its cursor apart.
            cursor_bytes: 2, or 1 for passage mode, where records beside the last cursor are ignored unless whole (10).

        Raises:
            TornRead: it does not end, or the conversation broke off too often.
            UnexpectedReply: what came is no page of this list.
            RefusedError, LinkError: as `ask`.
        """
        end = (1 << 8 * cursor_bytes) - 1
        for _ in range(LIST_TRIES):
            rows: list[bytes] = []
            cursor, seen, dialled = 0, {0}, 0
            for _ in range(MAX_PAGES):
                try:
                    data = await self.ask(command, operation + cursor.to_bytes(cursor_bytes, "big"))
                except RefusedError as error:
                    if not dialled or dialled == self._dialled or isinstance(error, WrongCredential):
                        raise
                if dialled and dialled != self._dialled:
                    break
                dialled = self._dialled
                if operation and data[1:2] != operation[:1]:
                    raise UnexpectedReply(expected="a page of a list", received="something else of the same kind")
                page = data[2:]
                if len(page) < cursor_bytes:
                    return
                cursor, records = int.from_bytes(page[:cursor_bytes], "big"), page[cursor_bytes:]
                if records:
                    try:
                        rows += split(records)
                    except FrameError:
                        if cursor_bytes > 1 or cursor != end:
                            raise
                    yield rows
                if cursor == end or cursor in seen:
                    return
                seen.add(cursor)
            else:
                break
        raise TornRead(
            "a list of the lock could not be read to its end", hint="nothing incomplete is kept; try again beside it"
        )


def refusal(code: int, peer: str) -> RefusedError:
    """Return what to raise for an error code (section 12)."""
    if code in (Refusal.WRONG_ADMIN, Refusal.WRONG_SUM, Refusal.FLAG_TOO_LOW, Refusal.NO_ADMIN, Refusal.KEY_EXPIRED):
        error: RefusedError = WrongCredential(
            f"{peer} does not accept our keys: {refusal_words(code)}", hint=_AGAIN_HINT
        )
    elif code == Refusal.BATTERY_LOW:
        error = RefusedError(f"{peer}: its battery is too low", hint="change its batteries first")
    elif code in (Refusal.FROZEN, Refusal.DEAD_LOCKED):
        error = RefusedError(f"{peer}: {refusal_words(code)}", hint="its owner can end that in the app or at the door")
    else:
        error = RefusedError(f"{peer} refused: {refusal_words(code)}")
    error.status = code
    return error
