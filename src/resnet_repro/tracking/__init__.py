"""Weights & Biases: curves mirrored while runs train, and uploads later.

May import: records, config and the modules at the root.
"""
