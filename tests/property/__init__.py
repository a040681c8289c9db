"""Properties of the rules, for any hits in any order (docs/rules.md)."""
