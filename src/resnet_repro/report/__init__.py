"""Reports of experiments, written from records alone.

May import: design, figures, claims, records, config.
"""
