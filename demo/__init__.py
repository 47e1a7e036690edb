"""The demo data: its stage, its params, and the generator of its faces. Start at generator/synthesize.py."""
