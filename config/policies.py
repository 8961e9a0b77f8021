"""The `policies` of a configuration file: named, each extending another one, shipped or its neighbour.

Without `extends` a policy builds on the shipped one of its own name, or else on `standard`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from config.document import Document, KeyPath
from config.policy import SHIPPED, Policy
from config.policy_knobs import POLICY_KNOBS
from config.problems import MalformedError, Problem, did_you_mean, shown
from config.setting_knobs import POLICY_NAME

_KNOBS = {knob.key: knob for knob in POLICY_KNOBS}


@dataclass(frozen=True, slots=True)
class _Draft:
    """One policy as written: its base, and the fields it sets."""

    name: str
    base: str
    fields: Mapping[str, Any]


@dataclass(slots=True)
class _Reader:
    document: Document
    path: KeyPath
    drafts: dict[str, _Draft] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def read(self, raw: object) -> None:
        """Collect the drafts of the mapping `raw`."""
        if not isinstance(raw, Mapping):
            self._refuse((), raw, "a mapping of policy names to policies")
            return
        for name, body in raw.items():
            try:
                POLICY_NAME.parse(name)
            except MalformedError as fault:
                self._refuse((name,), name, fault.allowed)
                continue
            if isinstance(body, Mapping):
                self.drafts[name] = self._draft(name, body)
            else:
                self._refuse((name,), body, "a mapping of the policy's keys to values")

    def _draft(self, name: str, body: Mapping[str, Any]) -> _Draft:
        fields: dict[str, Any] = {}
        for key, raw in body.items():
            knob = _KNOBS.get(key)
            if knob is None and key != "extends":
                fault = "there is no such key" + did_you_mean(key, (*_KNOBS, "extends"))
                self.problems.append(self.document.problem((*self.path, name, key), fault=fault))
            elif knob is not None:
                try:
                    fields[knob.field] = knob.kind.parse(raw)
                except MalformedError as refusal:
                    for flaw in refusal.flaws(raw):
                        path = (*self.path, name, key, *flaw.path)
                        self.problems.append(
                            self.document.problem(
                                path, value=flaw.value, allowed=flaw.allowed, fault=flaw.fault
                            )
                        )
        base = body.get("extends", name if name in SHIPPED else "standard")
        return _Draft(name, base if isinstance(base, str) else shown(base), fields)

    def resolve(self) -> dict[str, Policy]:
        """The shipped policies and every draft whose bases are all known."""
        policies: dict[str, Policy] = {}
        for name in self.drafts:
            chain, base = self._chain(name, policies)
            for draft in reversed(chain) if base else ():
                base = dataclasses.replace(base or SHIPPED["standard"], name=draft.name, **draft.fields)
                policies[draft.name] = base
                self._check(draft, base)
        return {**SHIPPED, **policies}

    def _chain(self, name: str, policies: Mapping[str, Policy]) -> tuple[list[_Draft], Policy | None]:
        """The drafts from `name` down to the first policy that stands already, and that policy."""
        chain: list[_Draft] = []
        while name not in policies:
            draft = self.drafts.get(name)
            own = (
                bool(chain) and chain[-1].base == chain[-1].name
            )  # `standard` extends the shipped `standard`
            if draft is None or own:
                return chain, self._root(chain[-1])
            if any(draft is earlier for earlier in chain):
                fault = f"the policies {', '.join(d.name for d in chain)} extend one another in a circle"
                self.problems.append(
                    self.document.problem((*self.path, chain[0].name, "extends"), fault=fault)
                )
                return chain, None
            chain.append(draft)
            name = draft.base
        return chain, policies[name]

    def _root(self, draft: _Draft) -> Policy | None:
        if draft.base not in SHIPPED:
            known = sorted({*SHIPPED, *self.drafts} - {draft.name})
            allowed = f"the name of another policy: {', '.join(known)}{did_you_mean(draft.base, known)}"
            self._refuse((draft.name, "extends"), draft.base, allowed)
        return SHIPPED.get(draft.base)

    def _check(self, draft: _Draft, policy: Policy) -> None:
        """Blame a contradiction on the policy that sets one of its keys, not on those that inherit it."""
        for clash in policy.contradictions():
            knobs = [_KNOBS[key] for key in clash.keys]
            culprit = next((knob for knob in knobs if knob.field in draft.fields), None)
            if culprit is not None:
                values = (f"{knob.key} is {knob.kind.spell(getattr(policy, knob.field))}" for knob in knobs)
                fault = f"{clash.rule} ({', '.join(values)})"
                self.problems.append(
                    self.document.problem((*self.path, draft.name, culprit.key), fault=fault)
                )

    def _refuse(self, below: KeyPath, value: object, allowed: str) -> None:
        self.problems.append(self.document.problem((*self.path, *below), value=value, allowed=allowed))


def read_policies(document: Document, path: KeyPath, raw: object) -> tuple[dict[str, Policy], list[Problem]]:
    """All policies, shipped ones included, of the mapping `raw` at `path`; and what is wrong with them."""
    reader = _Reader(document, path)
    if raw is not None:
        reader.read(raw)
    policies = reader.resolve()
    return policies, reader.problems
