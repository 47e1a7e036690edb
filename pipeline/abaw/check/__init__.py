"""Is a submission byte-conformant with its template? Start at check.py."""
