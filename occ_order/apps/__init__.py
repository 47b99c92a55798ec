"""Browser applications: order annotation, result viewer, photograph demo and HTML reports."""
