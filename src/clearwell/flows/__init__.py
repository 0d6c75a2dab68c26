"""The flow language: load flow files into a model, check what can be proved without data, compare and draw.

Reads nothing but flow files and knows no events; import the module you need.
"""
