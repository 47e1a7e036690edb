"""The ABAW challenge: official formats, metrics and rules, and the packing of official releases."""
