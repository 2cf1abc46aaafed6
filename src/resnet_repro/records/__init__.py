"""Run folders: files, records, progress, locks, and whether a run can be resumed. Does not import torch.

May import: config and the modules at the root.
"""
