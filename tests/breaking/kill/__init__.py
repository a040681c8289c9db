"""Test crashes, hangs and zombie processes: no hit may be lost or counted twice (decisions A5 and A6).

The tests cover these failures:

- `test_steps`: the processor dies right after a step of its commit, once for each of the steps raw, marks, claims,
  transaction, state, partials, chunks and manifest. `tests/unit/test_fail_points.py` shows that the setting FAIL_AT
  kills the process at the named step.
- `test_random`: processor, collector or both die at random under load.
- `test_doubt`: a commit is aborted, or its outcome is unknown.
- `test_zombies`: a processor is suspended after any of the steps above, and another processor takes over, either in the
  same process or in a second process.
- `test_partials`: a redo groups an epoch's records differently than the run that wrote partials before the crash.

After each failure, `tests/support/kill_checks.py` checks that the ledger is exact, every acknowledged hit is counted
once, and the rows equal those of the reference.
"""
