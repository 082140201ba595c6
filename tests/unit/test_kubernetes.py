"""The manifests: valid against Kubernetes' and KEDA's own schemas, and in step with the code."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from stream.app import FAREWELL_S
from stream.cli import COMMANDS
from stream.settings import PREFIX, Settings, load_settings

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
KEDA = "github.com/kedacore/keda/v2@v2.21.0"
OWN_MEMORY_MB = 1050  # a worker with batches of 32, without its decoding processes: docs/operations.md

Manifest = dict[str, Any]


def documents(name: str) -> list[Manifest]:
    return list(yaml.safe_load_all((FOLDER / name).read_text("utf-8")))


RESOURCES = [one for name in documents("kustomization.yaml")[0]["resources"] for one in documents(name)]
SECRETS = documents("secret.example.yaml")
[WORKER] = [one for one in RESOURCES if one["kind"] == "Deployment"]
[SCALED] = [one for one in RESOURCES if one["kind"] == "ScaledObject"]
CONFIG: dict[str, str] = documents("config.yaml")[0]["data"]


def named(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def pod_of(manifest: Manifest) -> Manifest:
    spec: Manifest = manifest["spec"]
    if "jobTemplate" in spec:
        spec = spec["jobTemplate"]["spec"]
    pod: Manifest = spec["template"]["spec"]
    return pod


PODS = [one for one in RESOURCES if one["kind"] in ("Deployment", "Job", "CronJob")]


def settings(*secrets: Manifest) -> Settings:
    """What a container is given, as the worker would read it."""
    given = CONFIG | {name: value for secret in secrets for name, value in secret["stringData"].items()}
    fields = {name.removeprefix(PREFIX).lower(): value for name, value in given.items()}
    assert set(fields) <= set(Settings.model_fields)
    return load_settings(**fields)


def mebibytes(amount: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", amount).groups()  # type: ignore[union-attr]
    return int(number) * (1024 if unit == "Gi" else 1)


@pytest.mark.parametrize(
    "manifest", [one for one in [*RESOURCES, *SECRETS] if "keda" not in one["apiVersion"]], ids=named
)
def test_kubernetes_takes_it(manifest: Manifest) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_kubernetes_schemas_find_a_wrong_field() -> None:
    wrong = json.loads(json.dumps(WORKER))
    pod_of(wrong)["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


@pytest.fixture(scope="session")
def keda() -> Path:
    """KEDA's source, as its Go module: the definitions are read from there and not kept here."""
    if shutil.which("go") is None and os.environ.get("CI") != "true":
        pytest.skip("KEDA's schemas are in its Go module, and there is no Go here")
    told = subprocess.run(
        ["go", "mod", "download", "-json", KEDA], capture_output=True, text=True, check=False
    )
    if told.returncode and os.environ.get("CI") != "true":
        pytest.skip(f"{KEDA} cannot be downloaded: {told.stderr.strip()}")
    return Path(json.loads(told.stdout)["Dir"])


