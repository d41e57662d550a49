"""The Python API: what `import assay` gives."""
