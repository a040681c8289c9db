"""Finding one hit in what is stored, and saying what became of it. Pure."""
