"""The line to serial modules whose answers do not say what they answer (GT-511, 0xF5), and finding them on it.

After any trouble the line is drained and a harmless question asked, whose answer is known, before anything else is
believed; else a late template could be taken for the next slot's.
"""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from lockmigrate.errors import (
    ConnectError,
    ConnectReason,
    FrameError,
    LinkClosed,
    LinkError,
    LinkLost,
    NoAnswer,
    UnexpectedReply,
)
from lockmigrate.profiles import Profile, SerialFacts
from lockmigrate.protocols.exchange import Exchange, FrameSource
from lockmigrate.transports import SerialLink

SILENCE_S: Final = 0.1
"""A line is at rest after this; ours, as for EF01 modules."""
SEARCH_S: Final = 0.3
"""How long a speed is tried; ours. 42 bytes take 44 ms at 9600 baud, and the module needs time to think."""
SEARCH_TRIES: Final = 2
"""How often: what the module heard at the wrong speed may have cost it the first question."""
HEARD_TRIES: Final = 3
"""How often a speed is tried at which something comes that is not the answer; ours."""
SEARCH_QUIET_S: Final = 0.03
BITS_PER_BYTE: Final = 10
"""8N1."""
NOISE_BYTES: Final = 8
"""Fewer bytes than this are noise of a wrong speed; more is somebody talking."""
NO_ANSWER_HINT: Final = (
    "swap TX and RX, check 3.3 V and ground, and hold the lock's own controller in reset; after power-on a module "
    "needs a moment, and one that was cut off in the middle of a template waits for the rest until it loses its power"
)
UNKNOWN_HINT: Final = 'another device, or another protocol; see "lockmigrate profiles list"'

TROUBLE: Final = (FrameError, NoAnswer, UnexpectedReply)
"""After these the line can be brought back into step; `Silent` is caught before it and passed on."""

F = TypeVar("F")
F_co = TypeVar("F_co", covariant=True)
T = TypeVar("T")


class Silent(NoAnswer):
    """The module does not answer even the simplest question any more; nothing more is tried."""


class Expecting(FrameSource[F_co], Protocol[F_co]):
    """A framer that is told what comes next."""

    def expect(self, data_bytes: int | None) -> None: ...


