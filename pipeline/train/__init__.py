"""Training: data, views, optimiser, checkpoints and the one loop. Start at fit.py."""
