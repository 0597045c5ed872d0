"""The figures that a run is judged by."""

from tflite_recipes.core import number_format
from tflite_recipes.report.key_metrics import Row, headline


def test_source_and_file_stand_side_by_side():
    metrics = {"size.float_bytes": 4000.0, "size.tflite_bytes": 1000.0, "size.gzip_bytes": 900.0}
    metrics |= {
        "accuracy.source": 0.9,
        "accuracy.tflite": 0.85,
        "accuracy.drop": 0.05,
        "accuracy.worst_class_drop": 0.2,
    }
    rows = headline(metrics, {"accuracy.metric": "f1"}, {})
    assert rows == [
        Row("size", "4,000 B", "1,000 B", "25.0% of the source"),
        Row("size, gzipped", "", "900 B"),
        Row("f1", "0.9", "0.85", "drop 0.05"),
        Row("class that lost most", "", "", "drop 0.2"),
    ]


def test_a_file_that_is_better_has_no_drop():
    metrics = {"accuracy.source": 0.9, "accuracy.tflite": 0.95, "accuracy.drop": -0.05}
    assert headline(metrics, {}, {}) == [Row("score", "0.9", "0.95", "better by 0.05")]


def test_a_drop_that_is_no_number_is_not_called_better():
    (row,) = headline({"accuracy.source": 0.9, "accuracy.tflite": float("nan"), "accuracy.drop": float("nan")}, {}, {})
    assert row == Row("score", "0.9", "nan", "drop nan")


def test_an_estimate_is_called_one_and_rare_ops_are_told():
    metrics = {"target.inference_ms": 1.5, "ops.total": 9.0, "ops.float": 2.0, "ops.flex": 0.0}
    rows = headline(metrics, {}, number_format.estimated(["target.inference_ms"]))
    assert rows == [Row("inference", "", "estimated 1.500 ms"), Row("ops", "", "9", "2 float")]


def test_a_source_without_parameters_has_no_ratio():
    rows = headline({"size.float_bytes": 0.0, "size.tflite_bytes": 700.0}, {}, {})
    assert rows == [Row("size", "", "700 B")]
    assert headline({}, {}, {}) == []
