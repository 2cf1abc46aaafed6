"""What a run trains, as data: networks, recipes, schedules, settings. No torch.

May import: errors, files.
"""
