"""In-memory adapters: every port as dictionaries under a lock, for unit tests; all data is lost at process end."""
