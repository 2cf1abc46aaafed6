"""Execution of an experiment: the request, its runs, and their status.

May import: all wings except report, figures and claims.
"""
