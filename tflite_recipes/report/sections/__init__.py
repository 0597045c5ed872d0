"""The sections of a run's `report.html`, one module for each kind of question. Each is HTML, "" where there is nothing
to say; names of layers, classes and files are text and never markup."""
