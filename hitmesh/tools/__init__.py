"""Programs for people that no service imports: the command line, a mesh for development, servers, load, importers."""
