"""Steps that set weights to zero."""
