"""Pages for a browser: annotating orders, looking through results, reports."""
