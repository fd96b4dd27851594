"""Kernel sharing ("MESS", mlvc-lab/ILKP): kernels become index of a reference, scale and offset."""
