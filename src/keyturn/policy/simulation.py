"""What SimulateCustomPolicy, SimulatePrincipalPolicy and GetContextKeysFor… answer, decided as requests are decided.

Pure: the policies are handed in, with the ids that the answers name them by. Paging, limits and the wire are the
caller's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from keyturn.policy.context import NO_CONTEXT, Context
from keyturn.policy.document import Document, Effect, Statement
from keyturn.policy.evaluation import (
    AttachedPolicy,
    Decision,
    Policies,
    Request,
    concerned_statements,
    decide,
    matching_statements,
)
from keyturn.policy.principals import Principal


class EvalDecision(StrEnum):
    ALLOWED = "allowed"
    EXPLICIT_DENY = "explicitDeny"
    IMPLICIT_DENY = "implicitDeny"

    @classmethod
    def of(cls, decision: Decision) -> EvalDecision:
        if decision.allowed:
            return cls.ALLOWED
        return cls.EXPLICIT_DENY if decision.explicit_deny else cls.IMPLICIT_DENY


class SourcePolicyType(StrEnum):
    """As AWS answers it, which is not the enumeration that its model lists."""

    IAM = "IAM Policy"
    RESOURCE = "Resource Policy"
    PERMISSIONS_BOUNDARY = "Permissions Boundary Policy"


@dataclass(frozen=True, slots=True)
class Position:
    """In a document's text as it was given: both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Span:
    start: Position
    end: Position
    """Just after the last character."""


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """A policy of the simulation, compiled, with its text for the positions."""

    source_id: str
    """`PolicyInputList.1` for the first of those handed in, the name of one that is attached."""
    text: str
    document: Document


@dataclass(frozen=True, slots=True)
class MatchedStatement:
    source_policy_id: str
    source_policy_type: SourcePolicyType
    span: Span


@dataclass(frozen=True, slots=True)
class ResourceResult:
    """What one resource was answered: an entry of ResourceSpecificResults."""

    resource: str
    decision: EvalDecision
    matched_statements: tuple[MatchedStatement, ...]
    missing_context_values: tuple[str, ...]
    allowed_by_permissions_boundary: bool | None
    """None without a boundary: then there is no PermissionsBoundaryDecisionDetail."""
    decision_details: Mapping[str, EvalDecision]
    """EvalDecisionDetails: by source type, where identity and resource's policy are of different accounts."""


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What one action was answered, over all its resources."""

    action: str
    resource: str
    """The first resource."""
    decision: EvalDecision
    """Allowed only if every resource is; an explicit deny on one is one on all."""
    matched_statements: tuple[MatchedStatement, ...]
    missing_context_values: tuple[str, ...]
    resources: tuple[ResourceResult, ...]

    @property
    def allowed_by_permissions_boundary(self) -> bool | None:
        """Over all resources; None without a boundary."""
        each = [result.allowed_by_permissions_boundary for result in self.resources]
        return None if None in each else all(each)


@dataclass(frozen=True, slots=True)
class Simulation:
    """The policies and the circumstances; `evaluate` asks them."""

    policies: Sequence[SourcePolicy]
    boundaries: Sequence[SourcePolicy] = ()
    """PermissionsBoundaryPolicyInputList, of which AWS takes one, or the boundary that is attached."""
    resource_policy: SourcePolicy | None = None
    caller: Principal | None = None
    """Needed with a resource policy."""
    context: Context = NO_CONTEXT
    resource_account: str | None = None
    """ResourceOwner's account."""
    _spans: dict[str, tuple[Span, ...]] = field(default_factory=dict, repr=False, compare=False)

    def evaluate(self, action: str, resources: Sequence[str] = ("*",)) -> EvaluationResult:
        """One action on each of the resources."""
        results = tuple(self._on(action, resource) for resource in resources)
        decisions = {result.decision for result in results}
        decision = next(
            one
            for one in (EvalDecision.EXPLICIT_DENY, EvalDecision.IMPLICIT_DENY, EvalDecision.ALLOWED)
            if one in decisions
        )
        return EvaluationResult(
            action,
            results[0].resource,
            decision,
            tuple(
                dict.fromkeys(
                    matched
                    for result in results
                    if result.decision is decision
                    for matched in result.matched_statements
                )
            ),
            tuple(dict.fromkeys(key for result in results for key in result.missing_context_values)),
            results,
        )

    def _on(self, action: str, resource: str) -> ResourceResult:
        request = Request(action, resource, self.context, self.caller, self.resource_account)
        boundary = self.boundaries[0] if self.boundaries else None
        identity = [_attached(source) for source in self.policies]
        decided = Policies(
            identity=identity,
            boundary=None if boundary is None else _attached(boundary),
            resource=None if self.resource_policy is None else _attached(self.resource_policy),
        )
        decision = decide(request, decided)
        verdict = EvalDecision.of(decision)
        return ResourceResult(
            resource,
            verdict,
            self._matched(request, verdict),
            self._missing(request),
            None
            if decided.boundary is None
            else decide(request, Policies(identity=(decided.boundary,))).allowed,
            self._details(request, decided) if self._is_across_accounts() else {},
        )

    def _is_across_accounts(self) -> bool:
        return (
            self.resource_policy is not None
            and self.caller is not None
            and self.resource_account not in {None, self.caller.account}
        )

    def _details(self, request: Request, policies: Policies) -> dict[str, EvalDecision]:
        at_home = Request(request.action, request.resource, request.context)
        by_identity = decide(at_home, Policies(identity=policies.identity, boundary=policies.boundary))
        # A service has no identity policies: it asks the resource's policy alone.
        statements = (
            ()
            if policies.resource is None
            else matching_statements(request, (policies.resource,), Effect.ALLOW)
        )
        denied = policies.resource is not None and any(
            matching_statements(
                request, (policies.resource,), Effect.DENY, has_boundary=policies.boundary is not None
            )
        )
        by_resource = (
            EvalDecision.EXPLICIT_DENY
            if denied
            else EvalDecision.ALLOWED
            if any(True for _ in statements)
            else EvalDecision.IMPLICIT_DENY
        )
        return {
            str(SourcePolicyType.IAM): EvalDecision.of(by_identity),
            str(SourcePolicyType.RESOURCE): by_resource,
        }

    def _matched(self, request: Request, verdict: EvalDecision) -> tuple[MatchedStatement, ...]:
        """The statements that determine the result; a Deny is "the only entry included" (API, EvaluationResult)."""
        if verdict is EvalDecision.IMPLICIT_DENY:
            return ()
        effect = Effect.ALLOW if verdict is EvalDecision.ALLOWED else Effect.DENY
        matched = []
        for source, kind in self._sources():
            for _, statement in matching_statements(
                request, (_attached(source),), effect, has_boundary=bool(self.boundaries)
            ):
                matched.append(MatchedStatement(source.source_id, kind, self._span(source, statement)))
        return tuple(matched)

    def _span(self, source: SourcePolicy, statement: Statement) -> Span:
        spans = self._spans.get(source.text)
        if spans is None:
            spans = self._spans[source.text] = statement_spans(source.text)
        return spans[statement.index]

    def _missing(self, request: Request) -> tuple[str, ...]:
        """The keys that the statements on this action and resource ask for and the context does not hold."""
        keys: dict[str, str] = {}
        for source, _ in self._sources():
            for _, statement in concerned_statements(request, (_attached(source),)):
                for key in _keys_of(statement):
                    keys.setdefault(key.lower(), key)
        return tuple(key for name, key in keys.items() if name not in self.context.values)

    def _sources(self) -> Iterable[tuple[SourcePolicy, SourcePolicyType]]:
        if self.resource_policy is not None:
            yield self.resource_policy, SourcePolicyType.RESOURCE
        for source in self.policies:
            yield source, SourcePolicyType.IAM
        for source in self.boundaries[:1]:
            yield source, SourcePolicyType.PERMISSIONS_BOUNDARY


