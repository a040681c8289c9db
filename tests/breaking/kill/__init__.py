"""Kill it: nothing that dies, hangs or wakes up again loses a hit or counts one twice (decisions A5 and A6).

What dies, and where it is shown:

- The processor, right after a step of its commit: `test_steps`, once for each of raw, marks, claims, transaction,
  state, partials, chunks and manifest; that the setting behind it kills there: `tests/unit/test_fail_points.py`.
- Processor, collector or both, at random under load: `test_random`.
- A commit that is aborted, or of which nobody knows whether it was done: `test_doubt`.
- One that slept after any of these steps while another one took over: `test_zombies`, in one process and as two.
- What was written of an epoch before its records were redone in other steps: `test_partials`.

After each the ledger is exact, every acknowledged hit counted once, and rows are those of the reference: `checks`.
"""
