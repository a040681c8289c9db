"""The reporter's RPCs, each in a separate file: check the request, read the stores and build the response."""
