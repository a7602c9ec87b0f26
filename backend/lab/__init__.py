"""What an analysis may ask for, and what comes back. No torch."""
