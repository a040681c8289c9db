"""Steps 4 to 6 and S of the journey: the log becomes raw records, and raw records become settled rows.

`intake` and `runner` store what the log holds and mark the site-days it changes; `settler` recomputes those from
raw through the pure functions of `duplicates`, `visits`, `orders`, `rollups` and `settlement`, and publishes them.
"""
