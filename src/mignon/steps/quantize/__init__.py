"""Steps that put weights and activations on integer grids."""
