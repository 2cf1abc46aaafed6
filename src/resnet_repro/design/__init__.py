"""Declarations of experiments: arms, profiles, claims, figures, budgets, and the files that define them.

May import: config, claims, figures, and the names of data sets.
"""
