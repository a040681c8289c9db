"""The reference: the rules of rules.md once more, slow and obvious, to check the product against.

It imports nothing of the product, so that a misreading of the rules cannot be shared by both. Everything
works on one hit at a time in plain Python; speed is no aim.

`hits` says what a hit is, `visits` builds visits, `settled` settles sites and lists what each hit and visit
adds to a report, `streamed` says what the stream counts before that, `civil` cuts time into buckets, `report`
adds up, `files` reads real access logs and shop exports.
"""
