"""The common parts of service processes: settings, clock, logs, life cycle, call limits, errors, telemetry."""
