"""The reference model: an independent, slow and simple implementation of rules.md.

Tests compare the product with this model. The reference imports nothing from the product, so that reference and product
cannot share a misreading of the rules. All code is plain Python and handles one hit at a time, however slow that is.

`hits` defines a hit, and `visits` builds visits. `settled` settles sites, and lists the contribution of each hit and
visit to a report. `streamed` counts hits in the same way as the stream, that is, before settlement. `civil` divides
time into buckets, and `report` adds up the contributions. `files` reads real access logs and shop exports.
"""
