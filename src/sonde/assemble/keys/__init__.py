"""Key rings: where they come from, who changes them, and who watches them."""
