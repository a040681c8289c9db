"""The rules of visits, copies, orders and rollups, shared by stream and settlement. Pure."""
