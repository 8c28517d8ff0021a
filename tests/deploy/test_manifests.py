"""The manifests: what runs, as whom, and where proxies and the kubelet find it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from aeraki_xds import __version__
from aeraki_xds.cli.arguments import arguments_of
from aeraki_xds.settings import DEFAULT_GRACE_PERIOD
from tests.deploy.admission import DEPLOY
from tests.manifests import DROP, edited

Document = dict[str, Any]

FILES: Final = sorted(DEPLOY.rglob("*.yaml"))


def documents(name: str) -> list[Document]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


def of_kind(kind: str) -> Document:
    (found,) = (
        each
        for file in ("deployment.yaml", "service.yaml")
        for each in documents(file)
        if each["kind"] == kind
    )
    return found


DEPLOYMENT: Final = of_kind("Deployment")
TEMPLATE: Final = DEPLOYMENT["spec"]["template"]
POD: Final = TEMPLATE["spec"]
(CONTAINER,) = POD["containers"]
DOCKERFILE: Final = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_manifest_is_objects_of_kubernetes(file: Path) -> None:
    for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
        assert {"apiVersion", "kind"} <= document.keys()
        assert document["kind"] == "Kustomization" or document["metadata"]["name"]


def test_the_kustomization_has_every_manifest_but_the_examples() -> None:
    (kustomization,) = documents("kustomization.yaml")
    there = {str(file.relative_to(DEPLOY)) for file in FILES} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == {
        file for file in there if not file.startswith("examples/")
    }
    assert [image["name"] for image in kustomization["images"]] == [
        CONTAINER["image"].partition(":")[0]
    ]


# --- the Pod Security Standard "restricted"

VOLUMES: Final = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"),
    *("projected", "secret"),
}


def violations(pod: Document) -> Iterator[str]:
    """What of the standard, "restricted" with all of "baseline", a pod violates."""
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield field
    for volume in pod.get("volumes", ()):
        if not (volume.keys() - {"name"}) <= VOLUMES:
            yield f"volume {volume['name']}"
    context = pod.get("securityContext", {})
    if context.get("sysctls"):
        yield "sysctls"
    for container in (*pod["containers"], *pod.get("initContainers", ())):
        yield from _container_violations(container, context)


def _container_violations(container: Document, pod: Document) -> Iterator[str]:
    own = container.get("securityContext", {})
    either = {**pod, **own}
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if either.get("runAsNonRoot") is not True:
        yield "runAsNonRoot"
    if either.get("runAsUser") == 0:
        yield "runAsUser"
    if either.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", ()):
        yield "capabilities.drop"
    if not set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"}:
        yield "capabilities.add"
    if any(port.get("hostPort") for port in container.get("ports", ())):
        yield "hostPort"


def test_the_pod_is_restricted_and_cannot_write_to_its_root() -> None:
    assert list(violations(POD)) == []
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True


OWN: Final = "containers[0].securityContext"


@pytest.mark.parametrize(
    ("changes", "violated"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"volumes[0]": {"name": "a", "hostPath": {"path": "/"}}}, "volume a"),
        ({"securityContext.sysctls": [{"name": "a"}]}, "sysctls"),
        ({"securityContext.runAsNonRoot": DROP}, "runAsNonRoot"),
        ({"securityContext.runAsUser": 0}, "runAsUser"),
        ({"securityContext.seccompProfile": DROP}, "seccompProfile"),
        ({f"{OWN}.seccompProfile": {"type": "Unconfined"}}, "seccompProfile"),
        ({f"{OWN}.privileged": True}, "privileged"),
        ({f"{OWN}.allowPrivilegeEscalation": DROP}, "allowPrivilegeEscalation"),
        ({f"{OWN}.procMount": "Unmasked"}, "procMount"),
        ({f"{OWN}.capabilities": DROP}, "capabilities.drop"),
        ({f"{OWN}.capabilities.add": ["NET_ADMIN"]}, "capabilities.add"),
        ({"containers[0].ports[0].hostPort": 80}, "hostPort"),
    ],
)
def test_a_pod_that_may_more_is_noticed(changes: Document, violated: str) -> None:
    assert list(violations(edited(POD, changes))) == [violated]


# --- what runs


def test_its_arguments_are_read_as_aerakis() -> None:
    environment = {each["name"]: each["valueFrom"]["fieldRef"] for each in CONTAINER["env"]}
    assert environment == {
        "AERAKI_NAMESPACE": {"fieldPath": "metadata.namespace"},
        "POD_NAME": {"fieldPath": "metadata.name"},
    }
    values = {"AERAKI_NAMESPACE": "mesh", "POD_NAME": "aeraki-0"}
    translated = arguments_of(CONTAINER["args"], values)
    assert translated.notes == ()
    assert option(translated.arguments, "--root-namespace") == "mesh"
    assert option(translated.arguments, "--server-id") == "aeraki-0"
    assert port_of(option(translated.arguments, "--xds-address")) == ports()["grpc-xds"]
    assert port_of(option(translated.arguments, "--http-address")) == ports()["http"]


def option(arguments: tuple[str, ...], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def ports() -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}


def test_it_is_probed_where_it_answers() -> None:
    for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        assert CONTAINER[probe]["httpGet"] == {"path": path, "port": "http"}
    assert ports()["http"] == 8080


def test_it_is_given_the_time_in_which_streams_end() -> None:
    assert POD["terminationGracePeriodSeconds"] >= 2 * DEFAULT_GRACE_PERIOD


def test_one_replica_may_go_and_one_stays_on_another_node() -> None:
    assert DEPLOYMENT["spec"]["replicas"] == 2
    budget = of_kind("PodDisruptionBudget")
    assert budget["spec"]["minAvailable"] == 1
    (term,) = POD["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    labels = TEMPLATE["metadata"]["labels"]
    for selector in (
        DEPLOYMENT["spec"]["selector"],
        budget["spec"]["selector"],
        term["podAffinityTerm"]["labelSelector"],
        {"matchLabels": of_kind("Service")["spec"]["selector"]},
    ):
        assert selector["matchLabels"].items() <= labels.items()


def test_proxies_find_it_under_the_name_and_port_that_aeraki_had() -> None:
    """Specification, appendix A: the bootstrap of every proxy has them."""
    service = of_kind("Service")
    assert service["metadata"]["name"] == "aeraki"
    (port,) = service["spec"]["ports"]
    assert (port["name"], port["port"], port["targetPort"]) == ("grpc-xds", 15010, 15010)
    assert ports()["grpc-xds"] == 15010


def test_its_resources_are_aerakis_and_it_has_no_sidecar() -> None:
    assert CONTAINER["resources"] == {
        "requests": {"cpu": "250m", "memory": "1Gi"},
        "limits": {"cpu": "1", "memory": "4Gi"},
    }
    assert TEMPLATE["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false"}


def test_the_image_is_of_this_version() -> None:
    assert CONTAINER["image"] == f"aeraki-xds:{__version__}"


# --- the image


def instructions(word: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{word} (.*)$", joined, re.MULTILINE)


def test_the_image_runs_as_the_user_of_the_pod_with_our_entry_point() -> None:
    context = POD["securityContext"]
    assert instructions("USER") == [f"{context['runAsUser']}:{context['runAsGroup']}"]
    assert instructions("ENTRYPOINT") == ['["aeraki"]']
    assert "command" not in CONTAINER


def test_the_image_holds_nothing_of_the_build_but_what_is_installed() -> None:
    build, final = instructions("FROM")
    assert build == f"{final} AS build"
    copies = DOCKERFILE.split("\nFROM ")[-1].count("COPY ")
    assert copies == len([each for each in instructions("COPY") if each.startswith("--from=build")])


def test_what_the_build_copies_is_there_and_not_ignored() -> None:
    kept = {
        line.removeprefix("!")
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = {
        word
        for each in instructions("COPY")
        if not each.startswith("--from")
        for word in each.split()[:-1]
    }
    assert copied == kept
    assert [path for path in copied if not (DEPLOY.parent / path).exists()] == []
