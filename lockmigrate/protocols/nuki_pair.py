"""Introducing ourselves to a Nuki lock: sections 4 and 5 of the Nuki reference.

Both sides prove that they know the new key. The lock's proof is what other clients leave unchecked; here a wrong one
ends the pairing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from lockmigrate.errors import ConfigError, FrameError, LinkError, NoAnswer, RefusedError, UnexpectedReply
from lockmigrate.formats.nuki import (
    COMPLETE,
    NONCE_BYTES,
    Characteristics,
    ClearFramer,
    Cmd,
    Message,
    Refusal,
    SealedFramer,
    authenticator,
    build_clear,
    check_authenticator,
    parse_clear,
    public_key,
    refusal_name,
    seal,
    shared_key,
)
from lockmigrate.formats.nuki_records import PERSON_NAME_BYTES
from lockmigrate.protocols.nuki_refusals import refusal
from lockmigrate.protocols.nuki_wire import ANSWER_S
from lockmigrate.transports import Link
from lockmigrate.transports.gatt import Channel, Connection

PAIRING_S: Final = 30.0
"""For the whole of it (section 4)."""
APP: Final = 0
"""Id type; a lock knows one bridge, and pairing as one would remove the customer's (section 4)."""
PAIRING_ID: Final = int.from_bytes(bytes.fromhex("7fffffff"), "little")
"""Authorization id while there is none, generation 5 (section 5)."""
_ERROR_BYTES: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """What the lock and we agreed on."""

    authorization_id: int
    uuid: bytes
    """16 bytes, the lock's own until it is reset."""
    key: bytes = field(repr=False)
    app_id: int


async def pair(
    connection: Connection,
    how: Characteristics,
    *,
    peer: str,
    name: str,
    app_id: int,
    pin: int,
    entropy: Callable[[int], bytes] = secrets.token_bytes,
) -> Paired:
    """Pair with a lock in pairing mode.

    Args:
        connection: open.
        how: the lock's generation.
        peer: what messages call the lock.
        name: how the lock lists us; cut to 32 bytes.
        app_id: our own number, kept for ever.
        pin: the security PIN; only generation 5 asks for it while pairing.
        entropy: random bytes; for tests that reproduce a published exchange.

    Raises:
        RefusedError: the lock is not in pairing mode (code `not-pairing`), is full (`users-full`), or refuses.
        WrongCredential: it does not accept the PIN.
        Tampered: it does not know the key that we exchanged.
        LinkError: the conversation failed; the lock may list an entry of ours that nobody can use.
    """
    link = await connection.link(Channel(write=how.pairing, notify=how.pairing, response=True))
    talk = _Talk(link, peer)
    try:
        async with asyncio.timeout(PAIRING_S):
            private = entropy(32)
            talk_name = _cut(name)
            theirs = await talk.ask(Message(Cmd.REQUEST_DATA, _u16(Cmd.PUBLIC_KEY)), Cmd.PUBLIC_KEY)
            ours, key = public_key(private), shared_key(private, theirs)
            first = await talk.ask(Message(Cmd.PUBLIC_KEY, ours), Cmd.CHALLENGE)
            proof = Message(Cmd.AUTHENTICATOR, authenticator(key, ours, theirs, first))
            if how.fifth:
                await talk.ask(proof, Cmd.AUTHORIZATION_INFO)
                given = await talk.ask_sealed(key, _fifth_data(app_id, talk_name, pin), entropy(NONCE_BYTES))
                ident, uuid = _parts(given, 4, 16)
            else:
                second = await talk.ask(proof, Cmd.CHALLENGE)
                data = bytes([APP]) + app_id.to_bytes(4, "little") + talk_name
                nonce = entropy(32)
                data += nonce
                reply = await talk.ask(
                    Message(Cmd.AUTHORIZATION_DATA, authenticator(key, data, second) + data), Cmd.AUTHORIZATION_ID
                )
                mac, ident, uuid, third = _parts(reply, 32, 4, 16, 32)
                check_authenticator(key, mac, ident, uuid, third, nonce)
                confirmation = Message(Cmd.AUTHORIZATION_ID_CONFIRMATION, authenticator(key, ident, third) + ident)
                status = await talk.ask(confirmation, Cmd.STATUS)
                if status != bytes([COMPLETE]):
                    raise UnexpectedReply(expected="Status COMPLETE", received=f"Status {status.hex()}")
    except (LinkError, RefusedError) as error:
        if talk.listed or (talk.introduced and isinstance(error, LinkError)):
            error.hint = f"{error.hint}; {_STRAY}" if error.hint else _STRAY
        raise
    except TimeoutError:
        raise NoAnswer(peer, tries=1, timeout_s=PAIRING_S, hint=_STRAY if talk.introduced else None) from None
    finally:
        await link.close()
    return Paired(authorization_id=int.from_bytes(ident, "little"), uuid=uuid, key=key, app_id=app_id)


