"""How a process runs and is watched: command, tracking, flows, progress, times. Cannot change a byte of a result."""
