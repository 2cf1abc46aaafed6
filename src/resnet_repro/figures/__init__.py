"""Figures of reports, drawn from records.

May import: records, config and the modules at the root.
"""
