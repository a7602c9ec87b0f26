"""Memoized results that several analyses share."""
