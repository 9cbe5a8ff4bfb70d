"""`pair` and `unpair`: locks that open only to whom they know."""

from __future__ import annotations

from dataclasses import replace

import click

from lockmigrate.cli import ask
from lockmigrate.cli.options import Context, common, complete_targets, unit_options
from lockmigrate.cli.runner import note_target
from lockmigrate.cli.session import opened, targets
from lockmigrate.cli.words import say
from lockmigrate.errors import Cancelled, ConfigError
from lockmigrate.model.results import PairResult, UnpairResult
from lockmigrate.operations import pairing
from lockmigrate.targets import Access

_TARGET = click.argument("target", shell_complete=complete_targets)
NO_PIN = "no-security-pin"


@click.command()
@_TARGET
@unit_options
@common
async def pair(ctx: Context, target: str) -> PairResult:
    """Introduce this computer to a lock, and write what opens it to --credential-file.

    Bring the lock into pairing mode first (Nuki: hold its button for 5 s, until the ring lights up for good; TTLock: a
    lock as from the factory, touched). A Nuki's security PIN is taken from the file if it is there already, as
    security_pin in the table [nuki], else asked for. The file is readable by you alone: whoever has it has the door.

    \b
    Examples:
      lockmigrate scan
      lockmigrate pair ble://54:D2:72:12:34:56 --credential-file front-door.toml
    """
    (parsed,) = targets(target)
    path = ctx.unit.credential_file(0)
    if path is None:
        raise ConfigError(
            "pairing makes keys, and no file was named to keep them",
            hint="--credential-file FILE; it is made, or completed if it holds only the PIN",
        )
    pairing.check_credential_file(path)
    note_target(parsed.text)
    access = Access(profile=ctx.unit.profile, credential_file=path if path.exists() else None, trace=ctx.unit.trace)
    try:
        return await pairing.pair(parsed, access, path, agree=_agree)
    except ConfigError as error:
        if error.code != NO_PIN or not ask.on_terminal() or ctx.common.json:
            raise
    pin = ask.ask_pin("Security PIN of the lock (0 if none is set)")
    if not ctx.common.json:
        say("note", "if its ring has gone dark meanwhile, bring the lock into pairing mode again")
    return await pairing.pair(parsed, _without_trace(access), path, pin=pin)


def _agree(caution: str) -> None:
    """Say what is at stake; a person is asked, a script has said `pair` and means it."""
    if not ask.on_terminal():
        say("warning", caution)
        return
    answer = ask.ask_choice(
        f"{caution[0].upper()}{caution[1:]}.",
        {"pair": "become its administrator", "stop": "leave the lock as it is"},
        otherwise=Cancelled("nothing was paired"),
    )
    if answer != "pair":
        raise Cancelled("nothing was paired")


def _without_trace(access: Access) -> Access:
    """The second call: the first one's record is kept, and it went no further than saying hello."""
    trace = access.trace
    return access if trace is None else replace(access, trace=trace.with_name(f"{trace.stem}-again{trace.suffix}"))


@click.command()
@_TARGET
@unit_options
@common
async def unpair(ctx: Context, target: str) -> UnpairResult:
    """Remove this computer's access from a lock, when all is done.

    The lock's owner and everybody else keep theirs. The credential file opens nothing any more afterwards.

    \b
    Example:
      lockmigrate unpair ble://54:D2:72:12:34:56 --credential-file front-door.toml
    """
    (parsed,) = targets(target)
    async with opened(ctx, parsed) as lock:
        return await pairing.unpair(lock, await lock.identify())
