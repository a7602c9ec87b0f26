"""Opened models: loading, components, devices, hooks."""
