"""One file per measurement of an opened model."""
