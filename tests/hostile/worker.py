"""`pixassay worker`, but its decoding processes do to themselves what a file of faults asks for."""

import functools

import stream.parts
from stream.cli import main
from stream.decode_pool import DecodePool

if __name__ == "__main__":
    faulty = functools.partial(DecodePool, program="tests.unit.decoder_faults")
    stream.parts.DecodePool = faulty  # type: ignore[attr-defined, assignment]
    main(["worker"])
