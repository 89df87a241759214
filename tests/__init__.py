"""The tests: one file for each module, and the helpers they share."""
