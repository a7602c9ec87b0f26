"""Memoized results, on disk and in memory, and the background jobs that compute them."""
