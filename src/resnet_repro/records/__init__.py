"""The folder of a run: its files, its record, its state, and who may continue it. No torch.

May import: config and the modules at the root.
"""
