"""Changes one thing in the code at a time and looks whether a test notices: `make mutation`."""
