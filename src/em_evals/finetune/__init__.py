"""Fine-tunes: from a recipe to a training file, a job, and a checkpoint that can be probed.

Knows nothing of the families that probe what it makes, and they nothing of it.
"""
