"""The AWS Query protocol, driven by botocore's service models: bytes to arguments, results and faults to bytes.

No I/O and no clock: the loaded models are handed in. Signatures, authorisation, HTTP and the meaning of an
operation are left to others.
"""
