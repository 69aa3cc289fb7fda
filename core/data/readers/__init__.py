"""Readers: one file for each kind of storage, all with the interface of `interface.Images`."""
