"""Programs for people: the command line, the development mesh, the storage servers, the load test and the importers."""
