"""The live stream of one partition (journey step 5, architecture A5, A7, A8): its state, and steps that change it.

The state and the net sum of the emitted rows depend only on the partition's records in log order. The state and the net
sum do not depend on how the records were divided into steps, when the steps ran, or how often a process died.
"""
