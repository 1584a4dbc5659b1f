"""What AWS says of requests that its models do not allow. Texts as recorded from AWS in February 2026, or as said."""

from __future__ import annotations

import time

import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape

from keyturn.model.secrets import Secret
from keyturn.wire.constraints import SHOWN_LIMIT, java_pattern
from wire.service_models import SERVICES, corners, decode, refusal, refused, service_model

USER = ("UserName", "ci-deploy-bot")
KEY = ("AccessKeyId", "AKIAIOSFODNN7EXAMPLE")
ROLE_ARN = ("RoleArn", "arn:aws:iam::111111111111:role/a")
POLICY_ARN = ("PolicyArn", "arn:aws:iam::111111111111:policy/a")
TAG_PATTERN = r"[\p{L}\p{Z}\p{N}_.:/=+\-@]+"


def tags(*pairs: tuple[str, str]) -> list[tuple[str, str]]:
    return [
        (f"Tags.member.{number}.{part}", text)
        for number, pair in enumerate(pairs, start=1)
        for part, text in zip(("Key", "Value"), pair, strict=True)
    ]


RECORDED = {
    "enum": (
        ("iam", "UpdateAccessKey", USER, KEY, ("Status", "active")),
        (
            "1 validation error detected: Value at 'status' failed to satisfy constraint: "
            "Member must satisfy enum value set"
        ),
    ),
    "pattern": (
        ("iam", "DeletePolicyVersion", POLICY_ARN, ("VersionId", "x")),
        (
            "1 validation error detected: Value at 'versionId' failed to satisfy constraint: "
            r"Member must satisfy regular expression pattern: v[1-9][0-9]*(\.[A-Za-z0-9-]*)?"
        ),
    ),
    "maximal length": (
        ("iam", "CreateUser", USER, ("Path", "/" + "a" * 511 + "/")),
        (
            "1 validation error detected: Value at 'path' failed to satisfy constraint: "
            "Member must have length less than or equal to 512"
        ),
    ),
    "numbers, in the order of a Java HashMap": (
        (
            "iam",
            "UpdateAccountPasswordPolicy",
            ("MinimumPasswordLength", "129"),
            ("MaxPasswordAge", "1096"),
            ("PasswordReusePrevention", "25"),
        ),
        (
            "3 validation errors detected: "
            "Value at 'minimumPasswordLength' failed to satisfy constraint: "
            "Member must have value less than or equal to 128; "
            "Value at 'passwordReusePrevention' failed to satisfy constraint: "
            "Member must have value less than or equal to 24; "
            "Value at 'maxPasswordAge' failed to satisfy constraint: "
            "Member must have value less than or equal to 1095"
        ),
    ),
    "members of lists without a pattern": (
        (
            "iam",
            "CreateOpenIDConnectProvider",
            ("Url", "https://" + "a" * 248),
            ("ClientIDList.member.1", "a" * 256),
            ("ThumbprintList.member.1", "b" * 39),
        ),
        (
            "3 validation errors detected: "
            "Value at 'clientIDList' failed to satisfy constraint: Member must satisfy constraint: "
            "[Member must have length less than or equal to 255, Member must have length greater than or equal to 1]; "
            "Value at 'thumbprintList' failed to satisfy constraint: Member must satisfy constraint: "
            "[Member must have length less than or equal to 40, Member must have length greater than or equal to 40]; "
            "Value at 'url' failed to satisfy constraint: Member must have length less than or equal to 255"
        ),
    ),
    "members of a list with a pattern": (
        ("iam", "UntagPolicy", POLICY_ARN, ("TagKeys.member.1", "a" * 129)),
        (
            "1 validation error detected: Value at 'tagKeys' failed to satisfy constraint: "
            "Member must satisfy constraint: [Member must have length less than or equal to 128, "
            "Member must have length greater than or equal to 1, "
            f"Member must satisfy regular expression pattern: {TAG_PATTERN}, Member must not be null]"
        ),
    ),
    "too many members": (
        ("iam", "UntagPolicy", POLICY_ARN, *[(f"TagKeys.member.{n}", f"k{n}") for n in range(1, 52)]),
        (
            "1 validation error detected: Value at 'tagKeys' failed to satisfy constraint: "
            "Member must have length less than or equal to 50"
        ),
    ),
    "too many structures": (
        ("iam", "TagPolicy", POLICY_ARN, *tags(*[(f"k{n}", "v") for n in range(51)])),
        (
            "1 validation error detected: Value at 'tags' failed to satisfy constraint: "
            "Member must have length less than or equal to 50"
        ),
    ),
    "a long tag key": (
        ("iam", "TagPolicy", POLICY_ARN, *tags(("a" * 129, "v"))),
        (
            "1 validation error detected: Value at 'tags.1.member.key' failed to satisfy constraint: "
            "Member must have length less than or equal to 128"
        ),
    ),
    "a long tag value": (
        ("iam", "TagPolicy", POLICY_ARN, *tags(("k", "a" * 257))),
        (
            "1 validation error detected: Value at 'tags.1.member.value' failed to satisfy constraint: "
            "Member must have length less than or equal to 256"
        ),
    ),
    "a strange tag key": (
        ("iam", "TagPolicy", POLICY_ARN, *tags(("k!", "v"))),
        (
            "1 validation error detected: Value at 'tags.1.member.key' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {TAG_PATTERN}"
        ),
    ),
    "STS shows the value": (
        ("sts", "AssumeRole", ROLE_ARN, ("RoleSessionName", "Session1:2")),
        (
            "1 validation error detected: Value 'Session1:2' at 'roleSessionName' failed to satisfy constraint: "
            r"Member must satisfy regular expression pattern: [\w+=,.@-]*"
        ),
    ),
    "STS shows a long value": (
        ("sts", "AssumeRole", ROLE_ARN, ("RoleSessionName", "s" * 65)),
        (
            f"1 validation error detected: Value '{'s' * 65}' at 'roleSessionName' failed to satisfy constraint: "
            "Member must have length less than or equal to 64"
        ),
    ),
    # Seen in public reports of AWS's answers: mmmorris1975/aws-runas#80, fog/fog-aws#550.
    "STS, two faults of one value": (
        ("sts", "AssumeRole", ("RoleArn", ""), ("RoleSessionName", "ab")),
        (
            "2 validation errors detected: Value '' at 'roleArn' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: "
            r"[\u0009\u000A\u000D\u0020-\u007E\u0085\u00A0-\uD7FF\uE000-\uFFFD\u10000-\u10FFFF]+; "
            "Value '' at 'roleArn' failed to satisfy constraint: "
            "Member must have length greater than or equal to 20"
        ),
    ),
    "STS, something missing": (
        ("sts", "AssumeRole", ("RoleSessionName", "ab")),
        (
            "1 validation error detected: Value null at 'roleArn' failed to satisfy constraint: "
            "Member must not be null"
        ),
    ),
    "IAM, something missing": (
        (
            "iam",
            "UpdateOpenIDConnectProviderThumbprint",
            ("OpenIDConnectProviderArn", "arn:aws:iam::1:oidc/a"),
        ),
        (
            "1 validation error detected: Value at 'thumbprintList' failed to satisfy constraint: "
            "Member must not be null"
        ),
    ),
}


