"""Measurements of the whole path: every ratio is taken within one run, contestants in turn."""
