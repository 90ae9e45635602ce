"""How products are asked: one file each, mixed into the plugin of the kind."""
