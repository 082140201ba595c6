"""Thresholds on the fused score: the bundle's own, or those of a policy file, with overrides a tenant.

A policy is versioned by its content: change a threshold and its id changes, so every stored verdict
says which thresholds decided it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.spec import Manifest
from stream.errors import ConfigError


class Thresholds(BaseModel):
    """Fused scores from which a picture is flagged: 0 <= suspicious <= synthetic <= 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suspicious: float = Field(ge=0, le=1)
    synthetic: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> "Thresholds":
        if self.suspicious > self.synthetic:
            raise ValueError("the suspicious threshold is above the synthetic one")
        return self


class PolicyFile(Thresholds):
    """A policy as it is written down. A tenant that is not listed gets the general thresholds."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal["pixassay.policy/1"] = Field(default="pixassay.policy/1", alias="schema")
    name: str = Field(min_length=1, max_length=100, pattern=r"^\S+$")
    basis: str = Field(min_length=1)  # in words: the false-positive rate aimed at, and on which photographs
    disagreement: float | None = Field(default=None, gt=0)  # see models.spec.PolicySpec
    recheck: int | None = Field(default=None, ge=50, le=100)
    tenants: dict[str, Thresholds] = {}


@dataclass(frozen=True, slots=True)
class Policy:
    """Thresholds in force. `id` is the name and the first 12 hex digits of the content's SHA-256."""

    id: str
    suspicious: float
    synthetic: float
    tenants: Mapping[str, Thresholds]
    document: Mapping[str, Any]  # as it is registered in the database
    disagreement: float | None = (
        None  # distance of the detectors' log-odds from which a picture is suspicious
    )
    recheck: int | None = None  # JPEG quality of the copy on which a flagged picture is scored again

    def thresholds(self, tenant: str) -> Thresholds:
        """The thresholds that hold for one tenant."""
        general = Thresholds(suspicious=self.suspicious, synthetic=self.synthetic)
        return self.tenants.get(tenant, general)


def load_policy(path: Path | None, manifest: Manifest) -> Policy:
    """The policy of a file, or the bundle's own where there is none. Raises ConfigError."""
    if path is None:
        return policy_of_bundle(manifest)
    try:
        return _versioned(PolicyFile.model_validate_json(path.read_bytes()))
    except OSError as error:
        raise ConfigError(f"the policy {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise ConfigError(f"the policy {path} is wrong: {where}: {fault['msg']}") from error


def policy_of_bundle(manifest: Manifest) -> Policy:
    """The thresholds that the bundle was published with."""
    spec = manifest.policy
    fields = {"name": spec.id, **spec.model_dump(exclude={"id"})}
    try:
        return _versioned(PolicyFile.model_validate(fields))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise ConfigError(f"the policy of bundle {manifest.name} is wrong: {fault['msg']}") from error


def _versioned(written: PolicyFile) -> Policy:
    # What a policy does not use is no part of its content: its id is that of the days before it could.
    document = written.model_dump(mode="json", by_alias=True, exclude_none=True)
    digest = hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return Policy(
        id=f"{written.name}-{digest[:12]}",
        suspicious=written.suspicious,
        synthetic=written.synthetic,
        tenants=written.tenants,
        document=document,
        disagreement=written.disagreement,
        recheck=written.recheck,
    )
