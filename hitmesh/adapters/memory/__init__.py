"""In-memory adapters for unit tests: dictionaries under a lock. All data is lost when the process ends."""
