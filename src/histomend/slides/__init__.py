"""Where pixels come from and where they go, whatever holds them."""
