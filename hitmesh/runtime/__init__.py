"""What a service process needs to run: settings, clock, logs, life cycle, limits on calls, telemetry."""
