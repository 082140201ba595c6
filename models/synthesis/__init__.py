"""Training pictures: real photographs, shrunk, and the same photographs re-synthesised by generators.

A detector that is trained on a photograph against its own re-synthesis cannot win by content.
"""
