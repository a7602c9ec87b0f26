"""Readers of data files: one table of rows from any format."""
