"""The control service: merchants' sites and keys, and the bookkeeping of a mesh (ledger, drift)."""
