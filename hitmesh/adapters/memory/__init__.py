"""Every port as plain dictionaries under a lock: for unit tests, gone with the process."""
