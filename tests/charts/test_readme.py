"""What README and examples tell to type on Kubernetes fits together, and works as typed."""

import itertools
import os
import re
import shlex
import shutil
import subprocess
import tomllib
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from detection_contract.environment import OUTBOX_URL
from detection_operator.spec.parse import parse_spec

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
IMAGES = {"detection-operator", "detection-worker"}
OWN_IMAGE = re.compile(r"\b(detection-(?:operator|worker)):([\w.{}-]+)")
FENCE = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
Render = Callable[..., list[dict[str, Any]]]


def version() -> str:
    found: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return found


def blocks(text: str, heading: str) -> list[str]:
    """Commands under a heading, with continued lines joined."""
    section = re.split(r"^#+ ", text.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.M)[0]
    found = [code.replace("\\\n", "") for code in FENCE.findall(section)]
    assert found, heading
    return found


def kubernetes_commands() -> str:
    return "\n".join(blocks(README, "On Kubernetes"))


def example(name: str) -> list[dict[str, Any]]:
    path = ROOT / "charts" / "detection-queue" / "examples" / name
    return [item for item in yaml.safe_load_all(path.read_text()) if item]


def examples() -> Iterator[Path]:
    yield from sorted((ROOT / "charts" / "detection-queue" / "examples").glob("*.yaml"))


