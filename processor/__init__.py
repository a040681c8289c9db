"""The processor turns the log into live rows, and later into settled rows.

Steps 4 to 6 of a hit's journey make live rows, and settlement makes settled rows.

The modules in `stream` store the log's records as raw records and emit live rows. The modules in `stream` also mark the
site-days that must be settled. The modules in `settle` recompute the marked site-days from raw records and publish the
results. The modules in `stream` and `settle` use the pure functions in `rules`.
"""
