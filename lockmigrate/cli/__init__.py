"""The command line: a group that imports a command's module only when that command runs, and errors as exit codes.

Interaction and messages go to stderr, results to stdout. Messages are lower case without a full stop, the program's
name first, and a hint on its own line says what to do next. `--help` costs click and the table below, nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click

PROGRAM: Final = "lockmigrate"
COMPLETE_VARIABLE: Final = "_LOCKMIGRATE_COMPLETE"
TARGET_NOTE: Final = "lockmigrate.target"
"""Where a running command notes its target in click's `meta`, for the error document."""
STOPPED_BY_PIPE: Final = 141
"""What a shell shows for a program that SIGPIPE ended: 128 + 13."""

COMMANDS: Final[tuple[tuple[str, str, str, str], ...]] = (
    ("scan", "list the ports and the Bluetooth locks in reach", "scan_cmd", "scan"),
    ("info", "say what a unit is and what can be carried", "unit_cmd", "info"),
    ("pair", "introduce this computer to a lock on Bluetooth", "pair_cmd", "pair"),
    ("unpair", "remove this computer's access from a lock", "pair_cmd", "unpair"),
    ("try", "lay a finger on the sensor: which slot does it match", "unit_cmd", "try_finger"),
    ("backup", "read a unit into an encrypted, signed file", "backup_cmd", "backup"),
    ("show", "show what a backup holds, without secrets", "backup_cmd", "show"),
    ("verify", "check a backup, alone or against a unit", "backup_cmd", "verify"),
    ("plan", "say what a restore would write, change and leave out", "restore_cmd", "plan"),
    ("restore", "write a backup to a unit and read it back", "restore_cmd", "restore"),
    ("migrate", "back up the old unit, then restore to the new one", "restore_cmd", "migrate"),
    ("diff", "say what differs between two backups or units", "diff_cmd", "diff_command"),
    ("compat", "say what would move to another unit or model", "compat_cmd", "compat"),
    ("wipe", "erase people's data from a unit that goes out of service", "unit_cmd", "wipe"),
    ("report", "write the paper for the customer from backups and results", "report_cmd", "report"),
    ("health", "say how units do over their backups", "report_cmd", "health"),
    ("sim", "simulated units, to try everything without hardware", "", ""),
    ("sim list", "list what can be simulated", "sim_cmd", "sim_list"),
    ("sim serve", "serve a simulated unit on a port for other programs", "sim_cmd", "sim_serve"),
    ("profiles", "what is known about models of units", "", ""),
    ("profiles list", "list the known models", "profiles_cmd", "profiles_list"),
    ("profiles show", "show one profile with its sources", "profiles_cmd", "profiles_show"),
    ("profiles check", "check a profile file of your own", "profiles_cmd", "profiles_check"),
    ("profiles guide", "how to connect a unit of a model", "guide_cmd", "profiles_guide"),
    ("keys", "the keys that seal, open and sign backups", "", ""),
    ("keys init", "make the keys of this computer, once", "keys_cmd", "keys_init"),
    ("keys show", "show the recipient and the signer's fingerprint", "keys_cmd", "keys_show"),
    ("keys export", "copy the identity, still under its passphrase, to a file", "keys_cmd", "keys_export"),
    ("keys import", "take over an identity from another computer", "keys_cmd", "keys_import"),
    ("keys import-lock", "make a credential file of another program's lock keys", "lock_keys_cmd", "keys_import_lock"),
    ("keys export-lock", "write a lock's keys in the maker's form, for its owner", "lock_keys_cmd", "keys_export_lock"),
    ("job", "many doors in one folder, step by step", "", ""),
    ("job new", "begin a job", "job_cmd", "job_new"),
    ("job add", "add a door, or change one", "job_cmd", "job_add"),
    ("job run", "run what can be run, door by door", "job_cmd", "job_run"),
    ("job status", "say how far each door is and what to do next", "job_cmd", "job_status"),
    ("trust", "whose signatures count", "", ""),
    ("trust add", "trust another computer's signing key", "trust_cmd", "trust_add"),
    ("trust list", "list the trusted signers", "trust_cmd", "trust_list"),
    ("trust revoke", "never believe a signing key again", "trust_cmd", "trust_revoke"),
    ("vault", "a folder of backups: check, reseal, purge", "", ""),
    ("vault list", "list the backups of a folder and how far each is proven", "vault_cmd", "vault_list"),
    ("vault verify", "check every backup of a folder", "vault_cmd", "vault_verify"),
    ("vault rekey", "seal backups anew for other recipients", "vault_cmd", "vault_rekey"),
    ("vault purge", "delete the backups that expired", "vault_cmd", "vault_purge"),
    ("vault reindex", "make the catalogue anew from the files", "vault_cmd", "vault_reindex"),
    ("completion", "print the completion script for bash, zsh or fish", "completion", "completion"),
)
"""Name, one line of help, module in this package, name of the command in it; a group has neither."""

