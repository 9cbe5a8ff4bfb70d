"""What a Nuki lock refuses, and what it is refused: errors of ours for its Error Reports (section 10.2)."""

from __future__ import annotations

from lockmigrate.errors import ConfigError, RefusedError, UnexpectedReply, WrongCredential
from lockmigrate.formats.nuki import Characteristics, Cmd, Message, Refusal, refusal_name


def insist_on_pin(pin: int, how: Characteristics) -> None:
    """Refuse a PIN that this lock cannot have: sent, it would cost an attempt.

    Raises:
        ConfigError: it has too many digits.
    """
    if pin > how.highest_pin:
        raise ConfigError(
            "the security PIN is too long for this lock, whose PIN has four digits",
            hint="correct security_pin in the table [nuki] of the credential file",
            code="credential-file",
        )


def complaint(message: Message) -> bool:
    """Whether a message in clear may be believed: only that the lock has no key for us (section 6, rule 1).

    Raises:
        UnexpectedReply: it is another Error Report. Everything else is nobody's answer, and passed over.
    """
    if message.command != Cmd.ERROR_REPORT:
        return False
    if message.payload[0] != Refusal.NOT_AUTHORIZED:
        said = f"{refusal_name(message.payload[0])} in clear"
        raise UnexpectedReply(expected="an encrypted answer", received=said)
    return True


def refusal(code: int, peer: str) -> RefusedError:
    """Return what to raise for an Error Report (section 10.2)."""
    name = refusal_name(code)
    if code == Refusal.NOT_AUTHORIZED:
        error: RefusedError = WrongCredential(
            f"{peer} does not know our authorisation ({name})",
            hint="it was reset since, our entry was removed, or the credential is another lock's; pair again: "
            "hold the lock's button for 5 s, then run pair",
        )
        error.code = "not-authorized"
    elif code == Refusal.BAD_PIN:
        error = WrongCredential(
            f"{peer} does not accept the security PIN",
            hint="the lock does not say how many attempts are left: ask its owner, correct security_pin, try again",
        )
    elif code == Refusal.TOO_MANY_PIN_ATTEMPTS:
        error = WrongCredential(
            f"{peer} has had too many wrong security PINs and takes none for now",
            tries_left=0,
            hint="wait, and ask the owner for the right PIN before the next attempt",
        )
        error.code = "pin-locked"
    elif code == Refusal.DISABLED:
        error = RefusedError(
            f"our authorisation on {peer} is disabled", hint="the owner can enable it in the app, or pair again"
        )
    elif code == Refusal.TIME_NOT_ALLOWED:
        error = RefusedError(
            f"our authorisation on {peer} is limited to other times", hint="the owner can change that in the app"
        )
    else:
        error = RefusedError(f"{peer} refused: {name}")
    error.status = code
    return error
