"""Finds free TCP ports on this machine, and finds the process that holds a busy port."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import psutil

HOST = "127.0.0.1"
TRIES = 200


def is_free(port: int, host: str = HOST) -> bool:
    """Return whether a listener could bind the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def next_free(wanted: int) -> int | None:
    """Return the first free port from `wanted` on; None if the first 200 ports are not free."""
    return next((port for port in range(wanted, min(wanted + TRIES, 65536)) if is_free(port)), None)


def any_free(count: int) -> list[int]:
    """Return distinct free ports that the system chooses."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def listens(pid: int, port: int) -> bool:
    """Return whether a process listens on a port; False for a process that has ended."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    # `laddr` is the pair (host, port).
    return any(found.status == psutil.CONN_LISTEN and found.laddr[1:] == (port,) for found in connections)


def holder(port: int) -> int | None:
    """Return the pid of the process that listens on a port.

    The result is None if the pid is unknown, for example for another user's process.
    """
    try:
        listening = [found for found in psutil.net_connections("tcp") if found.status == psutil.CONN_LISTEN]
    except psutil.AccessDenied:  # outside Linux, only the superuser may list connections
        return None
    # `laddr` is the pair (host, port).
    return next((found.pid for found in listening if found.laddr[1:] == (port,) and found.pid is not None), None)


def taken(port: int) -> str:
    """Return the message about a busy port, with the process that holds the port."""
    pid = holder(port)
    return f"port {port} is taken{f' by process {pid}' if pid else ''}: free the port, or choose another --port"
