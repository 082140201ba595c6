"""The study of docs/detectors.md: leave one generator family out. `python -m models.study`, `make study`.

plan -> pictures (vae) -> features -> cells (fitting, variants, probes) -> results -> page
"""
