"""The reference model: an independent implementation of rules.md, slow and simple, with which the product is compared.

The reference imports nothing from the product, so that both cannot share a misreading of the rules. All code handles
one hit at a time in plain Python, regardless of speed.

`hits` defines a hit, `visits` builds visits, `settled` settles sites and lists each hit's and visit's contribution to a
report, `streamed` counts as the stream does before settlement, `civil` cuts time into buckets, `report` adds up,
`files` reads real access logs and shop exports.
"""
