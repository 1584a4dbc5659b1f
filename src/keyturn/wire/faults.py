"""AWS's own errors as values that can be raised.

Here stand the codes that every handler needs, with the HTTP status that AWS documents for each; how a fault is
written on the wire belongs to `answers`. Codes are what clients act on: https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
and the `error` traits of botocore's models.
"""

from __future__ import annotations


class Fault(Exception):  # noqa: N818 - AWS's word: a `senderFault` is not always an error of ours
    """One `<Error>`. `message` None sends no `<Message>` element; `sender` False says that we are to blame."""

    def __init__(self, code: str, message: str | None, *, status: int, sender: bool = True) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status
        self.sender = sender

    def __str__(self) -> str:
        return self.code if self.message is None else f"{self.code}: {self.message}"


# What a request asks for, and may not have.


def no_such_entity(message: str) -> Fault:
    return Fault("NoSuchEntity", message, status=404)


def already_exists(message: str) -> Fault:
    return Fault("EntityAlreadyExists", message, status=409)


def limit_exceeded(message: str) -> Fault:
    return Fault("LimitExceeded", message, status=409)


def delete_conflict(message: str) -> Fault:
    return Fault("DeleteConflict", message, status=409)


def access_denied(message: str) -> Fault:
    return Fault("AccessDenied", message, status=403)


# What a request says.


def invalid_input(message: str) -> Fault:
    return Fault("InvalidInput", message, status=400)


def invalid_parameter_value(message: str) -> Fault:
    """STS's word for what IAM calls InvalidInput."""
    return Fault("InvalidParameterValue", message, status=400)


def malformed_policy_document(message: str) -> Fault:
    return Fault("MalformedPolicyDocument", message, status=400)


def validation_error(message: str) -> Fault:
    return Fault("ValidationError", message, status=400)


# How a request is written.


def invalid_action(action: str, version: str | None) -> Fault:
    """No such operation in this version of the API; AWS says so of a missing version too, by this placeholder."""
    shown = "NO_VERSION_SPECIFIED" if version is None else _shortened(version)
    return Fault(
        "InvalidAction", f"Could not find operation {_shortened(action)} for version {shown}", status=400
    )


def missing_action() -> Fault:
    return Fault("MissingAction", "The request is missing an action.", status=400)


def malformed_query_string(message: str) -> Fault:
    """404 is no slip: IAM's common errors list this one so."""
    return Fault("MalformedQueryString", message, status=404)


def repeated_parameter(name: str) -> Fault:
    return Fault(
        "InvalidQueryParameter", f"The parameter {_shortened(name)} is given more than once.", status=400
    )


def malformed_input(message: str) -> Fault:
    """A parameter of another shape than the model's: a list where a string stands, and the like."""
    return Fault("MalformedInput", message, status=400)


# What is our side's doing. None of these tells more than it must.


def not_implemented(service: str, operation: str) -> Fault:
    return Fault("NotImplemented", f"Keyturn does not offer {service}:{operation}.", status=501, sender=False)


def service_unavailable() -> Fault:
    """Nothing of the request has happened: the client may send it again."""
    message = "The request has failed due to a temporary failure of the server."
    return Fault("ServiceUnavailable", message, status=503, sender=False)


def service_failure() -> Fault:
    """IAM's modelled failure. It says nothing of the cause: that is for our own log."""
    message = "The request processing has failed because of an unknown error, exception or failure."
    return Fault("ServiceFailure", message, status=500, sender=False)


def internal_failure() -> Fault:
    """The same for services whose model declares no failure of its own."""
    message = "The request processing has failed because of an unknown error, exception or failure."
    return Fault("InternalFailure", message, status=500, sender=False)


def _shortened(text: str) -> str:
    """An operation's name is short; what isn't one comes back only so far."""
    return text if len(text) <= 128 else text[:128] + "…"
