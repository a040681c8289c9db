"""The command line: thin shells around the client library. Standard output is for data, everything else goes to stderr.

A command is imported when it is called, so that help costs little; errors become exit codes in one place.
"""
