"""Trained networks for others: score weights on a data set, pick those to share, export them.

May import: all wings below study and report.
"""