_ONE_LINE: Final[dict[str, str]] = {name: text for name, text, _, _ in COMMANDS}
_EPILOG: Final = """\b
Try it without hardware:
  lockmigrate migrate sim://r503/full sim://r503/empty
At the door ("lockmigrate COMMAND -h" explains one command):
  lockmigrate backup serial:///dev/ttyUSB0 -o old.age
  lockmigrate restore old.age serial:///dev/ttyUSB0"""


class UsageTrouble(click.UsageError):
    """A usage error with a hint of its own."""

    def __init__(self, message: str, *, hint: str, ctx: click.Context | None = None) -> None:
        super().__init__(message, ctx)
        self.hint = hint


class LazyGroup(click.Group):
    """A group that knows its commands from the table and imports one only to run it or to explain it."""

    def __init__(self, prefix: str = "", **attributes: Any) -> None:
        super().__init__(**attributes)
        self._prefix = prefix

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table's order, which is the order of a job at the door."""
        names = (name.removeprefix(self._prefix) for name in _ONE_LINE if name.startswith(self._prefix))
        return [name for name in names if " " not in name]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command, or None."""
        name = f"{self._prefix}{cmd_name}"
        entry = next((entry for entry in COMMANDS if entry[0] == name), None)
        if entry is None:
            return None
        _, text, module, attribute = entry
        if not module:
            return LazyGroup(f"{name} ", name=cmd_name, help=f"{text[0].upper()}{text[1:]}.")
        command = getattr(import_module(f"{__name__}.{module}"), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{attribute} is not a command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        known = self.list_commands(ctx)
        if args[0] in known or args[0].startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        import difflib

        near = difflib.get_close_matches(args[0], known, n=1, cutoff=0.5)
        hint = f'did you mean "{ctx.command_path} {near[0]}"?' if near else f"there are {', '.join(known)}"
        raise UsageTrouble(f'there is no command "{ctx.command_path} {args[0]}"', hint=hint, ctx=ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _ONE_LINE[f"{self._prefix}{name}"]) for name in self.list_commands(ctx)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete from the table; importing every command module at each Tab would be slow."""
        from click.shell_completion import CompletionItem

        items = [
            CompletionItem(name, help=_ONE_LINE[f"{self._prefix}{name}"])
            for name in self.list_commands(ctx)
            if name.startswith(incomplete)
        ]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from lockmigrate.version import own_version

    click.echo(f"{PROGRAM} {own_version()}")
    ctx.exit()


cli = LazyGroup(
    name=PROGRAM,
    help="Copy what a smart lock's unit holds into an encrypted, signed backup, and restore it to its replacement.",
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version and exit.",
        )
    ],
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; whatever goes wrong is said on stderr.

    click's own `main` is not used: it turns a broken pipe and an end of input into exit codes of its own.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = _wants_json(arguments)
    context: click.Context | None = None
    code = 0
    try:
        if COMPLETE_VARIABLE in os.environ:
            from lockmigrate.cli.completion import answer_shell

            return answer_shell()
        with cli.make_context(PROGRAM, arguments) as context:
            outcome = cli.invoke(context)
        code = outcome if isinstance(outcome, int) else 0
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        code = done.exit_code
    except BrokenPipeError as error:
        code = _broken_pipe(error, as_json=as_json)
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001  # the outermost frame: every ending becomes an exit code here
        from lockmigrate.cli.failure import report

        code = report(error, as_json=as_json, target=context.meta.get(TARGET_NOTE) if context else None)
    return code


def run() -> None:
    """Run as a program: the console entry, also of `python -m lockmigrate`."""
    _stop_like_ctrl_c()
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            # A console that cannot show a name shows question marks; it does not fail.
            reconfigure(errors="replace" if stream is sys.stdout else "backslashreplace")
    sys.exit(main())


def silence(stream: Any) -> None:
    """Let nothing more reach stdout or stderr, so that the interpreter's last flush cannot fail either."""
    try:
        number = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, number)
    os.close(sink)


def _wants_json(arguments: Sequence[str]) -> bool:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return "--json" in arguments[:end]


def _broken_pipe(error: BrokenPipeError, *, as_json: bool) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        silence(sys.stdout)
        return STOPPED_BY_PIPE
    from lockmigrate.cli.failure import report

    return report(error, as_json=as_json, target=None)


def _stop_like_ctrl_c() -> None:
    """Make SIGTERM, and a terminal that goes away, end us by way of every `finally`."""
    import signal

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # nohup ignores SIGHUP on purpose.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
