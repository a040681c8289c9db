"""What every adapter of a port promises: one class per port, run on memory and embedded."""
