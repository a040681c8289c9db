"""The rules for visits, copies, orders and rollups. Stream and settlement share these rules. All modules here are pure.
"""
