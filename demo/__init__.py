"""The synthetic-face demo data: a generator on CC0 MakeHuman data, and its DVC stage."""
