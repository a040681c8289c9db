"""`hitmesh shadow`: correct the days that are not settled yet, while live traffic continues."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hitmesh.tools.cli.exits import EXIT_CODES_HELP
from hitmesh.tools.cli.lazy import LazyCommand, LazyGroup
from hitmesh.tools.cli.options import CommandT, connect_as_operator, examples, operator_options, output_option
from hitmesh.tools.cli.output import note
from hitmesh.tools.cli.reprocess_plan import full_names_of_sites

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import shadow_pb2

_HERE = "hitmesh.tools.cli.shadow"


@click.group(
    cls=LazyGroup,
    lazy={
        "start": LazyCommand(f"{_HERE}:start", "Run a corrected stream beside the live stream."),
        "status": LazyCommand(f"{_HERE}:status", "Show the shadow stream, and how far it is behind."),
        "diff": LazyCommand(f"{_HERE}:diff", "Compare the shadow stream with the live stream."),
        "publish": LazyCommand(f"{_HERE}:publish", "Let reports read the shadow stream."),
        "rollback": LazyCommand(f"{_HERE}:rollback", "Let reports read the live stream again."),
        "stop": LazyCommand(f"{_HERE}:stop", "Keep the stream that reports read, drop the other."),
    },
    name="shadow",
    short_help="Correct the days that are not settled yet.",
    epilog=examples(
        "hitmesh shadow start --logic v1",
        "hitmesh shadow status",
        "hitmesh shadow diff --site demo/example",
        "hitmesh shadow publish --wait",
        "hitmesh shadow rollback",
        "hitmesh shadow stop --wait",
    )
    + "\n\n"
    + EXIT_CODES_HELP,
)
def shadow_group() -> None:
    """Correct the days that are not settled yet, with a second stream that runs beside the live stream.

    Settled days keep their numbers; correct these days with `hitmesh reprocess`. The commands need an operator's key.
    Only `publish` and `rollback` change reports, for all sites and days at once.
    """


def _wait_option(meaning: str) -> Callable[[CommandT], CommandT]:
    def add(command: CommandT) -> CommandT:
        return click.option("--wait", is_flag=True, help=meaning)(command)

    return add


@click.command(
    short_help="Run a corrected stream beside the live stream.",
    epilog=examples("hitmesh shadow start --logic v1", "hitmesh shadow start --logic v1 -o json"),
)
@click.option(
    "--logic", required=True, metavar="VERSION", help="Logic version of the corrected stream, for example v1."
)
@output_option("table", "json")
@operator_options
def start(logic: str, output: str, endpoint: str | None, home: Path | None) -> None:
    """Run a shadow stream with another logic version beside the live stream, from the last closed day on.

    No report changes.

    The shadow stream first reads the log from the last closed day on, and then follows the live stream. Repeating the
    command changes nothing.
    """
    from hitmesh.client.shadow import start_shadow
    from hitmesh.tools.cli.shadow_output import print_shadow

    with connect_as_operator(endpoint, home, needs_key=True) as mesh:
        found = start_shadow(mesh, logic)
    print_shadow(found, output)
    _advise(output, "diff", "publish --wait")


@click.command(
    short_help="Show the shadow stream, and how far it is behind.",
    epilog=examples("hitmesh shadow status", "hitmesh shadow status -o json"),
)
@output_option("table", "json")
@operator_options
def status(output: str, endpoint: str | None, home: Path | None) -> None:
    """Show the shadow stream, its state and its lag behind the live stream. The JSON output is a single object."""
    from hitmesh.client.shadow import get_shadow
    from hitmesh.tools.cli.shadow_output import print_shadow

    with connect_as_operator(endpoint, home) as mesh:
        found = get_shadow(mesh)
    print_shadow(found.shadow_stream, output, found.removed_streams)


@click.command(
    short_help="Compare the shadow stream with the live stream.",
    epilog=examples("hitmesh shadow diff", "hitmesh shadow diff --site demo/example -o json"),
)
@click.option(
    "--site",
    "sites",
    multiple=True,
    callback=full_names_of_sites,
    metavar="MERCHANT/SITE",
    help="Site, for example demo/example. Can be given several times. Default: the first 1,000 sites by name.",
)
@output_option("table", "json")
@operator_options
def diff(sites: tuple[str, ...], output: str, endpoint: str | None, home: Path | None) -> None:
    """Compare the shadow stream with the live stream on the UTC days that are not settled, per metric and day.

    The comparison includes excluded hits. The command reads one stream after the other, so hits of the last seconds may
    appear as a difference. The JSON output is a single object; money is in micros and durations in ms.
    """
    from hitmesh.client.shadow import diff_shadow
    from hitmesh.tools.cli.shadow_output import print_shadow_diff

    with connect_as_operator(endpoint, home) as mesh:
        found = diff_shadow(mesh, sites)
    print_shadow_diff(found, output)


@click.command(
    short_help="Let reports read the shadow stream.",
    epilog=examples("hitmesh shadow publish --wait", "hitmesh shadow publish -o json"),
)
@_wait_option("Wait until the shadow stream has caught up.")
@output_option("table", "json")
@operator_options
def publish(*, wait: bool, output: str, endpoint: str | None, home: Path | None) -> None:
    """Let reports read the shadow stream for all days that are not settled, in one step. The live stream keeps running.

    Days that close from now on are settled with the shadow stream's logic. The command is refused while the shadow
    stream is more than a minute behind the live stream. Repeating the command changes nothing.
    """
    from hitmesh.client.shadow import publish_shadow, wait_until
    from hitmesh.tools.cli.shadow_output import print_shadow

    with connect_as_operator(endpoint, home, needs_key=True) as mesh:
        if wait:
            wait_until(mesh, _is_ready)
        found = publish_shadow(mesh)
    print_shadow(found, output)
    _advise(output, "rollback", "stop --wait")


@click.command(
    short_help="Let reports read the live stream again.",
    epilog=examples("hitmesh shadow rollback", "hitmesh shadow rollback -o json"),
)
@output_option("table", "json")
@operator_options
def rollback(output: str, endpoint: str | None, home: Path | None) -> None:
    """Let reports read the live stream again, in one step. The shadow stream keeps running.

    Days that were settled since `publish` keep their numbers. Repeating the command changes nothing.
    """
    from hitmesh.client.shadow import rollback_shadow
    from hitmesh.tools.cli.shadow_output import print_shadow

    with connect_as_operator(endpoint, home, needs_key=True) as mesh:
        found = rollback_shadow(mesh)
    print_shadow(found, output)
    _advise(output, "publish", "stop")


@click.command(
    short_help="Keep the stream that reports read, drop the other.",
    epilog=examples("hitmesh shadow stop --wait", "hitmesh shadow stop -o json"),
)
@_wait_option("Wait until a single stream runs.")
@output_option("table", "json")
@operator_options
def stop(*, wait: bool, output: str, endpoint: str | None, home: Path | None) -> None:
    """Keep the stream that reports read, and drop the other stream.

    The command cannot be undone.

    If the shadow stream is published, the processor continues as the shadow stream, without a restart. The stored
    values of the dropped stream are removed within minutes. Repeating the command changes nothing.
    """
    from hitmesh.client.shadow import stop_shadow, wait_until
    from hitmesh.tools.cli.shadow_output import print_shadow

    with connect_as_operator(endpoint, home, needs_key=True) as mesh:
        found = stop_shadow(mesh)
        if wait:
            found = wait_until(mesh, _is_gone)
    print_shadow(found, output)


def _is_ready(found: shadow_pb2.ShadowStream) -> bool:
    """Return whether the wait can end: the shadow stream has caught up, or does not exist."""
    return found.caught_up or _is_gone(found)


def _is_gone(found: shadow_pb2.ShadowStream) -> bool:
    from hitmesh.api.control.v1 import shadow_pb2 as pb

    return found.state == pb.SHADOW_STREAM_STATE_UNSPECIFIED


def _advise(output: str, *verbs: str) -> None:
    """Print the next commands for a person."""
    if output != "json":
        note("next: " + ", then ".join(f"hitmesh shadow {verb}" for verb in verbs))
