"""The only importers of TensorFlow, Keras and LiteRT. Imported by steps, inside the worker, when they run."""
