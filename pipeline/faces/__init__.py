"""From frames and pictures to aligned crops. Start at extract.py."""
