"""Readers of data files: a table of rows from any format."""
