"""The control service: manages merchants' sites and keys, accounts for hits, and plans reprocessings."""
