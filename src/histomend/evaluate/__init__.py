"""How good is a restoration: measures, tables, and the experiment that fills them."""
