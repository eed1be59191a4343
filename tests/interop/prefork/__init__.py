"""Programs that the tests of preforking servers run."""
