"""Access control: which caller may read or change which site."""
