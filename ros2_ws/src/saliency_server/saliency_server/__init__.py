"""Annotates recorded episodes with what matters in them."""
