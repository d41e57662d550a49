"""Find recipes and worlds by name: the folders are the registry."""
