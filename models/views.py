"""Picture to view: the only code that turns pixels into what a detector sees. No torch here.

Training, evaluation and serving all call `render`, so that a score never depends on which of
them made the view. Raise `spec.VIEWS_VERSION` with any change of the output.
"""
