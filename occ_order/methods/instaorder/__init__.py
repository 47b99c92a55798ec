"""Order of pairs of given masks: InstaOrderNet^o, ^d, ^{o,d}, OrderNet, PCNet-M."""
