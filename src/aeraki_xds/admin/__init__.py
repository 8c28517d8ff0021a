"""The operator's view over HTTP: health, readiness, what was sent to whom, what is wrong."""
