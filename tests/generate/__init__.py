"""Hits generated from a seed, with all difficult cases of the visit rules; imports only the reference's types.

`facts` has the words (sites, user agents, pages, products), `scenarios` the edge cases of the rules, `hits` the two
generated files, `arrivals` the arrival times, `strategies` small random sets for Hypothesis.
"""