@pytest.mark.parametrize("case", RECORDED)
def test_a_refusal_reads_as_aws_wrote_it(case: str) -> None:
    (service, operation, *params), message = RECORDED[case]
    assert isinstance(service, str)
    assert isinstance(operation, str)
    fault = refusal(service, operation, *(each for each in params if isinstance(each, tuple)))
    assert (fault.code, fault.status, fault.sender, fault.message) == ("ValidationError", 400, True, message)


def test_all_that_is_missing_is_told_at_once() -> None:
    fault = refusal("iam", "UpdateAccessKey")
    assert fault.message is not None
    assert fault.message.startswith("2 validation errors detected: ")
    assert "Value at 'accessKeyId' failed to satisfy constraint: Member must not be null" in fault.message
    assert "Value at 'status' failed to satisfy constraint: Member must not be null" in fault.message


def test_a_missing_part_of_a_structure_is_named_by_its_place() -> None:
    fault = refusal("iam", "TagUser", USER, *tags(("a", "b")), ("Tags.member.2.Key", "c"))
    assert fault.message == (
        "1 validation error detected: Value at 'tags.2.member.value' failed to satisfy constraint: "
        "Member must not be null"
    )


def test_sts_shows_a_list_as_java_prints_it() -> None:
    fault = refusal(
        "sts",
        "AssumeRole",
        ROLE_ARN,
        ("RoleSessionName", "ab"),
        ("TransitiveTagKeys.member.1", "a"),
        ("TransitiveTagKeys.member.2", "b!"),
    )
    assert fault.message is not None
    assert fault.message.startswith(
        "1 validation error detected: Value '[a, b!]' at 'transitiveTagKeys' failed to satisfy constraint: "
        "Member must satisfy constraint: [Member must have length less than or equal to 128, "
    )


def test_what_the_model_calls_sensitive_is_shown_by_no_service() -> None:
    accepted = decode(
        "sts", "AssumeRoleWithSAML", ROLE_ARN, ("PrincipalArn", "a" * 20), ("SAMLAssertion", "hush")
    )
    assert accepted["saml_assertion"] == Secret(b"hush")
    too_short = refusal(
        "sts", "AssumeRoleWithSAML", ROLE_ARN, ("PrincipalArn", "a" * 20), ("SAMLAssertion", "hus")
    )
    assert too_short.message == (
        "1 validation error detected: Value at 'sAMLAssertion' failed to satisfy constraint: "
        "Member must have length greater than or equal to 4"
    )


