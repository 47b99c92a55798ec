"""Order of given masks on photographs (MaskOrderNet)."""
