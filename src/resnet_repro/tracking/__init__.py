"""Weights & Biases: mirrors the runs' curves during training and uploads offline recordings.

May import: records, config and the modules at the root.
"""
