"""An official release on disk: loose, archived or packed. Start at discover.py."""
