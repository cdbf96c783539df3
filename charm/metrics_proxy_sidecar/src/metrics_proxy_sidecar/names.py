"""What Kubernetes accepts as names, label keys and label values."""

import re

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_DNS_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NAME = re.compile("([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")


def is_namespace(name: str) -> bool:
    """Say whether a namespace can be called that (RFC 1123 label)."""
    return len(name) <= 63 and _DNS_LABEL.fullmatch(name) is not None


def is_label_key(key: str) -> bool:
    """Say whether it is a qualified name: a name, after a DNS subdomain and / or not."""
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= 253 and _DNS_SUBDOMAIN.fullmatch(prefix)):
        return False
    return len(name) <= 63 and _NAME.fullmatch(name) is not None


def is_label_value(value: str) -> bool:
    """Say whether it is empty or as the name of a label key."""
    return value == "" or (len(value) <= 63 and _NAME.fullmatch(value) is not None)
