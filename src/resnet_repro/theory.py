"""Predictions of theory that measurements are compared with."""

from __future__ import annotations

import math

MEAN_FIELD_GROWTH = math.sqrt(math.pi / (math.pi - 1))
"""Growth of gradient norms per layer towards the input in wide nets of random layers, batch normalization and ReLU: 1.211.

A layer x → relu(BN(W x)) multiplies the mean square of a gradient by ½ (ReLU passes half of it) and by |W|² over the
variance that batch normalization divides by. That variance is |W|² times the centred second moment of a rectified standard
normal, ½ - 1/(2π). The quotient is π/(π - 1). G. Yang et al., *A Mean Field Theory of Batch Normalization*, 2019, derive the
growth for many activations, and show that no variance of the initial weights changes it.
"""
