"""One run, from its settings to its record.

May import diagnostics, models, data, records and config; never launch, study, report or figures.
"""
