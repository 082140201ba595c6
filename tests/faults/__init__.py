"""Campaigns of faults: workers killed, services taken away, while uploads stream. Nothing may be lost."""
