"""The version and the options of operators, which `read_tflite` leaves out."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.files.tflite.mapped import mapped


@dataclass(frozen=True)
class OperatorDetail:
    """version: of the op's definition. options: by the names of the format's schema in camel case; {} for none."""

    version: int
    options: Mapping[str, Any]


def operator_details(path: Path, subgraph: int = 0) -> tuple[OperatorDetail, ...]:
    """The details of a subgraph's operators, in their order. RequestError for a file that is not sound."""
    try:
        model: Any = schema.Model.GetRootAs(mapped(path), 0)
        graph = model.Subgraphs(subgraph)
        return tuple(_detail(model, graph.Operators(i)) for i in range(graph.OperatorsLength()))
    # What flatbuffers raises on nonsense depends on which helper meets it first
    except (struct.error, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise RequestError(Problem("is truncated or corrupt", where=str(path))) from error


def _detail(model: Any, operator: Any) -> OperatorDetail:
    options: dict[str, Any] = {}
    for creator, kind, table in (
        (schema.BuiltinOptionsCreator, operator.BuiltinOptionsType(), operator.BuiltinOptions()),
        (schema.BuiltinOptions2Creator, operator.BuiltinOptions2Type(), operator.BuiltinOptions2()),
    ):
        if kind and table is not None:
            options |= vars(creator(kind, table))
    return OperatorDetail(model.OperatorCodes(operator.OpcodeIndex()).Version(), options)
