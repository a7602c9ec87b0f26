"""Readable tokens, word groups, neutral texts and escaped markdown."""
