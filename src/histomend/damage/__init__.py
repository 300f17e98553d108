"""What goes wrong with images, made on purpose, with the exact place of the damage."""
