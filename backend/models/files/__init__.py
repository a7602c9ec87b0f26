"""Find and read the files of checkpoints, without torch."""
