"""Measurements on networks: scores, costs, gradients, representations.

May import models, data, config and the modules at the root.
"""
