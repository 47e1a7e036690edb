"""The report: one self-contained page of what was learnt and how well."""