class Line(Generic[F]):
    """The half-duplex line to one module.

    Args:
        link: the open port.
        framer: cuts what arrives into the frames that are expected.
        peer: how messages call the module.
        facts: times, tries and the speed from the profile.
        shortest_bytes: size of a command without data.
    """

    def __init__(
        self, link: SerialLink, framer: Expecting[F], *, peer: str, facts: SerialFacts, shortest_bytes: int
    ) -> None:
        self.link = link
        self.facts = facts
        self.baud = facts.baud
        self.retries = 0
        """How often something had to be asked again."""
        self._framer = framer
        self._exchange: Exchange[F] = Exchange(link, framer, peer=peer)
        self._shortest_bytes = self._owed_bytes = shortest_bytes
        self._in_step = True

    @property
    def peer(self) -> str:
        """How messages call the module."""
        return self._exchange.peer

    @property
    def heard_bytes(self) -> int:
        """Everything that ever arrived as an answer."""
        return self._exchange.heard_bytes

    async def greet(self, timeout_s: float) -> None:
        """Ask the harmless question whose answer is known by its shape; must be defined by the family.

        Raises:
            NoAnswer, FrameError, UnexpectedReply: silence, damage, or something else than that answer.
            LinkLost: the peer or the cable went away.
        """
        raise NotImplementedError

    async def elsewhere(self) -> bool:
        """Look for the module at another speed, after it fell silent; true if it was found and answers."""
        return False

    async def set_baud(self, baud: int) -> None:
        """Change the speed of our own end."""
        await self.link.set_baud(baud)
        self.baud = baud
        self._forget()

    async def send(self, data: bytes) -> None:
        """Write bytes."""
        await self._exchange.send(data)

    async def receive(self, data_bytes: int | None, timeout_s: float) -> F:
        """Return the next frame, of the kind that is named as for `expect`; the line's own time is added.

        Raises:
            NoAnswer, FrameError: silence or damage.
            LinkLost: the peer or the cable went away.
        """
        self._framer.expect(data_bytes)
        return await self._exchange.receive(timeout_s + self.line_s(data_bytes or 0))

    def line_s(self, size_bytes: int) -> float:
        """How long so many bytes take on the line, in seconds."""
        return 0.0 if self.link.instant else size_bytes * BITS_PER_BYTE / self.baud

    async def converse(self, talk: Callable[[], Awaitable[T]], *, tries: int = 1, owed_bytes: int | None = None) -> T:
        """Run one exchange, from a line in step to a line in step; after a cancellation it is not in step.

        Args:
            talk: sends and receives; run anew at every try.
            tries: more than 1 only where asking again changes nothing.
            owed_bytes: how many bytes the module may still wait for if this fails; the shortest command's if None.

        Raises:
            Silent: the module does not answer at all any more.
            NoAnswer, FrameError, UnexpectedReply: silence or damage, after all tries.
            LinkLost: the peer or the cable went away.
        """
        for attempt in range(1, tries + 1):
            await self.get_into_step()
            self._forget()
            self._in_step, self._owed_bytes = False, owed_bytes or self._shortest_bytes
            try:
                result = await talk()
            except TROUBLE as error:
                self.retries += 1
                if attempt < tries:
                    continue
                if isinstance(error, NoAnswer):
                    raise NoAnswer(self.peer, tries=tries, timeout_s=round(error.timeout_s, 1)) from None
                raise
            self._in_step = True
            return result
        raise AssertionError("tries is at least 1")

    async def get_into_step(self) -> None:
        """Drain the line and ask the harmless question, unless all is well.

        After a silent try zeros are sent first, as many as the module may still wait for where it heard only a part
        of a command: both protocols count bytes, and a module that still waits would take the question for data. Zeros
        begin nothing and, but for a rare chance, complete nothing that checks; a write is read back in any case. That
        real modules put up with it is unconfirmed.

        Raises:
            Silent: the module does not answer any more.
            LinkLost: the peer or the cable went away.
        """
        if self._in_step:
            return
        await self.link.set_baud(self.baud)  # a change of speed may have been cancelled half way
        silent = heard = 0
        while silent < self.facts.tries and heard < self.facts.tries:
            before = self.heard_bytes
            try:
                await self._exchange.silence(SILENCE_S)
                if silent:
                    await self.send(bytes(self._owed_bytes))
                    await asyncio.sleep(self.line_s(self._owed_bytes))
                    await self._exchange.silence(SILENCE_S)
                await self.settle(self.facts.answer_s, quiet_s=self.facts.answer_s if silent + heard else SILENCE_S)
            except TROUBLE:
                # Where something came, it was only late: once it is drained, the next try has good prospects.
                silent, heard = (silent + 1, heard) if self.heard_bytes == before else (silent, heard + 1)
                continue
            return
        if not await self.elsewhere():
            self._owed_bytes = self._shortest_bytes  # nothing more is tried, at the end neither
            raise Silent(self.peer, tries=self.facts.tries, timeout_s=self.facts.answer_s)

    async def let_go(self) -> None:
        """Get a module that may wait for the rest of a template out of it: else it takes the lock's own words for data.

        Raises:
            Silent: the module does not answer any more.
            LinkLost: the peer or the cable went away.
        """
        if self._owed_bytes > self._shortest_bytes:
            await self.get_into_step()

    async def settle(self, timeout_s: float, *, quiet_s: float = SILENCE_S) -> None:
        """Greet once; the line is in step if nothing more comes behind the answer.

        Raises:
            NoAnswer, FrameError, UnexpectedReply: it is not.
            LinkLost: the peer or the cable went away.
        """
        self._forget()
        self._in_step = False
        await self.greet(timeout_s)
        if await self._exchange.silence(quiet_s):
            raise FrameError("it goes on talking after its answer")
        self._in_step = True

    async def answers(self, timeout_s: float, *, tries: int = 1) -> bool:
        """Greet at the present speed, out of the blue; true if the module is there.

        Args:
            timeout_s: how long each try waits.
            tries: how many tries may be silent; one in which something came, perhaps late, does not count.

        Raises:
            LinkLost: the peer or the cable went away.
        """
        silent = heard = 0
        while silent < tries and heard < HEARD_TRIES:
            before = self.heard_bytes
            try:
                await self._exchange.silence(SILENCE_S if heard else SEARCH_QUIET_S, limit_s=1.0)
                await self.settle(timeout_s)
            except TROUBLE:
                silent, heard = (silent + 1, heard) if self.heard_bytes == before else (silent, heard + 1)
                continue
            return True
        return False

    def _forget(self) -> None:
        self._framer.reset()
        self.link.discard()


