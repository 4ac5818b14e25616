"""Protocol transcripts kept as text: a scenario is a file, a change of behaviour is a diff."""
