"""The one place that prints results: for people, or as one JSON document.

stdout holds the result and nothing else; warnings go to stderr. In JSON bytes are lower-case hex and secrets are dots.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import PurePath
from typing import Any

import click
import msgspec

from lockmigrate.cli import silence
from lockmigrate.cli.options import Common
from lockmigrate.cli.words import say
from lockmigrate.errors import FileTrouble, LockmigrateError, PolicyError
from lockmigrate.model.results import PlanResult, Result, ShowResult, VerifyResult
from lockmigrate.model.secret import MASK, Secret

FALLBACK_WIDTH = 80


def emit(result: Result, common: Common) -> None:
    """Print a result as the options say.

    Raises:
        FileTrouble: stdout cannot be written (a full disk behind a redirection).
    """
    if common.json:
        write_out(json_line(result))
        return
    write_out(for_people(result))
    for warning in result.warnings:
        say("warning", warning)


def write_out(text: str) -> None:
    """Write to stdout; a reader that has gone is no failure of ours."""
    try:
        # As bytes: JSON is UTF-8 whatever the console is, and colours are ours to leave out.
        click.echo(text.encode(_encoding(text), "replace"), nl=False)
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError as error:
        silence(sys.stdout)
        raise FileTrouble(f"cannot write the output: {(error.strerror or 'it failed').lower()}") from None


def json_line(result: Any) -> str:
    """Return the document as one line of JSON, its fields in the struct's order."""
    text = json.dumps(to_document(result), ensure_ascii=False, allow_nan=False)
    # A file name that is not UTF-8 holds lone surrogates; JSON has an escape for those, UTF-8 does not.
    return text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"


def to_document(result: Any) -> Any:
    """Return a result as plain values: no secrets, bytes as hex, without `exit_code`."""
    return _plain(msgspec.to_builtins(result, builtin_types=(bytes, bytearray), str_keys=True, enc_hook=_encode))


def for_people(result: Result) -> str:
    """Return the screen: laid out for the terminal that stdout is, or plain for a pipe."""
    from lockmigrate.cli import screens, tables

    blocks = screens.screen(result)
    if not sys.stdout.isatty():
        return tables.plain(tables.lay_out(blocks, width=None))
    return _styled(blocks)


def refusal_of(result: Result) -> LockmigrateError | None:
    """Return the error that follows a document with exit code 10 (decision 8), or that of the worst file; or None."""
    from lockmigrate.cli.answers import VAULT_RESULTS

    if result.exit_code and isinstance(result, VAULT_RESULTS):
        from lockmigrate.cli.vault_screens import error_of

        return error_of(result)
    if result.exit_code != PolicyError.exit_code:
        return None
    if isinstance(result, PlanResult) and result.blocked_by:
        from lockmigrate.operations.restore import blocked

        return blocked(result.blocked_by[0], result.source, result.unit)
    if isinstance(result, VerifyResult) and result.rehearsal is not None and not result.rehearsal.ok:
        if result.rehearsal.code == "no-simulator":
            return PolicyError(
                f"this backup cannot be rehearsed: {result.rehearsal.detail}",
                hint="without --rehearse the file is checked as far as it can be",
                code="rehearsal-failed",
            )
        return PolicyError(
            f"the rehearsal of this backup failed: {result.rehearsal.detail}",
            hint="the file is whole, but this version cannot restore it; take another backup while the old unit lives",
            code="rehearsal-failed",
        )
    if isinstance(result, ShowResult | VerifyResult):
        return _distrust(result.trust, result.signer)
    return PolicyError("refused by a rule; the result says which")


def _distrust(trust: str, signer: str) -> PolicyError:
    if trust == "unsigned":
        return PolicyError("the backup is not signed", hint="only a signed backup is restored", code="unsigned")
    if trust == "drift":
        return PolicyError(
            "the records in this backup are not what this lockmigrate reads from its raw tables",
            hint="restore --accept-drift writes what the raw tables say",
            code="drift",
        )
    message = {
        "revoked": f"the backup's signer {signer} is revoked",
        "expired": f"the backup's signer {signer} was not valid when the backup was made",
    }.get(trust, f"the backup's signer {signer} is not trusted")
    hint = None
    if trust == "untrusted":
        hint = (
            "compare the fingerprint with the one on paper or by voice, then --trust-once SHA256:… in full; "
            "to trust it for good: trust add signing.pub, from the config directory it was made with"
        )
    return PolicyError(message, hint=hint, code="untrusted")


def _styled(blocks: Any) -> str:
    import io

    from rich.console import Console
    from rich.text import Text

    from lockmigrate.cli import tables

    probe = Console(file=sys.stdout)
    width = probe.width or FALLBACK_WIDTH
    lines = tables.lay_out(blocks, width=width)
    if probe.no_color or probe.color_system is None or probe.legacy_windows:
        return tables.plain(lines)
    console = Console(
        file=io.StringIO(), force_terminal=True, color_system="standard", width=max(width, 1000), highlight=False
    )
    for line in lines:
        console.print(Text.assemble(*((piece, style or "") for piece, style in line)), soft_wrap=True)
    return str(console.file.getvalue())  # type: ignore[attr-defined]  # the StringIO above


def _encoding(text: str) -> str:
    if text.startswith("{"):
        return "utf-8"
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def _encode(value: Any) -> Any:
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, PurePath):
        return os.fspath(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        drop = "exit_code" if "schema" in value else None
        return {key: _plain(inner) for key, inner in value.items() if key != drop}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes | bytearray):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
