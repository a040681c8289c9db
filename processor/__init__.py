"""The processor (steps 4 to 6 and S of the journey): turn the log into raw records, and raw records into settled rows.

`intake` and `runner` store the log's records and mark the site-days that change. `settler` recomputes those days from
raw through the pure functions in `copies`, `visits`, `orders`, `rollups` and `settlement`, and publishes the results.
"""
