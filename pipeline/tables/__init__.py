"""Rows: the manifest, how tables meet by video and frame, what scores become. Start at manifest.py."""
