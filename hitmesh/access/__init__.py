"""Access control: which callers may send, read or change which sites."""
