"""Evaluation of a bundle on labelled pictures, from pictures to a report. No torch here, but for run folders.

`sample` chooses the pictures, `contenders` and `run` score them, `tables` makes rows with intervals
(`figures` over `resampling`), `strata`, `flips` and `robustness` look closer, and `files`, `terminal`, `page`
and `plots` show it. docs/evaluation.md says what each figure means.
"""
