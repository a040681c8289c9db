"""The live stream of one partition (step 5 of the journey, decisions A5, A7 and A8): its state, and what a step says.

Everything here is a function of the records of a partition, read in order: how they were cut into steps, when, and how
often a process died in between changes neither state nor rows.
"""
