"""Errors of an API server for values that fit no Deployment: a 500 for most, not a 422."""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from detection_operator.errors import cluster_error

_QUANTITY: Final = re.compile(r"^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$")
_TYPED: Final = "failed to create typed patch object"
_CONVERTED: Final = "failed to convert new object"


def admit(manifest: Mapping[str, Any]) -> None:
    """Check the values of a Deployment's variables and resources, as far as tests need it.

    Raises:
        Rejected: The API server would refuse it, in these words.
    """
    template = manifest["spec"].get("template", {})
    for container in template.get("spec", {}).get("containers", ()):
        for variable in container.get("env", ()):
            if not isinstance(variable.get("value", ""), str):
                place = f'.env[name="{variable.get("name")}"].value'
                raise cluster_error(500, f"500 {_TYPED}: {place}: expected string")
        for quantity in _quantities(container):
            if not _QUANTITY.match(str(quantity)):
                reason = f"quantities must match the regular expression '{_QUANTITY.pattern}'"
                raise cluster_error(500, f"500 {_CONVERTED} to proper version: {reason}")


def _quantities(container: Mapping[str, Any]) -> Iterator[Any]:
    for part in container.get("resources", {}).values():
        if isinstance(part, Mapping):
            yield from part.values()


def merged_over(base: Any, over: Any) -> Any:
    """Return ``base``, changed, with the fields of ``over`` set."""
    if isinstance(base, dict) and isinstance(over, Mapping):
        for name, value in over.items():
            base[name] = merged_over(base.get(name), value)
        return base
    return copy.deepcopy(over)
