"""Test crashes, hangs and zombie processes: no hit may be lost or counted twice (decisions A5 and A6).

The tests cover these failures:

- `test_steps`: the processor dies right after a step of its commit. Each run kills the processor after a different
  step: raw, marks, claims, transaction, state, partials, chunks or manifest. `tests/unit/test_fail_points.py` shows
  that the setting FAIL_AT kills the process at the named step.
- `test_random`: processor, collector or both die at random under load.
- `test_doubt`: a commit is aborted, or its outcome is unknown.
- `test_zombies`: a processor is suspended after a step of its commit, and another processor takes over. Both processors
may run in a single operating-system process, or in two.
- `test_partials`: a run writes partials and crashes. After the crash, a new run divides the epoch's records into other
  steps.

After each failure, `tests/support/kill_checks.py` checks three facts: the ledger is exact, every acknowledged hit is
counted once, and the rows equal the rows of the reference.
"""
