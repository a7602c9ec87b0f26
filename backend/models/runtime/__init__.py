"""Load models and run them: components, devices, hooks."""
