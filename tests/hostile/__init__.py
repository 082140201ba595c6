"""Hostile files through the whole service: `python -m tests.hostile`, and a short run in the tests."""