def images_in(node: Any) -> Iterator[str]:
    """Yield every value of a key `image`."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "image" and isinstance(value, str):
                yield value
            yield from images_in(value)
    elif isinstance(node, list):
        for item in node:
            yield from images_in(item)


def run_by_the_chart(render: Render) -> set[str]:
    return set(images_in(render({}))) | set(images_in(example("quickstart.yaml")))


# -- one tag --------------------------------------------------------------------------------------


def test_chart_and_package_have_one_version() -> None:
    chart = yaml.safe_load((ROOT / "charts" / "detection-queue" / "Chart.yaml").read_text())

    assert {chart["version"], chart["appVersion"]} == {version()}


@pytest.mark.parametrize(
    "path",
    [
        *("README.md", "Dockerfile.operator", "Dockerfile.worker"),
        *("docs/operating.md", "docs/detectionqueue.md", "charts/detection-queue/README.md"),
        *(str(path.relative_to(ROOT)) for path in examples()),
    ],
)
def test_every_image_is_named_with_the_version_as_its_tag(path: str) -> None:
    text = (ROOT / path).read_text()

    tags = {tag for _, tag in OWN_IMAGE.findall(text)}
    assert tags == {version()}
    # A bare name would be :latest.
    assert re.findall(r"(?:image: |-t |load docker-image )detection-\w+(?![:\w])", text) == []


def test_the_readme_builds_what_chart_and_quickstart_run(render: Render) -> None:
    built = re.findall(r"docker build -f (\S+) -t (\S+) \.", kubernetes_commands())

    assert {tag for _, tag in built} == run_by_the_chart(render)
    for file, tag in built:
        assert (ROOT / file).exists()
        assert f"-t {tag} ." in (ROOT / file).read_text(), "the Dockerfile's own head"


def test_every_way_to_the_cluster_brings_every_image(render: Render) -> None:
    [kind] = re.findall(r"kind load docker-image (.+)", kubernetes_commands())
    [names] = re.findall(r"for image in (.+); do", kubernetes_commands())
    needed = run_by_the_chart(render)

    assert set(kind.split()) == needed
    assert {f"{name}:{version()}" for name in names.split()} == needed
    assert f'docker push "$REGISTRY/$image:{version()}"' in kubernetes_commands()


def test_every_example_runs_an_image_that_the_readme_builds() -> None:
    found = {path.name: set(images_in(example(path.name))) for path in examples()}

    assert {name for images in found.values() for name in images} == {
        f"detection-worker:{version()}"
    }


# -- the commands ---------------------------------------------------------------------------------


def helm_calls(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("helm install")]
    return [shlex.split(os.path.expandvars(line)) for line in lines]


def test_helm_takes_the_readme_s_values_and_finds_nothing_to_lint(
    run_helm: Callable[..., "subprocess.CompletedProcess[str]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY", "registry.example")
    guide = (ROOT / "charts" / "detection-queue" / "README.md").read_text()
    guide = guide.replace("\\\n", "").replace("ACCOUNT_ID", "123456789012")
    calls = helm_calls(kubernetes_commands() + guide)
    rendered = []
    for _, _, name, chart, *flags in calls:
        rendered.append(run_helm("template", name, str(ROOT / chart), *flags).stdout)
        sets = [part for flag in itertools.pairwise(flags) if flag[0] == "--set" for part in flag]
        run_helm("lint", "--strict", str(ROOT / chart), *sets)

    assert len(calls) == 3
    operator = f"detection-operator:{version()}"
    assert [re.findall(r"image: \"(\S+)\"", text)[0] for text in rendered] == [
        operator,
        f"registry.example/{operator}",
        f"REGISTRY/{operator}",
    ]


def test_keys_of_a_secret_reach_the_operator_as_the_guide_says(
    run_helm: Callable[..., "subprocess.CompletedProcess[str]"], chart: Path
) -> None:
    code = next(b for b in FENCE.findall((chart / "README.md").read_text()) if "set-json" in b)
    words = shlex.split(code.replace("\\\n", ""))
    values = words[words.index("--set-json") + 1]

    text = run_helm("template", "detection-queue", str(chart), "--set-json", values).stdout

    [operator] = [i for i in yaml.safe_load_all(text) if i and i["kind"] == "Deployment"]
    [container] = operator["spec"]["template"]["spec"]["containers"]
    given = {e["name"]: e.get("valueFrom", {}).get("secretKeyRef") for e in container["env"]}
    made = {part.split("=")[1] for part in words if part.startswith("--from-literal")}
    assert {name: given[name] for name in made} == {
        name: {"name": "aws-keys", "key": name} for name in made
    }
    assert made == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def quickstart_as_typed(command: str, **variables: str) -> dict[str, Any]:
    """What `kubectl apply` is given: kubectl is replaced by cat, everything else runs."""
    typed = command.partition("kubectl get")[0].replace("kubectl apply -f -", "cat")
    done = subprocess.run(
        ["bash", "-euc", typed], cwd=ROOT, env={"PATH": os.environ["PATH"], **variables},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    [item] = yaml.safe_load_all(done.stdout)
    found: dict[str, Any] = item
    return found


@pytest.mark.parametrize("registry", ["", "123456789012.dkr.ecr.us-east-1.amazonaws.com"])
def test_the_quickstart_gets_the_queue_and_the_registry(registry: str) -> None:
    variables = {"REGISTRY": registry} if registry else {}
    url = "https://sqs.eu-west-1.amazonaws.com/210987654321/mine"
    command = re.sub(r"QUEUE_URL=\S+", f"QUEUE_URL={url}", blocks(README, "On Kubernetes")[-1])

    made = quickstart_as_typed(command, **variables)

    [original] = example("quickstart.yaml")
    image = f"detection-worker:{version()}"
    assert parse_spec(made["spec"]).queue.url == url
    assert list(images_in(made)) == [f"{registry}/{image}" if registry else image]
    original["spec"]["queue"]["url"] = url
    original["spec"]["worker"]["template"]["image"] = f"{registry}/{image}".lstrip("/")
    assert made == original, "nothing else changes"


def test_the_queue_of_the_quickstart_is_the_one_that_the_readme_names() -> None:
    [named] = re.findall(r"export QUEUE_URL=(\S+)", kubernetes_commands())

    assert example("quickstart.yaml")[0]["spec"]["queue"]["url"] == named


# -- gpu.yaml -------------------------------------------------------------------------------------


def head(name: str) -> str:
    """The comment before the first object of an example."""
    path = ROOT / "charts" / "detection-queue" / "examples" / name
    lines = path.read_text().partition("apiVersion:")[0].splitlines()
    return "\n".join(line.removeprefix("#") for line in lines)


def commands_of(name: str) -> list[str]:
    return [line.strip() for line in head(name).splitlines() if line.startswith("   kubectl")]


def test_what_the_gpu_example_names_is_made_by_its_head() -> None:
    [queue] = example("gpu.yaml")
    template = queue["spec"]["worker"]["template"]
    made = {(item["kind"], item["metadata"]["name"]) for item in example("gpu-prerequisites.yaml")}
    [secret] = [e["valueFrom"] for e in template["env"] if "valueFrom" in e]
    reference = secret["secretKeyRef"]
    priority = template["podTemplate"]["spec"]["priorityClassName"]
    [label] = (f"{key}={value}" for key, value in template["nodeSelector"].items())
    apply, create, mark = commands_of("gpu.yaml")

    assert apply.endswith("examples/gpu-prerequisites.yaml")
    assert ("PriorityClass", priority) in made
    assert ("PersistentVolumeClaim", template["models"]["claimName"]) in made
    assert create.split()[:5] == ["kubectl", "create", "secret", "generic", reference["name"]]
    assert f"--from-literal={reference['key']}=" in create
    assert mark == f"kubectl label node NODE {label}"


# -- results.yaml ---------------------------------------------------------------------------------


def test_the_head_of_the_results_example_delivers_its_outbox(
    run_helm: Callable[..., "subprocess.CompletedProcess[str]"],
) -> None:
    [queue] = example("results.yaml")
    command = head("results.yaml").partition("helm upgrade ")[2]
    name, chart, _, *flags = shlex.split(command)

    text = run_helm("template", name, str(ROOT / chart), *flags).stdout

    [container] = [
        item["spec"]["template"]["spec"]["containers"][0]
        for item in yaml.safe_load_all(text)
        if item
        and item["metadata"]["name"] == f"detection-queue-deliver-{queue['metadata']['name']}"
    ]
    outbox = queue["spec"]["worker"]["template"]["results"]["outboxURL"]
    assert {"name": OUTBOX_URL, "value": outbox} in container["env"]
    assert container["image"] == queue["spec"]["worker"]["template"]["image"]


# -- on a real API server -------------------------------------------------------------------------


@pytest.fixture
def namespace(cluster: Any) -> str:
    found: str = cluster.namespace(f"as-typed-{uuid.uuid4().hex[:6]}")
    return found


@pytest.fixture
def typed(cluster: Any, namespace: str, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Run commands as typed at the root, in a namespace that is the default one."""
    config = yaml.safe_load(cluster.server.kubeconfig().read_text())
    config["contexts"][0]["context"]["namespace"] = namespace
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    folder = Path(cluster.kubectl).parent
    environ = {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "KUBECONFIG": str(kubeconfig),
        "HOME": str(tmp_path),
    }

    def run(command: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], cwd=ROOT, env=environ,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return done.stdout

    yield run
    run("helm uninstall detection-queue --ignore-not-found")
    cluster.run(
        "delete",
        "crd",
        "detectionqueues.detection-queue.dev",
        "workerpools.detection-queue.dev",
        "--ignore-not-found",
    )
    cluster.run("delete", "priorityclass", "batch-gpu", "--ignore-not-found")


