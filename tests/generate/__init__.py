"""Generate hits from a seed, with all difficult cases of the visit rules. Imports only the reference's types.

`facts` lists values such as sites, user agents, pages and products. `scenarios` lists the edge cases of the rules.
`hits` generates two files, and `arrivals` the times at which their hits arrive. `strategies` draws small random sets of
hits for Hypothesis.
"""
