"""The control service: manages merchants' sites and keys, and accounts for hits (ledger, drift)."""