@pytest.mark.cluster
@pytest.mark.slow
def test_the_readme_s_commands_work_as_typed(
    cluster: Any, namespace: str, typed: Callable[..., str]
) -> None:
    """All but those of docker, kind and aws, which this machine need not have."""
    _, kind, registry, start = blocks(README, "On Kubernetes")
    [install] = [line for line in kind.splitlines() if line.startswith("helm")]
    [again] = [line for line in registry.splitlines() if line.startswith("helm")]

    typed(install)
    shown = typed(start)
    queue = cluster.get("-n", namespace, "dq", "media")
    first = cluster.get("-n", namespace, "deployment", "detection-queue-operator")
    typed(f"export REGISTRY=registry.example\n{again.replace('install', 'upgrade', 1)}")
    typed(f"export REGISTRY=registry.example\n{start}")
    second = cluster.get("-n", namespace, "deployment", "detection-queue-operator")
    image = f"detection-worker:{version()}"

    assert "detectionqueue.detection-queue.dev/media created" in shown
    assert shown.splitlines()[-1].startswith("media ")
    assert list(images_in(queue["spec"])) == [image]
    assert next(iter(images_in(first["spec"]))) == f"detection-operator:{version()}"
    operator = next(iter(images_in(second["spec"])))
    assert operator == f"registry.example/detection-operator:{version()}"
    moved = cluster.get("-n", namespace, "dq", "media")
    assert list(images_in(moved["spec"])) == [f"registry.example/{image}"]


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_every_example_is_applied_with_what_it_needs(
    cluster: Any,
    namespace: str,
    typed: Callable[..., str],
    worker_deployment: Callable[..., dict[str, Any]],
) -> None:
    """Applied, not only validated; the pods of GPU workers are admitted with what they name."""
    typed("helm install detection-queue charts/detection-queue")
    prepare, secret, _ = commands_of("gpu.yaml")
    typed(f"{prepare}\n{secret}")
    for path in examples():
        typed(f"kubectl apply -f {path.relative_to(ROOT)}")
    [queue] = example("gpu.yaml")
    applied = cluster.get("-n", namespace, "dq", queue["metadata"]["name"])
    pod = worker_deployment(applied, replicas=1)["spec"]["template"]
    pod |= {"apiVersion": "v1", "kind": "Pod"}
    pod["metadata"] |= {"name": "worker", "namespace": namespace}

    admitted = cluster.run(
        "create", "--dry-run=server", "--validate=strict", "-o", "yaml", "-f", "-",
        stdin=yaml.safe_dump(pod),
    )  # fmt: skip

    spec = yaml.safe_load(admitted.stdout)["spec"]
    [volume] = [v for v in spec["volumes"] if "persistentVolumeClaim" in v]
    assert spec["priority"] == -10
    assert cluster.get("-n", namespace, "pvc", volume["persistentVolumeClaim"]["claimName"])
    assert cluster.get("-n", namespace, "serviceaccount", spec["serviceAccountName"])
    assert "secrets" in cluster.get("-n", namespace, "secret", "callback-signing")["data"]
