"""Browser demo: order the instances of a photograph, from mask files, clicks or a detector."""
