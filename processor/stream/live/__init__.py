"""The live stream for one partition (journey step 5, architecture A5, A7 and A8): its state and its steps.

The state and the net sum of the emitted rows depend only on the partition's records, in log order. State and rows do
not depend on how the records were divided into steps, when the steps ran, or how often a process died in between.
"""
