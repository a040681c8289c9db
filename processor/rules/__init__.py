"""The rules for visits, copies, orders and rollups, which stream and settlement share. Pure."""
