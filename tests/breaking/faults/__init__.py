"""What goes wrong on real servers without harm to anybody else's mesh: counted once all the same, and flat memory."""
