"""Experiments as they are declared: arms, profiles, claims, figures; their budgets; where their files are.

May import: config, claims, figures, and the names of data sets.
"""
