"""Signature Version 4, header and query form: sign, verify, and say in AWS's words why not.

Pure mechanics: no I/O, no clock, no database. The time and the keys are handed in; who the key's holder is
and what they may do is left to others.
"""

from keyturn.sigv4.authorization import Form
from keyturn.sigv4.canonical_request import SignedRequest, query_parameters
from keyturn.sigv4.refusals import Refusal
from keyturn.sigv4.rules import IAM, S3, STS, PathStyle, PayloadRule, QueryExpiry, ServiceRules
from keyturn.sigv4.signature import sign_request
from keyturn.sigv4.verification import KeyRecord, SigningKey, Verified, Verifier

__all__ = [
    "IAM",
    "S3",
    "STS",
    "Form",
    "KeyRecord",
    "PathStyle",
    "PayloadRule",
    "QueryExpiry",
    "Refusal",
    "ServiceRules",
    "SignedRequest",
    "SigningKey",
    "Verified",
    "Verifier",
    "query_parameters",
    "sign_request",
]
