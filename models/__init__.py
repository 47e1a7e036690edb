"""Torch code only: networks, losses, systems. No files, no DVC, no MLflow."""
