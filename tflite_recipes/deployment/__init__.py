"""What the developer of the firmware or the application needs beside the file, as texts. Needs no TensorFlow."""
