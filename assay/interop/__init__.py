"""Inside other programs: what of assay works in them, each an optional extra."""
