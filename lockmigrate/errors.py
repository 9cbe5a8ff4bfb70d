"""Every exception that lockmigrate raises, with its exit code and its machine-readable code.

Exceptions hold facts; the sentence a person reads is built once, here. No secret may enter a message.
Exit codes are the contract of the command line: 2 usage, 3 not reached, 4 refused by the unit, 5 conversation
failed, 6 file damaged, 7 wrong key, 8 differs, 10 refused by policy.
"""

from __future__ import annotations

import enum
from typing import ClassVar


class LockmigrateError(Exception):
    """The root of everything we raise on purpose; `str()` is the sentence for people."""

    exit_code: ClassVar[int] = 1
    code: str = "internal"

    def __init__(self, message: str, *, hint: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


# ---- 2: the command line or the configuration is wrong --------------------------------------------------------------


class ConfigError(LockmigrateError):
    """An option, a key file, a credential file or a policy is missing or wrong."""

    exit_code = 2
    code = "config"


class TargetError(ConfigError):
    """A target cannot be understood."""

    code = "bad-target"


class ProfileError(ConfigError):
    """A profile is unknown, malformed, or does not fit the unit."""

    code = "bad-profile"


# ---- 3: the unit was not found or could not be opened ---------------------------------------------------------------


class ConnectReason(enum.Enum):
    """Why a unit could not be opened; the value is the machine code."""

    NOT_FOUND = "not-found"
    BUSY = "busy"
    NO_PERMISSION = "no-permission"
    ADAPTER_OFF = "adapter-off"
    UNKNOWN_UNIT = "unknown-unit"
    FAILED = "open-failed"


class ConnectError(LockmigrateError):
    """The unit was not found or could not be opened."""

    exit_code = 3
    code = "open-failed"

    def __init__(self, message: str, *, reason: ConnectReason, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, code=reason.value)
        self.reason = reason


# ---- 4: the unit refused --------------------------------------------------------------------------------------------


class RefusedError(LockmigrateError):
    """The unit answered, and said no."""

    exit_code = 4
    code = "refused"

    def __init__(
        self, message: str, *, status: int | None = None, hint: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.status = status


class WrongCredential(RefusedError):
    """The unit does not accept the credential; it is never tried again by itself."""

    code = "wrong-credential"

    def __init__(self, message: str, *, tries_left: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.tries_left = tries_left


class Unsupported(RefusedError):
    """The unit cannot do what was asked."""

    code = "unsupported-by-unit"


# ---- 5: the conversation failed -------------------------------------------------------------------------------------


class LinkError(LockmigrateError):
    """The conversation with the unit failed."""

    exit_code = 5
    code = "link"


class LinkLost(LinkError):
    """The peer or the cable went away."""

    code = "link-lost"

    def __init__(self, message: str = "the link to the unit was lost", *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint or "this comes from the cable, the power or the driver; nothing is retried")


class LinkClosed(LinkError):
    """The link was used after our own close."""

    code = "link-closed"

    def __init__(self, message: str = "the link is closed") -> None:
        super().__init__(message)


class NoAnswer(LinkError, TimeoutError):
    """The unit stayed silent."""

    code = "no-answer"

    def __init__(self, what: str, *, tries: int, timeout_s: float, hint: str | None = None) -> None:
        self.tries = tries
        self.timeout_s = timeout_s
        times = "1 try" if tries == 1 else f"{tries} tries"
        super().__init__(f"no answer from {what} after {times} of {timeout_s:g} s", hint=hint)


class FrameError(LinkError):
    """The unit sent bytes that no frame of its protocol allows."""

    code = "bad-frame"

    def __init__(self, reason: str, *, received: bytes = b"") -> None:
        self.received = received
        super().__init__(f"bad frame from the unit: {reason}")


class Tampered(LinkError):
    """What came is not from the unit that we share a key with, or was changed on the way; nothing more is sent."""

    code = "tampered"

    def __init__(self, reason: str, *, hint: str | None = None) -> None:
        super().__init__(
            reason,
            hint=hint or "somebody is in between, or the key is stale (the unit was reset since); pair again beside it",
        )


class UnexpectedReply(LinkError):
    """A well-formed frame that does not answer what was asked."""

    code = "unexpected-reply"

    def __init__(self, *, expected: str, received: str) -> None:
        self.expected = expected
        self.received = received
        super().__init__(f"expected {expected} from the unit, received {received}")


class TornRead(LinkError):
    """The unit's contents changed while they were read."""

    code = "torn-read"


# ---- 6 and 7: the backup file, and what opens it --------------------------------------------------------------------


class BackupError(LockmigrateError):
    """The backup file is damaged, forged, or of an unknown kind.

    `code` is one of: too-large, not-a-backup, corrupt, malformed, bad-signature, unsupported.
    """

    exit_code = 6
    code = "corrupt"


class ImageError(BackupError):
    """A raw image or an exported folder is damaged, cut or of another kind."""

    code = "bad-image"


class FileTrouble(LockmigrateError):
    """A file of ours cannot be read or written (disk full, no permission, exists already)."""

    exit_code = 2
    code = "file"


class WrongKeyError(BackupError):
    """No identity or passphrase that was given opens the file. `code`: wrong-key or no-identity."""

    exit_code = 7
    code = "wrong-key"


# ---- 8: verified, and it differs ------------------------------------------------------------------------------------


class MismatchError(LockmigrateError):
    """What was compared is not equal."""

    exit_code = 8
    code = "differs"

    def __init__(self, message: str, *, differences: tuple[str, ...] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.differences = differences


# ---- 10: refused by policy ------------------------------------------------------------------------------------------


class PolicyError(LockmigrateError):
    """A rule of ours forbids it; each rule has its own override, there is no general one.

    `code` is one of: unsigned, untrusted, drift, stale, wrong-target, rehearsal-failed, target-not-empty,
    template-size, plan-blocked.
    """

    exit_code = 10
    code = "policy"


# ---- 130: cancelled by the person -----------------------------------------------------------------------------------


class Cancelled(LockmigrateError):
    """The person declined a question or pressed Ctrl-C."""

    exit_code = 130
    code = "cancelled"
