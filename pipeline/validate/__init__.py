"""What is there, beside the official figures, and every fault with its line. Start at validate.py."""
