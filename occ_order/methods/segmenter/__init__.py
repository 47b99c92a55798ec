"""Class-agnostic detector trained on partially labelled images."""
