"""Data sets: sources, integrity checks, and batches on the device.

May import: config and the modules at the root.
"""
