"""An experiment carried out: what was asked for, the runs that follow, and how they stand.

May import: all wings but report, figures and claims.
"""
