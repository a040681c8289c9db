"""Limits of Envoy on connections, requests, memory and time.

Each limit is a field of `DoorLimits` with the reason for its value. Envoy's template has a placeholder with the name of
each field. docs/limits.md says what clients see when they meet a limit.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorLimits:
    """Limits of an Envoy process; the defaults are for production. Tests use smaller values of the same limits."""

    # Memory. Envoy and 10,000 idle connections need 150 MiB (docs/decisions/0105). A container needs about 256 MiB more
    # than the heap.
    max_heap_bytes: int = 1 << 30
    # Above this share of the heap, Envoy shortens timeouts step by step, so that idle and slow clients lose their
    # connections first.
    tight_heap: float = 0.7
    # Above this share of the heap, Envoy resets the HTTP/2 streams that hold most memory.
    crowded_heap: float = 0.8
    # Above this share of the heap, new requests get 503 and new connections wait.
    full_heap: float = 0.95
    # Above this share of the heap, Envoy closes a connection that sends data, because the kernel would otherwise kill
    # the process with all its connections.
    exhausted_heap: float = 0.98
    # A client can fill the heap within a second, so the heap is measured ten times a second.
    heap_check_s: float = 0.1
    # To which time reduced timeouts shrink at `full_heap`. A working client pauses for less than 5 s.
    reduced_timeout_s: float = 5
    # Streams with less memory than 2^16 bytes, the size of a connection's buffer, are not worth a reset.
    tracked_stream_power: int = 16
    # Bytes that a connection buffers before Envoy stops reading from the sender. The kernel buffers more data. Envoy's
    # guide for edge proxies recommends 32 KiB. With 64 KiB, relaying large exports and frames of 2 MiB costs no more
    # than with 1 MiB.
    connection_buffer_bytes: int = 64 << 10

    # Connections to the public listener. Idle connections take file descriptors: the limit of open files must be more
    # than twice this number.
    max_connections: int = 10_000
    # Connections to each of the listeners for operators and for metrics and health. The listeners have separate limits,
    # so that operators can work during a flood.
    max_stats_connections: int = 256

    # Requests. An HTTP/2 connection may have 100 open streams, the minimum that RFC 9113 recommends. A gRPC client lets
    # further calls wait. Each stream may hold a body of 2 MiB.
    max_streams: int = 100
    # Requests a second, and in a burst, on one connection. This bucket belongs to the connection, so that a flood takes
    # no requests from other clients. A sender that needs more requests must put more hits into a batch.
    requests_per_s: int = 2_000
    burst_requests: int = 4_000
    # Requests that Envoy takes from a connection before it serves the next connection.
    max_requests_per_cycle: int = 20
    # Filters in a GET path have at most 240,000 bytes (20,000 characters with 4 bytes each, percent-encoded).
    max_headers_kb: int = 256
    # Browsers and gRPC clients send about 20 headers; proxies in front add a few.
    max_headers: int = 100

    # Times. A client that sends its headers in pieces is slow loris or has lost its network.
    headers_timeout_s: float = 10
    # The whole request must arrive, or its response must begin, in this time. 2 MiB in 20 s need 0.8 Mbit/s. StreamHits
    # meets this limit, because the collector answers `open` at once.
    request_timeout_s: float = 20
    # A stream without data in any direction ends. The route of StreamHits has no such timeout, because an edge server
    # may send no hits for a long time.
    stream_idle_timeout_s: float = 300
    # A connection without streams ends. Load balancers expect that servers keep idle connections longer than the load
    # balancers' own limit, which is often 60 s.
    idle_timeout_s: float = 300
    # A client must read the rest of a response, which Envoy buffers, in this time. The timeout of the reporter's route
    # is the same, so that a slow client has the same time for an answer of any size.
    flush_timeout_s: float = 60
    # The time of a call to the reporter, including the time in which the client reads an export.
    report_timeout_s: float = 60

    # HTTP/2. A stream's window is the data that a sender may have in flight: 1 MiB allows 10 MiB/s at a round trip of
    # 100 ms, and a frame of hits has up to 2 MiB.
    stream_window_bytes: int = 1 << 20
    # All streams of a connection together: four streams at full speed.
    connection_window_bytes: int = 4 << 20
    # Frames that wait until the client reads. The largest answer (32 MiB) has 2,048 frames of 16 KiB.
    max_outbound_frames: int = 5_000
    # Answers to pings, settings and resets that wait until the client reads. A client needs a few; a client that resets
    # all its streams at once needs `max_streams`.
    max_outbound_control_frames: int = 200
    # Consecutive frames without payload. No client has a reason to send any.
    max_empty_frames: int = 1
    # PRIORITY frames per stream. Firefox sends about 6 on each connection.
    max_priority_frames: int = 20
    # WINDOW_UPDATE frames per DATA frame that Envoy sends. A client that estimates the bandwidth needs 2.
    max_window_updates: int = 10
    # Rapid reset (CVE-2023-44487): a connection is closed if more than half of this number of streams were reset by the
    # client within `early_reset_s`. Clients that cancel calls, such as a dashboard, reset far fewer streams.
    early_reset_streams: int = 200
    early_reset_s: int = 1

    # Services. The window of a stream to a service. All streams of a connection share the connection's window, which is
    # service_streams * service_window_bytes, so that slow readers can never block another caller.
    service_window_bytes: int = 64 << 10
    # Streams on one connection to a service; further streams get another connection. A reporter runs 160 calls.
    service_streams: int = 128
    # Connections to all instances of a service.
    max_service_connections: int = 1_024
    # Requests that wait for a connection to a service. Connections are local, so a queue means that a service is down.
    max_pending_requests: int = 256
    # Open requests per service. A collector runs 64 calls, a reporter 160, a processor 16 and a control service 64, so
    # these numbers allow 64 collectors, 12 reporters, 64 processors and 16 control services. Each service has its own
    # number, so that a flood of reports takes no place from hits.
    max_collector_requests: int = 4_096
    max_reporter_requests: int = 2_048
    max_processor_requests: int = 1_024
    max_control_requests: int = 1_024
    # A request that reached no service is sent to another instance. Such retries may be at most this percentage of the
    # open requests, so that they cannot double the load of a service that is overloaded.
    retry_percent: int = 20
    # Retries that are allowed at low load, where the percentage would allow none.
    min_retries: int = 3

    # Sizes. A unary call's body, after decompression.
    max_body_bytes: int = 2 << 20
    # A transcoded answer in JSON. A report has at most 3 MiB of protobuf, which become at most 19 MiB of JSON. Exports
    # are streams, to which this limit does not apply.
    max_answer_bytes: int = 32 << 20

    def placeholders(self) -> dict[str, int | float]:
        """Return the values for the template, keyed by placeholder."""
        return {
            **dataclasses.asdict(self),
            "service_connection_window_bytes": self.service_streams * self.service_window_bytes,
            "max_all_connections": self.max_connections + 2 * self.max_stats_connections,
        }


PRODUCTION = DoorLimits()
