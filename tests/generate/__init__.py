"""Generated hits with every case that makes visits hard, from a seed; imports only the reference's types.

`facts` has the words (sites, user agents, pages, products), `scenarios` the edge cases of the rules, `hits` the two
generated files, `arrivals` the arrival times, `strategies` small random sets for Hypothesis.
"""