def test_a_value_that_is_shown_is_cut_where_no_policy_is_so_long() -> None:
    fault = refusal("sts", "AssumeRole", ROLE_ARN, ("RoleSessionName", "s" * 100_000))
    assert fault.message is not None
    assert len(fault.message) < SHOWN_LIMIT + 300


@pytest.mark.parametrize(
    ("text", "is_accepted"),
    [("1", True), ("1000", True), ("0", False), ("1001", False), ("-1", False), ("", False), ("ten", False),
     ("1.0", False), ("1e2", False), ("+5", False), (" 5", False), ("5\n", False), ("٣", False), ("1_0", False),
     ("9" * 5000, False), ("2147483648", False)],
)  # fmt: skip
def test_a_whole_number_is_digits_within_its_bounds(text: str, *, is_accepted: bool) -> None:
    if is_accepted:
        assert decode("iam", "ListUsers", ("MaxItems", text)) == {"max_items": int(text)}
    else:
        fault = refusal("iam", "ListUsers", ("MaxItems", text))
        assert fault.message is not None
        assert fault.message.startswith("1 validation error detected: Value at 'maxItems' failed to satisfy")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("True", True),
        ("false", False),
        ("FALSE", False),
        ("yes", None),
        ("1", None),
        ("", None),
    ],
)
def test_a_boolean_is_true_or_false(text: str, *, value: bool | None) -> None:
    if value is None:
        assert refusal("iam", "ListPolicies", ("OnlyAttached", text)).code == "ValidationError"
    else:
        assert decode("iam", "ListPolicies", ("OnlyAttached", text)) == {"only_attached": value}


@pytest.mark.parametrize("text", ["", "2026", "2026-02-30T00:00:00Z", "2026-02-11T10:40:38", "1" * 10_000])
def test_a_time_is_iso_8601_with_its_zone(text: str) -> None:
    assert refused(corners(), "Turn", [("At", text)]).message == (
        "1 validation error detected: "
        f"Value '{text}' at 'at' failed to satisfy constraint: Member must be an ISO 8601 time"
    )


def test_a_time_may_stand_in_any_zone() -> None:
    turn = corners().operations["Turn"]
    assert turn.decode([("At", "2026-02-11T11:40:38+01:00")]) == {"at": 1770806438000}
    assert turn.decode([("At", "1969-12-31T23:59:59.999999999Z")]) == {"at": -1}


@pytest.mark.parametrize("text", ["!", "YQ", "YQ=", "Y Q==", "é"])
def test_a_blob_is_base64(text: str) -> None:
    assert refused(corners(), "Turn", [("Content", text)]).message == (
        "1 validation error detected: "
        f"Value '{text}' at 'content' failed to satisfy constraint: Member must be base64"
    )


def test_the_length_of_a_blob_is_that_of_its_bytes() -> None:
    turn = corners().operations["Turn"]
    assert turn.decode([("Content", "MTIzNDU2Nzg=")]) == {"content": b"12345678"}
    fault = refused(corners(), "Turn", [("Content", "MTIzNDU2Nzg5")])
    assert fault.message is not None
    assert fault.message.endswith("Member must have length less than or equal to 8")


@pytest.mark.parametrize("text", ["", "nan", "inf", "1e", "0x1", "1" * 65])
def test_a_number_is_a_finite_decimal(text: str) -> None:
    assert refused(corners(), "Turn", [("Ratio", text)]).code == "ValidationError"


def test_a_maps_keys_values_and_size_are_checked() -> None:
    entries = [
        (f"Pairs.entry.{number}.{part}", text)
        for number, pair in enumerate([("long", "1"), ("b", "10"), ("c", "2")], start=1)
        for part, text in zip(("key", "value"), pair, strict=True)
    ]
    fault = refused(corners(), "Turn", entries)
    assert fault.message == (
        "3 validation errors detected: "
        "Value at 'pairs' failed to satisfy constraint: Member must have length less than or equal to 2; "
        "Value at 'pairs' failed to satisfy constraint: Map keys must satisfy constraint: "
        "[Member must have length less than or equal to 3]; "
        "Value at 'pairs' failed to satisfy constraint: Map value must satisfy constraint: "
        "[Member must have value less than or equal to 9, Member must be a whole number of 32 bits]"
    )


# Sentences of IAM's own, where it does not recite the pattern.

NAME_INVALID = (
    "The specified value for userName is invalid. "
    "It must contain only alphanumeric characters and/or the following: +=,.@_-"
)


