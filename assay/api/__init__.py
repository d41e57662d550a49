"""What `import assay` gives: the command line's functions, for notebooks and programs."""
