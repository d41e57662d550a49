"""The public functions of `import assay`; the command line is a shell over them."""
