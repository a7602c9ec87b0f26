"""The one definition of every quantity, its intervals and chance levels: arrays in, arrays out."""
