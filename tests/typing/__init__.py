"""What a type checker says about programs that use txpusher."""
