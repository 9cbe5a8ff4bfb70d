"""`sim list|serve`: simulated units."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lockmigrate.cli.options import Context, common

if TYPE_CHECKING:
    from lockmigrate.cli.answers import SimListResult
    from lockmigrate.sim.serve import ServedAt
    from lockmigrate.sim.unit import SimulatedUnit

DEFAULT_PRESET = "full"
ANY_PORT = 0
ANY_HCI = "tcp:0"


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    from lockmigrate.cli.completion import simulated

    return simulated(incomplete)


@click.command("list", short_help="list what can be simulated")
@common
def sim_list(ctx: Context) -> SimListResult:
    """List the models and presets that can be simulated, for targets such as sim://r503/full.

    \b
    Examples:
      lockmigrate sim list
      lockmigrate info sim://r503/full
    """
    from lockmigrate.cli.answers import PresetSeen, SimListResult
    from lockmigrate.cli.profiles_cmd import known_profiles
    from lockmigrate.sim import SIMULATED, presets_of

    seen, broken = known_profiles()
    seen = [profile for profile in seen if profile.family in SIMULATED]
    titles: dict[str, str] = {}
    for profile in seen:
        titles |= presets_of(profile.family)
    return SimListResult(
        targets=tuple(f"sim://{profile.name}/{preset}" for profile in seen for preset in presets_of(profile.family)),
        profiles=tuple(seen),
        presets=tuple(PresetSeen(name=name, title=title) for name, title in titles.items()),
        warnings=tuple(f"profile {name} cannot be used: {error}" for name, error in broken),
    )


@click.command("serve", short_help="serve a simulated unit on a port for other programs")
@click.argument("units", metavar="PROFILE[/PRESET]...", nargs=-1, required=True, shell_complete=_complete)
@click.option(
    "--tcp",
    is_flag=False,
    flag_value=ANY_PORT,
    default=None,
    type=click.IntRange(0, 65535),
    metavar="[PORT]",
    help="Serve on a TCP port of this computer, else on a pty where there is one.",
)
@click.option(
    "--udp",
    is_flag=False,
    flag_value=ANY_PORT,
    default=None,
    type=click.IntRange(0, 65535),
    metavar="[PORT]",
    help="Serve on a UDP port of this computer (terminals of the family zk).",
)
@click.option(
    "--hci",
    default=None,
    metavar="tcp:PORT|unix:PATH",
    help="Where Bluetooth units are served (default tcp:0, any free port of this computer).",
)
@click.option("--state", type=click.Path(path_type=Path), metavar="FILE", help="Keep the unit's memory in FILE.")
@click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", help="What would follow the ? of a sim:// target."
)
@common
def sim_serve(
    ctx: Context,
    units: tuple[str, ...],
    tcp: int | None,
    udp: int | None,
    hci: str | None,
    state: Path | None,
    options: tuple[str, ...],
) -> Any:
    """Serve a simulated unit to other programs until Ctrl-C. The first line says where: a target.

    Several units on Bluetooth are on one simulated radio; clients come to it with the hci of their target.

    The preset is "full" if left out. With --json the line is an object with target, device, port, hci and credential
    (what opens the unit, as in a credential file).

    After a ? the unit is shaped: fill=12 templates, slots, template_size, seed, finger=3 (lays that finger on the
    sensor, for "try"), pace=1 (as slow as a real line), baud, password, address, quirks, and faults such as
    cut=out:frame:12. A wrong name is answered with the right ones.

    \b
    Examples:
      lockmigrate sim serve r503/full
      lockmigrate sim serve r503/half --tcp 4000
      lockmigrate sim serve "r503/full?seed=7&password=12345678"
      lockmigrate sim serve "zk/full?comm_key=1234" --udp 4370
      lockmigrate sim serve nuki/full --hci tcp:4001
    """
    from lockmigrate.errors import ConfigError

    if state is not None and len(units) > 1:
        raise ConfigError("--state is one unit's memory", hint="serve each unit with a command of its own")
    if tcp is not None and udp is not None:
        raise ConfigError("--tcp and --udp exclude each other", hint="serve the unit twice, with one --state FILE each")
    if tcp and len(units) > 1:
        raise ConfigError("one TCP port serves one unit", hint="--tcp without a number takes any free port for each")
    if udp and len(units) > 1:
        raise ConfigError("one UDP port serves one unit", hint="--udp without a number takes any free port for each")
    opened = [_open(unit, options, state) for unit in units]
    if any(unit.gatt_device is not None for unit in opened):
        _only_on_air(opened, tcp, udp)
        return _serve_on_air(opened, hci or ANY_HCI, as_json=ctx.common.json)
    if hci is not None:
        raise ConfigError(
            f'a simulated "{opened[0].profile.name}" has no Bluetooth',
            hint="leave out --hci, or serve a Bluetooth lock",
        )
    return _serve_all(opened, tcp, udp, as_json=ctx.common.json)


def _only_on_air(units: list[SimulatedUnit], tcp: int | None, udp: int | None) -> None:
    """Refuse what does not go with Bluetooth: a port of its own, and units on a wire.

    Raises:
        ConfigError: the message names it.
    """
    from lockmigrate.errors import ConfigError

    for unit in units:
        if unit.gatt_device is None:
            raise ConfigError(
                f'a simulated "{unit.profile.name}" is not on Bluetooth as the others are',
                hint="serve it with a command of its own",
            )
    for name, port in (("--tcp", tcp), ("--udp", udp)):
        if port is not None:
            raise ConfigError(
                f"{name} does not go with a unit on Bluetooth", hint="leave it out, or use --hci tcp:PORT"
            )


def parse_unit(text: str) -> tuple[str, str, dict[str, str]]:
    """Split `PROFILE/PRESET?key=value&…`, with or without `sim://`, into its three parts.

    Raises:
        TargetError: it is written differently.
    """
    from lockmigrate.targets import parse_target

    target = parse_target(text if "://" in text else f"sim://{text}")
    if not target.simulated:
        from lockmigrate.errors import TargetError

        raise TargetError(f'"{text}" is not a simulated unit', hint="name it like r503/full")
    name, _, preset = target.address.partition("/")
    return name, preset or DEFAULT_PRESET, dict(target.options)


def _open(text: str, options: tuple[str, ...], state: Path | None) -> SimulatedUnit:
    from lockmigrate import sim
    from lockmigrate.errors import ConfigError
    from lockmigrate.profiles import load_profile

    name, preset, given = parse_unit(text)
    for pair in options:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise ConfigError(f'--option "{pair}" is not key=value', hint="for example --option seed=7")
        if key in given:
            raise ConfigError(f'the option "{key}" is given twice')
        given[key] = value
    kept = given.pop("state", None)
    if kept is not None and state is not None:
        raise ConfigError('"state" is given twice')
    return sim.open_unit(load_profile(name), preset, given, state=state or (Path(kept) if kept else None))


async def _serve_all(units: list[SimulatedUnit], tcp: int | None, udp: int | None, *, as_json: bool) -> None:
    """Serve all until one of them ends, by Ctrl-C or by a line that is cut."""
    import asyncio

    from lockmigrate.sim.serve import serve

    tasks = [
        asyncio.create_task(serve(unit, tcp_port=tcp, pty=True, on_ready=_announce(unit, as_json), udp_port=udp))
        for unit in units
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        # Each closes its port, and keeps its memory, before we end.
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _serve_on_air(units: list[SimulatedUnit], hci: str, *, as_json: bool) -> None:
    """Serve all on one simulated radio."""
    from lockmigrate.errors import ConfigError

    try:
        from lockmigrate.sim.serve_ble import ServedOnAir, serve_ble
    except ImportError as error:
        raise ConfigError(
            f'serving Bluetooth needs the package "bumble", which cannot be used: {error}',
            hint='pip install "lockmigrate[sim]"',
        ) from error

    def announce(unit: SimulatedUnit, at: ServedOnAir) -> None:
        _tell(unit, at, at.hci, as_json=as_json)

    await serve_ble(units, hci, announce)


def _announce(unit: SimulatedUnit, as_json: bool) -> Callable[[ServedAt], None]:
    def announce(at: ServedAt) -> None:
        _tell(unit, at, None, as_json=as_json)

    return announce


def _tell(unit: SimulatedUnit, at: ServedAt, hci: str | None, *, as_json: bool) -> None:
    """Write the line that says where a unit is served."""
    from lockmigrate.cli.render import json_line, write_out

    document = {
        "target": at.target,
        "device": at.device,
        "port": at.port,
        "hci": hci,
        "credential": unit.credential or None,
    }
    write_out(json_line(document) if as_json else f"{at.target}\n")
