"""Memory of a training, estimated from shapes alone."""
