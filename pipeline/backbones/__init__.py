"""Networks that give features: built from params, filled with weights, run over crops. Start at build.py."""
