"""Work that was decided as data, and what carries it out."""
