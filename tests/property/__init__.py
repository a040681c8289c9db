"""Property tests of the rules in docs/rules.md, for random hits in random order."""
