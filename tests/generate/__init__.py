"""Generate hits from a seed, with all difficult cases of the visit rules.

This package imports only the reference's types. `facts` lists values such as sites, user agents, pages and products.
`scenarios` lists the edge cases of the rules. `hits` generates two files of hits. `arrivals` chooses the time at which
each hit arrives. `strategies` draws small random sets of hits for Hypothesis.
"""
