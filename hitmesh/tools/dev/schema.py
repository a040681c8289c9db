"""Makes what a mesh needs on its servers. A process of its own, so the launcher stays small and loads no driver.

Decides what is done once more although it is there: topics are declared, since whoever made them may have died before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from hitmesh.adapters.schema_plan import Action, Change, SchemaOptions
from hitmesh.adapters.servers import Servers, parse_servers
from hitmesh.model.errors import HitmeshError, RefusedError
from hitmesh.tools.dev.home import Home

_DECLARING = "kafka"
# What holds everything that Cassandra keeps of a mesh.
_WHOLE = "keyspace "


def main(root: str, store: str) -> int:
    """Makes or checks everything of a mesh with the sizes of one machine; returns the exit code.

    Servers that know nothing of the mesh may have been emptied: then what the home knows of it is of no use.
    """
    try:
        changes = planned(parse_servers(store), SchemaOptions())
        if any(change.action is Action.CREATE and change.thing.startswith(_WHOLE) for change in changes):
            Home(Path(root)).forget_mesh()
        apply(changes, _say)
    except HitmeshError as error:
        sys.stderr.write(f"the servers could not be prepared: {error.message}\n")
        return 1
    return 0


def planned(servers: Servers, options: SchemaOptions) -> list[Change]:
    """Returns what is there and what would be made or changed, in the order in which it is to be applied.

    Raises:
        RetryError: a server does not answer.
        RefusedError: an option cannot be had any more, or a driver is not installed (INVALID_CONFIG).
    """
    try:
        from hitmesh.adapters import schema
    except ModuleNotFoundError as error:
        raise RefusedError(
            f"{error.name} is not installed; run pip install 'hitmesh[kafka,cassandra,druid]'",
            field="store",
            reason="INVALID_CONFIG",
        ) from error
    return schema.plan(servers, options)


def apply(changes: Iterable[Change], say: Callable[[str], None]) -> None:
    """Makes everything as a plan says, in order.

    Raises:
        HitmeshError: a server does not answer, or refuses.
    """
    for change in changes:
        if change.action is not Action.KEEP:
            say(f"{change.server}: {change.action} {change.thing}")
            change.apply()
        elif change.server == _DECLARING:
            change.apply()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
