"""Results that several analyses share, memoized."""
