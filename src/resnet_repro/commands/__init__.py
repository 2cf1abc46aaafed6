"""The commands of the command line: each takes the parsed options and returns an exit code.

Modules that take long to import are imported where a command needs them.
"""
