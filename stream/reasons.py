"""The closed list of reason codes. Each is stable: people filter and alert on it."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a verdict is what it is, or why a record became a dead letter."""

    # Why a picture was flagged.
    ABOVE_SYNTHETIC = "above_synthetic"  # fused score at or above the policy's synthetic threshold
    ABOVE_SUSPICIOUS = "above_suspicious"  # fused score at or above the policy's suspicious threshold
    DETECTORS_DISAGREE = (
        "detectors_disagree"  # its score is low, but the detectors differ by more than allowed
    )
    # Why a picture holds nothing to judge (`not_applicable`).
    TOO_SMALL = "too_small"  # a side is shorter than the smallest side that the views accept
    BLANK = "blank"  # one flat colour
    # Why a picture could not be judged (`unable_to_evaluate`).
    NOT_FOUND = "not_found"  # the object or file does not exist (any more)
    EMPTY_FILE = "empty_file"  # zero bytes
    TOO_MANY_BYTES = "too_many_bytes"  # larger than max_bytes
    TOO_MANY_PIXELS = "too_many_pixels"  # a frame over max_pixels, or all frames together over 20 times it
    TOO_MANY_FRAMES = "too_many_frames"  # more frames than max_frames
    UNSUPPORTED_FORMAT = "unsupported_format"  # not one of the picture formats that we read
    TRUNCATED = "truncated"  # the file ends before the picture does
    CORRUPT = "corrupt"  # the decoder refused the contents
    DECODE_TIMEOUT = "decode_timeout"  # decoding took longer than decode_timeout_s
    DECODER_CRASHED = "decoder_crashed"  # the decoding process died, for example out of memory
    HASH_MISMATCH = "hash_mismatch"  # the bytes do not have the sha256 that the event states
    # Notes on how a picture was judged.
    ANIMATED = "animated"  # several frames were sampled; the highest-scoring one decides
    FACE = "face"  # some detectors looked at the surest face alone, and not at the whole picture
    RECHECKED = "rechecked"  # a JPEG copy was scored, too: the lower score counts, down to the threshold
    # Why a record became a dead letter.
    BAD_JSON = "bad_json"  # not UTF-8 JSON
    UNKNOWN_SCHEMA = "unknown_schema"  # neither pixassay.upload/1 nor an S3 event notification
    INVALID_FIELD = "invalid_field"  # a field is missing or has a value that cannot be right
    URI_NOT_ALLOWED = "uri_not_allowed"  # scheme, bucket or path outside what the settings allow
    ACCESS_DENIED = "access_denied"  # the object store refuses our credentials for this object
    STORE_UNAVAILABLE = "store_unavailable"  # its bucket did not answer for long while others did; replay it
    INTERNAL_ERROR = "internal_error"  # a defect of ours; the detail names it
