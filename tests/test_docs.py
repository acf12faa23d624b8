"""The documents say what the code does: names, examples, tables and links."""

import argparse
import ast
import base64
import importlib
import importlib.util
import json
import re
import shlex
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from prometheus_client import Metric
from referencing import Registry, Resource

from detection_contract import environment, signing, user_messages
from detection_contract.aws.s3_urls import InvalidS3Url, parse_s3_url
from detection_contract.error_codes import Disposition, ErrorCode, disposition
from detection_contract.media_types import EXTENSIONS, MediaKind
from detection_contract.messages import parse_body
from detection_contract.notifications import (
    DETAIL_TYPES,
    SOURCE,
    notification_attributes,
)
from detection_contract.result_keys import is_key_template
from detection_contract.schemas import load_schema
from detection_worker.__main__ import EXIT_BROKEN_PIPE
from detection_worker.cli import catalog
from detection_worker.cli.predict.command import EPILOG
from detection_worker.cli.predict.results_file import CSV_COLUMNS, FORMATS
from detection_worker.config.table import FILE_KEYS, SETTINGS, Setting
from detection_worker.core.outbox.hosts import OpenHost
from detection_worker.core.outbox.schedule import PAUSES_S
from detection_worker.core.quality import QUALITIES
from detection_worker.metrics import Metrics
from detection_worker.settings import ResultSettings
from detection_worker.sources.base import ReceivedMessage
from detection_worker.sources.dead_letters import dead_letter_request

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")],
)
README, USAGE, MESSAGES, OPERATING, FILES, ARCHITECTURE, RESULTS = (
    (ROOT / name).read_text()
    for name in (
        *("README.md", "docs/usage.md", "docs/messages.md", "docs/operating.md", "docs/files.md"),
        *("docs/architecture.md", "docs/results.md"),
    )
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def load_tool(name: str) -> ModuleType:
    """Return a program of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def section(text: str, heading: str) -> str:
    """Return what stands under a heading, up to the next of its level or above."""
    level = heading.index(" ")
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"no heading {heading!r}"
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of every table row but the headings and rulers."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    rulers = [i for i, line in enumerate(lines) if re.fullmatch(r"[|\s:-]+", line)]
    return [row for i, row in enumerate(split) if i not in rulers and i + 1 not in rulers]


def blocks(text: str, language: str) -> list[str]:
    return [code for found, code in BLOCK.findall(text) if found == language]


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


# -- links ---------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    broken = []
    prose = re.sub(r"`[^`\n]+`", "", BLOCK.sub("", path.read_text()))
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        leads_to = path.parent / name if name else path
        if not leads_to.exists() or (anchor and anchor not in anchors(leads_to)):
            broken.append(target)

    assert broken == []


# -- messages and results ------------------------------------------------------------------------


def test_message_examples_are_accepted_as_what_their_headings_say() -> None:
    expected = {
        "### Plain message": ("plain", 1),
        "### S3 event notification": ("s3_event", 1),
        "### Through SNS": ("plain", 1),
        "### Through EventBridge": ("s3_event", 1),
        "### Test event": ("test_event", 0),
    }
    for heading, (kind, requests) in expected.items():
        [body] = blocks(section(MESSAGES, heading), "json")
        parsed = parse_body(body)

        assert (parsed.kind, len(parsed.requests)) == (kind, requests), heading


def test_plain_examples_are_valid_against_the_message_schema() -> None:
    schema = Draft202012Validator(load_schema("message"))
    examples = [
        code
        for text in (section(MESSAGES, "### Plain message"), README, USAGE)
        for code in blocks(text, "json")
    ]

    assert len(examples) == 3
    for example in examples:
        schema.validate(json.loads(example))
        assert parse_body(example).kind == "plain"


def test_both_spellings_of_a_space_in_an_event_name_the_same_key() -> None:
    keys = {
        parse_body(blocks(section(MESSAGES, heading), "json")[0]).requests[0].location.key
        for heading in ("### S3 event notification", "### Through EventBridge")
    }

    assert keys == {"uploads/holiday photo.jpg"}


@pytest.mark.parametrize(
    ("heading", "status", "count"),
    [
        pytest.param("### A finished result", "finished", 2, id="finished"),
        pytest.param("### A result without an opinion", "finished", 1, id="not applicable"),
        pytest.param("### A failed result", "failed", 1, id="failed"),
    ],
)
def test_result_examples_are_valid(heading: str, status: str, count: int) -> None:
    schema = Draft202012Validator(load_schema("result"))
    examples = [json.loads(b) for b in blocks(section(MESSAGES, heading), "json")]

    assert len(examples) == count
    for example in examples:
        schema.validate(example)
        assert example["status"] == status
        parse_body(json.dumps(example["original_message"]))


def test_every_field_of_message_and_result_is_described() -> None:
    message_rows = {spans(r[0])[0] for r in rows(section(MESSAGES, "### Plain message"))}
    results = section(MESSAGES, "## Results")
    result_rows = [spans(r[0])[0] for r in rows(results.partition("### ")[0])]
    properties = load_schema("result")["properties"]
    example = json.loads(blocks(section(MESSAGES, "### A finished result"), "json")[1])

    assert message_rows == set(load_schema("message")["properties"])  # type: ignore[call-overload]
    assert result_rows == list(properties)  # type: ignore[call-overload]
    for name in (*example["media"], *example["model"], *example["segments"][0]):
        assert f"`{name}`" in results


def test_notifications_are_described_field_by_field_and_their_example_is_valid() -> None:
    described = section(MESSAGES, "## Notifications")
    fields = [name for row in rows(described)[:6] for name in spans(row[0])]
    example, policy = map(json.loads, blocks(described, "json"))
    schema = load_schema("notification")
    results = Resource.from_contents(load_schema("result"))

    assert fields == list(example) == list(schema["properties"])  # type: ignore[call-overload]
    Draft202012Validator(schema, registry=results @ Registry()).validate(example)
    attributes = notification_attributes(example, queue_url=example["queue_url"])
    assert attributes.keys() <= {*spans(rows(described)[6][1])}
    assert policy.keys() <= attributes.keys()
    for word in (SOURCE, *DETAIL_TYPES.values()):
        assert f"`{word}`" in described


def test_every_reason_of_a_verdict_and_every_quality_code_is_explained() -> None:
    described = section(MESSAGES, "### Verdicts")
    table = [spans(row[1])[0] for row in rows(described)]
    properties: Any = load_schema("result")["properties"]

    assert table == properties["verdict_reason"]["properties"]["code"]["enum"]
    for word in properties["verdict"]["enum"][:-1]:
        assert f"`{word}`" in described
    for code in QUALITIES:
        assert f"`{code}`" in section(MESSAGES, "## Results")


def test_every_s3_url_of_the_table_names_its_bucket_and_key() -> None:
    table = rows(section(MESSAGES, "## S3 URLs"))

    assert len(table) > 15
    for _, url, bucket, key in table:
        location = parse_s3_url(spans(url)[0])
        assert (location.bucket, location.key) == (spans(bucket)[0], spans(key)[0]), url


def test_the_urls_said_to_be_refused_are_refused() -> None:
    refused = section(MESSAGES, "## S3 URLs").partition("Refused with `bad_url`")[2]
    urls = [span for span in spans(refused) if "://" in span]

    assert len(urls) == 5
    for url in urls:
        with pytest.raises(InvalidS3Url):
            parse_s3_url(url)


def test_every_extension_is_listed_under_its_kind() -> None:
    table = rows(section(MESSAGES, "## Media types"))

    assert {MediaKind(kind): tuple(spans(cell)) for kind, cell in table} == EXTENSIONS


def test_every_error_code_is_explained_with_what_becomes_of_the_message() -> None:
    table = {spans(row[0])[0]: row[2] for row in rows(section(MESSAGES, "### Error codes"))}
    words = {Disposition.DEAD_LETTER: "dead-lettered", Disposition.RETRY: "tried again"}

    assert list(table) == [code.value for code in ErrorCode]
    for code in ErrorCode:
        assert table[code.value].startswith(words[disposition(code)]), code


def check_of(number: int) -> Callable[[str, Mapping[str, str], bytes], bool]:
    code = blocks(section(MESSAGES, "### Verify the signature"), "python")[number]
    namespace: dict[str, Any] = {}
    exec(compile(code, "docs/messages.md", "exec"), namespace)
    check: Callable[[str, Mapping[str, str], bytes], bool] = namespace["is_authentic"]
    return check


@pytest.mark.parametrize("number", [0, 1], ids=["with the package", "standard library"])
def test_a_receivers_check_takes_what_was_signed_and_nothing_else(number: int) -> None:
    check, body, now_s = check_of(number), b'{"label":"FAKE"}', int(time.time())
    other = "whsec_" + base64.b64encode(bytes(32)).decode()
    signed = signing.headers([other, SECRET], webhook_id="msg_1_0", timestamp_s=now_s, body=body)
    old = signing.headers([SECRET], webhook_id="msg_1_0", timestamp_s=now_s - 301, body=body)

    assert check(SECRET, signed, body)
    assert check(SECRET, {name.title(): value for name, value in signed.items()}, body)
    assert not check(SECRET, signed, body + b" ")
    assert not check(SECRET, {**signed, signing.ID_HEADER: "msg_2_0"}, body)
    assert not check("whsec_" + base64.b64encode(b"x" * 32).decode(), signed, body)
    assert not check(SECRET, old, body)
    assert not check(SECRET, {}, body)


# -- where results go ----------------------------------------------------------------------------


def test_subscribers_filter_by_what_notifications_carry() -> None:
    result = json.loads(blocks(section(MESSAGES, "### A failed result"), "json")[0])
    finished = json.loads(blocks(section(MESSAGES, "### A finished result"), "json")[0])
    carried = {
        name
        for each in (result, finished)
        for name in notification_attributes(each, queue_url=each["queue_url"])
    }
    policy, pattern = (json.loads(block) for block in blocks(RESULTS, "json"))

    assert policy.keys() <= carried
    assert pattern["source"] == [SOURCE]
    assert pattern["$or"][0]["detail-type"] == [DETAIL_TYPES["failed"]]


def test_the_placeholders_of_keys_are_explained() -> None:
    table = rows(section(RESULTS, "## Stored results"))
    fields = [name.strip("{}") for row in table for name in spans(row[0])]

    assert is_key_template("/".join(f"{{{name}}}" for name in fields))
    assert set(fields) == {"date", "request_id", "message_id", "index", "bucket", "key"}
    assert f"`{ResultSettings().results_key}`" in RESULTS


def test_the_schedule_of_the_outbox_is_told() -> None:
    units = {"s": 1, "min": 60, "h": 3600}
    told = re.search(r"Further attempts follow (.+?) after one another", RESULTS)
    assert told

    pauses = re.findall(r"(\d+) (s|min|h)\b", told[1])
    assert tuple(float(n) * units[unit] for n, unit in pauses) == PAUSES_S


def test_the_order_of_destinations_links_to_every_crash_point() -> None:
    assert "architecture.md#crash-points" in section(RESULTS, "## The order")
    assert ARCHITECTURE.count("`after ResultStore.put`") == 3


# -- operating -----------------------------------------------------------------------------------


def families() -> dict[str, Metric]:
    """Return every family by the name under which Prometheus stores it."""
    found = list(Metrics().registry.collect())
    return {f"{m.name}_total" if m.type == "counter" else m.name: m for m in found}


def test_every_metric_is_explained_with_its_labels_and_no_other() -> None:
    metrics = Metrics()
    labels = {
        getattr(c, "_name", "") + ("_total" if getattr(c, "_type", "") == "counter" else ""): c
        for c in (vars(metrics) | vars(metrics.outbox)).values()
        if hasattr(c, "_labelnames")
    }
    table = rows(section(OPERATING, "### Metrics"))

    assert [spans(row[0])[0] for row in table] == list(families())
    for name, label_cell, _, query in table:
        assert tuple(spans(label_cell)) == labels[spans(name)[0]]._labelnames
        assert spans(name)[0] in query


def test_every_series_in_a_document_is_exported() -> None:
    known = set(families())
    known |= {
        f"{name}_{suffix}"
        for name, metric in families().items()
        if metric.type == "histogram"
        for suffix in ("bucket", "sum", "count")
    }
    named = set(re.findall(r"\bdetection_worker_[a-z_]+", MESSAGES + OPERATING + README))

    assert named - known == set()


def parser_of(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    catalog.load(command).configure(parser)
    return parser


def options_of(command: str) -> set[str]:
    return {o for action in parser_of(command)._actions for o in action.option_strings}


def shown_default(value: object) -> str:
    if value is None or value == ():
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: f"{s.group}.{s.name}")
def test_every_setting_is_listed_as_it_is(setting: Setting) -> None:
    offered = setting.option is not None and setting.flag in options_of("consume")
    cells = [
        f"`{setting.flag}`" if offered else "-",
        " ".join(f"`{name}`" for name in setting.environment) or "-",
        shown_default(setting.default),
        setting.allowed(),
    ]

    assert f"\n| {' | '.join(cells)} | " in section(OPERATING, "## Settings")


def test_no_setting_is_listed_that_is_not_there() -> None:
    settings = section(OPERATING, "## Settings")
    keys = set(spans(settings.partition("The config file holds")[2].partition("\n\n")[0]))

    assert len(rows(settings)) == len(SETTINGS)
    assert keys == set(FILE_KEYS) | {key for names in FILE_KEYS.values() for key in names}


def keys_returned_by(function: str, path: str) -> Iterator[str]:
    tree = ast.parse((ROOT / "worker" / "detection_worker" / path).read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    for node in ast.walk(next(f for f in functions if f.name == function)):
        if isinstance(node, ast.Return | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            for key in node.value.keys:
                if isinstance(key, ast.Constant):
                    yield str(key.value)


def test_every_field_of_the_state_is_explained() -> None:
    state = section(OPERATING, "### /state")
    [example] = blocks(state, "json")
    explained = {name for row in rows(state) for name in spans(row[0])}
    real = {
        *keys_returned_by("state", "pipeline/service/steering.py"),
        *keys_returned_by("state", "pipeline/service/health.py"),
    }

    assert set(keys_returned_by("merged", "core/feeders/state.py")) == set(
        keys_returned_by("state", "pipeline/service/health.py")
    )
    [told] = (set(spans(row[1])) for row in rows(state) if row[0] == "`outbox`")

    assert explained == real | {"outbox"}
    assert set(json.loads(example)) == real
    assert told - {"/drain"} == {
        *keys_returned_by("state", "outbox/service.py"),
        *keys_returned_by("state", "outbox/gate.py"),
        *(field.name for field in fields(OpenHost)),
    }


def test_every_health_check_is_explained() -> None:
    explained = {
        n for r in rows(section(OPERATING, "### /healthz and /readyz")) for n in spans(r[0])
    }
    real = {
        *{"starting", "download", "decode", "callback", "running", "outbox"},
        *keys_returned_by("liveness", "pipeline/service/health.py"),
        *keys_returned_by("liveness", "pipeline/service/feeders/steering.py"),
        *keys_returned_by("readiness", "pipeline/service/health.py"),
    }

    assert explained - {"/healthz", "/readyz"} == real


def test_the_attributes_of_a_dead_letter_are_explained() -> None:
    message = ReceivedMessage(
        message_id="m",
        receipt_handle="h",
        body="{}",
        receive_count=1,
        sent_at_s=None,
        attributes={},
    )
    made = dead_letter_request(message, queue_url="u", source_url="s", code="c", reason="r")

    explained = {spans(r[0])[0] for r in rows(section(OPERATING, "## Dead-letter queue"))}
    assert explained == set(made["MessageAttributes"])


def program_texts() -> str:
    """Return all sources with string literals that span lines joined."""
    sources = (ROOT / "worker").rglob("*.py")
    return "".join(re.sub(r'"\n\s*f?"', "", path.read_text()) for path in sources)


def test_every_text_that_users_search_for_is_in_the_troubleshooting() -> None:
    section_text = section(OPERATING, "## Troubleshooting")
    searched = [
        value.partition("\n")[0].partition("{")[0]
        for name, value in vars(user_messages).items()
        if name.isupper() and not name.startswith("LOG_")
    ]

    assert len(searched) == 9
    assert [text for text in searched if f"`{text}`" not in section_text] == []


def test_the_troubleshooting_quotes_what_the_program_says() -> None:
    said = program_texts()
    quoted = [s for r in rows(section(OPERATING, "## Troubleshooting")) for s in spans(r[0])]

    assert len(quoted) > 20
    assert [text for text in quoted if text not in said] == []


def test_the_pod_of_the_documents_ends_after_its_worker() -> None:
    [pod] = [yaml.safe_load(code)["spec"] for code in blocks(OPERATING, "yaml")]
    [container] = pod["containers"]
    grace_s = environment.SHUTDOWN_GRACE_DEFAULT_S + environment.GRACE_MARGIN_S

    assert pod["terminationGracePeriodSeconds"] == grace_s
    assert container["ports"][0]["containerPort"] == environment.CONTROL_PORT_DEFAULT
    assert container["livenessProbe"]["httpGet"]["path"] == environment.HEALTH_PATH
    assert container["startupProbe"]["httpGet"]["path"] == environment.HEALTH_PATH
    assert container["readinessProbe"]["httpGet"]["path"] == environment.READY_PATH
    known = {environment.AWS_EC2_METADATA_DISABLED}.union(*(s.environment for s in SETTINGS))
    assert {variable["name"] for variable in container["env"]} <= known


# -- commands ------------------------------------------------------------------------------------


def commands_in(text: str) -> Iterator[list[str]]:
    """Yield command and arguments of every call of the worker that a document shows."""
    code = [*blocks(text, "bash"), *spans(BLOCK.sub("", text))]
    for line in "\n".join(code).replace("\\\n", " ").splitlines():
        call = re.match(r"\s*detection-worker ([a-z][a-z-]*)(.*)", line.partition(" #")[0])
        if call:
            yield [call[1], *shlex.split(call[2])]


def test_every_command_that_a_document_shows_exists_with_its_options() -> None:
    shown = [c for path in DOCUMENTS for c in commands_in(path.read_text())]
    tables = (section(README, "## Use it on AWS"), section(USAGE, "## Commands"))
    shown += [shlex.split(spans(row[1])[0]) for table in tables for row in rows(table)]
    known = {command.name for command in catalog.listed()}
    unknown = []
    for command, *arguments in shown:
        flags = [a.partition("=")[0] for a in arguments if a.startswith("--")]
        if command not in known or set(flags) - options_of(command) - {"--help"}:
            unknown.append([command, *arguments])

    assert len(shown) > 15
    assert unknown == []


def test_every_option_that_a_document_names_belongs_to_a_command() -> None:
    known = {o for command in catalog.listed() for o in options_of(command.name)}
    named = {
        flag
        for text in (MESSAGES, OPERATING)
        for span in spans(BLOCK.sub("", text))
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", span)
    }

    assert named - known - {"--build-arg", "--help", "--no-", "--tmpfs"} == set()


def test_the_python_of_the_guide_imports_what_there_is() -> None:
    [code] = blocks(USAGE, "python")
    imports = [node for node in ast.parse(code).body if isinstance(node, ast.ImportFrom)]

    assert imports
    for node in imports:
        module = importlib.import_module(node.module or "")
        assert [a.name for a in node.names if not hasattr(module, a.name)] == []


@pytest.mark.parametrize(("name", "place"), [("Worker layers", -2), ("Operator layers", -1)])
def test_the_layers_are_drawn_as_they_are_enforced(name: str, place: int) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [layers] = [c["layers"] for c in contracts["contracts"] if c["name"] == name]
    drawn = blocks(ARCHITECTURE, "")[place]

    modules = [re.findall(r"\w+", layer) for layer in drawn.split("─")]
    assert modules == [re.findall(r"\w+", layer) for layer in layers]


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))

    assert {"demo", "test"} <= named
    assert named <= targets


# -- files ---------------------------------------------------------------------------------------


def test_files_names_every_format_and_column() -> None:
    table = {row[0].strip("`"): row[1] for row in rows(section(FILES, "## Results"))}

    assert set(FORMATS) <= table.keys()
    assert tuple(spans(table["csv"])[: len(CSV_COLUMNS)]) == CSV_COLUMNS


def test_files_and_help_name_the_same_exit_codes() -> None:
    documented = {row[0] for row in rows(section(FILES, "## Results")) if row[0].isdigit()}

    told = set(re.findall(r"^  (\d+) ", EPILOG, re.MULTILINE))
    assert told == {"0", "1", "2", "130"}
    assert documented == told | {str(EXIT_BROKEN_PIPE)}


# -- names of files and modules ------------------------------------------------------------------

GUIDES = [
    *(path for path in DOCUMENTS if path.name != "CHANGELOG.md"),
    *(ROOT / name / "README.md" for name in ("charts/detection-queue", "models")),
]
SOURCES = [ROOT, *(ROOT / name for name in ("worker", "operator", "models", "testing"))]
TOP = {path.name for source in SOURCES for path in source.iterdir() if path.is_dir()}
PATH = re.compile(r"(?<![\w./<-])(?:[\w.-]+/)+(?:[\w-]+\.(?:py|md|ya?ml|json|txt))?(?![\w*<{-])")
MODULE = re.compile(r"\bdetection_(?:contract|worker|operator|training|testing)(?:\.[a-z_]\w*)+")


def paths_in(text: str) -> set[str]:
    """Return the paths below the repository or a source folder that code spans name."""
    named = {path for span in spans(BLOCK.sub("", text)) for path in PATH.findall(span)}
    return {path for path in named if path.partition("/")[0] in TOP}


def is_module(name: str) -> bool:
    """Say whether a dotted name is a package, a module, or a name in a module."""
    path = Path(*name.split("."))
    tails = (path, path.with_suffix(".py"), path.parent.with_suffix(".py"))
    return any((source / tail).exists() for source in SOURCES for tail in tails)


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_and_module_that_a_document_names_exists(path: Path) -> None:
    text = path.read_text()
    paths, modules = paths_in(text), set(MODULE.findall(text))

    assert {p for p in paths if not any((source / p).exists() for source in SOURCES)} == set()
    assert {name for name in modules if not is_module(name)} == set()


def test_the_architecture_names_many_paths() -> None:
    assert len(paths_in(ARCHITECTURE)) > 60


def test_every_document_is_in_the_index() -> None:
    folder = ROOT / "docs"
    index = (folder / "README.md").read_text()
    linked = set(re.findall(r"\]\(([^)#]+)", index))

    assert {path.name for path in folder.glob("*.md")} - {"README.md"} <= linked
    assert {f"{path.name}/" for path in folder.iterdir() if path.is_dir()} <= {
        f"{link.partition('/')[0]}/" for link in linked
    } | {"images/"}


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    notes = {path.name for path in folder.glob("*.md")} - {"README.md"}

    linked = re.findall(r"\]\(([^)]+)\)", (folder / "README.md").read_text())
    assert sorted(linked) == sorted(notes)


def test_the_api_reference_is_what_the_docstrings_say() -> None:
    tool = load_tool("api_reference")

    assert tool.TARGET.read_text() == tool.reference(), "run: python tools/api_reference.py"
