"""Coverage-guided fuzzing of what reads the bytes of strangers: the event parser and the decoder."""
