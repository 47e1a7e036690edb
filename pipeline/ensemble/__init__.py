"""Members combined: what is fitted on validation (fit.py) and what that is worth (judge.py)."""
