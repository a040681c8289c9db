"""The command line: each command is a thin layer over the client library.

Data is printed to standard output, and all other text to standard error.

A command's module is imported only when the command is called, so that help is fast. The module `exits` maps all errors
to exit codes.
"""