def definition(keda: Path, kind: str) -> Manifest:
    """A kind's schema. It says nothing of metadata, which is every object's and Kubernetes' own."""
    text = (keda / "config" / "crd" / "bases" / f"keda.sh_{kind.lower()}s.yaml").read_text("utf-8")
    [version] = [one for one in yaml.load(text, yaml.CSafeLoader)["spec"]["versions"] if one["served"]]
    schema: Manifest = closed(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {}
    return schema


def closed(schema: Any) -> Any:
    """The schema, with fields that it does not list refused; the API server would drop them silently."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items()}
    is_object = "properties" in schema and schema.get("type") == "object"
    return {"additionalProperties": False, **inner} if is_object else inner


@pytest.mark.parametrize("manifest", [one for one in RESOURCES if "keda" in one["apiVersion"]], ids=named)
def test_keda_takes_it(keda: Path, manifest: Manifest) -> None:
    schema = definition(keda, manifest["kind"])
    jsonschema.validate(manifest, schema)
    with pytest.raises(jsonschema.ValidationError, match="unexpected"):
        jsonschema.validate({**manifest, "spec": {**manifest["spec"], "maxReplicas": 3}}, schema)


def test_keda_knows_what_its_trigger_is_told(keda: Path) -> None:
    source = (keda / "pkg" / "scalers" / "kafka_scaler.go").read_text("utf-8")
    known = dict(re.findall(r'keda:"name=(\w+),([^"]+)"', source))
    [trigger] = SCALED["spec"]["triggers"]
    [access] = [one for one in RESOURCES if one["kind"] == "TriggerAuthentication"]
    for name, value in trigger["metadata"].items():
        assert "triggerMetadata" in known[name], name
        allowed = re.search(r"enum=([^,]+)", known[name])
        assert allowed is None or value in allowed[1].split(";"), name
    for secret in access["spec"]["secretTargetRef"]:
        assert "authParams" in known[secret["parameter"]]
        assert secret["key"] in SECRETS[0]["stringData"]


def test_workers_are_scaled_by_the_topic_and_group_that_they_read() -> None:
    read, [trigger] = settings(SECRETS[0]), SCALED["spec"]["triggers"]
    asked = trigger["metadata"]
    assert asked["bootstrapServers"] == read.kafka_bootstrap
    assert (asked["topic"], asked["consumerGroup"]) == (read.topic_uploads, read.group)
    assert read.kafka_security == "SASL_SSL"
    assert asked["sasl"] == read.kafka_sasl_mechanism.lower().replace("-", "_").replace(
        "scram_sha_", "scram_sha"
    )
    assert (
        1 <= SCALED["spec"]["minReplicaCount"] <= SCALED["spec"]["maxReplicaCount"] <= read.topic_partitions
    )
    assert SCALED["spec"]["scaleTargetRef"]["name"] == WORKER["metadata"]["name"]
    assert "replicas" not in WORKER["spec"]  # two who set them would fight


@pytest.mark.parametrize("manifest", PODS, ids=named)
def test_pods_run_a_command_of_ours_as_nobody_who_may_change_nothing(manifest: Manifest) -> None:
    pod = pod_of(manifest)
    [container] = pod["containers"]
    assert container["args"][0] in COMMANDS
    assert container["image"] == documents("kustomization.yaml")[0]["images"][0]["name"]
    assert pod["securityContext"]["runAsUser"] == 10001  # as the image's USER
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("manifest", PODS, ids=named)
def test_pods_read_settings_that_exist(manifest: Manifest) -> None:
    sources: list[Manifest] = pod_of(manifest)["containers"][0]["envFrom"]
    names = {reference["name"] for source in sources for reference in source.values()}
    secrets = [one for one in SECRETS if one["metadata"]["name"] in names and one["kind"] == "Secret"]
    assert settings(*secrets).database_url.get_secret_value() != Settings.model_fields["database_url"].default
    owner = manifest["kind"] == "Job"
    assert ("pixassay-owner" in names) == owner  # only the migration may change tables


def probes() -> Iterator[tuple[str, str]]:
    for name, probe in pod_of(WORKER)["containers"][0].items():
        if name.endswith("Probe"):
            assert probe["httpGet"]["port"] == "monitor"
            yield name, probe["httpGet"]["path"]


def test_probes_and_prometheus_ask_where_the_worker_answers() -> None:
    assert dict(probes()) == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    port = int(settings(SECRETS[0]).monitor_address.rpartition(":")[2])
    [open_port] = pod_of(WORKER)["containers"][0]["ports"]
    [policy] = [one for one in RESOURCES if one["kind"] == "NetworkPolicy"]
    assert open_port["containerPort"] == port
    assert [one["port"] for rule in policy["spec"]["ingress"] for one in rule["ports"]] == [port]
    assert WORKER["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(port)


def test_a_worker_may_use_the_memory_and_the_time_that_its_settings_give_it() -> None:
    read, pod = settings(SECRETS[0]), pod_of(WORKER)
    limit = mebibytes(pod["containers"][0]["resources"]["limits"]["memory"])
    assert read.max_batch == 32
    assert limit >= read.decoders * read.decode_memory_mb + read.max_held_mb + OWN_MEMORY_MB
    assert pod["terminationGracePeriodSeconds"] > read.rebalance_drain_s + FAREWELL_S
