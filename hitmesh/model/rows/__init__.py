"""Names, types and order of the columns of stored rows."""
