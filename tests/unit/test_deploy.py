"""What deploy/ promises: manifests that Kubernetes takes, a compose file that fits its schema, an image of pinned packages."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import SecretStr

from connect.config import RedisSettings
from workers.jobs import STAGES

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


def manifests(name: str = "*") -> list[dict[str, Any]]:
    files = [file for file in sorted(KUBERNETES.glob(f"{name}.yaml")) if file.name != "kustomization.yaml"]
    return [one for file in files for one in yaml.safe_load_all(file.read_text())]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in manifests() if one["kind"] == kind}


COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DEPLOYMENTS = of_kind("Deployment")


# -- the image ---------------------------------------------------------------------------------------------------------


def test_the_images_packages_are_those_that_are_pinned_and_needed() -> None:
    made = runpy.run_path(str(DEPLOY / "constraints_runtime.py"))["texts"]()
    assert {name: (DEPLOY / name).read_text() for name in made} == made, "run: .venv/bin/python deploy/constraints_runtime.py"
    assert all(
        block in (DEPLOY / "constraints.txt").read_text() for text in made.values() for block in re.findall(r"(?m)^[a-z].*\\$", text)
    )
    names = set(re.findall(r"(?m)^([a-z0-9-]+)==", made["constraints-runtime.txt"]))
    assert {"arq", "redis", "hiredis", "aiohttp", "lxml", "prometheus-client"} <= names
    assert not {"pytest", "mypy", "playwright", "setuptools", "pip"} & names


def test_the_image_is_built_of_what_is_not_ignored_and_runs_as_nobody() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    last = lines[len(lines) - 1 - next(n for n, line in enumerate(reversed(lines)) if line.startswith("FROM ")) :]
    assert "USER 10001:10001" in last
    assert any(line.startswith("HEALTHCHECK ") and '"connect", "health"' in line for line in last)
    assert not re.search(r"apt|gcc|build-essential|curl|pip", "\n".join(last))
    allowed = {line[1:] for line in (DEPLOY.parent / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]}
    assert copied == allowed
    assert all((DEPLOY.parent / path).exists() for path in copied)


# -- compose -----------------------------------------------------------------------------------------------------------


def test_the_compose_file_fits_its_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_each_service_is_read_only_unprivileged_and_watched(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["healthcheck"]["test"]
    assert "container_name" not in service
    assert set(COMPOSE["secrets"]) >= {one if isinstance(one, str) else one["source"] for one in service.get("secrets", [])}
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or source.startswith("${") or (DEPLOY / source).exists(), f"{source} is not there"


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_is_a_service_that_can_be_scaled(stage: str) -> None:
    service = COMPOSE["services"][stage]
    assert service["command"] == ["worker", stage]
    assert service["healthcheck"]["test"] == ["CMD", "connect", "health", "--stage", stage]
    assert not {"ports", "container_name", "hostname"} & set(service)
    assert int(service["stop_grace_period"].removesuffix("s")) >= 30


def test_valkey_keeps_what_is_written_and_drops_nothing() -> None:
    settings = (DEPLOY / "valkey" / "valkey.conf").read_text().splitlines()
    assert {"appendonly yes", "maxmemory-policy noeviction"} <= set(settings)
    assert "ports" not in COMPOSE["services"]["valkey"]


# -- Kubernetes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("manifest", manifests(), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_a_manifest_fits_the_schema_of_its_kind(manifest: dict[str, Any]) -> None:
    if manifest["apiVersion"].startswith("keda.sh/"):
        pytest.skip("KEDA's own; looked at below")
    for version in ("1.31", "1.34"):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_kustomization_lists_every_file() -> None:
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(file.name for file in KUBERNETES.glob("*.yaml") if file.name != "kustomization.yaml")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_the_kustomization_can_be_built() -> None:
    done = subprocess.run(["kubectl", "kustomize", str(KUBERNETES)], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    assert {one["metadata"]["name"] for one in built if one["kind"] == "Deployment"} == {*STAGES, "console"}
    (config,) = (one["metadata"]["name"] for one in built if one["kind"] == "ConfigMap")
    assert all(config in yaml.dump(one) for one in built if one["kind"] == "Deployment")


def test_every_stage_and_the_console_are_deployed_with_a_budget() -> None:
    assert set(DEPLOYMENTS) == {*STAGES, "console"} == set(of_kind("PodDisruptionBudget"))
    for stage in STAGES:
        (container,) = DEPLOYMENTS[stage]["spec"]["template"]["spec"]["containers"]
        assert container["args"] == ["worker", stage]
        assert container["readinessProbe"]["exec"]["command"] == ["connect", "health", "--stage", stage]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_each_pod_is_restricted_and_has_time_to_drain(name: str) -> None:
    pod = DEPLOYMENTS[name]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] >= 30
    assert pod["automountServiceAccountToken"] is False
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert {"requests", "limits"} <= set(container["resources"])
    assert "startupProbe" in container
    assert "env" not in container, "secrets are files"
    assert (
        DEPLOYMENTS[name]["spec"]["selector"]["matchLabels"].items() <= DEPLOYMENTS[name]["spec"]["template"]["metadata"]["labels"].items()
    )


def test_nothing_may_pass_but_what_is_listed() -> None:
    policies = of_kind("NetworkPolicy")
    assert policies["nothing"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    may_be_called = [one for one in policies.values() if "ingress" in one["spec"]]
    assert [one["spec"]["podSelector"]["matchLabels"] for one in may_be_called] == [{"app.kubernetes.io/component": "console"}]
    (outside,) = policies["sage-and-prime"]["spec"]["egress"][0]["to"]
    assert "169.254.0.0/16" in outside["ipBlock"]["except"], "the cloud's metadata"


def test_workers_are_added_by_a_metric_that_there_is() -> None:
    metrics = (DEPLOY.parent / "workers" / "metrics.py").read_text()
    scaled = of_kind("ScaledObject")
    assert set(scaled) == {"fetch", "write", "post"}
    for name, one in scaled.items():
        spec = one["spec"]
        assert one["apiVersion"] == "keda.sh/v1alpha1"
        assert set(spec) <= {
            "scaleTargetRef",
            "minReplicaCount",
            "maxReplicaCount",
            "pollingInterval",
            "cooldownPeriod",
            "fallback",
            "advanced",
            "triggers",
        }
        assert spec["scaleTargetRef"] == {"name": name}
        assert name in DEPLOYMENTS
        assert "replicas" not in DEPLOYMENTS[name]["spec"], "KEDA's and ours would fight"
        assert 1 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
        assert set(spec["fallback"]) == {"failureThreshold", "replicas"}
        (trigger,) = spec["triggers"]
        assert trigger["type"] == "prometheus"
        assert set(trigger["metadata"]) == {"serverAddress", "query", "threshold"}
        assert float(trigger["metadata"]["threshold"]) > 0
        metric, queue = re.findall(r'(connect_\w+)\{queue="(\w+)"\}', trigger["metadata"]["query"])[0]
        assert f'Metric("{metric}", "gauge", ("connection", "queue")' in metrics
        assert queue == name
        readme = (DEPLOY.parent / "README.md").read_text()
        assert re.findall(r"scal\w+\W[^|]*?`(connect_queue_\w+)`", readme) == [metric], "one advice, and it is what is done"


def test_the_stand_in_configuration_can_be_read() -> None:
    keys = tomllib.loads((KUBERNETES / "connect.toml").read_text())["redis"]
    secrets = {name for name, value in keys.items() if str(value).startswith("file:/run/secrets/")}
    assert secrets == {"password", "sentinel_password"}
    assert RedisSettings(**keys | {name: SecretStr("x") for name in secrets}).sentinel_master == "connect"
