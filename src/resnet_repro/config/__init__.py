"""What a run trains, as data: networks, recipes, schedules, settings. Does not import torch.

May import: errors, files.
"""
