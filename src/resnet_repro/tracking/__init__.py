"""Weights & Biases: copies the runs' curves during training, and later what is missing.

May import: records, config and the modules at the root.
"""
