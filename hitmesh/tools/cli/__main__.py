"""The command `hitmesh`: the root group.

Only this module converts errors to exit codes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from hitmesh import __version__
from hitmesh.tools.cli.exits import EXIT_CODES_HELP, Exit, failure_of
from hitmesh.tools.cli.lazy import LazyCommand, LazyGroup
from hitmesh.tools.cli.options import examples
from hitmesh.tools.cli.streams import discard, set_up_streams

COMMANDS = {
    "dev": LazyCommand("hitmesh.tools.cli.dev:dev", "Start a whole mesh on this machine."),
    "import": LazyCommand("hitmesh.tools.cli.imports:import_group", "Import an access log or a shop export."),
    "query": LazyCommand("hitmesh.tools.cli.query:query", "Query metrics of a site over a time range."),
    "send": LazyCommand("hitmesh.tools.cli.send:send", "Send one hit by hand."),
    "sites": LazyCommand("hitmesh.tools.cli.sites:sites", "List, create, change or delete sites."),
    "merchants": LazyCommand(
        "hitmesh.tools.cli.merchants:merchants_group", "List, create, change or delete merchants."
    ),
    "keys": LazyCommand("hitmesh.tools.cli.keys:keys_group", "Manage the keys of a merchant."),
    "load": LazyCommand("hitmesh.tools.cli.load:load", "Send generated traffic and check the counts."),
    "freshness": LazyCommand("hitmesh.tools.cli.freshness:freshness", "Show how current the reports are."),
    "ledger": LazyCommand("hitmesh.tools.cli.ledger:ledger", "Check that every hit is accounted for."),
    "drift": LazyCommand("hitmesh.tools.cli.drift:drift", "Show how settlement changed the live numbers."),
    "trace": LazyCommand("hitmesh.tools.cli.trace:trace", "Show where a hit is in the log, and its outcome."),
    "doctor": LazyCommand(
        "hitmesh.tools.cli.doctor:doctor", "Check a whole mesh, and name cause and cure of each problem."
    ),
    "reprocess": LazyCommand(
        "hitmesh.tools.cli.reprocess:reprocess_group", "Recompute settled days, compare, publish, undo."
    ),
    "shadow": LazyCommand("hitmesh.tools.cli.shadow:shadow_group", "Correct the days that are not settled yet."),
    "rejected": LazyCommand("hitmesh.tools.cli.rejected:rejected_group", "List, mend and replay rejected hits."),
    "erase": LazyCommand("hitmesh.tools.cli.erase:erase", "Erase a visitor from reports and stores."),
    "policy": LazyCommand("hitmesh.tools.cli.policy:policy_group", "Show or change a site's visit policy."),
    "quota": LazyCommand("hitmesh.tools.cli.quota:quota_group", "Show or change the quota of a merchant, site or key."),
    "rules": LazyCommand("hitmesh.tools.cli.rules:rules_group", "Exclude hits of a site from reports."),
    "certs": LazyCommand("hitmesh.tools.cli.certs:certs_group", "Make and rotate the certificates of a mesh (mTLS)."),
    "config": LazyCommand("hitmesh.tools.cli.config:config_group", "Show the settings of services and commands."),
    "stack": LazyCommand("hitmesh.tools.cli.stack:stack_group", "Run real Kafka, Cassandra and Druid on this machine."),
    "operators": LazyCommand("hitmesh.tools.cli.operators:operators_group", "Get the first operator's key."),
    "init": LazyCommand("hitmesh.tools.cli.init:init", "Create or check topics, tables and data sources."),
    "plan": LazyCommand("hitmesh.tools.cli.plan:plan", "Compute the servers and pods for a load."),
    "version": LazyCommand("hitmesh.tools.cli.version:version", "Print the version."),
}
_JSON_OUTPUTS = ("json", "ndjson")


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "hitmesh dev",
        "hitmesh import access-log access.log --site demo/weblog",
        "hitmesh query --site demo/weblog --metrics visits,visitors --last 30d --grain day",
    )
    + "\n\n"
    + EXIT_CODES_HELP,
)
@click.version_option(__version__, prog_name="hitmesh", message="%(prog)s %(version)s")
def root() -> None:
    """Collect hits, turn them into visits, answer questions about them."""


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return the exit code. Errors are written to stderr."""
    try:
        returned = root.main(args=list(arguments), prog_name="hitmesh", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        failure = failure_of(error)
        failure.show(as_json=wants_json(arguments))
        return failure.code
    return returned if isinstance(returned, int) else Exit.OK


def wants_json(arguments: Sequence[str]) -> bool:
    """Return whether the arguments request JSON.

    The function reads the arguments itself, because Click may have rejected the arguments.
    """
    for index, argument in enumerate(arguments):
        following = arguments[index + 1] if index + 1 < len(arguments) else ""
        for output in _JSON_OUTPUTS:
            if argument in (f"-o{output}", f"-o={output}", f"--output={output}"):
                return True
            if argument in ("-o", "--output") and following == output:
                return True
    return False


def main() -> None:
    """Run the command line of this process."""
    set_up_streams()
    code = run(sys.argv[1:])
    discard(sys.stdout)
    sys.exit(code)


if __name__ == "__main__":
    main()
