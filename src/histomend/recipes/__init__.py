"""Recipes: what makes each published system its own."""
