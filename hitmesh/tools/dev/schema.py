"""Create a mesh's topics, tables and data sources.

This module runs in a separate process, so that the launcher uses little memory and imports no drivers. Existing topics
are declared again, because a process may have died after it created a topic and before it declared the topic.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from hitmesh.adapters.schema_plan import Action, Change, SchemaOptions, checked
from hitmesh.adapters.servers import Servers, parse_servers
from hitmesh.model.errors import HitmeshError, RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.dev.home import Home

_DECLARING = "kafka"
# Prefix of the keyspace's entry in a plan. The keyspace contains all data that a mesh has in Cassandra.
_WHOLE = "keyspace "


def main(root: str, store: str) -> int:
    """Create or check the schema with sizes for a single machine; return the exit code.

    If the mesh's keyspace is missing, the servers may have been emptied. Empty servers contain neither the home
    directory's keys nor the demo shop. The function therefore deletes the home directory's keys and its record of the
    demo shop, so that `hitmesh dev` creates both again.
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
    """Return the existing, missing and differing parts of the schema, in the order in which changes must be applied.

    Raises:
        RetryError: a server does not answer.
        RefusedError: options contradict each other, an option can no longer be changed, or a driver is not installed
            (INVALID_CONFIG).
    """
    checked(options)
    try:
        from hitmesh.adapters import schema
    except ModuleNotFoundError as error:
        raise RefusedError(
            f"{error.name} is not installed; run pip install 'hitmesh[kafka,cassandra,druid]'",
            field="store",
            reason=LocalReason.INVALID_CONFIG,
        ) from error
    return schema.plan(servers, options)


def apply(changes: Iterable[Change], say: Callable[[str], None]) -> None:
    """Apply the changes of a plan in order.

    Raises:
        HitmeshError: a server does not answer, or refuses a change.
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
