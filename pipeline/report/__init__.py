"""The page that shows what came out. Start at content.py."""
