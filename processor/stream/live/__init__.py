"""The live stream for one partition (step 5 of the journey, decisions A5, A7 and A8): its state and its steps.

Everything here is a function of the partition's records, read in order. How the records were divided into steps, when,
and how often a process died in between changes neither state nor rows.
"""
