"""A process with a crowd (tests.support.crowds).

The process prints a line when it has started, and the counts as JSON when it reads a line on stdin.
"""

from __future__ import annotations

import json
import sys

from tests.support.crowd_tenants import Tenant
from tests.support.crowds import REPORT, SEND, Crowd


def main(endpoint: str, name: str, key: str, kind: str, calls_s: str, hits: str) -> None:
    """Run until a line arrives on stdin."""
    tenant, count = Tenant(endpoint, name, key), int(hits)
    is_send = kind == "hits"
    message = tenant.batch(count) if is_send else tenant.question()
    crowd = Crowd(tenant, SEND if is_send else REPORT, message, count if is_send else 0, float(calls_s))
    sys.stdout.write('{"started": true}\n')
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(json.dumps(crowd.stop()) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
