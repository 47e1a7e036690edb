"""The challenge: tracks, names, official files, metrics, rules. Start at tracks.py."""
