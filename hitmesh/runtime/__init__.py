"""The common parts of a service process: settings, clock, logs, life cycle, limits on calls, telemetry."""
