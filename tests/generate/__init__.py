"""Made-up hits with everything in them that makes visits hard, from a seed; imports only the reference's
types.

`facts` are the words (sites, user agents, pages, products), `scenarios` the cases at the edges of the rules,
`hits` the two generated files, `arrivals` when they come, `strategies` small random sets for Hypothesis.
"""
