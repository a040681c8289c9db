"""Names, types and order of stored row columns."""
