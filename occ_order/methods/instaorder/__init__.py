"""Pairwise order of input masks: InstaOrderNet^o, ^d, ^{o,d}, OrderNet, PCNet-M."""
