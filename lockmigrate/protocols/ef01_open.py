"""Finding a 0xEF01 module on an open port: speed, password, dialect, model. Only harmless questions, in a safe order.

The order (reference, section 5): VfyPwd, ReadSysPara, decide the dialect; nothing above code 0x1F is sent before that,
because 0x3B wipes a Hi-Link module and 0x3C sets its LED where a classic one reports its product.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from typing import Any, Final

from lockmigrate.errors import (
    ConfigError,
    ConnectError,
    ConnectReason,
    FrameError,
    NoAnswer,
    ProfileError,
    RefusedError,
    UnexpectedReply,
    WrongCredential,
)
from lockmigrate.formats.ef01 import (
    GET_ALG_VER,
    GET_CHIP_SN,
    GET_FW_VER,
    INFO_PAGE_BYTES,
    READ_INF_PAGE,
    READ_PROD_INFO,
    READ_SYS_PARA,
    Code,
    Command,
    Dialect,
    code_text,
    results,
)
from lockmigrate.formats.ef01_tables import (
    ALGVER,
    CHIPSN,
    FWVER,
    INFOPAGE,
    PRODINFO,
    SYSPARAMS,
    TABLE_FIRST_PART,
    TABLE_VALID,
    SysParams,
    parse_infopage,
    parse_prodinfo,
    parse_sysparams,
    tell_dialect,
    text_of,
)
from lockmigrate.profiles import Profile, SerialFacts
from lockmigrate.protocols.ef01_wire import Silent, Wire, sync_command

SEARCH_S: Final = 0.2
"""How long each speed is tried (reference, section 1)."""
DAMAGE_TRIES: Final = 3
"""How often a speed is tried where something answers that is damaged, or that calls our question damaged."""
COMMON_BAUDS: Final = (57600, 115200, 9600, 19200, 38400, 28800, 48000, 67200, 76800, 86400, 96000, 105600)
"""All multiples of 9600 up to 115200, the frequent ones first (reference, section 1)."""
DEFAULT_FACTS: Final = SerialFacts(baud=57600)
NO_ANSWER_HINT: Final = (
    "swap TX and RX, check 3.3 V and ground, and hold the lock's own controller in reset; a module with another "
    "address needs --credential-file"
)


@dataclass(slots=True, kw_only=True)
class Found:
    """What is known of a module after it was let in."""

    dialect: Dialect
    params: SysParams | None
    identity: dict[str, bytes] = field(default_factory=dict)
    """Raw tables that say who it is; they do not change while it is read."""
    profile: Profile
    model: str | None = None
    serial: str | None = None
    firmware: str | None = None
    hardware: str | None = None
    algorithm: str | None = None
    stated_template_bytes: int | None = None
    encryption_level: int = 0


async def find_speed(
    wire: Wire, *, explicit_baud: int | None, bauds: tuple[int, ...], has_credential: bool, quick: bool = False
) -> None:
    """Search the speed at which the module answers VfyPwd, and let ourselves in; `quick`: only at the usual speed.

    Raises:
        NoAnswer: silence at every speed.
        ConnectError: something talks, but nothing we know.
        WrongCredential: the password is wrong; it is tried once.
        ConfigError: the module wants a password and none was given.
    """
    if explicit_baud or wire.link.fixed_speed:
        await wire.set_baud(explicit_baud or wire.baud)
        if await _let_in(wire, timeout_s=wire.facts.answer_s, tries=wire.facts.tries, has_credential=has_credential):
            return
        _nobody(wire, [wire.baud], wire.facts.answer_s, wire.facts.tries)
    order = [wire.facts.baud] if quick else list(dict.fromkeys((wire.facts.baud, *bauds, *COMMON_BAUDS)))
    for baud in order:
        await wire.set_baud(baud)
        if await _let_in(wire, timeout_s=SEARCH_S, tries=1, has_credential=has_credential):
            return
    await wire.set_baud(order[0])
    if not quick and await _let_in(wire, timeout_s=wire.facts.answer_s, tries=1, has_credential=has_credential):
        return
    _nobody(wire, order, wire.facts.answer_s, 1)


async def _let_in(wire: Wire, *, timeout_s: float, tries: int, has_credential: bool) -> bool:
    ack = None
    for _ in range(DAMAGE_TRIES if tries == 1 else 1):
        try:
            ack = await wire.verify(timeout_s=timeout_s, tries=tries)
        except NoAnswer:
            wire.forget_trouble()
            return False
        except (FrameError, UnexpectedReply):
            wire.forget_trouble()
            continue  # something answers at this speed, and one bit may have been wrong
        if ack.code != Code.RECEIVE:
            break
    if ack is None:
        return False
    if ack.ok:
        return True
    if ack.code in (Code.WRONG_PASSWORD, Code.VERIFY_FIRST):
        if has_credential:
            raise WrongCredential(
                "the module does not accept the password in the credential file",
                hint="it was tried once and will not be tried again; the password of [ef01] is four bytes in hex",
            )
        raise ConfigError(
            "the module is protected by a password",
            hint='give it with --credential-file FILE, a TOML file of mode 0600: [ef01] and password = "01020304"',
            code="no-credential",
        )
    raise RefusedError(f"the module refuses the password command: {code_text(ack.code)}", status=ack.code)


def _nobody(wire: Wire, bauds: list[int], timeout_s: float, tries: int) -> None:
    peer = wire.peer
    if wire.heard_bytes > 8:
        raise ConnectError(
            f"something answers on {peer}, but nothing that a fingerprint module of this family would say",
            reason=ConnectReason.UNKNOWN_UNIT,
            hint="another device, or another protocol: FPM383, ID809 and GT-511 modules speak differently; "
            'see "lockmigrate profiles list"',
        )
    speeds = f"{bauds[0]} baud" if len(bauds) == 1 else f"{len(bauds)} speeds from {bauds[0]} baud on"
    hint = NO_ANSWER_HINT if wire.link.fixed_speed is False else NO_ANSWER_HINT.replace("swap", "at the far end: swap")
    raise NoAnswer(f"{peer} ({speeds})", tries=tries, timeout_s=timeout_s, hint=hint)


async def look_around(wire: Wire, profile: Profile | None, all_profiles: list[Profile], generic: Profile) -> Found:
    """Decide dialect and model with the questions that are safe at each point.

    Args:
        wire: an open line, let in.
        profile: the profile that the user named, or None.
        all_profiles: every profile of the family, for detection.
        generic: used if nothing fits.

    Raises:
        ProfileError: the named profile contradicts what the module says.
        ConnectError: the module fits neither dialect.
        LinkError: the conversation failed.
    """
    ack = await wire.ask(READ_SYS_PARA)
    named: Dialect | None = None
    if profile is not None and profile.variant.get("dialect") in ("classic", "hilink"):
        named = "hilink" if profile.variant["dialect"] == "hilink" else "classic"
    if not ack.ok:
        if ack.code not in (Code.RECEIVE, Code.UNSUPPORTED):
            raise RefusedError(f"the module does not give its parameters: {code_text(ack.code)}", status=ack.code)
        # R308-like: it does not know the command; classic, with a capacity that only its profile can tell.
        wire.sync = sync_command(False)
        found = Found(dialect="classic", params=None, profile=profile or generic)
    else:
        raw: bytes = results(READ_SYS_PARA, ack).params
        dialect = tell_dialect(raw) or named
        if dialect is None:
            raise ConnectError(
                "the module's parameters fit neither the classic nor the Hi-Link dialect",
                reason=ConnectReason.UNKNOWN_UNIT,
                hint="nothing more was sent, since the same code can erase one and read the other; name its --profile",
            )
        params = parse_sysparams(raw, dialect)
        wire.packet_bytes = params.packet_bytes
        found = Found(dialect=dialect, params=params, identity={SYSPARAMS: raw}, profile=profile or generic)
        found.stated_template_bytes = params.template_size
    if named is not None and named != found.dialect:
        raise ProfileError(
            f'the module speaks the {found.dialect} dialect, the profile "{found.profile.name}" is {named}',
            hint="leave --profile out to let the module be recognised",
            code="wrong-profile",
        )
    if found.dialect == "hilink":
        await _look_hilink(wire, found)
    else:
        await _look_classic(wire, found)
    detected = detect(found, all_profiles, wire.baud)
    if profile is None:
        found.profile = detected or generic
    elif detected is not None and detected.name != profile.name and found.model and detected.match.model:
        raise ProfileError(
            f'the module says it is a {found.model} (profile "{detected.name}"), not "{profile.name}"',
            hint=f"use --profile {detected.name}, or leave it out",
            code="wrong-profile",
        )
    return found


def detect(found: Found, profiles: list[Profile], baud: int) -> Profile | None:
    """Return the one profile whose every match rule fits; None if none does, or more than one."""
    fitting = []
    for profile in profiles:
        rules = profile.match
        checks = []
        if rules.model:
            checks.append(any(fnmatch.fnmatchcase(found.model or "", pattern) for pattern in rules.model))
        if rules.firmware:
            checks.append(any(fnmatch.fnmatchcase(found.firmware or "", pattern) for pattern in rules.firmware))
        if rules.dialect:
            checks.append(rules.dialect == found.dialect)
        if rules.slots:
            checks.append(found.params is not None and found.params.slots in rules.slots)
        if rules.system_ids:
            checks.append(found.params is not None and found.params.system_id in rules.system_ids)
        if rules.bauds:
            checks.append(baud in rules.bauds)
        if checks and all(checks):
            fitting.append(profile)
    # A module that gives its model in words is not guessed from numbers.
    by_name = [profile for profile in fitting if profile.match.model]
    fitting = by_name or fitting
    return fitting[0] if len(fitting) == 1 else None


async def _look_classic(wire: Wire, found: Found) -> None:
    info = await _optional(wire, READ_PROD_INFO)
    if info is None:
        return
    found.identity[PRODINFO] = info.info
    product = parse_prodinfo(info.info)
    found.model, found.serial = text_of(product.model), text_of(product.serial)
    found.hardware = f"{product.hardware[0]}.{product.hardware[1]}"
    found.stated_template_bytes = product.template_size or None
    for name, command in ((ALGVER, GET_ALG_VER), (FWVER, GET_FW_VER)):
        answer = await _optional(wire, command)
        if answer is not None:
            found.identity[name] = answer.text
    found.algorithm = text_of(found.identity.get(ALGVER, b""))
    found.firmware = text_of(found.identity.get(FWVER, b""))


async def _look_hilink(wire: Wire, found: Found) -> None:
    number = await _optional(wire, GET_CHIP_SN)
    if number is not None:
        found.identity[CHIPSN] = number.text
        found.serial = text_of(number.text)
    page = await read_info_page(wire)
    if page is not None:
        found.identity[INFOPAGE] = page
        table = parse_infopage(page)
        found.model, found.firmware = text_of(table.product), text_of(table.software)
        found.algorithm = found.firmware
        if table.valid in (TABLE_VALID, TABLE_FIRST_PART):
            found.encryption_level = table.encryption_level


async def read_info_page(wire: Wire) -> bytes | None:
    """Read the information page, a secret; None where the module has none.

    Raises:
        LinkLost, Silent: the module is gone.
    """
    for _ in range(wire.facts.tries):
        try:
            ack, data = await wire.fetch(READ_INF_PAGE)
        except Silent:
            raise
        except NoAnswer:
            return None
        except (FrameError, UnexpectedReply):
            continue
        if ack.ok and len(data) == INFO_PAGE_BYTES:
            return data
        if not ack.ok:
            return None
    return None


async def _optional(wire: Wire, command: Command) -> Any | None:
    """Ask something that a module may not know; silence and refusal both mean that it does not."""
    try:
        ack = await wire.ask(command)
    except Silent:
        raise
    except (NoAnswer, FrameError, UnexpectedReply):
        return None
    return results(command, ack) if ack.ok else None
