"""Past runs held against each other: two of them in all that is known, or many in what they differ in."""

# How many of an experiment's runs are compared if nothing else is said: the newest.
LIMIT = 50
