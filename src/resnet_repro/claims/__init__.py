"""Claims of the sources, and the statistics that judge them.

May import: errors.
"""
