"""Authentication and authorization reviews: the server lets everybody do everything, and says so."""

from __future__ import annotations

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.kinds import Review

USER = {"username": "sandbox", "groups": ["system:masters", "system:authenticated"]}
_RULES = {
    "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    "incomplete": False,
}


def answer(review: Review, body: Json) -> Json:
    """The review with its status filled in."""
    match review.kind:
        case "TokenReview":
            status: Json = {"authenticated": True, "user": USER}
        case "SelfSubjectReview":
            status = {"userInfo": USER}
        case "SelfSubjectRulesReview":
            status = _RULES
        case _:
            status = {"allowed": True, "reason": "the sandbox allows everything"}
    return {**body, "kind": review.kind, "apiVersion": review.api_version, "status": status}