_STRAY: Final = (
    "nothing was paired, but the lock may list an entry named as we are that nobody can use: remove it there"
)


class _Talk:
    """Question and answer on the pairing characteristic."""

    def __init__(self, link: Link, peer: str) -> None:
        self._link = link
        self._peer = peer
        self._framer = ClearFramer()
        self.introduced = False
        """Our data went out: the lock may have stored an entry."""
        self.listed = False
        """The lock gave us a number: it has stored one (section 4)."""

    async def ask(self, message: Message, answer: Cmd) -> bytes:
        """Send a message in clear and return the payload of the answer."""
        self._framer.reset()
        self.introduced |= message.command == Cmd.AUTHORIZATION_DATA
        await self._link.write(build_clear(message))
        while True:
            got = await self._next()
            self.listed |= got.command == Cmd.AUTHORIZATION_ID
            if got.command == answer:
                return got.payload
            if got.command == Cmd.ERROR_REPORT:
                raise pairing_refusal(got.payload[0], self._peer)
            if got.command != Cmd.STATUS:
                raise UnexpectedReply(expected=answer.name, received=f"command {got.command:#06x}")

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout(ANSWER_S):
                while (message := self._framer.next()) is None:
                    self._framer.feed(await self._link.read())
        except TimeoutError:
            raise NoAnswer(self._peer, tries=1, timeout_s=ANSWER_S) from None
        return message

    async def ask_sealed(self, key: bytes, message: Message, nonce: bytes) -> bytes:
        """Send the one encrypted message of generation 5; the answer may carry another authorization id.

        An Error Report may come in either framing (section 5, unconfirmed).
        """
        self.introduced = True
        await self._link.write(seal(key, PAIRING_ID, message, nonce))
        framer, heard = SealedFramer(key), b""
        try:
            async with asyncio.timeout(ANSWER_S):
                while (got := framer.next()) is None:
                    data = await self._link.read()
                    heard += data
                    if len(heard) == _ERROR_BYTES and (clear := _clear_error(heard)) is not None:
                        raise pairing_refusal(clear, self._peer)
                    framer.feed(data)
        except TimeoutError:
            raise NoAnswer(self._peer, tries=1, timeout_s=ANSWER_S) from None
        if got.command == Cmd.ERROR_REPORT:
            raise pairing_refusal(got.payload[0] if got.payload else Refusal.UNKNOWN, self._peer)
        if got.command != Cmd.AUTHORIZATION_ID:
            raise UnexpectedReply(expected="AUTHORIZATION_ID", received=f"command {got.command:#06x}")
        return got.payload


def _clear_error(raw: bytes) -> int | None:
    try:
        message = parse_clear(raw)
    except FrameError:
        return None
    return message.payload[0] if message.command == Cmd.ERROR_REPORT else None


def _fifth_data(app_id: int, name: bytes, pin: int) -> Message:
    return Message(Cmd.AUTHORIZATION_DATA, app_id.to_bytes(4, "little") + name + pin.to_bytes(4, "little"))


def _cut(name: str) -> bytes:
    """Return a name of 32 bytes, cut between characters and zero padded."""
    data = name.encode("utf-8")[:PERSON_NAME_BYTES].decode("utf-8", "ignore").encode("utf-8")
    if not data:
        raise ConfigError("a name is needed under which the lock lists us")
    return data.ljust(PERSON_NAME_BYTES, b"\x00")


def _u16(number: int) -> bytes:
    return number.to_bytes(2, "little")


def _parts(payload: bytes, *sizes: int) -> list[bytes]:
    if len(payload) != sum(sizes):
        raise FrameError(f"a pairing answer of {len(payload)} bytes")
    found, at = [], 0
    for size in sizes:
        found.append(payload[at : at + size])
        at += size
    return found


def pairing_refusal(code: int, peer: str) -> RefusedError:
    """Return what to raise for an Error Report while pairing (section 10.2)."""
    if code == Refusal.NOT_PAIRING:
        return RefusedError(
            f"{peer} is not in pairing mode",
            status=code,
            hint="hold its button for 5 s until the ring lights up for good, then run pair again; if it does not, "
            "pairing is switched off in the app",
            code="not-pairing",
        )
    if code == Refusal.MAX_USER:
        return RefusedError(
            f"{peer} has no room for another user", status=code, hint="remove one in the app", code="users-full"
        )
    if code < Refusal.NOT_AUTHORIZED:
        return RefusedError(f"{peer} refused to pair: {refusal_name(code)}", status=code)
    return refusal(code, peer)
