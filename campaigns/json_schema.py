"""The form of experiment files as a JSON Schema, for editors: from the same models that read them,
with the workloads' parameters.

An editor learns keys, units and choices from it. What concerns several keys is told by
`./inv experiments.check`.
"""

from __future__ import annotations

import re
from typing import Any

from campaigns import presets
from campaigns.schema import IDENTIFIER, ExperimentFile
from policies import registry as policies
from workloads import registry

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The schema."""
    made = ExperimentFile.model_json_schema(by_alias=True)
    for each in (made, *made["$defs"].values()):
        _plain(each)
    for name in registry.names():
        of_workload = registry.get(name).Parameters.model_json_schema()
        _plain(of_workload)
        for inner, each in of_workload.pop("$defs", {}).items():
            made["$defs"].setdefault(inner, each)
        made["$defs"][f"parameters_{name}"] = of_workload
    workload = made["$defs"]["WorkloadSection"]
    workload["properties"]["name"] = {"enum": list(registry.names())}
    workload["allOf"] = [
        {
            "if": {"properties": {"name": {"const": name}}},
            "then": {"properties": {"parameters": {"$ref": f"#/$defs/parameters_{name}"}}},
        }
        for name in registry.names()
    ]
    made["properties"]["policies"]["items"] |= {
        "pattern": rf"^({_any(*policies.BASES, *policies.CONTROLS)})(\+({_any(*policies.PARTS)}))*$",
        "examples": [*policies.BASES, *policies.CONTROLS],
    }
    made["properties"][presets.KEY] = {
        "description": "the same at another scale: name -> the keys that it changes (--scale NAME)",
        "type": ["object", "null"],
        "propertyNames": {"pattern": f"^{IDENTIFIER}$"},
        "additionalProperties": {"type": "object"},
    }
    return {"$schema": DIALECT, **made, "title": "An experiment of the Xen overcommit testbed"}


def _any(*names: str) -> str:
    return "|".join(re.escape(name) for name in names)


def _plain(section: dict[str, Any]) -> None:
    """Without what says nothing to a reader: titles made of keys, defaults that are no longer in
    the unit of the file. Keys that have to be of a form can be of no other.
    """
    section.pop("title", None)
    for each in section.get("properties", {}).values():
        each.pop("title", None)
        kinds = [each, *each.get("anyOf", ())]
        for kind in kinds:
            if "patternProperties" in kind:
                kind.setdefault("additionalProperties", False)
        if any(kind.get("type") == "string" for kind in kinds) and not isinstance(each.get("default"), str):
            each.pop("default", None)
