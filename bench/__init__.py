"""Speed against named peers, ablations, and the demo over seeds. Run by make, never by a stage."""
