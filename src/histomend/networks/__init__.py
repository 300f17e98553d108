"""Networks of the papers, and smaller ones of the same kind."""
