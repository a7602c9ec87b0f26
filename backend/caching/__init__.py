"""Cached results on disk and in memory, and background jobs that compute them."""
