"""The command line: each command is a thin layer over the client library.

Standard output carries data, stderr everything else.

A command's module is imported only when the command is called, so that help is fast. The module `exits` maps all errors
to exit codes.
"""
