"""The text with which `hitmesh dev` announces a mesh. The text has addresses, and commands to paste into a shell."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hitmesh import __version__
from hitmesh.tools.dev.backend import Backend, Choice
from hitmesh.tools.dev.envoy import Door
from hitmesh.tools.dev.home import Home
from hitmesh.tools.dev.instances import Instance

_SITE: Final = "demo/example"
_QUESTION: Final = "--metrics visits,gross_revenue --last 7d --grain day"
_URL_QUESTION: Final = "format=csv&metrics=visits&last=7d&time_grain=day"
_OPERATORS: Final = "the commands find this port, and keys/dev-operator in the home"
_LATE_VISITS: Final = "Visits of the shop on open days are counted when the day is settled, 26 hours after its end."


def banner(
    home: Home,
    choice: Choice,
    door: Door,
    instances: Sequence[Instance],
    *,
    is_default_home: bool,
    closed_reads: bool,
    demo_data: bool,
) -> str:
    """Return the text.

    Args:
        home: the home directory of the mesh.
        choice: the back end.
        door: the addresses on which Envoy listens.
        instances: the services.
        is_default_home: whether commands find the home without --home.
        closed_reads: whether reads need a key.
        demo_data: whether the mesh has the demo data.
    """
    hitmesh = (shutil.which("hitmesh") and "hitmesh") or f"{Path(sys.executable).parent / 'hitmesh'}"
    where = "" if is_default_home else f" --home {home.root}"
    http = f"http://{door.http}"
    key = f'-H "authorization: Bearer $(cat {shlex.quote(str(home.server_key))})" ' if closed_reads else ""
    return "\n".join(
        [
            f"hitmesh {__version__}   {_mode(choice)}",
            f"  REST          {http}/v1/merchants/demo/sites/example",
            f"  gRPC (Envoy)  {door.http}      reflection on",
            f"                direct: collector {door.collectors[0]}  reporter {door.reporters[0]}"
            f"  control {door.controls[0]}",
            f"  Operators     {door.operators}      gRPC and REST; {_OPERATORS}",
            f"  Envoy stats   http://{door.stats}/stats",
            *(
                f"  {'' if index else 'Metrics':<12}  http://{instance.metrics}/metrics   ({instance.name})"
                for index, instance in enumerate(instances)
            ),
            *_data_lines(home, choice),
            *(["  Reads         need a key: see keys/dev-server and keys/dev-operator"] if closed_reads else []),
            f"Try:  {hitmesh} send page https://shop.example/hello --site {_SITE}{where}",
            f"      {hitmesh} query --site {_SITE}{where} {_QUESTION} --plot",
            f"      {hitmesh} freshness --site {_SITE}{where}",
            f"      curl {key}'{http}/v1/merchants/demo/sites/example:export?{_URL_QUESTION}'",
            *([_LATE_VISITS] if demo_data else []),
            "Ctrl-C stops everything (a second Ctrl-C at once).",
        ]
    )


def _mode(choice: Choice) -> str:
    if choice.backend is Backend.STACK:
        return "on this machine's Kafka, Cassandra and Druid, not for production"
    return "embedded mode: one process group, not for production"


def _data_lines(home: Home, choice: Choice) -> list[str]:
    if choice.backend is Backend.EMBEDDED:
        return [f"  Data          {home.root} (kept)"]
    return [
        f"  Store         {home.store_url}",
        f"  Servers       keep running after Ctrl-C; to stop: hitmesh stack down --home {choice.stack_home}",
    ]
