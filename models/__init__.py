"""The detectors: networks, training, evaluation, and the bundle contract that serving reads.

Serving imports only `spec`, `views` and `bundle`, none of which needs torch.
"""
