"""The syntax of namespaces, label keys and label values in Kubernetes."""

import re

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_DNS_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NAME = re.compile("([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")


def is_namespace(name: str) -> bool:
    """Return whether name is a valid name of a namespace (RFC 1123 label)."""
    return len(name) <= 63 and _DNS_LABEL.fullmatch(name) is not None


def is_label_key(key: str) -> bool:
    """Return whether key is a qualified name: an optional DNS subdomain and /, then a name."""
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= 253 and _DNS_SUBDOMAIN.fullmatch(prefix)):
        return False
    return len(name) <= 63 and _NAME.fullmatch(name) is not None


def is_label_value(value: str) -> bool:
    """Return whether value is empty or has the syntax of the name in a label key."""
    return value == "" or (len(value) <= 63 and _NAME.fullmatch(value) is not None)
