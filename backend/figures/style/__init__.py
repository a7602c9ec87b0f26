"""Colours, labels and text of every figure."""
