"""The trained ensemble on a user's own pictures and videos. Start at command.py."""
