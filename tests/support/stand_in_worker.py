"""A worker without TensorFlow, for tests of what a run makes of its steps' answers."""


class StandInWorker:
    """The pool and its worker in one. Tests give it a `run` that does the jobs."""

    def ready(self):
        return self

    def held(self):
        return 0

    def kill(self):
        pass
