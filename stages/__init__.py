"""One file = one stage = one command: reads files, calls the library, writes files."""
