"""Programs that people start and no service imports: command line, development mesh, servers, load test, importers."""
