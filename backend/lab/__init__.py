"""The ports that analyses use to measure models, and the results. No torch."""