@pytest.mark.parametrize("path", ["a/", "/a", "/a b/", "//"])
def test_a_path_begins_and_ends_with_a_slash(path: str) -> None:
    fault = refusal("iam", "CreateUser", USER, ("Path", path))
    assert fault.code == "ValidationError"
    assert fault.message == (
        "The specified value for path is invalid. "
        "It must begin and end with / and contain only alphanumeric characters and/or / characters."
    )


def test_a_path_prefix_begins_with_a_slash() -> None:
    fault = refusal("iam", "ListPolicies", ("PathPrefix", "/foo"))
    assert fault.message == (
        "The specified value for pathPrefix is invalid. "
        "It must begin with the / character and contain only alphanumeric characters and/or / characters."
    )


def test_the_id_of_a_key_is_alphanumeric() -> None:
    fault = refusal("iam", "DeleteAccessKey", ("AccessKeyId", "AKIA-IOSFODNN7EXAMPLE"))
    assert fault.message == (
        "The specified value for accessKeyId is invalid. It must contain only alphanumeric characters."
    )


def test_such_a_sentence_stands_alone_and_behind_the_models_constraints() -> None:
    both = refusal("iam", "CreateUser", ("UserName", "a b"), ("Path", "a")).message
    assert both is not None
    assert both.count("The specified value for ") == 1
    assert refusal("iam", "UpdateUser", ("UserName", "a b"), ("NewUserName", "")).message == (
        "1 validation error detected: Value at 'newUserName' failed to satisfy constraint: "
        "Member must have length greater than or equal to 1"
    )


# Patterns.


@pytest.mark.parametrize(
    "text", ["schlüssel", "鍵", "١٢٣", "a b", "a\u00a0b\u2003c", "team:a/b=c+d-e@f.g_h", "ǅ", "Ⅷ"]
)
def test_letters_digits_and_separators_of_every_script_may_stand_in_a_tag(text: str) -> None:
    assert decode("iam", "TagUser", USER, *tags((text, text)))["tags"] == [{"Key": text, "Value": text}]


@pytest.mark.parametrize("text", ["a!", "😀", "a\tb", "a\n", "e\u0301", "„", "\x7f", "\u200b", "€"])
def test_nothing_else_may_stand_in_a_tag(text: str) -> None:
    fault = refusal("iam", "TagUser", USER, *tags((text, "")))
    assert fault.message is not None
    assert fault.message.endswith(TAG_PATTERN)


@pytest.mark.parametrize("name", ["a\n", "é", "a b", "a/b", "\na", "٣"])
def test_a_pattern_covers_the_whole_value_and_its_words_are_ascii(name: str) -> None:
    assert refusal("iam", "CreateUser", ("UserName", name)).message == NAME_INVALID


@pytest.mark.parametrize(
    "pattern", [r"[\p{L}é]", r"[^\p{L}]", r"\P{L}", r"[\p{L}\W]", r"\p{Lu}", r"[\p{L}\u00e9]"]
)
def test_a_pattern_that_the_shadow_would_change_is_refused_when_the_model_is_read(pattern: str) -> None:
    with pytest.raises(NotImplementedError, match="no translation"):
        java_pattern(pattern)


def patterns(shape: Shape, met: set[str]) -> set[str]:
    """All patterns at and below a shape."""
    found = {shape.metadata["pattern"]} if "pattern" in shape.metadata else set()
    inner: list[Shape] = []
    match shape:
        case StructureShape() if shape.name not in met:
            met.add(shape.name)
            inner = list(shape.members.values())
        case ListShape():
            inner = [shape.member]
        case MapShape():
            inner = [shape.key, shape.value]
    return found.union(*(patterns(each, met) for each in inner))


def all_input_patterns() -> list[str]:
    met: set[str] = set()
    found: set[str] = set()
    for service in SERVICES:
        model = service_model(service)
        for name in model.operation_names:
            shape = model.operation_model(name).input_shape
            found |= set() if shape is None else patterns(shape, met)
    return sorted(found)


HOSTILE = [
    start + pump * (50_000 // len(pump)) + "\x01"
    for pump in ["a", "A", "0", "/", "-", "_", ".", " ", "é", "/a", "a/", "-a", "?a", "#a", "//a", "v1."]
    for start in ["", "/", "a", "v1", "v1.", "o-0123456789/r-abcd", "http://", "https://a?b", "p-", "-"]
]


@pytest.mark.parametrize("pattern", all_input_patterns())
def test_no_pattern_takes_longer_than_its_text(pattern: str) -> None:
    matches = java_pattern(pattern)
    before = time.thread_time()
    for text in HOSTILE:
        assert not matches(text)
    # 160 texts of 50,000 characters in a fraction of a second; quadratic time would be seconds for one.
    assert time.thread_time() - before < 5
