"""Crashes, hangs and zombies: no hit is lost or counted twice (decisions A5 and A6).

Failures and their tests:

- The processor dies right after a step of its commit: `test_steps`, once for each of raw, marks, claims, transaction,
  state, partials, chunks and manifest. `tests/unit/test_fail_points.py` shows that the setting kills at that step.
- Processor, collector or both die at random under load: `test_random`.
- A commit is aborted, or its outcome is unknown: `test_doubt`.
- A processor sleeps after any of these steps while another takes over: `test_zombies`, in one process and as two.
- A redo cuts an epoch's records into other steps than the partials written before the crash: `test_partials`.

After each failure the ledger is exact, every acknowledged hit is counted once, and rows equal the reference: `checks`.
"""
