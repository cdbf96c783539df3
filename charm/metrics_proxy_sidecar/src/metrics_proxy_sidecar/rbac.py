"""The manifest that allows an application to list and watch pods without juju trust."""

from collections.abc import Sequence
from typing import Any

import yaml

_RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
_GROUP = "rbac.authorization.k8s.io"


def rbac_manifest(app: str, model: str, namespaces: Sequence[str] = ()) -> str:
    """Return YAML for kubectl apply.

    It contains a ClusterRole if namespaces is empty, which means all namespaces, and
    otherwise a Role in each namespace. They are bound to the service account that Juju
    creates for app in the namespace of its model.
    """
    name = f"{app}-metrics-proxy"
    subjects = [{"kind": "ServiceAccount", "name": app, "namespace": model}]
    documents = []
    if not namespaces:
        name = f"{model}-{name}"  # cluster-scoped names are shared by all models
    for metadata in [{"name": name, "namespace": ns} for ns in namespaces] or [{"name": name}]:
        kind = "Role" if namespaces else "ClusterRole"
        documents += [
            _resource(kind, metadata, rules=_RULES),
            _resource(
                f"{kind}Binding",
                metadata,
                roleRef={"apiGroup": _GROUP, "kind": kind, "name": name},
                subjects=subjects,
            ),
        ]
    return "---\n".join(yaml.safe_dump(document, sort_keys=False) for document in documents)


def _resource(kind: str, metadata: dict[str, str], **fields: object) -> dict[str, Any]:
    head = {"apiVersion": f"{_GROUP}/v1", "kind": kind, "metadata": dict(metadata)}
    return {**head, **yaml.safe_load(yaml.safe_dump(fields))}  # no YAML anchors
