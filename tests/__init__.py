"""Tests, one directory for each kind; `tests.reference` is the model the fast code is compared with."""
