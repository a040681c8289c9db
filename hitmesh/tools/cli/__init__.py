"""The command line: thin shells around the client library. Standard output carries data, stderr everything else.

A command is imported on call, so that help is fast; `exits` maps all errors to exit codes.
"""
