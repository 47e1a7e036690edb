"""One file a system: its settings, its network built from them, its batches. Start at vit.py, the plainest."""
