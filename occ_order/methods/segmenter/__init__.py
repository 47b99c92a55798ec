"""Parts of a detector that learns things of any class from images that are labelled in part."""
