"""Past runs made by hand, as MLflow would give them."""

from tflite_recipes.tracking.run_reader import PastRun

CONFIG = {
    "source": "digits",
    "source.epochs": "4",
    "optimization": "none",
    "optimization.scheme": "none",
    "worker.timeout_s": "None",
    "tracking": "mlflow",
    "accuracy.metric": "accuracy",
}


def past_run(number, metrics=None, params=None, tags=None, status="FINISHED", name="digits"):
    """The run with the ID that `number` makes; params on top of those of a small run."""
    own = {"recipe": "digits", "recipe_digest": f"d{number}", "outcome": "passed", "source_sha256": "s", **(tags or {})}
    prefixed = {key if key.startswith("mlflow.") else f"tflite_recipes.{key}": value for key, value in own.items()}
    return PastRun(
        uri="sqlite:///runs.db",
        run_id=f"{number:032x}",
        name=name,
        experiment_id="1",
        status=status,
        started=1.7e9 + number,
        params={key: value for key, value in {**CONFIG, **(params or {})}.items() if value is not None},
        tags={key: value for key, value in prefixed.items() if value is not None},
        metrics=metrics or {},
    )


def scheme(name):
    """The params of a run of this scheme."""
    return {"optimization": name, "optimization.scheme": name}
