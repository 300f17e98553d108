"""From methods, images and measures to a table: cases, rows, judges, a store, statistics."""
