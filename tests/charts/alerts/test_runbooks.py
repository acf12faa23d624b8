"""Each alert has a runbook and each runbook an alert; what they tell to run and ask exists."""

import argparse
import importlib.util
import itertools
import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import botocore.session
import pytest
import yaml

from detection_contract import environment as env
from detection_contract.error_codes import ErrorCode
from detection_operator.cli.main import COMMANDS

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "docs" / "runbooks"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
HEADINGS = ["Meaning", "Impact", "Check", "Fix"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
VERBS = {"auth", "describe", "get", "logs", "patch", "rollout", "top"}
KINDS = {
    *("deployment", "deployments", "dq", "events", "hpa", "lease", "networkpolicy", "nodes"),
    *("pod", "pods", "resourcequota", "role,rolebinding", "wp"),
}
CONTROL_PATHS = {env.HEALTH_PATH, env.READY_PATH, env.STATE_PATH}
LABELS = {env.LABEL_QUEUE, env.LABEL_NAME, env.LABEL_COMPONENT}
ELSEWHERE = {"detection-worker", "export"}
"""Commands whose options tests/test_docs.py checks, and what the shell does itself."""


def texts() -> dict[str, str]:
    return {path.stem: path.read_text() for path in PAGES}


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command in blocks and code spans, pipes taken apart."""
    shown = [code for language, code in BLOCK.findall(text) if language == "bash"]
    shown += re.findall(r"`((?:kubectl|aws|helm|detection-operator) [^`\n]+)`", text)
    for line in "\n".join(shown).splitlines():
        inner = re.findall(r"\$\(([^)]*\})'\)", line)
        for call in [*(f"{found}'" for found in inner), *re.split(r" \| ", line)]:
            words = shlex.split(call, comments=True)
            if words:
                yield words


def properties(crd: str) -> dict[str, Any]:
    path = ROOT / "charts" / "detection-queue" / "files" / f"{crd}.yaml"
    [version] = yaml.safe_load(path.read_text())["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return found


def has_field(schema: dict[str, Any], path: str) -> bool:
    """Say whether a schema has a field, such as ``status.conditions[].message``."""
    node = schema
    for part in re.sub(r"\[[^]]*\]", "", path).strip(".").split("."):
        node = node.get("items", node).get("properties", {}).get(part)
        if node is None:
            return False
    return True


def load_alerts_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("alerts", ROOT / "tools" / "alerts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_alert_has_a_page_and_each_page_an_alert(chart: Path) -> None:
    groups = yaml.safe_load((chart / "files" / "alerts.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]

    assert sorted(rule["alert"] for rule in rules) == sorted(texts())
    for rule in rules:
        assert (ROOT / rule["annotations"]["runbook_url"]).stem == rule["alert"]
        assert (ROOT / rule["annotations"]["runbook_url"]).is_file()


@pytest.mark.parametrize("name", texts())
def test_every_page_has_the_same_headings(name: str) -> None:
    text = texts()[name]

    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert all(part.strip() for part in re.split(r"^## .+$", text, flags=re.MULTILINE))
    assert any(language == "bash" for language, _ in BLOCK.findall(text))
    assert any(language == "promql" for language, _ in BLOCK.findall(text))


@pytest.mark.parametrize("name", texts())
def test_queries_name_series_and_labels_that_are_exported(
    name: str, query_problems: Callable[[str], list[str]]
) -> None:
    text = texts()[name]
    queries = [code for language, code in BLOCK.findall(text) if language == "promql"]
    named = re.findall(r"`(detection_(?!operator\.|worker\.)[a-z_:]+)`", text)

    assert [problem for query in [*queries, *named] for problem in query_problems(query)] == []


def test_promtool_takes_every_query(promtool: str, tmp_path: Path) -> None:
    queries = [
        code
        for text in texts().values()
        for language, code in BLOCK.findall(text)
        if language == "promql"
    ]
    rules = [{"record": f"r:{number}", "expr": query} for number, query in enumerate(queries)]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))

    done = subprocess.run(
        [promtool, "check", "rules", str(path)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(queries) > 50


# -- commands ------------------------------------------------------------------------------------


def kubectl_problems(words: list[str]) -> Iterator[str]:
    plain = [word for word in words[1:] if not word.startswith("-")]
    verb = next(word for word in plain if word != "$NAMESPACE")
    if verb not in VERBS | {"delete"}:
        yield f"verb {verb}"
    if "--raw" in words:
        yield from raw_problems(words[-1])
    elif verb in {"get", "describe", "patch"}:
        kind = plain[plain.index(verb) + 1]
        if kind not in KINDS:
            yield f"kind {kind}"
        crd = {"dq": "detectionqueues", "wp": "workerpools"}.get(kind)
        if crd is not None:
            yield from field_problems(crd, words)
    for flag, value in itertools.pairwise(words):
        if flag == "-l":
            yield from {part.partition("=")[0] for part in value.split(",")} - LABELS


def raw_problems(path: str) -> Iterator[str]:
    proxied = path.partition("/proxy")[2]
    if path != "/readyz" and proxied not in CONTROL_PATHS:
        yield f"path {path}"
    if proxied and f":{env.CONTROL_PORT_DEFAULT}/" not in path:
        yield f"port in {path}"


def field_problems(crd: str, words: list[str]) -> Iterator[str]:
    schema = properties(crd)
    text = " ".join(words)
    paths = re.findall(r"\{(\.(?:spec|status)[^}]*)\}", text)
    paths += re.findall(r":(\.spec[\w.]*)", text)
    for flag, value in itertools.pairwise(words):
        if flag == "-p":
            paths += list(leaves(json.loads(value)))
    yield from (path for path in paths if not has_field(schema, path))


def leaves(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, child in value.items():
            yield from leaves(child, f"{path}.{name}")
    else:
        yield path


def aws_problems(words: list[str]) -> Iterator[str]:
    service, operation, *rest = words[1:]
    model = botocore.session.get_session().get_service_model(service)
    name = "".join(part.title() for part in operation.split("-"))
    if name not in model.operation_names:
        yield f"{service} {operation}"
        return
    shape = model.operation_model(name).input_shape
    known = {re.sub(r"(?<!^)(?=[A-Z])", "-", member).lower() for member in shape.members}
    flags = {word.removeprefix("--") for word in rest if word.startswith("--")}
    yield from flags - known - {"query"}


def operator_problems(words: list[str]) -> Iterator[str]:
    parsers = argparse.ArgumentParser().add_subparsers()
    for command in COMMANDS:
        command.add(parsers)
    if words[1] not in parsers.choices:
        yield words[1]
        return
    options = {o for action in parsers.choices[words[1]]._actions for o in action.option_strings}
    yield from {word for word in words[2:] if word.startswith("--")} - options


def problems_of(words: list[str]) -> list[str]:
    if words[0] == "kubectl":
        return list(kubectl_problems(words))
    if words[0] == "aws":
        return list(aws_problems(words))
    if words[0] == "detection-operator":
        return list(operator_problems(words))
    if words[0] == "helm":
        return [] if {"status", "upgrade"} & set(words) else words
    return [] if words[0] in ELSEWHERE else [f"unknown command {words[0]}"]


@pytest.mark.parametrize("name", texts())
def test_commands_and_the_fields_they_name_exist(name: str) -> None:
    shown = list(commands(texts()[name]))

    assert {" ".join(words): problems for words in shown if (problems := problems_of(words))} == {}
    assert shown


@pytest.mark.parametrize(
    "command",
    [
        "kubectl -n $NAMESPACE get detectionqueue $QUEUE",
        "kubectl -n $NAMESPACE get dq $QUEUE -o jsonpath='{.status.plan.reason}'",
        "kubectl -n $NAMESPACE get dq -o custom-columns=POOL:.spec.scaling.pools",
        """kubectl patch dq $QUEUE -p '{"spec": {"maxReplicas": 1}}'""",
        "kubectl -n $NAMESPACE logs -l queue=$QUEUE",
        "kubectl get --raw /api/v1/namespaces/$NAMESPACE/pods/$POD:8080/proxy/statez",
        "kubectl get --raw /api/v1/namespaces/$NAMESPACE/pods/$POD:80/proxy/state",
        "aws sqs get-queue-attribute --queue-url x",
        "aws sqs get-queue-attributes --url x",
        "detection-operator explains x",
        "detection-operator top --queue x",
        "curl http://x",
    ],
)
def test_a_command_with_a_wrong_name_is_noticed(command: str) -> None:
    [words] = commands(f"```bash\n{command}\n```\n")

    assert problems_of(words)


@pytest.mark.parametrize("name", texts())
def test_every_variable_is_set_before_it_is_used(name: str) -> None:
    blocks = [code for language, code in BLOCK.findall(texts()[name]) if language == "bash"]
    lines = [re.sub(r"(^|\s)#.*", "", line) for line in "\n".join(blocks).splitlines()]
    exported = " ".join(line for line in lines if line.startswith("export "))
    shown = [*lines, *re.findall(r"`(kubectl [^`\n]+|detection-[^`\n]+)`", texts()[name])]

    used = set(re.findall(r"\$([A-Z_]+)", " ".join(shown)))
    assert used <= set(re.findall(r"\b([A-Z_]+)=", exported))
    assert used


@pytest.mark.parametrize("name", texts())
def test_fields_in_the_text_exist(name: str) -> None:
    schemas = [properties(crd) for crd in ("detectionqueues", "workerpools")]
    named = re.findall(r"`((?:spec|status)\.[A-Za-z.\[\]]+)[`:]", texts()[name])
    # Fields of other kinds: a ResourceQuota, a Deployment.
    named = [path for path in named if path != "spec.hard"]

    assert [path for path in named if not any(has_field(s, path) for s in schemas)] == []


@pytest.mark.parametrize("name", texts())
def test_error_codes_and_fields_of_state_in_the_text_exist(name: str) -> None:
    named = set(re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+)+)`", texts()[name]))
    named = {word for word in named if not word.startswith("detection_")}

    assert named - {code.value for code in ErrorCode} <= {
        "callback_url",
        "last_error",
        "open_hosts",
    }


@pytest.mark.parametrize("name", texts())
def test_links_between_pages_lead_to_pages(name: str) -> None:
    linked = re.findall(r"\]\((\w+)\.md\)", texts()[name])

    assert set(linked) <= {*texts(), "README"}


def test_schema_table_and_index_follow_from_alerts_and_runbooks() -> None:
    tool = load_alerts_tool()

    for target, made in (
        (tool.SCHEMA, tool.schema),
        (tool.README, tool.readme),
        (tool.INDEX, tool.index),
    ):
        assert target.read_text() == made(), "run: python tools/alerts.py"


def test_the_example_of_the_index_fits_the_chart(
    render: Callable[..., list[dict[str, Any]]],
) -> None:
    blocks = BLOCK.findall((FOLDER / "README.md").read_text())
    [code] = [code for language, code in blocks if language == "yaml"]
    objects = render(yaml.safe_load(code))

    [rule] = [item for item in objects if item["kind"] == "PrometheusRule"]
    rules = {r["alert"]: r for g in rule["spec"]["groups"] for r in g["rules"] if "alert" in r}
    assert "DetectionQueueOverBudget" not in rules
    assert rules["DetectionQueueObjectiveBurnsFast"]["labels"] == {
        "severity": "page",
        "team": "media",
    }
    assert "0.3 # distance" in rules["DetectionWorkerScoreDrift"]["expr"]
