"""Tokens and words as people read them."""
