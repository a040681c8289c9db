"""Tests, in one directory per kind of test. `tests.reference` is the model with which the product is compared."""
