"""The rules for visits, copies, orders and rollups. Stream and settlement share these pure functions."""
