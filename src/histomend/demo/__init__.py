"""The demonstration: damage real tissue, find the damage, restore it, and show what came of it."""
