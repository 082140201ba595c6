"""Checkpoints of other people: read safely, checked by name, turned into detectors of an ensemble."""
