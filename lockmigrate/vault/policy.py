"""`vault.toml`: the rules of a firm for its backups. Written by people, so a key we do not know is refused.

Without the file the defaults hold. Rules are demanded here and kept where backups are made and restored.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from lockmigrate.errors import ConfigError
from lockmigrate.formats.age import parse_recipient
from lockmigrate.formats.age_header import MAX_STANZAS
from lockmigrate.formats.files import exists, read_whole

POLICY_FILE: Final = "vault.toml"
MAX_DAYS: Final = 36_500
"""A century: more is a slip of the finger."""

Require = Literal["x25519", "mlkem768x25519"]

_MAX_POLICY_BYTES: Final = 64 * 1024
_POST_QUANTUM_PREFIX: Final = "age1pq1"
_FIELD: Final = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")
"""msgspec's sentence about a key that is not ours."""


class VaultPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules. Ages are judged by `freshness.judge`."""

    min_recipients: Annotated[int, Meta(ge=1, le=MAX_STANZAS)] = 1
    """How many keys must be able to open each new backup; 2 means an escrow key beside one's own."""
    always: tuple[str, ...] = ()
    """Recipients (`age1…`) for whom every new backup is sealed too."""
    require: Require | None = None
    """The only kind of recipient allowed; None allows any."""
    warn_age_hours: Annotated[int, Meta(ge=0, le=24 * MAX_DAYS)] = 24
    max_age_days: Annotated[int, Meta(ge=1, le=MAX_DAYS)] = 30
    max_future_minutes: Annotated[int, Meta(ge=0, le=24 * 60)] = 10
    expires_days: Annotated[int, Meta(ge=1, le=MAX_DAYS)] | None = None
    """Given to each new backup that has no `--expires`; absent means it never expires."""
    require_consent: bool = False
    """A restore that moves fingerprints needs `--consent REF`."""
    rehearse: bool = True
    """A restore demands a rehearsal first."""


def load_policy(config_dir: Path) -> VaultPolicy:
    """Read `vault.toml`; the defaults where there is none.

    Raises:
        ConfigError: it is not TOML, or a key is unknown or wrong (code `bad-policy`); the message has the dotted path.
        FileTrouble: it cannot be read.
    """
    path = config_dir / POLICY_FILE
    if not exists(path):
        return VaultPolicy()
    data = read_whole(path, max_bytes=_MAX_POLICY_BYTES)
    if data is None:
        raise _bad(f"{path} is not a file of at most {_MAX_POLICY_BYTES} bytes")
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise _bad(f"{path} is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:  # ValueError too: an integer of more than 4300 digits
        raise _bad(f"{path}: not TOML: {str(error)[:1].lower()}{str(error)[1:]}") from None
    return _policy_of(document, path)


def _policy_of(document: dict[str, Any], path: Path) -> VaultPolicy:
    try:
        policy = msgspec.convert(document, VaultPolicy)
    except msgspec.ValidationError as error:
        raise _bad(f"{path}: {_dotted(str(error))}") from None
    except RecursionError:
        raise _bad(f"{path}: nested too deeply") from None
    for number, recipient in enumerate(policy.always):
        try:
            parse_recipient(recipient)
        except ConfigError as error:
            # The text is not repeated: people paste the secret key by mistake.
            raise ConfigError(
                f"{path}: always[{number}]: {error.message}", hint=error.hint, code="bad-policy"
            ) from None
        if policy.require is not None and kind_of(recipient) != policy.require:
            raise _bad(f"{path}: always[{number}]: require allows {policy.require} recipients only")
    return policy


def kind_of(recipient: str) -> Require:
    """Return which kind of key an age recipient is, by its prefix."""
    return "mlkem768x25519" if recipient.strip().lower().startswith(_POST_QUANTUM_PREFIX) else "x25519"


def recipients_for(policy: VaultPolicy, own: str | None, given: Sequence[str] = ()) -> tuple[str, ...]:
    """Return whom a new backup is sealed for: our own recipient, the given ones, and the policy's.

    Args:
        policy: the rules.
        own: our own recipient; None for a backup under a passphrase of its own, for which `()` is returned.
        given: recipients of `--recipient`.

    Raises:
        ConfigError: code `symmetric-refused` (a passphrase cannot stand beside recipients that the policy demands),
            `too-few-recipients` or `recipient-kind`.
    """
    if own is None and not given:
        if policy.always or policy.min_recipients > 1 or policy.require is not None:
            raise ConfigError(
                f"{POLICY_FILE} demands recipients, and a backup under a passphrase of its own can have none",
                hint="leave out --symmetric, or change min_recipients, always and require",
                code="symmetric-refused",
            )
        return ()
    named = (*([own] if own is not None else []), *given, *policy.always)
    found = tuple(dict.fromkeys(each.strip().lower() for each in named))
    if policy.require is not None:
        wrong = [each for each in found if kind_of(each) != policy.require]
        if wrong:
            whose = "this computer's own key" if own is not None and wrong[0] == own.strip().lower() else wrong[0][:20]
            raise ConfigError(
                f"{POLICY_FILE} allows {policy.require} recipients only, and {whose} is of another kind",
                hint="keys init --post-quantum makes such keys, in a config directory of their own"
                if policy.require == "mlkem768x25519"
                else "seal for age1… recipients",
                code="recipient-kind",
            )
    if len(found) < policy.min_recipients:
        raise ConfigError(
            f"{POLICY_FILE} demands at least {policy.min_recipients} recipients, and there are {len(found)}",
            hint="name an escrow key with --recipient, or as always in the policy",
            code="too-few-recipients",
        )
    return found


def _dotted(message: str) -> str:
    """Turn msgspec's sentence with a `$.a.b` path into ours: the dotted path first."""
    text, _, path = message.partition(" - at `$")
    path = path.strip("`").lstrip(".").replace("[...]", "")
    field = _FIELD.fullmatch(text)
    if field:
        return f"{path}.{field['name']}: unknown key".lstrip(".")
    return f"{path}: {text[:1].lower()}{text[1:]}" if path else f"{text[:1].lower()}{text[1:]}"


def _bad(message: str) -> ConfigError:
    return ConfigError(
        message, hint=f"correct {POLICY_FILE}; nothing is done under rules that are unclear", code="bad-policy"
    )
