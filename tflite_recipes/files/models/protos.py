"""Classes of protobuf messages, described down to what is read of them; all other fields are skipped over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_pools: dict[str, Any] = {}


def message_class(package: str, messages: Mapping[str, str], name: str) -> Any:
    """The class of the message `name` of those described, each by its fields: `KIND NAME NUMBER`, with commas between;
    the kind a message or a type of protobuf, with `[]` where it is repeated.

    package: a name of their own for these messages, whose classes are made once. The pool is our own too, so that
    nothing meets TensorFlow's descriptors in the same process.
    """
    if package not in _pools:
        _pools[package] = _pool(package, messages)
    from google.protobuf import message_factory  # type: ignore[import-untyped, unused-ignore]

    return message_factory.GetMessageClass(_pools[package].FindMessageTypeByName(f"{package}.{name}"))


def _pool(package: str, messages: Mapping[str, str]) -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool  # type: ignore[import-untyped, unused-ignore]

    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    constants: Any = descriptor_pb2.FieldDescriptorProto
    for message, fields in messages.items():
        message_type = file.message_type.add(name=message)
        for text in fields.split(", "):
            kind, name, number = text.split()
            field = message_type.field.add(name=name, number=int(number))
            field.label = constants.LABEL_REPEATED if kind.endswith("[]") else constants.LABEL_OPTIONAL
            kind = kind.removesuffix("[]")
            if kind in messages:
                field.type, field.type_name = constants.TYPE_MESSAGE, f".{package}.{kind}"
            else:
                field.type = constants.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool
