"""Data sets: found, checked, and served as batches on the device.

May import: config and the modules at the root.
"""
