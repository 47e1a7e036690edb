"""CC0 faces rendered with known expression, action units, valence and arousal. Start at synthesize.py."""