def context_keys(documents: Iterable[Document]) -> tuple[str, ...]:
    """Every key that the documents' conditions and variables name, in their spelling and order, each once."""
    keys: dict[str, str] = {}
    for document in documents:
        for statement in document.statements:
            for key in _keys_of(statement):
                keys.setdefault(key.lower(), key)
    return tuple(keys.values())


def _keys_of(statement: Statement) -> Iterable[str]:
    for condition in statement.conditions:
        yield condition.written_key
        yield from condition.variables
    for pattern in statement.resources:
        yield from pattern.named


def _attached(source: SourcePolicy) -> AttachedPolicy:
    return AttachedPolicy(source.source_id, source.document)


_DECODER: Final = json.JSONDecoder()
_SPACE: Final = " \t\n\r"


def statement_spans(text: str) -> tuple[Span, ...]:
    """Where AWS says that each statement stands in a document that has been read before.

    As its answers show, a statement starts where the token before it ends (the list's bracket, or the statement
    before), and one that stands without a list after its own brace; it ends after its closing brace.
    """
    at = _value_of_statement(text)
    position = _Positions(text)
    if text[at] == "{":
        return (Span(position.of(at + 1), position.of(_DECODER.raw_decode(text, at)[1])),)
    spans: list[Span] = []
    start = at = at + 1
    while True:
        while text[at] in _SPACE + ",":
            at += 1
        if text[at] == "]":
            return tuple(spans)
        at = _DECODER.raw_decode(text, at)[1]
        spans.append(Span(position.of(start), position.of(at)))
        start = at


def _value_of_statement(text: str) -> int:
    """Where the value of the element Statement begins."""
    at = text.index("{") + 1
    while True:
        while text[at] in _SPACE + ",":
            at += 1
        name, at = _DECODER.raw_decode(text, at)
        while text[at] in _SPACE + ":":
            at += 1
        if name == "Statement":
            return at
        at = _DECODER.raw_decode(text, at)[1]


class _Positions:
    """Lines and columns of offsets that are asked for in order."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._line = 1
        self._line_start = 0

    def of(self, offset: int) -> Position:
        while (end := self._text.find("\n", self._line_start, offset)) >= 0:
            self._line += 1
            self._line_start = end + 1
        return Position(self._line, offset - self._line_start + 1)
