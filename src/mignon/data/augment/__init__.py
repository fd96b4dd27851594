"""How training images are changed at random, by name; one file a way.

A member says for which pictures it is (`summary`); its `change(spec)` gives a function of uint8 B x H x W x C and a
generator, which draws for each image anew.
"""
