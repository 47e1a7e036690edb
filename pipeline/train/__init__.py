"""Training: data, sampling, schedule, checkpoints and the one loop."""
