"""Reprocessing: recomputes settled site-days, publishes the results, and rolls back (architecture A9).

`reprocessor` selects a reprocessing and works on it for a short time. `rebuilder` and `moving` define the order in
which effects become durable. `changes`, `sides` and `chain` are pure.
"""