# ---- opening --------------------------------------------------------------------------------------------------------


async def find_speed(
    line: Line[F], *, explicit_baud: int | None, bauds: Sequence[int], kind: str, quick: bool = False
) -> None:
    """Search the speed at which the module answers.

    Args:
        line: the line, not yet spoken on.
        explicit_baud: the only speed to try.
        bauds: speeds to try after that of the profile.
        kind: what is sought, for the message.
        quick: only a short question at the profile's own speed, because other families wait for their turn.

    Raises:
        NoAnswer: silence at every speed.
        ConnectError: something talks, but nothing we know.
        LinkError: the port cannot run at the explicit speed.
        LinkLost: the peer or the cable went away.
    """
    facts, fixed = line.facts, line.link.fixed_speed
    if explicit_baud or fixed:
        order = [explicit_baud or line.baud]
        tries, timeout_s = facts.tries, facts.answer_s
        await line.set_baud(order[0])
        if await line.answers(timeout_s, tries=tries):
            return
    else:
        order = [facts.baud] if quick else list(dict.fromkeys((facts.baud, *bauds)))
        tries, timeout_s = 1, facts.answer_s
        for baud in order:
            if await _can_run_at(line, baud) and await line.answers(SEARCH_S, tries=SEARCH_TRIES):
                return
        if not quick and await _can_run_at(line, order[0]) and await line.answers(timeout_s):
            return
    if line.heard_bytes > NOISE_BYTES:
        raise ConnectError(
            f"something answers on {line.peer}, but nothing that {kind} would say",
            reason=ConnectReason.UNKNOWN_UNIT,
            hint=UNKNOWN_HINT,
        )
    speeds = f"{order[0]} baud" if len(order) == 1 else f"{len(order)} speeds from {order[0]} baud on"
    hint = f"at the far end: {NO_ANSWER_HINT}" if fixed else NO_ANSWER_HINT
    raise NoAnswer(f"{line.peer} ({speeds})", tries=tries, timeout_s=timeout_s, hint=hint)


async def _can_run_at(line: Line[F], baud: int) -> bool:
    try:
        await line.set_baud(baud)
    except (LinkLost, LinkClosed):
        raise
    except LinkError:
        return False
    return True


def recognise(profiles: Sequence[Profile], *, firmware: str | None, slots: int | None) -> Profile | None:
    """Return the one profile whose every match rule fits; None if none does, or more than one."""
    fitting = []
    for profile in profiles:
        rules, checks = profile.match, []
        if rules.firmware:
            checks.append(any(fnmatch.fnmatchcase(firmware or "", pattern) for pattern in rules.firmware))
        if rules.slots:
            checks.append(slots in rules.slots)
        if rules.model or rules.dialect or rules.system_ids or rules.bauds:
            checks.append(False)  # nothing that these modules tell
        if checks and all(checks):
            fitting.append(profile)
    return fitting[0] if len(fitting) == 1 else None
